//! The spanned tree into drafts, by the field table. Pure.
//!
//! Keeps: decoding goes on after every error, so that all errors show in one run. A draft holds well-formed values
//! only; a key whose value was refused is present and [`Decoded::Refused`], so that nobody reports it as missing.

mod hints;
mod lists;
mod value;

use std::borrow::Cow;
use std::net::IpAddr;

use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{self, MAX_FIELDS, Table};
use crate::findings::Findings;
use crate::net::{ListenAddress, PortRange};
use crate::policy::Network;
use crate::rule::Host;
use crate::sni::ServerName;
use crate::text::{self, NOT_A_RULE_FILE, Node};

pub(crate) use value::takes;

/// A decoded value; its variant follows from the [`fields::Kind`] of its field.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// Reported already.
    Refused,
    /// `Bool`.
    Bool(bool),
    /// `Int`.
    Int(i64),
    /// `Text`, `Payload`, `Name`, `Word`, `TimeZone`, `Statuses`, `Regex`.
    Text(Cow<'a, str>),
    /// `Texts`.
    Texts(Vec<(Span, Cow<'a, str>)>),
    /// `ServerNames`.
    ServerNames(Vec<(Span, ServerName)>),
    /// `Networks`.
    Networks(Vec<(Span, Network)>),
    /// `TextMap`.
    Map(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    /// `Ip`.
    Ip(IpAddr),
    /// `ListenAddress`.
    Address(ListenAddress),
    /// `Ports`.
    Ports(PortRange),
    /// `Endpoint`.
    Endpoint(Host, PortRange),
    /// `Host`.
    Host(Host),
    /// `Table`.
    Table(Box<Draft<'a>>),
    /// `Tables`.
    Tables(Vec<Draft<'a>>),
}

/// One key that a file sets.
#[derive(Debug)]
pub struct Slot<'a> {
    /// Index in the table.
    pub field: usize,
    /// Where the key stands.
    pub key_span: Span,
    /// Where the value stands.
    pub span: Span,
    /// The value.
    pub value: Decoded<'a>,
}

const ABSENT: u8 = u8::MAX;
const _: () = assert!(MAX_FIELDS <= u64::BITS as usize, "a draft has a bit for each field");

/// One table of a file: the keys that it sets, by the indices of the field table.
#[derive(Debug)]
pub struct Draft<'a> {
    /// What it is a draft of.
    pub table: &'static Table,
    /// Where a message about the table as a whole points: its header, or its first key.
    pub span: Span,
    places: [u8; MAX_FIELDS],
    slots: Vec<Slot<'a>>,
    /// The fields that its misspelt keys were probably meant as, a bit for each.
    meant: u64,
}

impl<'a> Draft<'a> {
    fn new(table: &'static Table, span: Span, keys: usize) -> Self {
        Self { table, span, places: [ABSENT; MAX_FIELDS], slots: Vec::with_capacity(keys), meant: 0 }
    }

    /// The slot of a field, if the file sets it.
    pub fn get(&self, field: usize) -> Option<&Slot<'a>> {
        self.slots.get(usize::from(self.places[field]))
    }

    /// True if the file sets the field.
    pub fn has(&self, field: usize) -> bool {
        self.places[field] != ABSENT
    }

    /// True if a misspelt key of the file was probably meant as this field, which is then not missing.
    pub fn is_meant(&self, field: usize) -> bool {
        self.meant & (1 << field) != 0
    }

    /// What the file sets, in its order.
    pub fn slots(&self) -> &[Slot<'a>] {
        &self.slots
    }

    /// The text of a field.
    pub fn text(&self, field: usize) -> Option<&str> {
        self.get(field).and_then(Slot::text)
    }

    /// The entries of a list of tables, empty where it is not set.
    pub fn tables(&self, field: usize) -> &[Draft<'a>] {
        match self.get(field).map(|slot| &slot.value) {
            Some(Decoded::Tables(drafts)) => drafts,
            _ => &[],
        }
    }

    /// The draft of a sub-table.
    pub fn table(&self, field: usize) -> Option<&Draft<'a>> {
        self.get(field).and_then(Slot::table)
    }

    /// The same without the text of its file.
    pub fn into_owned(self) -> Draft<'static> {
        let Self { table, span, places, slots, meant } = self;
        Draft { table, span, places, slots: slots.into_iter().map(Slot::into_owned).collect(), meant }
    }

    fn insert(&mut self, slot: Slot<'a>) {
        // Fewer than `MAX_FIELDS` slots exist, for each field is set once at most.
        self.places[slot.field] = self.slots.len() as u8;
        self.slots.push(slot);
    }
}

impl Decoded<'_> {
    fn into_owned(self) -> Decoded<'static> {
        fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        match self {
            Self::Refused => Decoded::Refused,
            Self::Bool(flag) => Decoded::Bool(flag),
            Self::Int(number) => Decoded::Int(number),
            Self::Text(text) => Decoded::Text(owned(text)),
            Self::Texts(texts) => Decoded::Texts(texts.into_iter().map(|(span, text)| (span, owned(text))).collect()),
            Self::Map(map) => Decoded::Map(map.into_iter().map(|(key, value)| (owned(key), owned(value))).collect()),
            Self::ServerNames(names) => Decoded::ServerNames(names),
            Self::Networks(networks) => Decoded::Networks(networks),
            Self::Ip(ip) => Decoded::Ip(ip),
            Self::Address(address) => Decoded::Address(address),
            Self::Ports(ports) => Decoded::Ports(ports),
            Self::Endpoint(host, ports) => Decoded::Endpoint(host, ports),
            Self::Host(host) => Decoded::Host(host),
            Self::Table(draft) => Decoded::Table(Box::new(draft.into_owned())),
            Self::Tables(drafts) => Decoded::Tables(drafts.into_iter().map(Draft::into_owned).collect()),
        }
    }
}

impl<'a> Slot<'a> {
    fn into_owned(self) -> Slot<'static> {
        let Self { field, key_span, span, value } = self;
        Slot { field, key_span, span, value: value.into_owned() }
    }

    /// The text, of a field that takes text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Decoded::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, of a field that takes one.
    pub fn int(&self) -> Option<i64> {
        match self.value {
            Decoded::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The flag, of a field that takes one.
    pub fn bool(&self) -> Option<bool> {
        match self.value {
            Decoded::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The ports, of a field that takes them.
    pub fn ports(&self) -> Option<PortRange> {
        match self.value {
            Decoded::Ports(ports) => Some(ports),
            _ => None,
        }
    }

    /// The address, of a field that takes one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.value {
            Decoded::Ip(ip) => Some(ip),
            _ => None,
        }
    }

    /// The address to listen on, of a field that takes one.
    pub fn listen_address(&self) -> Option<ListenAddress> {
        match self.value {
            Decoded::Address(address) => Some(address),
            _ => None,
        }
    }

    /// The server names, of a field that takes them.
    pub fn server_names(&self) -> Option<&[(Span, ServerName)]> {
        match &self.value {
            Decoded::ServerNames(names) => Some(names),
            _ => None,
        }
    }

    /// The networks, of a field that takes them.
    pub fn networks(&self) -> Option<&[(Span, Network)]> {
        match &self.value {
            Decoded::Networks(networks) => Some(networks),
            _ => None,
        }
    }

    /// The sub-table, of a field that takes one.
    pub fn table(&self) -> Option<&Draft<'a>> {
        match &self.value {
            Decoded::Table(draft) => Some(draft),
            _ => None,
        }
    }
}

/// Decodes one table. The file is only the label and text of what is found.
pub fn decode<'a>(
    file: &SourceFile,
    node: Node<'a>,
    table: &'static Table,
    diagnostics: &mut Findings,
) -> Option<Draft<'a>> {
    Decoder { file, diagnostics }.table(node, table, table.header)
}

pub(crate) struct Decoder<'d> {
    pub(crate) file: &'d SourceFile,
    pub(crate) diagnostics: &'d mut Findings,
}

impl Decoder<'_> {
    fn error(&mut self, code: TreeCode, span: Span, message: String) -> &mut Diagnostic {
        self.diagnostics.add(Diagnostic::error(code, self.file, span, message))
    }

    /// The table of a node; `None` and an error if it is something else. `what` names it in that error.
    fn table<'a>(&mut self, node: Node<'a>, table: &'static Table, what: &str) -> Option<Draft<'a>> {
        let entries = match node.value {
            text::Value::Table(entries) => entries,
            other => {
                let span = first_line(self.file, node.span);
                let message = format!("{what} must be a table, not {}", other.kind());
                let is_root = is_root(table);
                let help = if is_root { Some(NOT_A_RULE_FILE.to_owned()) } else { hints::of_entry(&other) };
                self.error(TreeCode::WrongType, span, message).help = help;
                return None;
            }
        };
        let mut is_foreign = is_root(table) && !entries.iter().any(|entry| table.find(&entry.key, 0).is_some());
        let mut draft = Draft::new(table, first_line(self.file, node.span), entries.len().min(MAX_FIELDS));
        let mut next = 0;
        for entry in entries {
            if is_schema_reference(table, &entry) {
                continue;
            }
            let Some(index) = table.find(&entry.key, next) else {
                let meant = self.unknown_key(&entry.key, entry.key_span, table, is_foreign);
                draft.meant |= meant.map_or(0, |field| 1 << field);
                is_foreign = false;
                continue;
            };
            next = index + 1;
            let span = first_line(self.file, entry.node.span);
            let value = self.value(entry.node, &table.fields[index]).unwrap_or(Decoded::Refused);
            draft.insert(Slot { field: index, key_span: entry.key_span, span, value });
        }
        for (index, field) in table.own_fields() {
            if field.required && !draft.has(index) && !draft.is_meant(index) {
                let message = format!("{} needs `{}`", table.header, field.key);
                let example = format!("for example `{} = {}`", field.key, field.example);
                let span = draft.span;
                self.error(TreeCode::MissingKey, span, message).help = Some(example);
            }
        }
        Some(draft)
    }

    /// Reports a key that the table does not have; the field that was probably meant. `is_foreign`: nothing in the file is
    /// of a rule file.
    fn unknown_key(&mut self, key: &str, span: Span, table: &'static Table, is_foreign: bool) -> Option<usize> {
        if self.diagnostics.is_full() {
            self.diagnostics.count_error(TreeCode::UnknownKey);
            return None;
        }
        let is_excluded = table.fields.iter().any(|field| field.key == key);
        if is_excluded {
            let message = format!("{} cannot contain `{key}`", table.header);
            self.error(TreeCode::UnknownKey, span, message).help = Some("each rule sets this key itself".to_owned());
            return None;
        }
        let meant = table.suggest(key);
        let help = meant.map(|known| format!("did you mean `{known}`?")).or_else(|| {
            if is_foreign {
                return Some(NOT_A_RULE_FILE.to_owned());
            }
            let elsewhere = fields::TABLES.iter().find(|other| other.find(key, 0).is_some())?;
            Some(format!("`{key}` belongs to {}", elsewhere.header))
        });
        let message = format!("{} has no key `{}`", table.header, shortened(key));
        self.error(TreeCode::UnknownKey, span, message).help = help;
        table.find(meant?, 0)
    }
}

/// True for the top level of a rule file.
fn is_root(table: &Table) -> bool {
    table.name == fields::root::TABLE.name
}

/// `"$schema": "…"` at the top of a file: what editors find their schema by.
fn is_schema_reference(table: &Table, entry: &text::Entry<'_>) -> bool {
    (is_root(table) || table.name == fields::portunus::TABLE.name)
        && entry.key == "$schema"
        && matches!(entry.node.value, text::Value::String(_))
}

/// The part of a span on its first line: a caret under a table must not underline all of it.
pub(crate) fn first_line(file: &SourceFile, span: Span) -> Span {
    match file.text.get(span.start..span.end) {
        Some(text) if text.len() > 1 => {
            let end = text.bytes().position(|byte| byte == b'\n').unwrap_or(text.len());
            Span::new(span.start, span.start + end.max(1))
        }
        _ => span,
    }
}

/// A text of a file as a message quotes it.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests;
