//! The events of the TOML parser into tables, as they come. Pure.
//!
//! Keeps: after an error the rest of the file is read on, so that what is wrong further down shows in the same run.

use std::borrow::Cow;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::EventReceiver;
use toml_parser::{ErrorSink, ParseError, Source, Span as Place};

use super::super::{MAX_DEPTH, MAX_KEY, Node, Value};
use super::tables::{Key, ROOT, TableOrigin, Tables, span_of};
use crate::diagnostic::Span;

/// A value that is not complete, with the key that it is the value of.
#[derive(Debug)]
enum OpenValue<'a> {
    Array { start: usize, items: Vec<Node<'a>>, of: Vec<Key<'a>> },
    Inline { table: usize, of: Vec<Key<'a>> },
}

#[derive(Debug)]
pub(super) struct TomlBuilder<'a> {
    source: Source<'a>,
    tables: Tables<'a>,
    /// Where keys are set now.
    table: usize,
    /// The header that is being read: whether it is one of an array, and where it begins.
    header: Option<(bool, Place)>,
    /// The parts of the key that is being read.
    key: Vec<Key<'a>>,
    /// False for a key with too many parts.
    fits: bool,
    /// What is being read of a value, the innermost last.
    open: Vec<OpenValue<'a>>,
    values: usize,
}

impl<'a> TomlBuilder<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        let tables = Tables::new();
        Self { source, tables, table: ROOT, header: None, key: Vec::new(), fits: true, open: Vec::new(), values: 0 }
    }

    /// The whole file.
    pub(super) fn finish(mut self, errors: &mut dyn ErrorSink) -> Node<'a> {
        self.abandon(errors);
        self.tables.root()
    }

    /// What was begun and cannot go on is taken as it is.
    fn abandon(&mut self, errors: &mut dyn ErrorSink) {
        while let Some(open) = self.open.last() {
            let end = match open {
                OpenValue::Array { start, items, .. } => items.last().map_or(*start, |item| item.span.end),
                OpenValue::Inline { .. } => 0,
            };
            self.close(end, errors);
        }
        if let Some((is_array, place)) = self.header.take() {
            self.begin_table(is_array, place, errors);
        }
        self.forget_key();
    }

    fn forget_key(&mut self) {
        self.key.clear();
        self.fits = true;
    }

    fn take_key(&mut self) -> Vec<Key<'a>> {
        let fits = std::mem::replace(&mut self.fits, true);
        let key = std::mem::take(&mut self.key);
        if fits { key } else { Vec::new() }
    }

    fn begin_table(&mut self, is_array: bool, place: Place, errors: &mut dyn ErrorSink) {
        let path = self.take_key();
        self.table = self.tables.header(path, is_array, span_of(place), errors);
    }

    /// How many values there are so far.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// A value is complete.
    fn put(&mut self, node: Node<'a>, errors: &mut dyn ErrorSink) {
        self.values += 1;
        let table = match self.open.last_mut() {
            Some(OpenValue::Array { items, .. }) => {
                items.push(node);
                return;
            }
            Some(OpenValue::Inline { table, .. }) => *table,
            None => self.table,
        };
        let key = self.take_key();
        self.tables.set(table, key, node, errors);
    }

    /// The innermost array or inline table ends here.
    fn close(&mut self, end: usize, errors: &mut dyn ErrorSink) {
        match self.open.pop() {
            Some(OpenValue::Array { start, mut items, of }) => {
                // Most are small, and a list that grows takes room for four at once.
                items.shrink_to_fit();
                let span = Span::new(start, end.max(start + 1));
                self.key = of;
                self.put(Node { span, value: Value::Array(items) }, errors);
            }
            Some(OpenValue::Inline { table, of }) => {
                let node = self.tables.close(table, end);
                self.key = of;
                self.put(node, errors);
            }
            None => {}
        }
    }

    fn scalar_of(&self, place: Place, encoding: Option<Encoding>, errors: &mut dyn ErrorSink) -> Value<'a> {
        let Some(raw) = self.source.get(place) else { return Value::Null };
        let raw = toml_parser::Raw::new_unchecked(raw.as_str(), encoding, place);
        let mut text = Cow::Borrowed("");
        match raw.decode_scalar(&mut text, errors) {
            ScalarKind::String => Value::String(text),
            ScalarKind::Boolean(flag) => Value::Bool(flag),
            ScalarKind::DateTime => Value::Datetime,
            ScalarKind::Float => Value::Float(text.parse().unwrap_or(f64::NAN)),
            ScalarKind::Integer(radix) => {
                i64::from_str_radix(&text, radix.value()).map_or(Value::Float(f64::MAX), Value::Integer)
            }
        }
    }
}

impl EventReceiver for TomlBuilder<'_> {
    fn std_table_open(&mut self, span: Place, error: &mut dyn ErrorSink) {
        self.abandon(error);
        self.header = Some((false, span));
    }

    fn array_table_open(&mut self, span: Place, error: &mut dyn ErrorSink) {
        self.abandon(error);
        self.header = Some((true, span));
    }

    fn std_table_close(&mut self, span: Place, error: &mut dyn ErrorSink) {
        if let Some((is_array, open)) = self.header.take() {
            self.begin_table(is_array, open.append(span), error);
        }
    }

    fn array_table_close(&mut self, span: Place, error: &mut dyn ErrorSink) {
        self.std_table_close(span, error);
    }

    fn inline_table_open(&mut self, span: Place, _error: &mut dyn ErrorSink) -> bool {
        let table = self.tables.make(TableOrigin::Inline, span_of(span));
        let of = self.take_key();
        self.open.push(OpenValue::Inline { table, of });
        true
    }

    fn inline_table_close(&mut self, span: Place, error: &mut dyn ErrorSink) {
        if matches!(self.open.last(), Some(OpenValue::Inline { .. })) {
            self.forget_key();
            self.close(span.end(), error);
        }
    }

    fn array_open(&mut self, span: Place, _error: &mut dyn ErrorSink) -> bool {
        let of = self.take_key();
        self.open.push(OpenValue::Array { start: span.start(), items: Vec::new(), of });
        true
    }

    fn array_close(&mut self, span: Place, error: &mut dyn ErrorSink) {
        if matches!(self.open.last(), Some(OpenValue::Array { .. })) {
            self.close(span.end(), error);
        }
    }

    fn simple_key(&mut self, span: Place, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        // Nothing in an array has a key: it was not closed.
        while let Some(OpenValue::Array { start, items, .. }) = self.open.last() {
            let end = items.last().map_or(*start, |item| item.span.end);
            self.close(end, error);
        }
        if self.key.len() >= MAX_DEPTH {
            if std::mem::replace(&mut self.fits, false) {
                let message = format!("a key of more than {MAX_DEPTH} parts");
                error.report_error(ParseError::new(message).with_unexpected(span));
            }
            return;
        }
        if span.end() - span.start() > MAX_KEY {
            self.fits = false;
            error.report_error(ParseError::new(format!("a key of more than {MAX_KEY} bytes")).with_unexpected(span));
            return;
        }
        let mut name = Cow::Borrowed("");
        if let Some(raw) = self.source.get(span) {
            toml_parser::Raw::new_unchecked(raw.as_str(), kind, span).decode_key(&mut name, error);
        }
        self.key.push(Key { name, place: span });
    }

    fn scalar(&mut self, span: Place, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let value = self.scalar_of(span, kind, error);
        self.put(Node { span: span_of(span), value }, error);
    }

    fn value_sep(&mut self, _span: Place, _error: &mut dyn ErrorSink) {
        // A comma ends a key that has no value.
        self.forget_key();
    }

    fn newline(&mut self, _span: Place, error: &mut dyn ErrorSink) {
        // Only values in brackets go on over lines.
        if self.open.is_empty() {
            self.abandon(error);
        }
    }
}
