//! Where the text of a rule stands in its file. Pure.
//!
//! Keeps: the text of a rule of a TOML file is whole, with the tables below it, and holds nothing of another rule; comments
//! in front of the next header belong to that.

use std::ops::Range;

use schema::diagnostic::SourceFile;
use schema::findings::Findings;
use schema::ruleset::Origin;
use schema::text::{self, Node, Syntax, Value};
use thiserror::Error;

/// Why the text of a rule cannot be taken out of its file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// It is not there.
    #[error("{file} has no rule on line {line}: the tree has changed, so load the page again")]
    Missing {
        /// The file.
        file: String,
        /// The line.
        line: u32,
    },
    /// Other tables stand between its parts.
    #[error("the rule is written in several pieces of {file}: edit the file itself")]
    Scattered {
        /// The file.
        file: String,
    },
}

/// The text of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// The bytes of the file.
    pub span: Range<usize>,
    /// The line on which it begins.
    pub line: u32,
}

impl RuleText {
    /// The text itself.
    pub fn text<'f>(&self, file: &'f SourceFile) -> &'f str {
        &file.text[self.span.clone()]
    }
}

/// Finds the text of the rule that stands at this place.
pub fn rule_text(file: &SourceFile, origin: &Origin) -> Result<RuleText, NoPlace> {
    let root = parsed(file).ok_or_else(|| missing(file, origin))?;
    let rule = rule_in(&root, file, origin).ok_or_else(|| missing(file, origin))?;
    let span = match Syntax::of_path(&file.path) {
        Some(Syntax::Yaml) => yaml(&file.text, rule),
        Some(Syntax::Toml) if is_header(&file.text, rule) => toml(file, &root, rule)?,
        Some(Syntax::Toml | Syntax::Json) | None => rule.span.start..rule.span.end,
    };
    Ok(RuleText { line: file.position(span.start).line, span })
}

fn missing(file: &SourceFile, origin: &Origin) -> NoPlace {
    NoPlace::Missing { file: file.path.to_string(), line: origin.line }
}

/// The file as a tree of values with places.
pub(super) fn parsed(file: &SourceFile) -> Option<Node<'_>> {
    let mut found = Findings::new();
    let root = text::parse(file, &mut found);
    root.filter(|_| !found.has_errors())
}

/// The rule that stands at this place.
pub(super) fn rule_in<'n, 'f>(root: &'n Node<'f>, file: &SourceFile, origin: &Origin) -> Option<&'n Node<'f>> {
    let Value::Array(rules) = &entry(root, "rule")?.value else { return None };
    rules.iter().find(|rule| {
        let at = file.position(rule.span.start);
        (at.line, at.column) == (origin.line, origin.column)
    })
}

/// The value of a key.
pub(super) fn entry<'n, 'f>(table: &'n Node<'f>, key: &str) -> Option<&'n Node<'f>> {
    let Value::Table(entries) = &table.value else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

/// True for a table of a TOML file that has a header.
pub(super) fn is_header(text: &str, node: &Node<'_>) -> bool {
    matches!(node.value, Value::Table(_)) && text[node.span.start..].starts_with('[')
}

/// The starts of all headers of a TOML file but those of one table and below it.
fn headers(text: &str, node: &Node<'_>, but: &Node<'_>, found: &mut Vec<usize>) {
    if std::ptr::eq(node, but) {
        return;
    }
    if is_header(text, node) {
        found.push(node.span.start);
    }
    for inner in children(node) {
        headers(text, inner, but, found);
    }
}

/// The values in a table or a list.
fn children<'n, 'f>(node: &'n Node<'f>) -> Box<dyn Iterator<Item = &'n Node<'f>> + 'n> {
    match &node.value {
        Value::Table(entries) => Box::new(entries.iter().map(|entry| &entry.node)),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

fn toml(file: &SourceFile, root: &Node<'_>, rule: &Node<'_>) -> Result<Range<usize>, NoPlace> {
    let text = &*file.text;
    let (mut others, mut own) = (Vec::new(), Vec::new());
    headers(text, root, rule, &mut others);
    for inner in children(rule) {
        headers(text, inner, root, &mut own);
    }
    let start = rule.span.start;
    let next = others.into_iter().filter(|other| *other > start).min();
    let end = next.unwrap_or(text.len());
    if own.iter().any(|own| *own < start || *own >= end) {
        return Err(NoPlace::Scattered { file: file.path.to_string() });
    }
    Ok(start..start + without_tail(&text[start..end], next.is_some()).len())
}

/// The text without what stands behind it: blank lines, and comments that belong to the header that follows.
fn without_tail(text: &str, is_followed: bool) -> &str {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    // A header may be indented.
    if is_followed && lines.last().is_some_and(|line| !line.ends_with('\n') && line.trim().is_empty()) {
        lines.pop();
    }
    let is_bare = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let first_bare = lines.len() - lines.iter().rev().take_while(|line| is_bare(line)).count();
    let tail = &lines[first_bare..];
    let kept = match tail.iter().position(|line| line.trim().is_empty()) {
        // Comments up to the first blank line are about the key above them.
        Some(blank) => first_bare + blank,
        None if is_followed => first_bare,
        None => lines.len(),
    };
    let length: usize = lines[..kept].iter().map(|line| line.len()).sum();
    text[..length].trim_end_matches(['\r', '\n'])
}

/// The lines of a mapping, from the dash in front of it.
fn yaml(text: &str, rule: &Node<'_>) -> Range<usize> {
    let line = text[..rule.span.start].rfind('\n').map_or(0, |at| at + 1);
    let is_indent = text[line..rule.span.start].bytes().all(|byte| matches!(byte, b' ' | b'-'));
    let start = if is_indent && !is_flow(text, rule) { line } else { rule.span.start };
    start..end_of(text, rule)
}

/// True for a value in brackets or braces.
pub(super) fn is_flow(text: &str, node: &Node<'_>) -> bool {
    text[node.span.start..].starts_with(['{', '['])
}

/// Where a value of a YAML file ends: a block has no end of its own.
pub(super) fn end_of(text: &str, node: &Node<'_>) -> usize {
    let is_collection = matches!(node.value, Value::Table(_) | Value::Array(_));
    let end = if is_collection && !is_flow(text, node) {
        children(node).map(|inner| end_of(text, inner)).max().unwrap_or(node.span.end)
    } else {
        node.span.end
    };
    let end = end.max(node.span.start);
    node.span.start + text[node.span.start..end].trim_end().len()
}
