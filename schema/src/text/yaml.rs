//! YAML into the spanned tree, from the parser's events. Pure.
//!
//! Keeps: memory is bounded by the source. Aliases are refused, so that a small file cannot grow into a large
//! tree, and nesting is bounded. Untagged plain scalars follow the YAML 1.2 core schema.

use std::borrow::Cow;
use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{
    Entry, MAX_DEPTH, MAX_VALUES, NOT_A_RULE_FILE, Node, Value, new_key, syntax_error, tags, too_many_values,
    unreadable,
};
use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::findings::Findings;

/// Brackets and commas of a file. The scanner holds what it has read of `[…]` and `{…}` until they end, as they may be
/// keys: up to 1 KiB for each of these characters.
const MAX_FLOW: usize = 250_000;

/// Events between two looks whether the file is still of interest.
const BETWEEN_LOOKS: usize = 1024;

pub(super) fn parse<'a>(file: &'a SourceFile, diagnostics: &mut Findings) -> Option<Node<'a>> {
    if let Some((at, _)) = file.text.match_indices(['[', '{', ',']).nth(MAX_FLOW) {
        diagnostics.push(too_much_flow(file, Span::new(at, at + 1)));
        return None;
    }
    let places = ByteOffsets::of(&file.text);
    let mut builder = YamlBuilder { file, places: &places, open: Vec::new(), root: None, documents: 0, values: 0 };
    for (number, event) in Parser::new_from_str(&file.text).enumerate() {
        if number % BETWEEN_LOOKS == 0 && diagnostics.is_cancelled() {
            return None;
        }
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(places.scan_error(file, &error)),
        };
        if let Err(diagnostic) = step {
            diagnostics.push(*diagnostic);
            return None;
        }
    }
    // An empty document is an empty table: a file that holds only comments is not an error.
    Some(match builder.root {
        Some(Node { span, value: Value::Null }) => Node { span, value: Value::Table(Vec::new()) },
        Some(root) => root,
        None => Node { span: Span::default(), value: Value::Table(Vec::new()) },
    })
}

fn too_much_flow(file: &SourceFile, span: Span) -> Diagnostic {
    let message = format!("the file holds more than {MAX_FLOW} of the characters `[`, `{{` and `,` up to here");
    Diagnostic::error(TreeCode::FileTooLarge, file, span, message)
        .help("spread its rules over several files, or write lists and tables on lines of their own")
}

/// The parser counts characters; carets and slices need bytes.
struct ByteOffsets {
    /// Byte offset of each character, empty where the text is ASCII and both are the same.
    bytes: Vec<usize>,
    len: usize,
}

impl ByteOffsets {
    fn of(text: &str) -> Self {
        let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { bytes, len: text.len() }
    }

    fn byte(&self, character: usize) -> usize {
        if self.bytes.is_empty() { character.min(self.len) } else { *self.bytes.get(character).unwrap_or(&self.len) }
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span::new(self.byte(span.start.index()), self.byte(span.end.index()))
    }

    fn scan_error(&self, file: &SourceFile, error: &ScanError) -> Box<Diagnostic> {
        let at = self.byte(error.marker().index());
        Box::new(unreadable(file, Span::new(at, (at + 1).min(self.len)), error.info()))
    }
}

enum OpenNode<'a> {
    Array(Span, Vec<Node<'a>>),
    Table(Span, Vec<Entry<'a>>, Option<(Cow<'a, str>, Span)>, HashSet<Cow<'a, str>>),
}

struct YamlBuilder<'a, 'p> {
    file: &'a SourceFile,
    places: &'p ByteOffsets,
    open: Vec<OpenNode<'a>>,
    root: Option<Node<'a>>,
    documents: usize,
    values: usize,
}

impl<'a> YamlBuilder<'a, '_> {
    fn take(&mut self, event: Event<'a>, span: saphyr_parser::Span) -> Result<(), Box<Diagnostic>> {
        let span = self.places.span(span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let error = self.error(span, "a rule file must contain exactly one document");
                    return Err(Box::new(error.help(NOT_A_RULE_FILE)));
                }
                Ok(())
            }
            Event::Alias(_) => {
                let error = syntax_error(self.file, span, "aliases are not supported in rule files");
                Err(Box::new(error.help(format!(
                    "repeat the value, or use [defaults] for values that several rules share; {NOT_A_RULE_FILE}"
                ))))
            }
            Event::Scalar(text, style, _, tag) => {
                let value = match tag.as_deref() {
                    None => scalar(text, style),
                    Some(tag) => tags::scalar(text, tag).map_err(|refusal| refusal.at(self.file, span))?,
                };
                self.push(Node { span, value })
            }
            Event::SequenceStart(_, tag) => {
                tags::collection(tag.as_deref(), "seq").map_err(|refusal| refusal.at(self.file, span))?;
                self.enter(OpenNode::Array(span, Vec::new()), span)
            }
            Event::MappingStart(_, tag) => {
                tags::collection(tag.as_deref(), "map").map_err(|refusal| refusal.at(self.file, span))?;
                self.enter(OpenNode::Table(span, Vec::new(), None, HashSet::new()), span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    // Most are small, and a list that grows takes room for four at once.
                    Some(OpenNode::Array(start, mut items)) => {
                        items.shrink_to_fit();
                        Node { span: Span::new(start.start, span.end.max(start.end)), value: Value::Array(items) }
                    }
                    Some(OpenNode::Table(start, mut entries, ..)) => {
                        entries.shrink_to_fit();
                        Node { span: Span::new(start.start, span.end.max(start.end)), value: Value::Table(entries) }
                    }
                    None => return Ok(()),
                };
                self.push(node)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(syntax_error(self.file, span, message))
    }

    fn enter(&mut self, open: OpenNode<'a>, span: Span) -> Result<(), Box<Diagnostic>> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.error(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Box<Diagnostic>> {
        let is_key = matches!(self.open.last(), Some(OpenNode::Table(_, _, None, _)));
        self.values += usize::from(!is_key);
        if self.values > MAX_VALUES {
            return Err(Box::new(too_many_values(self.file, node.span)));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(OpenNode::Array(_, items)) => items.push(node),
            Some(OpenNode::Table(_, _, key @ None, names)) => {
                let name = match node.value {
                    Value::String(text) => text,
                    Value::Integer(number) => Cow::Owned(number.to_string()),
                    Value::Bool(flag) => Cow::Owned(flag.to_string()),
                    _ => return Err(self.error(node.span, "a key must be a string")),
                };
                let name = new_key(self.file, node.span, name, names)?;
                *key = Some((name, node.span));
            }
            Some(OpenNode::Table(_, entries, key, _)) => {
                let (name, key_span) = key.take().expect("the arm above took the case without a key");
                entries.push(Entry { key: name, key_span, node });
            }
        }
        Ok(())
    }
}

/// The core schema's reading of a scalar: only plain ones can be anything but text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value<'_> {
    if style == ScalarStyle::Plain { plain(text) } else { Value::String(text) }
}

pub(super) fn plain(text: Cow<'_, str>) -> Value<'_> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        plain => number(plain).unwrap_or(Value::String(text)),
    }
}

fn number<'a>(plain: &str) -> Option<Value<'a>> {
    if let Some(hex) = plain.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Value::Integer);
    }
    if let Some(octal) = plain.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().map(Value::Integer);
    }
    let digits = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(plain.parse().map_or(Value::Float(f64::MAX), Value::Integer));
    }
    // `1e3` and `1.5` are numbers; `10.0.0.1` and `30000-30050` are not and stay text.
    plain.parse().ok().map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::super::MAX_KEY;
    use super::*;

    fn parsed(text: &str) -> (Option<String>, Vec<Diagnostic>) {
        let file = SourceFile::new("a.yaml", text);
        let mut diagnostics = Findings::new();
        let node = parse(&file, &mut diagnostics).map(|node| format!("{:?}", node.value));
        (node, diagnostics.into_sorted())
    }

    #[test]
    fn addresses_and_ranges_stay_text_and_numbers_become_numbers() {
        let file = SourceFile::new("a.yaml", "a: 10.0.0.1\nb: 30000-30050\nc: 8443\nd: \"8443\"\ne: yes\n");
        let node = parse(&file, &mut Findings::new()).expect("valid");
        let Value::Table(entries) = node.value else { panic!("a table") };
        let values: Vec<_> = entries.into_iter().map(|entry| entry.node.value).collect();
        assert_eq!(values[0], Value::String("10.0.0.1".into()));
        assert_eq!(values[1], Value::String("30000-30050".into()));
        assert_eq!(values[2], Value::Integer(8443));
        assert_eq!(values[3], Value::String("8443".into()));
        assert_eq!(values[4], Value::String("yes".into()));
    }

    #[test]
    fn an_alias_bomb_is_refused_at_its_first_alias() {
        let (node, diagnostics) = parsed("a: &x [1]\nb: [*x, *x]\n");
        assert!(node.is_none());
        assert_eq!(diagnostics[0].position().map(|at| at.line), Some(2));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let (_, diagnostics) = parsed(&format!("a: {}", "[".repeat(100_000)));
        assert_eq!(diagnostics.len(), 1);
    }

    #[test]
    fn keys_and_values_have_a_bound() {
        let long = |bytes: usize| format!("{}: 1\n", "k".repeat(bytes));
        assert!(parsed(&long(MAX_KEY)).1.is_empty());
        assert_eq!(parsed(&long(MAX_KEY + 1)).1[0].code, crate::codes::TreeCode::Syntax);
        let values = |count: usize| format!("a:\n{}", "- 1\n".repeat(count));
        // The list and the table are values.
        assert!(parsed(&values(MAX_VALUES - 4)).1.is_empty());
        assert_eq!(parsed(&values(MAX_VALUES)).1[0].code, crate::codes::TreeCode::FileTooLarge);
        let flow = |commas: usize| format!("- [{}1]\n", "1,".repeat(commas));
        assert!(parsed(&flow(MAX_FLOW - 1)).1.is_empty());
        assert_eq!(parsed(&flow(MAX_FLOW)).1[0].code, crate::codes::TreeCode::FileTooLarge);
    }

    #[test]
    fn spans_are_bytes_also_after_a_wide_character() {
        let file = SourceFile::new("a.yaml", "# ö\nname: web\n");
        let node = parse(&file, &mut Findings::new()).expect("valid");
        let Value::Table(entries) = node.value else { panic!("a table") };
        let span = entries[0].node.span;
        assert_eq!(&file.text[span.start..span.end], "web");
    }
}
