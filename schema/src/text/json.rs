//! A parsed JSON value as the spanned tree, without places: for specs that come from a program. Pure.

use std::borrow::Cow;

use super::{Entry, Node, Value};
use crate::diagnostic::Span;

/// Turns JSON into nodes whose spans are all empty.
pub fn from_json(value: &serde_json::Value) -> Node<'_> {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::MAX)), Value::Integer)
        }
        serde_json::Value::String(text) => Value::String(Cow::Borrowed(text)),
        serde_json::Value::Array(items) => Value::Array(items.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => Value::Table(
            map.iter()
                .map(|(key, value)| Entry {
                    key: Cow::Borrowed(key),
                    key_span: Span::default(),
                    node: from_json(value),
                })
                .collect(),
        ),
    };
    Node { span: Span::default(), value }
}
