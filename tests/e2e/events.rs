//! `events`: a snapshot first, then what changes, as JSON lines.

use crate::peers::Echo;
use crate::support::{World, ports, rule};

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
