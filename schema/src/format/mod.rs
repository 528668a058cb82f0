//! Canonical formatting of a TOML rule file. Pure.
//!
//! One space around `=`, one blank line between tables, keys in the order of the field table, no trailing spaces,
//! a final newline. Keeps: the meaning, and every comment beside the item that it stood at; a file for which that
//! cannot be shown afterwards is returned as it was.

mod comments;
mod layout;
mod lists;

use toml_edit::{DocumentMut, Item, Table as TomlTable};

use crate::check::FLEET_FILE;
use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{Kind, Table, portunus, root};
use crate::findings::Findings;
use crate::text::{self, Node, Value};

use layout::Blank;

/// The canonical text of a TOML file, or its syntax errors. Other errors do not matter here.
pub fn format(file: &SourceFile) -> Result<String, Vec<Diagnostic>> {
    let mut diagnostics = Findings::new();
    let before = text::parse(file, &mut diagnostics);
    if diagnostics.has_errors() {
        return Err(diagnostics.into_sorted());
    }
    let source = file.text.replace("\r\n", "\n");
    let document = source.parse::<DocumentMut>().map_err(|error| {
        let span = error.span().map_or(Span::default(), Span::from);
        vec![Diagnostic::error(TreeCode::Syntax, file, span, error.message().to_owned())]
    })?;
    let table = if &*file.path == FLEET_FILE { &portunus::TABLE } else { &root::TABLE };
    let formatted = canonical(document, table);
    if before.is_some_and(|before| keeps_all(file, &before, &formatted)) {
        Ok(formatted)
    } else {
        Ok(file.text.to_string())
    }
}

/// True if the text says the same as the file that it was made from, and holds the same comments.
fn keeps_all(file: &SourceFile, before: &Node<'_>, formatted: &str) -> bool {
    let formatted = SourceFile::new(file.path.clone(), formatted);
    let mut diagnostics = Findings::new();
    let after = text::parse(&formatted, &mut diagnostics);
    diagnostics.made() == 0
        && after.is_some_and(|after| same(before, &after))
        && sorted(&file.text) == sorted(&formatted.text)
}

fn sorted(text: &str) -> Vec<&str> {
    let mut found = comments::comments(text);
    found.sort_unstable();
    found
}

/// True if both say the same, whatever the order of keys.
fn same(before: &Node<'_>, after: &Node<'_>) -> bool {
    match (&before.value, &after.value) {
        (Value::Table(one), Value::Table(other)) => {
            one.len() == other.len()
                && one.iter().all(|entry| {
                    let matching = other.iter().find(|candidate| candidate.key == entry.key);
                    matching.is_some_and(|candidate| same(&entry.node, &candidate.node))
                })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

fn canonical(mut document: DocumentMut, schema: &'static Table) -> String {
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    let root = document.as_table_mut();
    let first_header = if root.get_values().is_empty() { first_position(root) } else { None };
    format_table(root, Some(schema), first_header);
    let is_empty = root.is_empty();
    let tail = layout::block(&trailing, if is_empty { Blank::None } else { Blank::AsIs });
    document.set_trailing(tail);
    let mut text = document.to_string();
    text.truncate(text.trim_end_matches('\n').len());
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The position of the table whose header comes first in the file.
fn first_position(table: &TomlTable) -> Option<isize> {
    let below = table.iter().flat_map(|(_, item)| match item {
        Item::Table(inner) => vec![inner.position(), first_position(inner)],
        Item::ArrayOfTables(array) => {
            array.iter().flat_map(|inner| [inner.position(), first_position(inner)]).collect()
        }
        Item::None | Item::Value(_) => Vec::new(),
    });
    below.flatten().min()
}

/// Formats the keys of a table, and the tables below it. Those are printed in the order of the file, wherever they
/// stand in their parents, so only the first of the file has no blank line before it.
fn format_table(table: &mut TomlTable, schema: Option<&'static Table>, first_header: Option<isize>) {
    let mut first = true;
    format_keys(table, schema, &mut first);
    for (mut key, item) in table.iter_mut() {
        let below = sub_table(schema, key.get());
        match item {
            Item::Table(inner) if inner.is_dotted() => format_table_headers(inner, below, first_header),
            Item::Table(inner) => {
                key.leaf_decor_mut().clear();
                key.dotted_decor_mut().clear();
                format_header(inner, first_header);
                format_table(inner, below, first_header);
            }
            Item::ArrayOfTables(array) => {
                key.leaf_decor_mut().clear();
                key.dotted_decor_mut().clear();
                for inner in array.iter_mut() {
                    format_header(inner, first_header);
                    format_table(inner, below, first_header);
                }
            }
            Item::None | Item::Value(_) => {}
        }
    }
}

/// Tables with headers below a dotted key, whose own keys its parent has formatted.
fn format_table_headers(dotted: &mut TomlTable, schema: Option<&'static Table>, first_header: Option<isize>) {
    for (key, item) in dotted.iter_mut() {
        let below = sub_table(schema, key.get());
        match item {
            Item::Table(inner) if inner.is_dotted() => format_table_headers(inner, below, first_header),
            Item::Table(inner) => {
                format_header(inner, first_header);
                format_table(inner, below, first_header);
            }
            _ => {}
        }
    }
}

fn format_header(table: &mut TomlTable, first_header: Option<isize>) {
    let is_first = first_header.is_some() && table.position() == first_header;
    let decor = table.decor_mut();
    let prefix = decor.prefix().and_then(|raw| raw.as_str()).unwrap_or_default();
    let prefix = layout::block(prefix, if is_first { Blank::None } else { Blank::One });
    let suffix = layout::beside(decor.suffix().and_then(|raw| raw.as_str()).unwrap_or_default());
    decor.set_prefix(prefix);
    decor.set_suffix(suffix);
}

fn format_keys(table: &mut TomlTable, schema: Option<&'static Table>, first: &mut bool) {
    table.sort_values_by(|one, _, other, _| order(schema, one.get()).cmp(&order(schema, other.get())));
    for (mut key, item) in table.iter_mut() {
        let below = sub_table(schema, key.get());
        match item {
            Item::Value(value) => {
                let decor = key.leaf_decor_mut();
                let prefix = decor.prefix().and_then(|raw| raw.as_str()).unwrap_or_default();
                let prefix = layout::block(prefix, if *first { Blank::None } else { Blank::AsIs });
                decor.set_prefix(prefix);
                decor.set_suffix(" ");
                key.dotted_decor_mut().clear();
                *first = false;
                lists::format_value(value, below, 0);
                let suffix = layout::beside(value.decor().suffix().and_then(|raw| raw.as_str()).unwrap_or_default());
                value.decor_mut().set_prefix(" ");
                value.decor_mut().set_suffix(suffix);
            }
            Item::Table(dotted) if dotted.is_dotted() => {
                key.dotted_decor_mut().clear();
                format_keys(dotted, below, first);
            }
            Item::None | Item::Table(_) | Item::ArrayOfTables(_) => {}
        }
    }
}

/// Where a key belongs in its table; unknown ones stay behind the known ones, in the order of the file.
fn order(schema: Option<&'static Table>, key: &str) -> usize {
    schema.and_then(|table| table.find(key, 0)).unwrap_or(usize::MAX)
}

fn sub_table(schema: Option<&'static Table>, key: &str) -> Option<&'static Table> {
    let table = schema?;
    match table.fields[table.find(key, 0)?].kind {
        Kind::Table(below) | Kind::Tables(below) => Some(below),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
