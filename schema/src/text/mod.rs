//! TOML, YAML and JSON as one spanned tree. Pure.
//!
//! The decoder sees only [`Node`], so a key means the same in every syntax. Strings borrow from the source
//! where the syntax allows it: a large tree is decoded without copying it.

mod hints;
mod json;
mod tags;
mod toml;
mod yaml;

use std::borrow::Cow;
use std::collections::HashSet;

use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::findings::Findings;

pub use json::from_json;

/// Deeper than any rule file needs, and shallow enough for the recursive decoder.
const MAX_DEPTH: usize = 32;

/// Values of one file. A rule has about ten, and a file of 8 MiB some 50,000 rules; lists of single digits could have
/// millions, each of which takes fifty bytes in memory.
pub const MAX_VALUES: usize = 1_000_000;

/// Bytes of one part of a key, or of a key of YAML and JSON: the longest key of a rule file has 32, a name 63. Parsers
/// and whoever looks for a similar word take more time for a longer key than in proportion.
pub const MAX_KEY: usize = 1024;

/// What helps where a file was probably never meant to hold rules.
pub(crate) const NOT_A_RULE_FILE: &str =
    "if this is not a rule file, add it to `[tree] ignore` in portunus.toml, for example `ignore = [\"docs/**\"]`";

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value<'a>,
}

/// The kinds of value that the three syntaxes share.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// YAML and JSON only.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number; also whole ones that do not fit.
    Float(f64),
    /// Text.
    String(Cow<'a, str>),
    /// A TOML date or time, which no key takes.
    Datetime,
    /// A list.
    Array(Vec<Node<'a>>),
    /// A table, in file order.
    Table(Vec<Entry<'a>>),
}

/// One key of a table with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node<'a>,
}

impl Value<'_> {
    /// The kind in the words of a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a fraction",
            Self::String(_) => "a string",
            Self::Datetime => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The syntaxes of rule files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `*.toml`
    Toml,
    /// `*.yaml`, `*.yml`
    Yaml,
    /// `*.json`
    Json,
}

impl Syntax {
    /// The syntax that a file name stands for, in any case; `None` for files that are no rule files.
    pub fn of_path(path: &str) -> Option<Self> {
        let (_, extension) = path.rsplit_once('.')?;
        let is = |name: &str| extension.eq_ignore_ascii_case(name);
        match extension {
            _ if is("toml") => Some(Self::Toml),
            _ if is("yaml") || is("yml") => Some(Self::Yaml),
            _ if is("json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// Parses a file into its top-level table. Syntax errors go to `diagnostics`; what could be read is still
/// returned where the syntax recovers (TOML), so that later errors show in the same run.
pub fn parse<'a>(file: &'a SourceFile, diagnostics: &mut Findings) -> Option<Node<'a>> {
    match Syntax::of_path(&file.path) {
        Some(Syntax::Yaml) => yaml::parse(file, diagnostics),
        Some(Syntax::Json) => json::parse(file, diagnostics),
        Some(Syntax::Toml) | None => Some(toml::parse(file, diagnostics)),
    }
}

/// The finding about a file with more than [`MAX_VALUES`].
fn too_many_values(file: &SourceFile, span: Span) -> Diagnostic {
    let message = format!("the file holds more than {MAX_VALUES} values up to here");
    Diagnostic::error(TreeCode::FileTooLarge, file, whole_characters(&file.text, span), message)
        .help("spread its rules over several files")
}

/// A key of YAML or JSON, unless it is too long, or its table has it already.
fn new_key<'a>(
    file: &SourceFile,
    span: Span,
    name: Cow<'a, str>,
    names: &mut HashSet<Cow<'a, str>>,
) -> Result<Cow<'a, str>, Box<Diagnostic>> {
    if name.len() > MAX_KEY {
        return Err(Box::new(syntax_error(file, span, format!("a key of more than {MAX_KEY} bytes"))));
    }
    if !names.insert(name.clone()) {
        return Err(Box::new(syntax_error(file, span, format!("duplicate key `{name}`"))));
    }
    Ok(name)
}

fn syntax_error(file: &SourceFile, span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(TreeCode::Syntax, file, whole_characters(&file.text, span), message)
}

/// What a parser says is wrong, with what is probably meant.
fn unreadable(file: &SourceFile, span: Span, message: &str) -> Diagnostic {
    let span = whole_characters(&file.text, span);
    let mut found = Diagnostic::error(TreeCode::Syntax, file, span, message);
    found.help = hints::of_line(file, span.start, message);
    found
}

/// Parsers point at bytes, also into the middle of a character or behind the end: whoever draws a caret slices there.
fn whole_characters(text: &str, span: Span) -> Span {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    Span::new(start, end)
}
