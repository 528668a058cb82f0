//! What specs promise by example; the round trip over arbitrary rules is in tests/laws.rs.

use serde_json::json;

use super::*;

fn rule(value: &Value) -> Rule {
    from_json(value).expect("the test gives a valid rule")
}

#[test]
fn defaults_are_omitted_and_short_forms_used() {
    let spec = json!({ "name": "web", "listen_port": 8443, "target": "[2001:db8::1]:443", "enabled": true,
        "balance": "failover", "drain_timeout_secs": 30 });
    let expected = json!({ "name": "web", "listen_port": 8443, "target": "[2001:db8::1]:443" });
    assert_eq!(Value::Object(to_json(&rule(&spec))), expected);
}

#[test]
fn reserved_keys_come_through_and_go_back() {
    let spec = json!({ "name": "web", "protocol": "tcp", "listen_ports": "1-2", "balance": "round-robin",
        "targets": [{ "host": "a", "ports": "1-2", "weight": 1 }, { "host": "b", "ports": "3-4" }],
        "health": { "kind": "http", "interval_secs": 3, "path": "/x" } });
    let mut back = to_json(&rule(&spec));
    assert_eq!(back.remove("protocol"), None);
    back.insert("protocol".to_owned(), "tcp".into());
    assert_eq!(Value::Object(back), spec);
}

#[test]
fn an_error_names_the_key_and_the_reason() {
    let reason = |value: Value| from_json(&value).expect_err("the test gives an invalid rule");
    let web = json!({ "name": "web", "listen_port": 0, "target": "a..b:1" });
    assert!(reason(web.clone()).contains("`listen_port` is 0, outside 1..=65535"), "{}", reason(web.clone()));
    assert!(reason(web.clone()).contains("`target`: "), "{}", reason(web));
    let narrow = json!({ "name": "web", "listen_ports": "1-3", "target": "a:1-2" });
    assert!(reason(narrow.clone()).contains("targets[0].ports"), "{}", reason(narrow));
    assert_eq!(reason(json!(7)), "[[rule]] must be a table, not a whole number");
    let placed = json!({ "name": "web", "listen_port": 1, "target": "a:1", "edges": ["x"] });
    assert!(reason(placed).contains("`edges`"));
}

#[test]
fn changes_name_each_field_with_both_values() {
    let before = rule(&json!({ "name": "a", "listen_port": 1, "target": "x:1" }));
    let after = rule(&json!({ "name": "b", "listen_ports": "1-2", "max_connections": 9,
        "targets": [{ "host": "x", "ports": "1-2" }] }));
    let changes: Vec<_> =
        field_changes(&before, &after).into_iter().map(|change| (change.path, change.before, change.after)).collect();
    let expected = [
        ("listen_port", json!(1), Value::Null),
        ("listen_ports", Value::Null, json!("1-2")),
        ("max_connections", json!(0), json!(9)),
        ("name", json!("a"), json!("b")),
        ("targets[0].port", json!(1), Value::Null),
        ("targets[0].ports", Value::Null, json!("1-2")),
    ];
    assert_eq!(changes, expected.map(|(path, before, after)| (path.to_owned(), before, after)));
    assert_eq!(field_changes(&before, &before), []);
}

#[test]
fn a_new_rule_is_every_field_that_is_not_at_its_default() {
    let new = rule(&json!({ "name": "a", "listen_port": 1, "owner": "team", "balance": "round-robin",
        "drain_timeout_secs": 30, "protocol": "tcp",
        "targets": [{ "host": "x", "port": 1, "weight": 100 }, { "host": "y", "port": 2, "proxy_protocol": "v2" }],
        "health": { "kind": "tcp", "interval_secs": 15, "rise": 4 } }));
    let fields = new_fields(&new);
    assert!(fields.iter().all(|field| field.before.is_null()));
    let fields: Vec<_> = fields.into_iter().map(|field| (field.path, field.after)).collect();
    let expected = [
        ("balance", json!("round-robin")),
        ("health.kind", json!("tcp")),
        ("health.rise", json!(4)),
        ("listen_port", json!(1)),
        ("name", json!("a")),
        ("owner", json!("team")),
        ("targets[0].host", json!("x")),
        ("targets[0].port", json!(1)),
        ("targets[1].host", json!("y")),
        ("targets[1].port", json!(2)),
        ("targets[1].proxy_protocol", json!("v2")),
    ];
    assert_eq!(fields, expected.map(|(path, after)| (path.to_owned(), after)));
}

#[test]
fn toml_is_one_rule_in_the_order_of_the_field_table() {
    let rule = rule(&json!({ "name": "web", "owner": "a \"b\"", "listen_port": 1,
        "targets": [{ "host": "x", "port": 1, "weight": 5 }], "health": { "kind": "tls" } }));
    let edge = EdgeName::new("edge-01").expect("a name");
    assert_eq!(
        to_toml(&rule, Some(&edge)),
        "[[rule]]\nname = \"web\"\nowner = 'a \"b\"'\nedges = [\"edge-01\"]\nlisten_port = 1\n\
         targets = [\n  { host = \"x\", port = 1, weight = 5 },\n]\nhealth = { kind = \"tls\" }\n"
    );
}
