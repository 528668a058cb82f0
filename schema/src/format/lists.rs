//! Lists and inline tables, made canonical. Pure.
//!
//! A list that was written over several lines has one entry a line; others stay on theirs. A comment stays on its
//! line: beside the entry before it, or above the entry after it.

use toml_edit::{Array, InlineTable, Value};

use super::comments::comments;
use super::{order, sub_table};
use crate::fields::Table;

const INDENT: &str = "  ";

/// Formats what is inside of a value; what is around it is its owner's.
pub(super) fn format_value(value: &mut Value, schema: Option<&'static Table>, depth: usize) {
    match value {
        Value::Array(array) => format_array(array, schema, depth),
        Value::InlineTable(table) => format_inline(table, schema),
        _ => {}
    }
}

fn raw(text: Option<&toml_edit::RawString>) -> &str {
    text.and_then(toml_edit::RawString::as_str).unwrap_or_default()
}

/// The texts around the entries of a list: before the first, between two, and after the last.
fn gaps(array: &Array) -> Vec<String> {
    let mut gaps = vec![String::new()];
    for item in array {
        let decor = item.decor();
        gaps.last_mut().expect("never empty").push_str(raw(decor.prefix()));
        gaps.push(raw(decor.suffix()).to_owned());
    }
    gaps.last_mut().expect("never empty").push_str(raw(Some(array.trailing())));
    gaps
}

fn format_array(array: &mut Array, schema: Option<&'static Table>, depth: usize) {
    let gaps = gaps(array);
    let is_long = gaps.iter().any(|gap| gap.contains('\n')) && !(array.is_empty() && gaps[0].trim().is_empty());
    let last = gaps.len() - 1;
    for (index, item) in array.iter_mut().enumerate() {
        format_value(item, schema, depth + 1);
        let prefix = match (is_long, index) {
            (true, _) => broken(&gaps[index], depth + 1),
            (false, 0) => String::new(),
            (false, _) => " ".to_owned(),
        };
        item.decor_mut().set_prefix(prefix);
        item.decor_mut().set_suffix("");
    }
    array.set_trailing_comma(is_long);
    array.set_trailing(if is_long { broken(&gaps[last], depth) } else { String::new() });
}

/// A gap that ends one line and begins the next at a depth.
fn broken(gap: &str, depth: usize) -> String {
    let mut lines = gap.split('\n').map(str::trim);
    let mut text = match lines.next() {
        None | Some("") => String::new(),
        Some(comment) => format!(" {comment}"),
    };
    // A comment above the bracket that closes the list belongs to the entries.
    let inner = INDENT.repeat(depth.max(1));
    for comment in lines.filter(|line| !line.is_empty()) {
        text.push('\n');
        text.push_str(&inner);
        text.push_str(comment);
    }
    text.push('\n');
    text.push_str(&INDENT.repeat(depth));
    text
}

fn format_inline(table: &mut InlineTable, schema: Option<&'static Table>) {
    let mut bare = table.clone();
    bare.decor_mut().clear();
    if !comments(&bare.to_string()).is_empty() {
        // Comments inside of an inline table are new in TOML 1.1: it stays as it is written.
        return;
    }
    format_pairs(table, schema);
    table.set_trailing_comma(false);
    table.set_trailing(if table.is_empty() { "" } else { " " });
}

fn format_pairs(table: &mut InlineTable, schema: Option<&'static Table>) {
    table.sort_values_by(|one, _, other, _| order(schema, one.get()).cmp(&order(schema, other.get())));
    for (mut key, value) in table.iter_mut() {
        let below = sub_table(schema, key.get());
        key.dotted_decor_mut().clear();
        match value {
            Value::InlineTable(dotted) if dotted.is_dotted() => format_pairs(dotted, below),
            value => {
                key.leaf_decor_mut().set_prefix(" ");
                key.leaf_decor_mut().set_suffix(" ");
                format_value(value, below, 0);
                value.decor_mut().set_prefix(" ");
                value.decor_mut().set_suffix("");
            }
        }
    }
}
