//! From an edit in git to a live port, and what a rename leaves alone.

use serde_json::json;

use crate::peers::{Client, Echo, answers, refuses};
use crate::support::{World, edge_of, ports, rule};

#[test]
fn an_edit_is_planned_applied_serves_and_is_then_nothing_to_do() {
    let world = World::with_edges(&["edge-01", "edge-02"]);
    let echo = Echo::start();
    let port = ports(1);
    let commit = world.edit("web.toml", rule("edge-01", "web", port, echo.port, "owner = \"team\""));

    let plan = world.plan();
    assert_eq!(plan["kind"], "plan");
    assert_eq!(plan["format_version"], "1.0");
    assert_eq!(plan["source"]["vcs"], "git");
    assert_eq!(plan["source"]["commit"], commit.as_str());
    assert_eq!(plan["source"]["dirty"], false);
    assert_eq!(plan["applyable"], true);
    assert_eq!(plan["summary"]["activate"], 1);
    assert_eq!(plan["summary"]["ports_bound"], 1);
    let change = &plan["changes"][0];
    assert_eq!(
        (&change["edge"], &change["rule"], &change["action"]),
        (&json!("edge-01"), &json!("web"), &json!("activate"))
    );
    assert_eq!(change["ports"], json!({ "bind": [format!("*:{port}")], "keep": [], "release": [] }));
    assert_eq!(change["origin"]["file"], "web.toml");
    assert_eq!(change["origin"]["line"], 1);
    assert!(refuses(port), "a plan changes nothing");
    let text = world.cli(&["plan", &world.tree_arg()]).exits(0);
    for word in ["edge-01", "web", "web.toml:1", &port.to_string()] {
        assert!(text.out.contains(word), "{word}: {text}");
    }
    world.cli(&["plan", &world.tree_arg(), "--detailed-exitcode"]).exits(2);

    world.apply();
    let mut client = Client::to(port);
    assert_eq!(client.tag, echo.port);
    client.ping(1, 0, 200_000).unwrap();
    let status = world.status();
    assert_eq!(status["revision"]["commit"], commit.as_str());
    assert_eq!(status["drift"], json!([]));
    assert_eq!(edge_of(&status, "edge-01").unwrap()["rules"][0]["state"], "active");

    let generations = world.generations("edge-01");
    assert_eq!(generations.0, generations.1);
    let plan = world.plan();
    assert_eq!((&plan["changes"], &plan["drift"]), (&json!([]), &json!([])));
    assert_eq!(plan["summary"]["unchanged"], 1);
    world.cli(&["plan", &world.tree_arg(), "--detailed-exitcode"]).exits(0);
    world.apply();
    assert_eq!(world.generations("edge-01"), generations, "applying twice is applying once");
    assert_eq!(world.generations("edge-02"), (0, 0), "an edge without rules is sent nothing");
    let outcomes: Vec<_> = world.cli(&["history", "-o", "json"]).exits(0).json().as_array().unwrap().clone();
    assert_eq!(outcomes.len(), 1, "the first apply, and nothing of the second: {outcomes:#?}");
    assert_eq!(outcomes[0]["outcome"], "applied");
}

#[test]
fn the_same_input_gives_the_same_plan_byte_for_byte() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(2);
    world.edit("a.toml", rule("edge-01", "a", port, 9, "") + &rule("edge-01", "b", port + 1, 9, ""));
    let without_times = |mut plan: serde_json::Value| {
        for key in ["created_at", "expires_at"] {
            plan[key].take();
        }
        plan["base"]["edges"]["edge-01"]["observed_at"].take();
        plan.to_string()
    };
    assert_eq!(without_times(world.plan()), without_times(world.plan()));
    let text = || world.cli(&["plan", &world.tree_arg()]).exits(0).out;
    assert_eq!(text(), text());
}

#[test]
fn a_plan_against_a_saved_status_needs_no_server_and_says_the_same() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let port = ports(2);
    let echo = Echo::start();
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    world.edit("a.toml", rule("edge-01", "a", port + 1, echo.port, ""));
    let live = world.plan();
    let status = world.cli(&["status", "-o", "json"]).exits(0).out;
    std::fs::write(world.path("status.json"), status).unwrap();
    server.stop();
    let saved =
        world.cli(&["plan", &world.tree_arg(), "--live", &world.arg("status.json"), "-o", "json"]).exits(0).json();
    assert_eq!(saved["changes"], live["changes"]);
    assert_eq!(saved["summary"], live["summary"]);
    std::fs::write(world.path("empty.json"), "{}").unwrap();
    let fresh =
        world.cli(&["plan", &world.tree_arg(), "--live", &world.arg("empty.json"), "-o", "json"]).exits(0).json();
    assert_eq!(fresh["summary"]["activate"], 1, "{fresh}");
}

#[test]
fn a_renamed_rule_keeps_its_port_its_connection_and_its_counters() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "old", port, echo.port, ""));
    let mut client = Client::to(port);
    client.ping(1, 0, 10_000).unwrap();
    world.edit("a.toml", rule("edge-01", "new", port, echo.port, ""));
    let plan = world.plan();
    let change = &plan["changes"][0];
    assert_eq!(plan["changes"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&change["action"], &change["rule"], &change["previous_rule"]),
        (&json!("move"), &json!("new"), &json!("old"))
    );
    assert_eq!(change["ports"]["keep"], json!([format!("*:{port}")]));
    assert_eq!(change["impact"]["kind"], "none");
    world.apply();
    client.ping(1, 10_000, 10_000).unwrap();
    let stats = world.wait_stats("edge-01/new", "all bytes", |stats| stats["bytes_in"] == 20_000);
    assert_eq!((&stats["connections_total"], &stats["active_connections"]), (&json!(1), &json!(1)));
    assert_eq!(stats["bytes_out"], 20_002);
    world.cli(&["stats", "edge-01/old"]).exits(1);
    assert_eq!(answers(port), Some(echo.port));
}

#[test]
fn every_edge_gets_its_own_rules_and_labels_choose_edges() {
    let world = World::with_edges(&["edge-01", "edge-02", "edge-03"]);
    let echo = Echo::start();
    let port = ports(3);
    let inventory = "[[edge]]\nname = \"edge-01\"\nlabels = { region = \"fra\" }\n[[edge]]\nname = \"edge-02\"\n\
                     labels = { region = \"fra\" }\n[[edge]]\nname = \"edge-03\"\nlabels = { region = \"ams\" }\n";
    world.write("fleet.toml", inventory);
    // One machine stands for three: the edges listen on addresses of their own.
    let one = |edge: u8| {
        let more = format!("listen_address = \"127.0.0.{edge}\"");
        rule(&format!("edge-0{edge}"), "own", port, echo.port, &more)
    };
    let labelled = format!(
        "[[rule]]\nname = \"region\"\nedge_labels = {{ region = \"ams\" }}\nlisten_port = {}\ntarget = \"127.0.0.1:{}\"\n",
        port + 1,
        echo.port
    );
    world.edit_and_apply("rules.toml", &(one(1) + &one(2) + &one(3) + &labelled));
    for host in 1..=3_u8 {
        let client = Client::connect((format!("127.0.0.{host}"), port)).unwrap();
        assert_eq!(client.tag, echo.port);
    }
    assert_eq!(answers(port + 1), Some(echo.port));
    let rows = world.cli(&["rules", "-o", "json"]).exits(0).json();
    let mut rows: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{}/{}", row["edge"].as_str().unwrap(), row["rule"].as_str().unwrap()))
        .collect();
    rows.sort();
    assert_eq!(rows, ["edge-01/own", "edge-02/own", "edge-03/own", "edge-03/region"]);
}

#[test]
fn what_an_edge_may_not_do_is_planned_as_reject_and_removes_nothing() {
    let world = World::with_edges(&[]);
    world.edge_with("edge-01", &["--disable-capability", "port_range"]);
    let echo = Echo::start();
    let port = ports(3);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let width = 2;
    let wide = crate::support::range_rule("edge-01", "a", port, echo.port, width, "");
    world.edit("a.toml", wide + &rule("edge-01", "b", port + 2, echo.port, ""));
    let said = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5);
    let plan = said.json();
    let reject = plan["changes"].as_array().unwrap().iter().find(|change| change["action"] == "reject").unwrap();
    assert_eq!((&reject["rule"], &reject["code"]), (&json!("a"), &json!("port_range_unsupported_by_client")));
    world.apply_with(&[]).exits(5);
    assert_eq!(answers(port), Some(echo.port), "a rejection never removes a rule that serves");
    assert_eq!(answers(port + 2), Some(echo.port), "the rest is applied");
    let status = world.status();
    assert!(status["drift"].as_array().unwrap().iter().any(|drift| drift["kind"] == "rejected"), "{status}");
}

#[test]
fn yaml_and_json_files_are_rules_as_toml_files_are() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(3);
    let target = format!("127.0.0.1:{}", echo.port);
    world.write("a.toml", rule("edge-01", "a", port, echo.port, ""));
    world.write(
        "sub/b.yaml",
        format!("rule:\n  - name: b\n    edges: [edge-01]\n    listen_port: {}\n    target: {target}\n", port + 1),
    );
    let json = json!({ "rule": [{ "name": "c", "edges": ["edge-01"], "listen_port": port + 2, "target": target }] });
    world.edit("c.json", json.to_string());
    world.apply();
    for offset in 0..3 {
        assert_eq!(answers(port + offset), Some(echo.port));
    }
}
