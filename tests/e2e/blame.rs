//! `blame`: which commit put a port on an edge. And the ledger behind it: a change of it from outside is seen.

use std::path::Path;

use reconciler::act::store::{Batch, Store};
use reconciler::decide::record::LEDGER_PREFIX;
use serde_json::{Value, json};

use crate::peers::Echo;
use crate::support::{World, ports, range_rule, rule};

fn blame(world: &World, place: &str) -> Value {
    world.cli(&["blame", place, "-o", "json"]).exits(0).json()
}

#[test]
fn the_commit_that_bound_the_port_is_named_through_updates_and_renames() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(4);
    let first = world.edit("a.toml", rule("edge-01", "web", port, echo.port, ""));
    world.apply();
    // Another file, a comment above, more keys, another name, a wider range: the port stays where it is.
    world.edit("a.toml", rule("edge-01", "web", port, echo.port, "max_connections = 9"));
    world.apply();
    world.edit("a.toml", rule("edge-01", "site", port, echo.port, "max_connections = 9"));
    world.apply();
    let wide = format!("# wide\n\n{}", range_rule("edge-01", "site", port, echo.port, 2, ""));
    let second = world.edit("a.toml", wide);
    world.apply();

    let found = blame(&world, &format!("edge-01:{port}"));
    assert_eq!((&found["commit"], &found["how"]), (&json!(first), &json!("applied")), "{found}");
    assert_eq!((&found["rule"], &found["rule_then"]), (&json!("site"), &json!("web")));
    assert_eq!((&found["origin"]["file"], &found["origin"]["line"]), (&json!("a.toml"), &json!(1)));
    assert_eq!(found["current"]["line"], 3);
    assert_eq!((&found["author"], &found["actor"]), (&json!("Ada <ada@example.org>"), &json!("operator")));
    assert_eq!((&found["apply_id"], &found["entry"], &found["outcome"]), (&json!("a1"), &json!(1), &json!("applied")));
    assert!(found["plan_id"].as_str().unwrap().starts_with("sha256:"), "{found}");
    assert_eq!(blame(&world, &format!("edge-01:{}", port + 1))["commit"], second.as_str());
    let said = world.cli(&["blame", &format!("edge-01:{port}/tcp")]).exits(0);
    for part in [&first, "a.toml:1, as web", "a.toml:3", "ada@example.org", "a1 at ", "by operator: applied"] {
        assert!(said.out.contains(part), "{part}: {said}");
    }
}

#[test]
fn ports_that_nobody_has_or_that_two_have_are_errors_that_say_so() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(3);
    let both = rule("edge-01", "dns", port, 9, "") + &rule("edge-01", "dns-udp", port, 9, "protocol = \"udp\"");
    world.edit_and_apply("a.toml", &both);
    let place = |edge: &str, port: u16| format!("{edge}:{port}");
    world.cli(&["blame", &place("edge-02", port)]).exits(1).says("edge edge-02 is unknown");
    world.cli(&["blame", &place("edge-01", port + 1)]).exits(1).says("no rule listens on edge-01:");
    world.cli(&["blame", &place("edge-01", port)]).exits(1).says("/udp");
    assert_eq!(blame(&world, &format!("{}/udp", place("edge-01", port)))["rule"], "dns-udp");
    assert_eq!(blame(&world, &format!("{}/tcp", place("edge-01", port)))["rule"], "dns");
    world.cli(&["blame", "edge-01"]).exits(64);
}

#[test]
fn a_break_glass_rule_has_no_commit_until_one_takes_it_over() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(2);
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, 9, ""));
    let (listen, place) = ((port + 1).to_string(), format!("edge-01:{}", port + 1));
    let add = ["override", "add", "edge-01", "--name", "glass", "--listen-port", &listen, "--target", "127.0.0.1:9"];
    world.cli(&[&add[..], &["--ttl", "1h", "--why", "the pager rang"]].concat()).exits(0);
    world.wait_rule("edge-01", "glass", "active");
    let said = world.cli(&["blame", &place]).exits(1);
    said.says("break-glass rule glass").says("the pager rang");
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, 9, "owner = \"w\""));
    let commit = world.edit("b.toml", world.cli(&["override", "export", "edge-01/glass"]).exits(0).out);
    world.apply();
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, 9, ""));
    let found = blame(&world, &place);
    assert_eq!((&found["commit"], &found["how"]), (&json!(commit), &json!("taken_over")), "{found}");
    assert_eq!(found["origin"]["file"], "b.toml");
    world.cli(&["blame", &place]).exits(0).says("the port was already open");
    // What was put there without a commit is in the ledger all the same.
    let history = world.cli(&["history"]).exits(0);
    for part in ["rule_added", "rule_taken_over", "edge-01/glass on *:", "the pager rang"] {
        assert!(history.out.contains(part), "{part}: {history}");
    }
}

#[test]
fn a_port_from_before_the_ledger_is_said_to_be_older() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, 9, ""));
    server.stop();
    world.lose_records();
    world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
    world.wait_rule("edge-01", "web", "active");
    let place = format!("edge-01:{port}");
    world.cli(&["blame", &place]).exits(1).says("since before the ledger");
    world.apply();
    let found = blame(&world, &place);
    assert_eq!((&found["how"], &found["apply_id"]), (&json!("taken_over"), &json!("a1")), "{found}");
}

/// Changes the records of a server that does not run.
fn tamper(world: &World, change: impl FnOnce(&Store, Vec<(String, Value)>) -> Batch) {
    let store = Store::open(Path::new(&world.arg("server-state"))).unwrap();
    let lines = store.list(LEDGER_PREFIX).unwrap();
    let lines = lines.into_iter().map(|(key, line)| (key, serde_json::from_slice(&line.value).unwrap())).collect();
    let batch = change(&store, lines);
    store.commit(&batch).unwrap();
}

#[test]
fn a_ledger_is_verified_on_demand_and_one_that_was_changed_from_outside_is_no_start() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let port = ports(1);
    for owner in ["a", "b", "c"] {
        world.edit_and_apply("a.toml", &rule("edge-01", "web", port, 9, &format!("owner = \"{owner}\"")));
    }
    let whole = world.cli(&["history", "--verify", "-o", "json"]).exits(0).json();
    assert_eq!((&whole["lines"], &whole["last"], &whole["broken"]), (&json!(6), &json!(6), &Value::Null), "{whole}");
    world.cli(&["history", "--verify"]).exits(0).says("The ledger is intact: 6 lines");
    assert_eq!(world.status().get("ledger_broken"), None);
    let head = whole["head"].as_str().unwrap().to_owned();
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, 9, "owner = \"d\""));
    let contains = |hash: &str| world.cli(&["history", "--verify", "--contains", hash]);
    contains(&head).exits(0).says("8 lines");
    contains(&head.replace(&head[10..20], "0123456789")).exits(1).says("no line of the ledger has that hash");
    contains("abc").exits(64);
    server.stop();

    tamper(&world, |_, lines| {
        let (key, mut line) = lines[2].clone();
        line["actor"] = json!("somebody else");
        Batch::new().put(key, serde_json::to_vec(&line).unwrap())
    });
    refuses_to_start(&world, 3);

    // Its end taken off: what is left fits, but the apply in force has no line.
    tamper(&world, |_, lines| {
        let mut line = lines[2].1.clone();
        line["actor"] = json!("operator");
        let mended = Batch::new().put(lines[2].0.clone(), serde_json::to_vec(&line).unwrap());
        lines[4..].iter().fold(mended, |batch, (key, _)| batch.delete(key))
    });
    refuses_to_start(&world, 5);
}

/// A server whose ledger was changed does not serve, and says which line it is and what helps.
#[track_caller]
fn refuses_to_start(world: &World, line: u64) {
    let mut args = vec!["serve".to_owned(), "--mode".to_owned(), "heal".to_owned()];
    args.extend(world.server_args());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = world.start("refused", &args);
    assert_eq!(server.ended(), 1, "{}", server.log());
    let words = format!("line {line} of the ledger in ");
    assert!(server.log().contains(&words) && server.log().contains("portunus restore FILE"), "{}", server.log());
}
