//! Targets that a rule did not have before: asked again and again, waited for on demand, never in the way of old ones.

use std::net::TcpListener;

use crate::peers::{Echo, answers, serve};
use crate::support::{World, ports, rule, rule_of, wait_until};

const CHECK: &str = "[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";

#[test]
fn apply_waits_for_new_targets_shows_each_attempt_and_old_ones_serve_until_then() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port, gate) = (Echo::start(), ports(1), ports(1));
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, CHECK));
    world.wait_status("the old target to be up", |status| {
        rule_of(status, "edge-01", "a").is_some_and(|rule| rule["health"] == "up")
    });
    world.edit("a.toml", rule("edge-01", "a", port, gate, CHECK));
    let tree = world.tree_arg();
    let waits = ["apply", &tree, "--yes", "--wait-healthy", "--timeout", "40s"];
    let apply = world.start_cli("apply", &waits);
    wait_until("the second attempt to be shown", || apply.log().contains("attempt 2"));
    assert!(apply.log().contains("attempt 1") && apply.log().contains("L4CON"), "{}", apply.log());
    assert_eq!(answers(port), Some(echo.port), "the old target serves until the new one is up");
    serve(TcpListener::bind(("127.0.0.1", gate)).unwrap(), move |mut stream| {
        use std::io::Write;
        stream.write_all(&gate.to_be_bytes()).ok();
    });
    assert_eq!(apply.ended(), 0, "{}", apply.log());
    wait_until("the new target to serve", || answers(port) == Some(gate));
}

#[test]
fn a_rule_that_is_not_up_in_time_is_named_and_stays_applied() {
    let world = World::with_edges(&["edge-01"]);
    let (port, gate) = (ports(1), ports(1));
    world.edit("a.toml", rule("edge-01", "a", port, gate, CHECK));
    let said = world.apply_with(&["--wait-healthy", "--timeout", "2s"]).exits(5);
    said.says("edge-01/a");
    let status = world.status();
    assert_eq!(rule_of(&status, "edge-01", "a").unwrap()["state"], "active", "{status}");
}

#[test]
fn an_apply_that_sends_nothing_waits_for_the_rules_of_its_tree_and_one_check_asks_all_of_them() {
    let world = World::with_edges(&["edge-01"]);
    let (port, gate, echo) = (ports(1), ports(1), Echo::start());
    world.edit("a.toml", rule("edge-01", "a", port, gate, CHECK));
    world.edit("b.toml", rule("edge-01", "b", ports(1), echo.port, CHECK));
    world.apply();
    let said = world.apply_with(&["--wait-healthy", "--timeout", "2s"]).exits(5);
    said.says("edge-01/a").says("1 rule not healthy in time");
    let tree = world.tree_arg();
    let apply = world.start_cli("apply", &["apply", &tree, "--yes", "--wait-healthy", "--timeout", "60s"]);
    wait_until("the apply to wait", || apply.log().contains("Waiting until edge-01/a is up"));
    world.cli(&["target", "check"]).says("edge-01/a").says("edge-01/b");
    serve(TcpListener::bind(("127.0.0.1", gate)).unwrap(), |_| ());
    assert_eq!(apply.ended(), 0, "{}", apply.log());
    world.cli(&["target", "check"]).exits(0);
    world.apply_with(&["--wait-healthy"]).exits(0);
}
