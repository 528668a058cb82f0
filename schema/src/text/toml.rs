//! TOML into the spanned tree, with every syntax error of the file. Pure.

use toml::de::{DeTable, DeValue};

use super::{Entry, Node, Value, syntax_error};
use crate::diagnostic::{Diagnostic, SourceFile, Span};

pub(super) fn parse<'a>(file: &'a SourceFile, diagnostics: &mut Vec<Diagnostic>) -> Node<'a> {
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        let span = error.span().map_or_else(|| Span::new(0, 0), Span::from);
        diagnostics.push(syntax_error(file, span, error.message().to_owned()));
    }
    let span = table.span().into();
    Node { span, value: from_table(table.into_inner()) }
}

fn from_table(table: DeTable<'_>) -> Value<'_> {
    let mut entries: Vec<Entry<'_>> = table
        .into_iter()
        .map(|(key, value)| {
            let key_span = key.span().into();
            let span = value.span().into();
            Entry { key: key.into_inner(), key_span, node: Node { span, value: from_value(value.into_inner()) } }
        })
        .collect();
    // The parser's map is ordered by key; people read files from the top.
    entries.sort_by_key(|entry| entry.key_span.start);
    Value::Table(entries)
}

fn from_value(value: DeValue<'_>) -> Value<'_> {
    match value {
        DeValue::String(text) => Value::String(text),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Float(f64::MAX), Value::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Float(f64::NAN), Value::Float),
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| Node { span: item.span().into(), value: from_value(item.into_inner()) })
                .collect(),
        ),
        DeValue::Table(table) => from_table(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syntax_error_of_a_file_is_found_in_one_run() {
        let file = SourceFile::new("a.toml", "a = \nb = 1\nc = [1,\nd = \"x\ne = 2\n");
        let mut diagnostics = Vec::new();
        parse(&file, &mut diagnostics);
        assert!(diagnostics.len() >= 2, "{diagnostics:?}");
    }

    #[test]
    fn a_number_too_large_for_64_bits_is_no_panic() {
        let file = SourceFile::new("a.toml", "a = 99999999999999999999\nb = 0xff\n");
        let mut diagnostics = Vec::new();
        let Value::Table(entries) = parse(&file, &mut diagnostics).value else { panic!("a table") };
        assert_eq!(entries[0].node.value, Value::Float(f64::MAX));
        assert_eq!(entries[1].node.value, Value::Integer(255));
    }
}
