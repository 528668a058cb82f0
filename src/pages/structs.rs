//! The documents of the API as their types define them: the comments and fields of structs, read from the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schema::counters::{CounterRow, ROWS};

/// A struct, or an enum whose variants are words.
#[derive(Debug, Clone, Default)]
pub(super) struct Document {
    pub(super) about: String,
    pub(super) fields: Vec<Field>,
    /// The words of an enum.
    pub(super) words: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) about: String,
    /// Its fields stand in the place of this one.
    pub(super) is_flat: bool,
}

/// All public structs and enums of the two crates that the API speaks with, by name.
pub(super) fn all() -> BTreeMap<String, Document> {
    let mut found = BTreeMap::new();
    for folder in ["reconciler/src/decide", "reconciler/src/act/operator", "schema/src"] {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    found.insert("Figures".to_owned(), figures());
    found
}

/// The counters, which are a table and no struct of their own.
fn figures() -> Document {
    let field = |row: &CounterRow| Field {
        name: row.key.to_owned(),
        kind: if row.words.is_empty() { "u64" } else { "BTreeMap<String, u64>" }.to_owned(),
        about: match row.words {
            [] => row.help.to_owned(),
            words => format!("{} By cause or kind, those that were counted: `{}`.", row.help, words.join("`, `")),
        },
        is_flat: false,
    };
    let about = "Counters of one rule, or of one port or target of it. Bytes in are from clients, bytes out to them.";
    Document { about: about.to_owned(), fields: ROWS.iter().map(field).collect(), words: Vec::new() }
}

fn walk(folder: &Path, found: &mut BTreeMap<String, Document>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&fs::read_to_string(&path).expect("a source"), found);
        }
    }
}

/// Reads one file, in the layout that rustfmt gives it. Only what can be written as JSON is of interest.
fn read(source: &str, found: &mut BTreeMap<String, Document>) {
    let (mut about, mut attributes) = (String::new(), String::new());
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let text = line.trim();
        if let Some(comment) = text.strip_prefix("/// ") {
            about.push_str(comment);
            about.push(' ');
        } else if text.starts_with("#[") {
            attributes.push_str(text);
        } else {
            let is_document = attributes.contains("Serialize") || attributes.contains("Deserialize");
            let name = |keyword: &str| {
                let rest = text.strip_prefix(keyword)?.strip_suffix(" {")?;
                (is_document && rest.chars().all(char::is_alphanumeric)).then(|| rest.to_owned())
            };
            let about = std::mem::take(&mut about);
            let of = std::mem::take(&mut attributes);
            if let Some(name) = name("pub struct ") {
                let fields = body(&mut lines).into_iter().filter_map(field).collect();
                found.entry(name).or_insert(Document { about, fields, words: Vec::new() });
            } else if let Some(name) = name("pub enum ") {
                let words = body(&mut lines).into_iter().filter_map(|item| word(&item, &of)).collect();
                found.entry(name).or_insert(Document { about, fields: Vec::new(), words });
            }
        }
    }
}

/// The items up to the closing brace: comment, attributes and text of each.
fn body<'s>(lines: &mut impl Iterator<Item = &'s str>) -> Vec<(String, String, String)> {
    let (mut items, mut about, mut attributes) = (Vec::new(), String::new(), String::new());
    for line in lines.take_while(|line| *line != "}") {
        let text = line.trim();
        if let Some(comment) = text.strip_prefix("///") {
            about.push_str(comment.trim_start());
            about.push(' ');
        } else if text.starts_with("#[") {
            attributes.push_str(text);
        } else if line.starts_with("    ") && !line.starts_with("     ") {
            items.push((std::mem::take(&mut about), std::mem::take(&mut attributes), text.to_owned()));
        }
    }
    items
}

fn field((about, attributes, text): (String, String, String)) -> Option<Field> {
    let (name, kind) = text.strip_prefix("pub ")?.strip_suffix(',')?.split_once(": ")?;
    if attributes.contains("skip)") {
        return None;
    }
    let renamed = attributes.split("rename = \"").nth(1).and_then(|rest| rest.split('"').next());
    Some(Field {
        name: renamed.unwrap_or(name).to_owned(),
        kind: kind.to_owned(),
        about: about.trim().to_owned(),
        is_flat: attributes.contains("flatten"),
    })
}

fn word((about, attributes, text): &(String, String, String), of: &str) -> Option<(String, String)> {
    let name: String = text.chars().take_while(|letter| letter.is_alphanumeric()).collect();
    if name.is_empty() || !name.starts_with(char::is_uppercase) {
        return None;
    }
    let renamed = attributes.split("rename = \"").nth(1).and_then(|rest| rest.split('"').next());
    let word = match renamed {
        Some(renamed) => renamed.to_owned(),
        None if of.contains("snake_case") => {
            let mut snake = String::new();
            for letter in name.chars() {
                if letter.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.extend(letter.to_lowercase());
            }
            snake
        }
        None => name.to_lowercase(),
    };
    Some((word, about.trim().to_owned()))
}
