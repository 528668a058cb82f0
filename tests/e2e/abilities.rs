//! Rules that an edge cannot take: rejected in the plan, and refused by the API where nothing else is asked for.

use serde_json::{Value, json};

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule};

#[test]
fn several_targets_checks_and_source_ip_are_refused_by_name_where_an_edge_lacks_them() {
    let echo = Echo::start();
    let target = format!("{{ host = \"127.0.0.1\", port = {} }}", echo.port);
    let rule_with = |port: u16, targets: &str, more: &str| {
        format!("[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {port}\ntargets = [{targets}]\n{more}\n")
    };
    let several = format!("{target}, {{ host = \"127.0.0.1\", port = 1, priority = 1 }}");
    for (capability, targets, more, code) in [
        ("multi_target", &several, "", "multi_target_unsupported_by_client"),
        ("active_health", &target, "health_check_interval_secs = 5", "active_health_unsupported_by_client"),
        ("icmp_health", &target, "[rule.health]\nkind = \"icmp\"", "active_health_unsupported_by_client"),
        ("source_ip", &target, "balance = \"source-ip\"", "source_ip_unsupported_by_client"),
    ] {
        let world = World::with_edges(&[]);
        world.edge_with("edge-01", &["--disable-capability", capability]);
        let port = ports(2);
        let text = rule_with(port, targets, more);
        world.edit("a.toml", &text);
        let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
        let change = &plan["changes"][0];
        assert_eq!((&change["action"], &change["code"]), (&json!("reject"), &json!(code)), "{plan}");
        assert!(change["message"].as_str().is_some_and(|message| !message.is_empty()), "{plan}");

        let files = json!([{ "path": "a.toml", "text": text }]);
        let body = json!({ "files": files, "allowances": { "dirty": true } }).to_string();
        let (status, answer) = world.api("POST", "/v1/apply", &body).unwrap();
        let problem: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &problem["code"], &problem["status"]), (422, &json!(code), &json!(422)), "{answer}");
        world.apply_with(&[]).exits(5).says(code);
        assert_eq!(world.generations("edge-01").1, 0, "nothing was sent");

        // Beside a rule that the edge can take it is a partial success, and that one serves.
        world.edit("b.toml", rule("edge-01", "b", port + 1, echo.port, ""));
        world.apply_with(&[]).exits(5).says(code);
        assert_eq!((answers(port), answers(port + 1)), (None, Some(echo.port)), "{capability}");
    }
}

#[test]
fn a_rail_comes_before_a_rejection_and_that_before_changes_and_a_freeze_has_no_exit_code_of_its_own() {
    let world = World::with_edges(&[]);
    world.edge_with("edge-01", &["--disable-capability", "source_ip"]);
    let echo = Echo::start();
    let port = ports(6);
    let tree = |count: u16| -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, "")).collect()
    };
    let rejected = rule("edge-01", "z", port + 5, echo.port, "balance = \"source-ip\"");
    world.edit_and_apply("a.toml", &tree(4));
    let plan = |args: &[&str]| world.cli(&[&["plan", &world.tree_arg()], args].concat());

    world.edit("a.toml", tree(5) + &rejected);
    let said = plan(&["--detailed-exitcode"]).exits(5).says("Rejected, the rest would be applied:");
    assert!(!said.out.contains("Blocked"), "{said}");
    let said = plan(&["-o", "markdown"]).exits(5);
    assert!(said.out.contains("**Rejected, the rest would be applied**"), "{said}");
    // Both: what stops the apply counts.
    world.edit("a.toml", tree(1) + &rejected);
    let said = plan(&["--detailed-exitcode"]).exits(3);
    assert!(said.out.contains("Blocked:") && said.out.contains("Rejected:"), "{said}");
    world.apply_with(&[]).exits(3);

    // A change that is not committed, in a fleet that is frozen.
    world.write("a.toml", tree(5));
    world.cli(&["freeze", "--why", "release night"]).exits(0);
    plan(&[]).exits(0).says("release night");
    plan(&["--detailed-exitcode"]).exits(2).says("--allow-dirty");
}
