//! The JSON Schema (2020-12) of a rule file. Pure.

use serde_json::{Map, Value, json};

use crate::check::reserved_note;
use crate::fields::{Field, Kind, Table, root, rule, target};
use crate::name::MAX_NAME;
use crate::rule::MAX_TARGETS;

/// The schema that editors check rule files with. What spans several keys or files is left to `validate`.
pub fn json_schema() -> Value {
    let mut schema = object(&root::TABLE);
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "A portunus rule file".into());
    Value::Object(schema)
}

fn object(table: &'static Table) -> Map<String, Value> {
    let properties: Map<String, Value> =
        table.own_fields().map(|(_, field)| (field.key.to_owned(), property(table, field))).collect();
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
    let one_of = |fields: [usize; 2]| {
        let key = |index: usize| table.fields[index].key;
        json!({ "oneOf": [{ "required": [key(fields[0])] }, { "required": [key(fields[1])] }] })
    };
    match table.name {
        "rule" => {
            let pairs = [one_of([rule::LISTEN_PORT, rule::LISTEN_PORTS]), one_of([rule::TARGET, rule::TARGETS])];
            schema.insert("allOf".to_owned(), pairs.into_iter().collect());
        }
        "rule.targets" => {
            schema.insert("allOf".to_owned(), vec![one_of([target::PORT, target::PORTS])].into());
        }
        _ => {}
    }
    schema
}

fn property(table: &'static Table, field: &'static Field) -> Value {
    let mut schema = value(field);
    let mut description = field.doc.to_owned();
    if let Some(why) = reserved_note(table, field.key) {
        description = format!("{description} Reserved: {why}.");
    }
    schema.insert("description".to_owned(), description.into());
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
        Kind::TextMap => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Ports => json!({ "type": "string", "pattern": "^ *[0-9]+ *(- *[0-9]+ *)?$" }),
        Kind::Endpoint => {
            json!({ "type": "string", "pattern": "^(\\[[^\\]]+\\]|[^:\\[\\]]+): *[0-9]+ *(- *[0-9]+ *)?$" })
        }
        Kind::Host => json!({ "type": "string", "minLength": 1, "maxLength": 254 }),
        Kind::Ip | Kind::ListenAddress | Kind::Statuses | Kind::Regex => json!({ "type": "string" }),
        Kind::Table(table) => Value::Object(object(table)),
        Kind::Tables(table) if table.name == "rule.targets" => {
            json!({ "type": "array", "items": object(table), "minItems": 1, "maxItems": MAX_TARGETS })
        }
        Kind::Tables(table) => json!({ "type": "array", "items": object(table) }),
        Kind::Open => json!({}),
    };
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
