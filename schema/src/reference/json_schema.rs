//! The JSON Schemas (2020-12) of rule files and of `portunus.toml`. Pure.
//!
//! Keeps: a schema refuses nothing that `validate` takes; what it can say of one file, it refuses as `validate` does.

use serde_json::{Map, Value, json};

use crate::access::MAX_NETWORKS;
use crate::check::EXCLUSIVE;
use crate::fields::{Concern, Field, Kind, Table, portunus, root, rule, target};
use crate::name::MAX_NAME;
use crate::rule::{Balance, MAX_TARGETS};
use crate::sni::MAX_NAMES;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema that editors check rule files with. What spans several rules or files is left to `validate`.
pub fn json_schema() -> Value {
    let mut schema = top(&root::TABLE, "rules", "A portunus rule file");
    // A rule without a protocol has that of `[defaults]`, which is TCP where nothing is said.
    let of_rules = |keys: Value| json!({ "properties": { "rule": { "items": { "if": { "not": { "required": ["protocol"] } }, "then": keys } } } });
    let is_udp = json!({
        "required": ["defaults"],
        "properties": { "defaults": { "required": ["protocol"], "properties": { "protocol": { "const": "udp" } } } },
    });
    let by_default =
        json!({ "if": is_udp, "then": of_rules(foreign_keys("udp")), "else": of_rules(foreign_keys("tcp")) });
    schema.insert("allOf".to_owned(), vec![by_default].into());
    Value::Object(schema)
}

/// The schema of `portunus.toml`.
pub fn fleet_json_schema() -> Value {
    Value::Object(top(&portunus::TABLE, "portunus.toml", "The portunus.toml of a rule tree"))
}

fn top(table: &'static Table, name: &str, title: &str) -> Map<String, Value> {
    let mut schema = object(table);
    schema.insert("$schema".to_owned(), DIALECT.into());
    schema.insert("$id".to_owned(), format!("urn:portunus:schema:{name}").into());
    schema.insert("title".to_owned(), title.into());
    let about = json!({ "type": "string", "description": "The schema of this file, for editors." });
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert("$schema".to_owned(), about);
    }
    schema
}

/// Refuses the keys that cannot concern a rule of this protocol.
fn foreign_keys(protocol: &str) -> Value {
    let is_foreign = |index: usize, field: &Field| match (field.concern, protocol) {
        (Concern::Tcp, "udp") | (Concern::Udp, "tcp") => true,
        _ => protocol == "udp" && index == rule::PROXY_PROTOCOL,
    };
    let foreign = rule::TABLE.own_fields().filter(|(index, field)| is_foreign(*index, field));
    let mut properties: Map<String, Value> = foreign.map(|(_, field)| (field.key.to_owned(), false.into())).collect();
    if protocol == "udp" {
        let header = target::TABLE.fields[target::PROXY_PROTOCOL].key;
        properties.insert("targets".to_owned(), json!({ "items": { "properties": { header: false } } }));
    }
    json!({ "properties": properties })
}

/// What holds between the keys of a rule, or of `[defaults]`.
fn between_keys(is_rule: bool) -> Vec<Value> {
    let key = |index: usize| rule::TABLE.fields[index].key;
    let one_of =
        |one: usize, other: usize| json!({ "oneOf": [{ "required": [key(one)] }, { "required": [key(other)] }] });
    let not_both = |(one, other): (usize, usize)| json!({ "not": { "required": [key(one), key(other)] } });
    let mut all: Vec<Value> = EXCLUSIVE.into_iter().map(not_both).collect();
    let others: Vec<&str> = Balance::WORDS.iter().copied().filter(|word| *word != "source-ip").collect();
    all.push(json!({ "not": {
        "required": [key(rule::BALANCE), key(rule::SRC_IP_STICKY)],
        "properties": { "balance": { "enum": others }, "src_ip_sticky": { "const": true } },
    } }));
    if is_rule {
        all.push(one_of(rule::LISTEN_PORT, rule::LISTEN_PORTS));
        all.push(one_of(rule::TARGET, rule::TARGETS));
        for protocol in ["tcp", "udp"] {
            let is_it = json!({ "required": ["protocol"], "properties": { "protocol": { "const": protocol } } });
            all.push(json!({ "if": is_it, "then": foreign_keys(protocol) }));
        }
    }
    all
}

fn object(table: &'static Table) -> Map<String, Value> {
    let properties: Map<String, Value> =
        table.own_fields().map(|(_, field)| (field.key.to_owned(), property(field))).collect();
    let required: Vec<&str> =
        table.own_fields().filter(|(_, field)| field.required).map(|(_, field)| field.key).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("description".to_owned(), table.doc.into());
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    let all = match table.name {
        "rule" => between_keys(true),
        "defaults" => between_keys(false),
        "rule.targets" => {
            let key = |index: usize| target::TABLE.fields[index].key;
            let (one, other) = (key(target::PORT), key(target::PORTS));
            vec![json!({ "oneOf": [{ "required": [one] }, { "required": [other] }] })]
        }
        _ => Vec::new(),
    };
    if !all.is_empty() {
        schema.insert("allOf".to_owned(), all.into());
    }
    schema
}

fn property(field: &'static Field) -> Value {
    let mut schema = value(field);
    schema.insert("description".to_owned(), field.doc.into());
    if let Some(default) = default(field) {
        schema.insert("default".to_owned(), default);
    }
    Value::Object(schema)
}

/// The default as JSON. TOML and JSON write strings, numbers, flags and lists of strings alike.
fn default(field: &Field) -> Option<Value> {
    if field.default.is_empty() { None } else { serde_json::from_str(field.default).ok() }
}

fn value(field: &'static Field) -> Map<String, Value> {
    let schema = match field.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Text { max, .. } | Kind::Payload { max } => json!({ "type": "string", "maxLength": max }),
        Kind::Name => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]*$", "maxLength": MAX_NAME }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Texts { max } => json!({ "type": "array", "items": { "type": "string", "maxLength": max } }),
        Kind::ServerNames => {
            json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": MAX_NAMES })
        }
        Kind::Networks => json!({ "type": "array", "items": { "type": "string" }, "maxItems": MAX_NETWORKS }),
        Kind::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Ports => json!({ "type": "string", "pattern": "^ *[0-9]+ *(- *[0-9]+ *)?$" }),
        Kind::Endpoint => {
            json!({ "type": "string", "pattern": "^(\\[[^\\]]+\\]|[^:\\[\\]]+): *[0-9]+ *(- *[0-9]+ *)?$" })
        }
        Kind::Host => json!({ "type": "string", "minLength": 1, "maxLength": 254 }),
        Kind::Ip | Kind::ListenAddress | Kind::TimeZone | Kind::Statuses | Kind::Regex => json!({ "type": "string" }),
        Kind::Table(table) => Value::Object(object(table)),
        Kind::Tables(table) if table.name == "rule.targets" => {
            json!({ "type": "array", "items": object(table), "minItems": 1, "maxItems": MAX_TARGETS })
        }
        Kind::Tables(table) => json!({ "type": "array", "items": object(table) }),
    };
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
