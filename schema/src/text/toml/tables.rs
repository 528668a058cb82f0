//! The tables of a TOML file while it is read, and the rules of TOML about defining one twice. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use toml_parser::{ErrorSink, ParseError, Span as Place};

use super::super::{Entry, Node, Value};
use crate::diagnostic::Span;

/// Tables with more keys have an index.
const INDEXED: usize = 16;

/// A part of a key.
#[derive(Debug, Clone)]
pub(super) struct Key<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) place: Place,
}

/// How a table came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableOrigin {
    /// The root, or by a header of its own.
    Header,
    /// It has only parts: `[a.b]` made `a`.
    Implied,
    /// By a dotted key: `a.b = 1` made `a`.
    Dotted,
    /// In braces.
    Inline,
}

#[derive(Debug)]
enum Item<'a> {
    Value(Node<'a>),
    Table(usize),
    /// An array of tables by their headers.
    Tables(Span, Vec<usize>),
}

#[derive(Debug)]
struct TomlTable<'a> {
    origin: TableOrigin,
    span: Span,
    entries: Vec<(Key<'a>, Item<'a>)>,
    index: HashMap<Cow<'a, str>, usize>,
}

impl<'a> TomlTable<'a> {
    fn find(&self, name: &str) -> Option<usize> {
        if self.entries.len() > INDEXED {
            return self.index.get(name).copied();
        }
        self.entries.iter().position(|(key, _)| key.name == name)
    }

    fn push(&mut self, key: Key<'a>, item: Item<'a>) {
        if self.entries.len() == INDEXED {
            self.index = (0..).zip(&self.entries).map(|(place, (key, _))| (key.name.clone(), place)).collect();
        }
        if self.entries.len() >= INDEXED {
            self.index.insert(key.name.clone(), self.entries.len());
        }
        self.entries.push((key, item));
    }
}

/// All tables of a file; the first is its root.
#[derive(Debug)]
pub(super) struct Tables<'a>(Vec<TomlTable<'a>>);

pub(super) const ROOT: usize = 0;

impl<'a> Tables<'a> {
    pub(super) fn new() -> Self {
        let mut tables = Self(Vec::new());
        tables.make(TableOrigin::Header, Span::default());
        tables
    }

    /// A table that nothing leads to yet.
    pub(super) fn make(&mut self, origin: TableOrigin, span: Span) -> usize {
        self.0.push(TomlTable { origin, span, entries: Vec::new(), index: HashMap::new() });
        self.0.len() - 1
    }

    /// The table that a path leads to; what is missing is made.
    fn descend(
        &mut self,
        mut at: usize,
        path: &[Key<'a>],
        made: TableOrigin,
        errors: &mut dyn ErrorSink,
    ) -> Option<usize> {
        for key in path {
            at = match self.0[at].find(&key.name) {
                None => {
                    let new = self.make(made, span_of(key.place));
                    self.0[at].push(key.clone(), Item::Table(new));
                    new
                }
                Some(place) => match &self.0[at].entries[place].1 {
                    // Dotted keys do not add to a table that has a header.
                    Item::Table(next) if (self.0[*next].origin, made) == (TableOrigin::Header, TableOrigin::Dotted) => {
                        errors.report_error(duplicate(key));
                        return None;
                    }
                    Item::Table(next) => *next,
                    Item::Tables(_, all) if made != TableOrigin::Dotted => *all.last().expect("made with its first"),
                    Item::Tables(..) => {
                        errors.report_error(duplicate(key));
                        return None;
                    }
                    Item::Value(node) => {
                        errors.report_error(extends(kind(&node.value), key));
                        return None;
                    }
                },
            };
        }
        Some(at)
    }

    /// Sets a key, which may have several parts.
    pub(super) fn set(&mut self, table: usize, mut path: Vec<Key<'a>>, node: Node<'a>, errors: &mut dyn ErrorSink) {
        let Some(key) = path.pop() else { return };
        let Some(at) = self.descend(table, &path, TableOrigin::Dotted, errors) else { return };
        // `a.b` in braces adds to what `a.c` made there, and never to what has braces of its own.
        if self.0[at].find(&key.name).is_some() || (!path.is_empty() && self.0[at].origin != TableOrigin::Dotted) {
            errors.report_error(duplicate(&key));
            return;
        }
        self.0[at].push(key, Item::Value(node));
    }

    /// The table of a header; where it cannot be, one that nothing leads to, so that what follows is still read.
    pub(super) fn header(
        &mut self,
        mut path: Vec<Key<'a>>,
        is_array: bool,
        span: Span,
        errors: &mut dyn ErrorSink,
    ) -> usize {
        let new = self.make(TableOrigin::Header, span);
        let Some(key) = path.pop() else { return new };
        let Some(at) = self.descend(ROOT, &path, TableOrigin::Implied, errors) else { return new };
        let Some(place) = self.0[at].find(&key.name) else {
            self.0[at].push(key, if is_array { Item::Tables(span, vec![new]) } else { Item::Table(new) });
            return new;
        };
        let old = match &mut self.0[at].entries[place].1 {
            Item::Tables(_, all) if is_array => {
                all.push(new);
                return new;
            }
            Item::Table(old) if !is_array => *old,
            _ => {
                errors.report_error(duplicate(&key));
                return new;
            }
        };
        match self.0[old].origin {
            TableOrigin::Implied => {
                // Its header comes after those of its parts, and is where people look for it.
                self.0[at].entries[place].0 = key;
                self.0[old].origin = TableOrigin::Header;
                self.0[old].span = span;
                old
            }
            TableOrigin::Header => {
                errors.report_error(duplicate(&key));
                old
            }
            TableOrigin::Dotted | TableOrigin::Inline => {
                errors.report_error(duplicate(&key));
                new
            }
        }
    }

    /// The root with everything in it.
    pub(super) fn root(mut self) -> Node<'a> {
        self.node(ROOT)
    }

    /// A table with everything in it, in the order of the file. Nesting is bounded by the keys and the brackets.
    fn node(&mut self, table: usize) -> Node<'a> {
        let TomlTable { span, entries, .. } = &mut self.0[table];
        let (span, taken) = (*span, std::mem::take(entries));
        self.0[table].index = HashMap::new();
        let mut entries: Vec<Entry<'a>> = taken
            .into_iter()
            .map(|(key, item)| {
                let node = match item {
                    Item::Value(node) => node,
                    Item::Table(inner) => self.node(inner),
                    Item::Tables(span, all) => {
                        let items = all.into_iter().map(|one| self.node(one)).collect();
                        Node { span, value: Value::Array(items) }
                    }
                };
                Entry { key: key.name, key_span: span_of(key.place), node }
            })
            .collect();
        // A table stands at its own header, which may come after those of its parts.
        entries.sort_by_key(|entry| entry.key_span.start);
        entries.shrink_to_fit();
        Node { span, value: Value::Table(entries) }
    }

    /// A table in braces, once they are closed: what was made since is in it.
    pub(super) fn close(&mut self, table: usize, end: usize) -> Node<'a> {
        let mut node = self.node(table);
        node.span.end = node.span.end.max(end);
        self.0.truncate(table);
        node
    }
}

pub(super) fn span_of(place: Place) -> Span {
    Span::new(place.start(), place.end())
}

fn duplicate(key: &Key<'_>) -> ParseError {
    ParseError::new("duplicate key").with_unexpected(key.place)
}

fn extends(what: &str, key: &Key<'_>) -> ParseError {
    ParseError::new(format!("cannot extend value of type {what} with a dotted key")).with_unexpected(key.place)
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::Float(_) => "float",
        Value::String(_) => "string",
        Value::Datetime => "datetime",
        Value::Array(_) => "array",
        Value::Table(_) => "inline table",
    }
}
