//! Servers and edges that go and come back: forwarding goes on, the fleet ends in the newest state, and no
//! generation goes down.

use crate::peers::{Client, Echo, Steady, answers};
use crate::support::{World, ports, rule, skip, wait_until};

#[test]
fn a_server_killed_during_an_apply_ends_in_the_new_state_after_its_restart() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edges = ["edge-01", "edge-02"].map(|name| world.edge(name));
    let (old, new) = (Echo::start(), Echo::start());
    let port = ports(2);
    let tree = |target: u16| rule("edge-01", "a", port, target, "") + &rule("edge-02", "a", port + 1, target, "");
    world.edit_and_apply("a.toml", &tree(old.port));
    let steady = Steady::transfer(port, 5);
    let probes = [port, port + 1].map(|port| Steady::probe(port, vec![old.port, new.port]));

    // An edge that does not answer keeps the apply from ending, so that the server dies in its middle.
    edges[1].signal("STOP");
    world.edit("a.toml", tree(new.port));
    let events = world.events(&[]);
    events.next();
    let applying = std::thread::scope(|scope| {
        let applying = scope.spawn(|| world.apply_with(&[]));
        events.wait("the first edge's new generation", |event| {
            event["kind"] == "edge" && event["edge"] == "edge-01" && event["generation"] == 2
        });
        server.kill();
        applying.join().unwrap()
    });
    assert!([1, 5, 7].contains(&applying.code), "the result is not known: {applying}");
    edges[1].signal("CONT");
    steady.more(3);
    assert_eq!(answers(port), Some(new.port));

    world.serve(&["--mode", "heal"]);
    for (edge, port) in [("edge-01", port), ("edge-02", port + 1)] {
        world.wait_status("the edges to run the new state", |status| {
            crate::support::edge_of(status, edge)
                .is_some_and(|edge| edge["connected"] == true && edge["generation"] == edge["desired_generation"])
        });
        assert_eq!(answers(port), Some(new.port));
        assert_eq!(world.generations(edge), (2, 2));
    }
    for probe in probes {
        probe.finish();
    }
    steady.finish();
    assert_eq!(world.plan()["changes"], serde_json::json!([]));
    let history = world.cli(&["history", "-o", "json"]).exits(0).json().to_string();
    assert!(history.contains("interrupted") || history.contains("started"), "{history}");
}

#[test]
fn an_edge_restarted_without_its_server_serves_its_last_good_state() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(2);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    world.edit_and_apply("a.toml", &rule("edge-01", "b", port + 1, echo.port, "").replace("\"b\"", "\"a\""));
    let before = world.generations("edge-01");
    assert_eq!(before, (2, 2));
    server.kill();
    let mut client = Client::to(port + 1);
    client.ping(1, 0, 1000).expect("forwarding goes on without the server");
    edge.kill();
    world.start_edge("edge-01", &[]);
    wait_until("the restarted edge to serve", || answers(port + 1) == Some(echo.port));

    world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
    assert_eq!(world.generations("edge-01"), before, "no generation goes down, none is wasted");
    assert_eq!(world.plan()["changes"], serde_json::json!([]));
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    assert_eq!(world.generations("edge-01"), (3, 3));
    assert_eq!(answers(port), Some(echo.port));
}

#[test]
fn a_server_that_lost_its_state_numbers_above_what_its_edges_run() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(2);
    for round in 0..3_u16 {
        world.edit_and_apply(
            "a.toml",
            &rule("edge-01", "a", port, echo.port, &format!("max_connections = {}", 50 + round)),
        );
    }
    assert_eq!(world.generations("edge-01"), (3, 3));
    let probe = Steady::probe(port, vec![echo.port]);
    server.kill();
    world.lose_records();
    world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
    probe.more(3);
    let plan = world.plan();
    assert_eq!(plan["changes"], serde_json::json!([]), "planned against what it observes");
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, "max_connections = 99"));
    let (generation, desired) = world.generations("edge-01");
    assert!(generation == desired && generation > 3, "{generation} {desired}");
    probe.finish();
}

#[test]
fn servers_killed_wherever_an_apply_stands_converge_and_never_count_down() {
    let world = World::new();
    let mut server = world.serve(&["--mode", "heal"]);
    for edge in ["edge-01", "edge-02"] {
        world.edge(edge);
    }
    let echo = Echo::start();
    let port = ports(40);
    let tree = |round: u16| -> String {
        let more = format!("max_connections = {}", 100 + round);
        (0..20)
            .map(|index| {
                rule("edge-01", &format!("r{index}"), port + index, echo.port, &more)
                    + &rule("edge-02", &format!("r{index}"), port + 20 + index, echo.port, &more)
            })
            .collect()
    };
    world.edit_and_apply("a.toml", &tree(0));
    let probe = Steady::probe(port, vec![echo.port]);
    let mut highest = [1, 1];
    for round in 1..=6_u16 {
        world.edit("a.toml", tree(round));
        let applying = world.start_cli(&format!("apply-{round}"), &["apply", &world.tree_arg(), "--yes"]);
        // Another moment each time, from before the upload to after the end.
        crate::support::let_pass(std::time::Duration::from_millis(u64::from(round) * 25));
        server.kill();
        applying.ended();
        server = world.serve(&["--mode", "heal"]);
        let status = world.wait_status("both edges to be settled", |status| {
            status["edges"]
                .as_array()
                .unwrap()
                .iter()
                .all(|edge| edge["connected"] == true && edge["generation"] == edge["desired_generation"])
        });
        for (edge, highest) in ["edge-01", "edge-02"].iter().zip(&mut highest) {
            let edge = crate::support::edge_of(&status, edge).unwrap();
            let generation = edge["generation"].as_u64().unwrap();
            assert!(generation >= *highest, "{generation} after {highest}");
            *highest = generation;
            // All of the old or all of the new, on each edge.
            let versions: std::collections::BTreeSet<String> = edge["rules"]
                .as_array()
                .unwrap()
                .iter()
                .map(|rule| rule["spec"]["max_connections"].to_string())
                .collect();
            assert_eq!(versions.len(), 1, "{versions:?}");
        }
        world.apply();
    }
    assert!(probe.finish() > 10);
    assert_eq!(world.plan()["changes"], serde_json::json!([]));
}

#[test]
fn a_rule_removed_while_its_edge_is_away_is_shown_until_the_edge_has_confirmed() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(2);
    let stays = rule("edge-01", "stays", port, echo.port, "");
    world.edit_and_apply("a.toml", &(stays.clone() + &rule("edge-01", "goes", port + 1, echo.port, "")));
    edge.stop();
    world.wait_connected("edge-01", false);
    world.edit("a.toml", &stays);
    world.apply_with(&["--allow-offline"]).exits(0);
    let status = world.status();
    assert!(crate::support::rule_of(&status, "edge-01", "goes").is_some(), "{status}");
    assert_ne!(status["drift"], serde_json::json!([]));
    // It comes back with what it ran, and learns of the removal.
    world.edge("edge-01");
    let status = world.wait_status("the removal", |status| {
        status["drift"] == serde_json::json!([]) && crate::support::rule_of(status, "edge-01", "goes").is_none()
    });
    assert_eq!(crate::support::edge_of(&status, "edge-01").unwrap()["rules"].as_array().unwrap().len(), 1);
    assert_eq!((answers(port), answers(port + 1)), (Some(echo.port), None));
}

#[test]
fn a_read_only_state_directory_still_serves_the_last_good_state() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let (port, target) = (ports(1), Echo::start().port);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, target, ""));
    edge.stop();
    let state = world.arg("edge-01-state");
    let mounting = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let can = std::process::Command::new("unshare").args(["--mount", "sh", "-c", mounting, &state, "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return skip("no directory can be made read-only here");
    }
    // No server: what is served is what the directory holds.
    let program = [env!("CARGO_BIN_EXE_portunus"), "edge", "--name", "edge-01", "--server", "http://127.0.0.1:1"];
    let args = [&["--mount", "sh", "-c", mounting, &state][..], &program[..], &["--state-dir", &state][..]].concat();
    let edge = world.start_program("unshare", &args);
    wait_until("the last good state to serve", || answers(port) == Some(target));
    assert!(edge.log().contains("the state directory is read-only"), "{}", edge.log());
}
