//! Documents of the API as sections of a page: types in the words of JSON, and links between them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use super::cell;
use super::structs::Document;

/// All documents that those named here lead to, by name.
pub(super) fn reached(
    mut named: VecDeque<String>,
    documents: &BTreeMap<String, Document>,
) -> BTreeMap<String, &Document> {
    let mut reached = BTreeMap::new();
    while let Some(name) = named.pop_front() {
        let Some(document) = documents.get(&name) else { continue };
        if reached.insert(name, document).is_none() {
            named.extend(document.fields.iter().flat_map(|field| names_in(&field.kind, documents)));
        }
    }
    reached
}

pub(super) fn section(name: &str, document: &Document, documents: &BTreeMap<String, Document>) -> String {
    let mut text = format!("\n### {name}\n\n{}\n", document.about.trim());
    if !document.fields.is_empty() {
        text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    }
    for field in &document.fields {
        let kind = linked(&json_kind(&field.kind), documents);
        let name = if field.is_flat { "its fields".to_owned() } else { format!("`{}`", field.name) };
        writeln!(text, "| {name} | {} | {} |", cell(&kind), cell(&field.about)).expect("a string grows as needed");
    }
    if !document.words.is_empty() {
        text.push_str("\n| word | meaning |\n|---|---|\n");
    }
    for (word, about) in &document.words {
        writeln!(text, "| `{word}` | {} |", cell(about)).expect("a string grows as needed");
    }
    text
}

/// A type as JSON has it.
fn json_kind(kind: &str) -> String {
    let inside = |outer: &str| kind.strip_prefix(outer)?.strip_suffix('>').map(json_kind);
    for outer in ["Option<", "Box<", "Arc<"] {
        if let Some(inner) = inside(outer) {
            return if outer == "Option<" { format!("{inner} or null") } else { inner };
        }
    }
    if let Some(inner) = inside("Vec<").or_else(|| inside("BTreeSet<")) {
        return format!("list of {inner}");
    }
    if let Some(inner) = kind.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        return format!("list of {}", json_kind(inner));
    }
    if kind.starts_with("BTreeMap<") || kind.starts_with("Map<") || kind == "Labels" {
        let value = kind.rsplit_once(", ").map_or("", |(_, value)| value.trim_end_matches('>'));
        return if value.is_empty() || value == "Value" {
            "object".to_owned()
        } else {
            format!("object of {}", json_kind(value))
        };
    }
    match kind {
        "bool" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" | "f64" => "number",
        "String" | "EdgeName" | "RuleName" | "RuleAddress" | "Arc<str>" | "str" => "string",
        "Digest" => "string, `sha256:…`",
        "Timestamp" => "string, a time as RFC 3339 has it",
        other => other,
    }
    .to_owned()
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
}

pub(super) fn names_in(text: &str, documents: &BTreeMap<String, Document>) -> Vec<String> {
    text.split(|letter| !is_word(letter)).filter(|word| documents.contains_key(*word)).map(str::to_owned).collect()
}

/// The text with a link for each document that it names.
pub(super) fn linked(text: &str, documents: &BTreeMap<String, Document>) -> String {
    let mut linked = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        // A letter that is of no word stands for itself.
        let length = if end == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { end };
        let (word, tail) = rest.split_at(length);
        if documents.contains_key(word) {
            write!(linked, "[{word}](#{})", word.to_lowercase()).expect("a string grows as needed");
        } else {
            linked.push_str(word);
        }
        rest = tail;
    }
    linked
}

/// The anchor that forges give a heading.
pub(super) fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter if letter.is_alphanumeric() => Some(letter),
            _ => None,
        })
        .collect()
}
