//! Where something stands in a file of upstream, and values of it as JSON. Pure.

use schema::diagnostic::{LineIndex, Position, Span};
use schema::text::{Node, Value as Parsed};
use serde_json::{Map, Value};

/// A place in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilePosition<'f> {
    file: &'f str,
    lines: &'f LineIndex<'f>,
    span: Span,
    /// Known without a span.
    known: Option<Position>,
}

impl<'f> FilePosition<'f> {
    /// The beginning of a file.
    pub(super) fn of_file(file: &'f str, lines: &'f LineIndex<'f>) -> Self {
        Self { file, lines, span: Span::default(), known: None }
    }

    /// Another place in the same file.
    pub(super) fn at(self, span: Span) -> Self {
        Self { span, known: None, ..self }
    }

    /// Another place in the same file, of which line and column are known.
    pub(super) fn at_position(self, line: u32, column: u32) -> Self {
        Self { known: Some(Position { line, column }), ..self }
    }

    pub(super) fn file(self) -> &'f str {
        self.file
    }

    pub(super) fn position(self) -> Position {
        self.known.unwrap_or_else(|| self.lines.position(self.span.start))
    }
}

/// The value without its places.
pub(super) fn json(node: &Node<'_>) -> Value {
    match &node.value {
        // Neither a date nor a fraction is a value of any key; what they are is said where they are refused.
        Parsed::Null | Parsed::Datetime => Value::Null,
        Parsed::Bool(value) => (*value).into(),
        Parsed::Integer(value) => (*value).into(),
        Parsed::Float(value) => (*value).into(),
        Parsed::String(text) => text.as_ref().into(),
        Parsed::Array(items) => items.iter().map(json).collect(),
        Parsed::Table(entries) => {
            let map: Map<String, Value> =
                entries.iter().map(|entry| (entry.key.to_string(), json(&entry.node))).collect();
            Value::Object(map)
        }
    }
}
