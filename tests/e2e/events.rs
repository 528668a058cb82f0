//! `events`: a snapshot first, then what changes, as JSON lines.

use crate::peers::Echo;
use crate::support::{World, ports, rule, rule_of};

#[test]
fn a_snapshot_comes_first_and_then_every_change() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(2);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let events = world.events(&[]);
    let snapshot = events.next().to_string();
    for word in ["snapshot", "edge-01", "\"a\"", "active"] {
        assert!(snapshot.contains(word), "{word}: {snapshot}");
    }
    world.edge("edge-02");
    events.wait("the new edge", |event| {
        event["kind"] == "edge" && event["edge"] == "edge-02" && event["connected"] == true
    });
    let tree = rule("edge-01", "a", port, echo.port, "") + &rule("edge-02", "b", port + 1, echo.port, "");
    world.edit_and_apply("a.toml", &tree);
    events.wait("the new rule", |event| {
        event["kind"] == "rule" && event["edge"] == "edge-02" && event["rule"] == "b" && event["state"] == "active"
    });
    events.wait("the end of the apply", |event| event["kind"] == "apply" && event["result"]["outcome"] == "applied");
}

#[test]
fn only_what_was_asked_for_is_shown() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    let (edges, rules) = (world.events(&["--edges"]), world.events(&["--rules"]));
    edges.next();
    rules.next();
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let first = rules.next();
    assert_eq!((&first["kind"], &first["rule"]), (&"rule".into(), &"a".into()), "{first}");
    let first = edges.next();
    assert_eq!((&first["kind"], &first["edge"]), (&"edge".into(), &"edge-01".into()), "{first}");
}

#[test]
fn targets_weights_and_the_health_of_rules_are_events_of_their_own() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    let check = "[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, check));
    world.wait_status("the target to be up", |status| {
        rule_of(status, "edge-01", "a").is_some_and(|rule| rule["health"] == "up")
    });
    let (targets, rules) = (world.events(&["--targets"]), world.events(&["--rules"]));
    for events in [&targets, &rules] {
        let snapshot = events.next();
        assert_eq!(snapshot["event"], "snapshot", "{snapshot}");
    }
    let target = format!("127.0.0.1:{}", echo.port);
    let order = |operation: &[&str]| {
        let mut all = vec!["target", operation[0], "edge-01/a", &target];
        all.extend(&operation[1..]);
        world.cli(&all).exits(0);
    };
    order(&["weight", "20"]);
    let weights = targets.wait("the weights", |event| event["kind"] == "weights");
    assert_eq!((&weights["edge"], &weights["rule"]), (&"edge-01".into(), &"a".into()), "{weights}");
    order(&["pause", "--why", "maintenance"]);
    let paused = targets.wait("the pause", |event| event["kind"] == "target");
    assert_eq!((&paused["target"], &paused["to"]), (&target.as_str().into(), &"paused".into()), "{paused}");
    let down = rules.wait("the rule's health", |event| event["kind"] == "health");
    assert_eq!((&down["rule"], &down["from"], &down["to"]), (&"a".into(), &"up".into(), &"down".into()), "{down}");
    world.cli(&["stats", "edge-01/a", "--per-target"]).exits(0).says("has one target");
}
