//! The reference: what a key or a code means, the JSON Schema of a rule file, and the reference page. Pure.
//!
//! Keeps: all of it is read from the field table and the codes, so it cannot say what the decoder does not do.

mod json_schema;
mod page;

use std::fmt::Write as _;

use crate::codes::{self, CodeDoc, RuleCode, TreeCode};
use crate::decode::takes;
use crate::fields::{Concern, Field, Kind, TABLES, Table};

pub use json_schema::{fleet_json_schema, json_schema};
pub use page::markdown;

/// What `explain TOPIC` shows: for a key (`listen_port`, `targets[].weight`, `health.rise`), a table (`rule`,
/// `[[edge]]`) or a code (`port_clash`). The error holds topics that look alike, perhaps none.
pub fn explain(topic: &str) -> Result<String, Vec<String>> {
    let topic = topic.trim();
    if let Some(code) = codes::explain(topic) {
        return Ok(explain_code(&code));
    }
    let path = topic.trim_matches(['[', ']']).replace("[]", "");
    let fields = matching(&path).into_iter().map(|(table, field)| explain_field(table, field));
    // `health` is a key and a table: both are shown.
    let tables = TABLES.iter().filter(|table| table.name == path || short_name(table) == path);
    let parts: Vec<String> = fields.chain(tables.map(|table| explain_table(table))).collect();
    if parts.is_empty() { Err(suggestions(&path)) } else { Ok(parts.join("\n")) }
}

/// The name below its parent: `targets`, `health`, `waves`.
fn short_name(table: &Table) -> &'static str {
    match table.name {
        "portunus.toml" => "portunus.toml",
        name => name.rsplit('.').next().unwrap_or(name),
    }
}

/// `rule.targets[].weight`: where a field stands, as a path.
fn path_of(table: &Table, field: &Field) -> String {
    match table.name {
        "file" | "portunus.toml" => field.key.to_owned(),
        name if table.header.starts_with("[[") && name.contains('.') => format!("{name}[].{}", field.key),
        name => format!("{name}.{}", field.key),
    }
}

/// Every field that the path names, whole or by its end.
fn matching(path: &str) -> Vec<(&'static Table, &'static Field)> {
    let all = TABLES.iter().filter(|table| table.name != "defaults");
    let fields = all.flat_map(|table| table.own_fields().map(move |(_, field)| (*table, field)));
    fields
        .filter(|(table, field)| {
            let full = path_of(table, field).replace("[]", "");
            full == path || full.strip_suffix(path).is_some_and(|rest| rest.ends_with('.'))
        })
        .collect()
}

fn suggestions(path: &str) -> Vec<String> {
    let mut topics: Vec<String> = TABLES.iter().map(|table| table.name.to_owned()).collect();
    topics.extend(TABLES.iter().flat_map(|table| table.own_fields().map(|(_, field)| field.key.to_owned())));
    topics.extend(TreeCode::ALL.iter().map(|code| code.as_str().to_owned()));
    topics.extend(RuleCode::ALL.iter().map(|code| code.as_str().to_owned()));
    topics.sort_unstable();
    topics.dedup();
    let last = path.rsplit('.').next().unwrap_or(path);
    let mut alike: Vec<(f64, String)> = topics
        .into_iter()
        .map(|topic| (strsim::jaro_winkler(last, &topic), topic))
        // As in `fields::closest`; three are a choice, more are noise.
        .filter(|(likeness, _)| *likeness >= 0.8)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    alike.into_iter().take(3).map(|(_, topic)| topic).collect()
}

fn explain_code(code: &CodeDoc) -> String {
    format!("{}\n  {}\n  {}\n", code.code, code.meaning, code.remedy)
}

fn explain_table(table: &Table) -> String {
    let mut text = format!("{}\n  {}\n\n", table.header, table.doc);
    let width = table.own_fields().map(|(_, field)| field.key.len()).max().unwrap_or(0);
    for (_, field) in table.own_fields() {
        let default = match (field.required, field.default) {
            (true, _) => "required".to_owned(),
            (false, "") => String::new(),
            (false, default) => format!("default {default}"),
        };
        let line = format!("  {:width$}  {:<32} {default}", field.key, type_of(field.kind));
        writeln!(text, "{}", line.trim_end()).expect("a string grows as needed");
    }
    text
}

fn explain_field(table: &Table, field: &Field) -> String {
    let mut text = format!("{}\n  {}\n", path_of(table, field), field.doc);
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<8} {value}").expect("a string grows as needed");
    };
    line("type", &type_of(field.kind));
    match (field.required, field.default) {
        (true, _) => line("required", "yes"),
        (false, "") => {}
        (false, default) => line("default", default),
    }
    match field.concern {
        Concern::All => {}
        Concern::Tcp => line("for", "TCP rules only"),
        Concern::Udp => line("for", "UDP rules only"),
    }
    line("example", &format!("{} = {}", field.key, field.example));
    text
}

/// The type of a field in the words of the reference.
fn type_of(kind: Kind) -> String {
    match kind {
        Kind::Int { min, max } => format!("whole number, {min} to {max}"),
        Kind::Text { max, .. } | Kind::Payload { max } => format!("string of at most {max} bytes"),
        Kind::Name => "name".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
        Kind::Ip | Kind::ListenAddress => "IP address".to_owned(),
        Kind::ServerNames => "list of server names".to_owned(),
        Kind::Networks => "list of networks".to_owned(),
        Kind::TimeZone => "IANA time zone".to_owned(),
        Kind::Ports => "\"LO-HI\"".to_owned(),
        Kind::Endpoint => "\"HOST:PORT\" or \"HOST:LO-HI\"".to_owned(),
        Kind::Host => "IP address or DNS name".to_owned(),
        Kind::Statuses => "HTTP statuses".to_owned(),
        Kind::Regex => "regular expression".to_owned(),
        Kind::Table(table) => format!("table, see {}", table.name),
        Kind::Tables(table) => format!("list of tables, see {}", table.name),
        kind => takes(kind).to_owned(),
    }
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
