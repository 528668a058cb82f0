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
        let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(3).json();
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
