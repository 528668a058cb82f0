//! JSON as the spanned tree: the text of a file with its places, and values of programs without. Pure.
//!
//! Keeps: memory is bounded by the values that are kept. A container is read into the slices of its members, one level
//! after the other: with YAML's scanner, for which a JSON file is one possible key, its tokens would all be held at once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Entry, MAX_DEPTH, MAX_VALUES, Node, Value, new_key, syntax_error, too_many_values, unreadable, yaml};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::findings::Findings;

/// Values between two looks whether the file is still of interest.
const BETWEEN_LOOKS: usize = 1024;

/// Reads a file. Errors go to `diagnostics`.
pub(super) fn parse<'a>(file: &'a SourceFile, diagnostics: &mut Findings) -> Option<Node<'a>> {
    let root = match serde_json::from_str::<&RawValue>(&file.text) {
        Ok(root) => root,
        Err(error) => {
            diagnostics.push(json_error(file, &error));
            return None;
        }
    };
    let mut reader = Reader { file, values: 0, diagnostics };
    match reader.node(root, 0) {
        Ok(node) => node,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            None
        }
    }
}

fn json_error(file: &SourceFile, error: &serde_json::Error) -> Diagnostic {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => file.text.match_indices('\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    let at = (line_start + error.column().saturating_sub(1)).min(file.text.len());
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    unreadable(file, Span::new(at, (at + 1).min(file.text.len())), message)
}

struct Reader<'a, 'd> {
    file: &'a SourceFile,
    values: usize,
    diagnostics: &'d Findings,
}

impl<'a> Reader<'a, '_> {
    /// A value, whose syntax was checked before; `None` once the file is of no interest any more.
    fn node(&mut self, raw: &'a RawValue, depth: usize) -> Result<Option<Node<'a>>, Box<Diagnostic>> {
        let text = raw.get();
        let span = self.span(text);
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Box::new(too_many_values(self.file, span)));
        }
        if self.values.is_multiple_of(BETWEEN_LOOKS) && self.diagnostics.is_cancelled() {
            return Ok(None);
        }
        if depth >= MAX_DEPTH && text.starts_with(['[', '{']) {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Box::new(syntax_error(self.file, span, message)));
        }
        let value = match text.as_bytes().first() {
            Some(b'[') => self.list(text, depth)?.map(Value::Array),
            Some(b'{') => self.table(text, span, depth)?.map(Value::Table),
            Some(b'"') => Some(Value::String(self.part::<Text<'a>>(text)?.0)),
            _ => Some(yaml::plain(Cow::Borrowed(text))),
        };
        Ok(value.map(|value| Node { span, value }))
    }

    fn list(&mut self, text: &'a str, depth: usize) -> Result<Option<Vec<Node<'a>>>, Box<Diagnostic>> {
        let items = self.part::<Items<'a>>(text)?.0;
        let mut nodes = Vec::with_capacity(items.len());
        for item in items {
            let Some(node) = self.node(item, depth + 1)? else { return Ok(None) };
            nodes.push(node);
        }
        Ok(Some(nodes))
    }

    fn table(&mut self, text: &'a str, span: Span, depth: usize) -> Result<Option<Vec<Entry<'a>>>, Box<Diagnostic>> {
        let members = self.part::<Members<'a>>(text)?.0;
        let (mut entries, mut names) = (Vec::with_capacity(members.len()), HashSet::new());
        let mut end = span.start;
        for (Text(key), raw) in members {
            let at = self.span(raw.get());
            // Between a value and the next one stands nothing but that one's key that has quotes.
            let between = &self.file.text[end..at.start];
            let first = between.find('"').map_or(end, |found| end + found);
            let key_span = Span::new(first, between.rfind('"').map_or(first, |found| end + found + 1));
            let key = new_key(self.file, key_span, key, &mut names)?;
            let Some(node) = self.node(raw, depth + 1)? else { return Ok(None) };
            entries.push(Entry { key, key_span, node });
            end = at.end;
        }
        Ok(Some(entries))
    }

    /// A part of the file as what it is known to be.
    fn part<T: Deserialize<'a>>(&self, text: &'a str) -> Result<T, Box<Diagnostic>> {
        serde_json::from_str(text).map_err(|error| Box::new(unreadable(self.file, self.span(text), &error.to_string())))
    }

    /// Where a slice of the file stands.
    fn span(&self, part: &str) -> Span {
        let start = part.as_ptr().addr().saturating_sub(self.file.text.as_ptr().addr());
        Span::new(start, start + part.len())
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

/// The members of a list: no more of them than a file may have values, and one.
struct Items<'a>(Vec<&'a RawValue>);

/// The same of a table.
struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() <= MAX_VALUES {
                        items.push(item);
                    }
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = table.next_entry()? {
                    if members.len() <= MAX_VALUES {
                        members.push(member);
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

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

#[cfg(test)]
mod tests {
    use super::super::MAX_KEY;
    use super::*;
    use crate::codes::TreeCode;

    fn parsed(text: &str) -> (String, Vec<Diagnostic>) {
        let file = SourceFile::new("a.json", text);
        let mut diagnostics = Findings::new();
        let node = parse(&file, &mut diagnostics).map_or_else(String::new, |node| format!("{:?}", node.value));
        (node, diagnostics.into_sorted())
    }

    #[test]
    fn a_json_file_has_to_be_json() {
        for (bad, line) in [("{\"rule\": [],}", 1), ("# no\n{}", 1), ("", 1), ("{\n  \"a\": True\n}", 2)] {
            let file = SourceFile::new("a.json", bad);
            let mut diagnostics = Findings::new();
            assert!(parse(&file, &mut diagnostics).is_none(), "{bad}");
            let found = diagnostics.into_sorted();
            assert_eq!(found[0].position().map(|at| at.line), Some(line), "{bad}");
        }
        assert!(parsed("{\"rule\": []}").1.is_empty());
    }

    #[test]
    fn values_and_keys_have_their_places() {
        let text = "{ \"ä\" : 1,\n \"k\\\"ey\":[ true, -2.5, null, \"t\\n\" ] }";
        let file = SourceFile::new("a.json", text);
        let node = parse(&file, &mut Findings::new()).expect("valid");
        let at = |span: Span| &text[span.start..span.end];
        let Value::Table(entries) = node.value else { panic!("a table") };
        let keys: Vec<_> = entries.iter().map(|entry| (&*entry.key, at(entry.key_span), at(entry.node.span))).collect();
        assert_eq!(keys[0], ("ä", "\"ä\"", "1"));
        assert_eq!(keys[1], ("k\"ey", "\"k\\\"ey\"", "[ true, -2.5, null, \"t\\n\" ]"));
        let Value::Array(items) = &entries[1].node.value else { panic!("a list") };
        let values: Vec<_> = items.iter().map(|item| item.value.clone()).collect();
        let wanted = [Value::Bool(true), Value::Float(-2.5), Value::Null, Value::String("t\n".into())];
        assert_eq!(values, wanted);
        assert_eq!(at(items[3].span), "\"t\\n\"");
    }

    #[test]
    fn depth_keys_and_values_have_a_bound() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parsed(&deep(MAX_DEPTH)).1.is_empty());
        assert!(parsed(&deep(MAX_DEPTH + 1)).1[0].message.contains("nested deeper than"));
        assert_eq!(parsed(&deep(100_000)).1.len(), 1);
        let long = |bytes: usize| format!("{{\"{}\": 1}}", "k".repeat(bytes));
        assert!(parsed(&long(MAX_KEY)).1.is_empty());
        assert_eq!(parsed(&long(MAX_KEY + 1)).1[0].code, TreeCode::Syntax);
        assert!(parsed("{\"a\": 1, \"a\": 2}").1[0].message.contains("duplicate key `a`"));
        let values = |count: usize| format!("[{}1]", "1,".repeat(count));
        assert!(parsed(&values(MAX_VALUES - 2)).1.is_empty());
        for count in [MAX_VALUES - 1, 2 * MAX_VALUES] {
            assert_eq!(parsed(&values(count)).1[0].code, TreeCode::FileTooLarge);
        }
    }
}
