//! Limits of owners, as upstream lists them beside its rules: caps by client and owner, and monthly quotas. Pure.
//!
//! Keeps: an owner has one set of limits in a tree; what another client has set differently is dropped, and listed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::{Severity, SourceFile};
use schema::ruleset::TreeFiles;
use schema::text::{Entry, Value as Parsed};
use serde_json::{Map, Value};

use super::Gathered;
use super::place::{FilePosition, json};
use super::rates;
use super::rule::{is_state, words};

/// Names of an owner in a list of owners.
const OWNERS: [&str; 4] = ["owner_id", "owner_user_id", "user_id", "owner"];
const CLIENTS: [&str; 2] = ["client_name", "client"];
/// What has been used of a quota so far.
const USED: [&str; 8] = [
    "current_period_started_at",
    "current_period_ends_at",
    "current_period_bytes_used",
    "exhausted",
    "exhausted_at",
    "last_report_at",
    "updated_at_unix_ms",
    "created_at_unix_ms",
];

/// The limits of all owners, by name: each a table for `[[owner]]`.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<String, Map<String, Value>>);

impl Owners {
    /// Adds a table; false if the owner has another one of this key.
    pub(super) fn add(&mut self, owner: &str, key: &str, table: &Value) -> bool {
        let known = self.0.entry(owner.to_owned()).or_default();
        let held = known.entry(key).or_insert_with(|| table.clone());
        held == table
    }

    /// The entries as a rule file; `None` without any.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = "# Limits of owners, from upstream Portunus.\n".to_owned();
        for (name, tables) in self.0.iter().filter(|(_, tables)| !tables.is_empty()) {
            write!(text, "\n{}", entry(name, tables)).expect("a string grows as needed");
        }
        text.contains("[[owner]]").then_some(text)
    }
}

/// One `[[owner]]`. JSON and TOML write strings and numbers alike.
fn entry(name: &str, tables: &Map<String, Value>) -> String {
    let mut text = format!("[[owner]]\nname = {}\n", Value::from(name));
    for (key, table) in tables {
        let pairs: Vec<String> =
            table.as_object().into_iter().flatten().map(|(key, value)| format!("{key} = {value}")).collect();
        writeln!(text, "{key} = {{ {} }}", pairs.join(", ")).expect("a string grows as needed");
    }
    text
}

/// True for an entry of a list that is about an owner and not about a rule.
pub(super) fn is_one(entries: &[Entry<'_>]) -> bool {
    let has = |names: &[&str]| entries.iter().any(|entry| names.contains(&entry.key.as_ref()));
    has(&OWNERS) && has(&["rate_limit", "monthly_bytes"]) && !has(&["listen_port", "listen_ports", "listen", "rule"])
}

/// Takes one entry of such a list.
pub(super) fn take(entries: &[Entry<'_>], at: FilePosition<'_>, gathered: &mut Gathered) {
    let find = |names: &[&str]| entries.iter().find(|entry| names.contains(&entry.key.as_ref()));
    let name = find(&OWNERS).and_then(|entry| words(&json(&entry.node))).filter(|name| !name.is_empty());
    let Some(name) = name else {
        gathered.dropped(at, "", "owner_id", "the name of the owner is missing");
        return;
    };
    let label = format!("owner {name}");
    if let Some(client) = find(&CLIENTS) {
        let reason = "limits of an owner hold on every edge that runs rules of the owner";
        gathered.changed(at.at(client.key_span), &label, &client.key, reason);
    }
    for entry in entries {
        let (key, here) = (entry.key.as_ref(), at.at(entry.key_span));
        match key {
            _ if entry.node.value == Parsed::Null || OWNERS.contains(&key) || CLIENTS.contains(&key) => {}
            "rate_limit" => rate_limit(&name, &json(&entry.node), here, gathered),
            "monthly_bytes" => {
                let anchor = find(&["billing_anchor"]).map(|entry| json(&entry.node));
                quota(&name, &json(&entry.node), anchor.as_ref(), here, gathered);
            }
            "billing_anchor" => {}
            _ if USED.contains(&key) || is_state(key, &entry.node) => {
                gathered.ignored(here, &label, key, "the current use of the limits, not their configuration");
            }
            _ => gathered.dropped(here, &label, key, "there is no such key"),
        }
    }
}

fn rate_limit(name: &str, value: &Value, at: FilePosition<'_>, gathered: &mut Gathered) {
    let Some(given) = value.as_object() else {
        gathered.dropped(at, &format!("owner {name}"), "rate_limit", "expected a table");
        return;
    };
    let rates = rates::read(given);
    let label = format!("owner {name}");
    if rates.connections.is_some() {
        let reason = "an owner has no limit of concurrent connections here: set `max_connections` in its rules";
        gathered.dropped(at, &label, "rate_limit.concurrent_connections", reason);
    }
    if let Some(reason) = rates.changed {
        gathered.changed(at, &label, "rate_limit", reason);
    }
    if !rates.table.is_empty() {
        keep(name, "rate_limit", &Value::Object(rates.table), at, gathered);
    }
}

/// A month of upstream begins on the day of its anchor, by UTC.
fn quota(name: &str, bytes: &Value, anchor: Option<&Value>, at: FilePosition<'_>, gathered: &mut Gathered) {
    let mut table = Map::from_iter([("bytes".to_owned(), bytes.clone()), ("period".to_owned(), "month".into())]);
    let begun = anchor.and_then(Value::as_i64).and_then(|second| Timestamp::from_second(second).ok());
    if let Some(day) = begun.map(|begun| begun.to_zoned(TimeZone::UTC).day()).filter(|day| *day != 1) {
        table.insert("anchor_day".to_owned(), day.into());
    }
    keep(name, "quota", &Value::Object(table), at, gathered);
}

/// Keeps a table that is valid and that no other client contradicts.
fn keep(name: &str, key: &str, table: &Value, at: FilePosition<'_>, gathered: &mut Gathered) {
    let label = format!("owner {name}");
    let tables = Map::from_iter([(key.to_owned(), table.clone())]);
    let text = format!(
        "{}[[rule]]\nname = \"a\"\nowner = {}\nlisten_port = 1\ntarget = \"127.0.0.1:2\"\n",
        entry(name, &tables),
        Value::from(name)
    );
    let file = SourceFile::new("owners.toml", text);
    let checked = check_tree(&TreeFiles { files: vec![file], problems: Vec::new() }, &CheckLimits::default());
    let errors = checked.diagnostics.into_iter().filter(|found| found.severity == Severity::Error);
    let reasons: Vec<String> = errors.map(|found| found.message).collect();
    if !reasons.is_empty() {
        gathered.dropped(at, &label, key, reasons.join("; "));
    } else if !gathered.owners.add(name, key, table) {
        gathered.dropped(at, &label, key, "another client sets other limits for this owner");
    }
}
