//! The published schemas beside `validate`: what one file says, both judge alike.

use serde_json::{Value, json};

use super::{fleet_json_schema, json_schema};
use crate::check::{CheckLimits, check_tree};
use crate::diagnostic::SourceFile;
use crate::ruleset::TreeFiles;

/// The keywords that the schemas use.
fn allows(schema: &Value, value: &Value) -> bool {
    let Value::Object(keys) = schema else { return schema.as_bool().expect("a schema") };
    keys.iter().all(|(keyword, with)| match keyword.as_str() {
        "type" => is_type(with.as_str().expect("one type"), value),
        "properties" => value
            .as_object()
            .is_none_or(|own| own.iter().all(|(key, value)| with.get(key).is_none_or(|schema| allows(schema, value)))),
        "additionalProperties" => value.as_object().is_none_or(|own| {
            let known = |key: &String| keys.get("properties").is_some_and(|known| known.get(key).is_some());
            own.iter().all(|(key, value)| known(key) || allows(with, value))
        }),
        "required" => value.as_object().is_none_or(|own| {
            with.as_array().expect("keys").iter().all(|key| own.contains_key(key.as_str().expect("a key")))
        }),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| allows(with, item))),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= with.as_u64().expect("a count")),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= with.as_u64().expect("a count")),
        "minimum" => value.as_i64().is_none_or(|number| number >= with.as_i64().expect("a number")),
        "maximum" => value.as_i64().is_none_or(|number| number <= with.as_i64().expect("a number")),
        "const" => value == with,
        "enum" => with.as_array().expect("values").contains(value),
        "not" => !allows(with, value),
        "allOf" => with.as_array().expect("schemas").iter().all(|schema| allows(schema, value)),
        "oneOf" => with.as_array().expect("schemas").iter().filter(|schema| allows(schema, value)).count() == 1,
        "if" => {
            let branch = if allows(with, value) { "then" } else { "else" };
            keys.get(branch).is_none_or(|schema| allows(schema, value))
        }
        "pattern" => value.as_str().is_none_or(|text| {
            regex_lite::Regex::new(with.as_str().expect("a pattern")).expect("a pattern").is_match(text)
        }),
        "minLength" | "maxLength" | "then" | "else" | "$schema" | "$id" | "title" | "description" | "default" => true,
        other => panic!("{other}"),
    })
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("{other}"),
    }
}

fn is_valid(name: &str, value: &Value) -> bool {
    let file = SourceFile::new(name, value.to_string());
    check_tree(&TreeFiles { files: vec![file], problems: Vec::new() }, &CheckLimits::default()).ruleset.is_some()
}

#[test]
fn a_schema_refuses_what_validate_refuses() {
    let schema = json_schema();
    let rule = json!({ "name": "r", "listen_port": 80, "target": "a.example:80" });
    for (keys, defaults) in [
        (json!({}), json!({})),
        (json!({ "protocol": "udp", "udp_max_flows": 3 }), json!({})),
        (json!({ "udp_max_flows": 3 }), json!({ "protocol": "udp" })),
        (json!({ "connect_timeout_ms": 3 }), json!({ "udp_max_flows": 3 })),
        (json!({ "protocol": "udp" }), json!({ "proxy_protocol": "v2", "connect_timeout_ms": 3 })),
        (json!({ "balance": "source-ip", "src_ip_sticky": true }), json!({ "balance": "round-robin" })),
        (json!({ "health_check_interval_secs": 3 }), json!({ "health": {} })),
        (json!({ "proxy_protocol": "v1" }), json!({ "protocol": "tcp" })),
    ] {
        let file = file(&rule, &keys, &defaults);
        assert!(is_valid("r.json", &file) && allows(&schema, &file), "{file}");
    }
    for (keys, defaults) in [
        (json!({ "listen_ports": "80-81" }), json!({})),
        (json!({ "targets": [{ "host": "a", "port": 1 }] }), json!({})),
        (json!({ "target": null, "targets": [{ "host": "a", "port": 1, "ports": "1-2" }] }), json!({})),
        (json!({ "target": null, "targets": [] }), json!({})),
        (json!({ "target": null }), json!({})),
        (json!({ "edges": ["local"], "edge_labels": { "a": "b" } }), json!({})),
        (json!({ "health": {}, "health_check_interval_secs": 3 }), json!({})),
        (json!({ "balance": "round-robin", "src_ip_sticky": true }), json!({})),
        (json!({}), json!({ "health": {}, "health_check_interval_secs": 3 })),
        (json!({}), json!({ "name": "x" })),
        (json!({ "protocol": "udp", "proxy_protocol": "v2" }), json!({})),
        (json!({ "proxy_protocol": "v2" }), json!({ "protocol": "udp" })),
        (
            json!({ "protocol": "udp", "target": null, "targets": [{ "host": "a", "port": 1, "proxy_protocol": "v1" }] }),
            json!({}),
        ),
        (json!({ "protocol": "udp", "connect_timeout_ms": 3 }), json!({})),
        (json!({ "udp_max_flows": 3 }), json!({})),
        (json!({ "udp_max_flows": 3, "protocol": "tcp" }), json!({ "protocol": "udp" })),
        (json!({ "listen_port": 0 }), json!({})),
        (json!({ "colour": "red" }), json!({})),
        (json!({ "balance": "random" }), json!({})),
    ] {
        let file = file(&rule, &keys, &defaults);
        assert!(!is_valid("r.json", &file), "{file}");
        assert!(!allows(&schema, &file), "the schema takes {file}");
    }
}

/// A rule file; a key with null is taken out of the rule.
fn file(rule: &Value, keys: &Value, defaults: &Value) -> Value {
    let mut rule = rule.clone();
    let map = rule.as_object_mut().expect("a rule");
    map.extend(keys.as_object().expect("keys").clone());
    map.retain(|_, value| !value.is_null());
    json!({ "$schema": "rules.schema.json", "defaults": defaults, "rule": [rule] })
}

#[test]
fn every_schema_has_an_id_of_its_own_and_refuses_unknown_keys() {
    let (rules, fleet) = (json_schema(), fleet_json_schema());
    assert!(rules["$id"] != fleet["$id"] && rules["$id"].is_string() && fleet["$id"].is_string());
    let example = json!({ "$schema": "x", "tree": { "ignore": ["docs/**"] }, "rails": { "max_removed_rules": 3 },
        "rollout": { "waves": [{ "edge_labels": { "stage": "canary" } }] } });
    assert!(allows(&fleet, &example));
    for bad in [json!({ "rail": {} }), json!({ "rails": { "max": 1 } }), json!({ "rollout": { "waves": [{}] } })] {
        assert!(!allows(&fleet, &bad), "{bad}");
    }
}
