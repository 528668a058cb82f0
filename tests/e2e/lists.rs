//! Lists of a fleet: selectors, order, limits and width, the same on the command line and over the API.

use serde_json::{Value, json};

use crate::peers::{Echo, answers};
use crate::support::{World, ports, range_rule, rule, wait_until};

/// Two edges with two rules each; the rules of the second have an owner.
fn world() -> (World, Echo, u16) {
    let world = World::with_edges(&["fra-01", "nyc-01"]);
    let (echo, port) = (Echo::start(), ports(4));
    let inventory = "[[edge]]\nname = \"fra-01\"\nlabels = { region = \"fra\" }\n\n[[edge]]\nname = \"nyc-01\"\n\n";
    let rules: String = [("fra-01", "web", 0), ("fra-01", "dns", 1), ("nyc-01", "web", 2), ("nyc-01", "dns", 3)]
        .into_iter()
        .map(|(edge, name, by)| {
            let owner = if edge == "nyc-01" { "owner = \"team-b\"" } else { "" };
            rule(edge, name, port + by, echo.port, owner)
        })
        .collect();
    world.edit_and_apply("a.toml", &format!("{inventory}{rules}"));
    (world, echo, port)
}

fn names(rows: &Value) -> Vec<String> {
    let name = |row: &Value| format!("{}/{}", row["edge"].as_str().unwrap(), row["rule"].as_str().unwrap());
    rows.as_array().unwrap().iter().map(name).collect()
}

#[test]
fn counters_events_and_history_take_the_selectors_of_the_other_lists() {
    let (world, echo, port) = world();
    for _ in 0..3 {
        assert_eq!(answers(port + 2), Some(echo.port));
    }
    world.wait_stats("nyc-01/web", "the connections to be reported", |stats| stats["connections_total"] == 3);
    let stats = |args: &[&str]| names(&world.cli(&[&["stats", "-o", "json"], args].concat()).exits(0).json());
    assert_eq!(stats(&[]).len(), 4);
    assert_eq!(stats(&["nyc-01"]), ["nyc-01/dns", "nyc-01/web"]);
    assert_eq!(stats(&["--owner", "team-b", "--rule", "w*"]), ["nyc-01/web"]);
    assert_eq!(stats(&["--label", "region=fra", "--limit", "1"]), ["fra-01/dns"]);
    assert_eq!(stats(&["--port", &(port + 1).to_string()]), ["fra-01/dns"]);
    world.cli(&["stats", "--edge", "ams-*"]).exits(1).says("nothing matches --edge ams-*");
    let (status, body) = world.api("GET", "/v1/stats?rule=web&per_target=true", "").unwrap();
    let rows: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, names(&rows)), (200, vec!["fra-01/web".to_owned(), "nyc-01/web".to_owned()]));
    assert_eq!(rows[1]["targets"].as_array().map(Vec::len), Some(1), "{body}");
    for path in ["/v1/stats?egde=a", "/v1/history?health=up", "/v1/events?sort=name", "/v1/history?state=active"] {
        assert_eq!(world.api("GET", path, "").unwrap().0, 400, "{path}");
    }

    let history = |args: &[&str]| world.cli(&[&["history", "-o", "json"], args].concat());
    assert_eq!(history(&["--edge", "fra-*", "--since", "1h"]).exits(0).json().as_array().map(Vec::len), Some(1));
    assert_eq!(history(&["--port", &port.to_string(), "--rule", "web"]).exits(0).json()[0]["id"], 1);
    assert_eq!(history(&["--sort", "newest", "--limit", "1"]).exits(0).json()[0]["outcome"], "applied");
    history(&["--state", "partial"]).exits(1).says("nothing matches --state partial");
    history(&["--since", "yesterday"]).exits(64);

    let said =
        world.cli(&["events", "--edge", "nyc-*", "--rules", "--since", "1h", "--limit", "1", "-o", "json"]).exits(0);
    let event: Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
    assert_eq!((&event["event"], &event["edge"]), (&json!("rule"), &json!("nyc-01")), "{said}");
    assert!(event["time"].is_string(), "{said}");
    world.cli(&["events", "--rule", "nothing", "--limit", "1"]).exits(1).says("nothing matches --rule nothing");
}

#[test]
fn tables_fit_the_columns_and_wide_ones_are_whole() {
    let (world, ..) = world();
    for list in [&["rules"][..], &["history"], &["targets"], &["status", "--rule", "web"], &["stats"], &["edges"]] {
        let narrow = world.cli_with(list, &[("COLUMNS", "60")]).exits(0);
        let widest = narrow.out.lines().filter(|line| !line.contains('·') && !line.starts_with("Revision"));
        let widest = widest.filter(|line| !line.starts_with("capabilities")).map(|line| line.chars().count()).max();
        let has_numbers = list[0] == "stats";
        assert!(widest.is_some_and(|widest| widest <= 60 || has_numbers), "{list:?}: {narrow}");
        let wide = world.cli_with(&[list, &["-o", "wide"]].concat(), &[("COLUMNS", "60")]).exits(0);
        assert!(!wide.out.contains('…'), "{list:?}: {wide}");
    }
    assert!(world.cli_with(&["rules"], &[("COLUMNS", "60")]).exits(0).out.contains('…'));
    world.cli(&["validate", &world.tree_arg(), "-o", "wide"]).exits(64);
}

#[test]
fn overrides_of_targets_are_listed_and_a_range_is_named_by_any_of_its_ports() {
    let world = World::with_edges(&["edge-01"]);
    let (listen, target) = (ports(12), Echo::range(10));
    world.edit_and_apply("a.toml", &range_rule("edge-01", "web", listen, target, 10, ""));
    let name = format!("127.0.0.1:{target}-{}", target + 9);
    let third = format!("127.0.0.1:{}", target + 3);
    world.cli(&["target", "pause", "edge-01/web", &third, "--why", "upgrade", "--ttl", "1h"]).exits(0).says("paused");
    let listen = (listen + 11).to_string();
    let add = ["override", "add", "edge-01", "--name", "glass", "--listen-port", &listen, "--target", "127.0.0.1:9"];
    world.cli(&[&add[..], &["--ttl", "1h", "--why", "now"]].concat()).exits(0);
    let listed = world.cli(&["override", "list", "-o", "json"]).exits(0).json();
    let field = |name: &str| [listed[0][name].clone(), listed[1][name].clone()];
    assert_eq!(field("kind"), ["rule", "target"], "{listed}");
    assert_eq!(field("rule"), ["glass", "web"]);
    assert_eq!((&listed[1]["target"], &listed[1]["operation"]), (&json!(name), &json!("pause")), "{listed}");
    let text = world.cli(&["override", "list", "-o", "wide"]).exits(0).out;
    assert!(text.contains(&format!("{name} paused")) && text.contains("upgrade"), "{text}");
    let exported = world.cli(&["override", "export"]).exits(0).out;
    assert!(exported.contains("glass") && !exported.contains("upgrade"), "a target is nothing to commit: {exported}");
    let path = format!("/v1/targets/edge-01/web/127.0.0.1:{}", target + 9);
    assert_eq!(world.api("POST", &path, "{\"operation\": \"resume\"}").unwrap().0, 200);
    let (status, body) =
        world.api("POST", "/v1/targets/edge-01/web/127.0.0.1:1", "{\"operation\": \"pause\"}").unwrap();
    assert!(status == 404 && body.contains("names no single target"), "{body}");
}

#[test]
fn an_operation_on_an_edge_reaches_the_targets_of_all_its_rules() {
    let world = World::with_edges(&["edge-01", "edge-02"]);
    let (listen, target) = (ports(3), Echo::start().port);
    let check = "health_check_interval_secs = 1";
    let rules = [("edge-01", "a"), ("edge-01", "b"), ("edge-02", "c")];
    let texts = (0..).zip(rules).map(|(number, (edge, name))| rule(edge, name, listen + number, target, check));
    world.edit_and_apply("a.toml", &texts.collect::<String>());
    let states = |world: &World| {
        let document = world.cli(&["targets", "-o", "json"]).exits(0).json();
        document["targets"].as_array().unwrap().iter().map(|row| row["state"].clone()).collect::<Vec<_>>()
    };
    let paused = world.cli(&["target", "pause", "edge-01", "--why", "upgrade", "-o", "json"]).exits(0).json();
    assert_eq!((paused["edge"].as_str(), paused["failed"].as_array().map(Vec::len)), (Some("edge-01"), Some(0)));
    let rules: Vec<_> = paused["targets"].as_array().unwrap().iter().map(|one| one["rule"].clone()).collect();
    assert_eq!(rules, ["a", "b"], "{paused}");
    wait_until("both targets to be paused and no other", || {
        let states = states(&world);
        states[..2] == ["paused", "paused"] && states[2] == "up"
    });
    world.cli(&["target", "resume", "edge-01", &format!("127.0.0.1:{target}")]).exits(0).says("edge-01/b");
    wait_until("all to be up", || states(&world).iter().all(|state| state == "up"));
    let checked = world.cli(&["target", "check", "edge-01", "-o", "json"]).exits(0).json();
    assert_eq!(checked["checks"].as_array().map(Vec::len), Some(2), "{checked}");
    world.cli(&["target", "pause", "edge-01", "127.0.0.1:1", "--why", "x"]).exits(1).says("no target 127.0.0.1:1");
    world.cli(&["target", "pause", "edge-09", "--why", "x"]).exits(1).says("edge-09");
    world.cli(&["target", "check", "edge-09"]).exits(1).says("edge-09");
}
