//! Finds the rules in a file of upstream: a list, a list under a key, lists per client, a standalone file. Pure.
//!
//! Keeps: only what is known to say nothing about forwarding is ignored; every other key that is not carried over is
//! dropped, and listed.

use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::{LineIndex, Severity, SourceFile};
use schema::fields;
use schema::findings::Findings;
use schema::name::EdgeName;
use schema::ruleset::TreeFiles;
use schema::text::{self, Entry, Node, Syntax, Value as Parsed};

use super::place::{FilePosition, json};
use super::rule::{self, ImportContext};
use super::{Gathered, owners, valid};

/// Keys under which a list of rules may stand.
const LISTS: [&str; 4] = ["rules", "rule", "items", "data"];
/// Keys that say that a list goes on elsewhere.
const MORE: [&str; 4] = ["next", "next_page", "next_cursor", "has_more"];
/// Keys that describe the document or the client, and nothing that is forwarded.
const ABOUT: [&str; 16] = [
    "$schema",
    "version",
    "format_version",
    "schema_version",
    "kind",
    "generated_at",
    "exported_at",
    "total",
    "count",
    "page",
    "per_page",
    "limit",
    "offset",
    "prev",
    "previous",
    "description",
];

/// Reads one file into what is gathered.
pub(super) fn read(
    input: &SourceFile,
    edge: &EdgeName,
    limits: CheckLimits,
    gathered: &mut Gathered,
    errors: &mut Findings,
) {
    let named = named_by_content(input);
    let mut found = Findings::new();
    let root = text::parse(&named, &mut found);
    let is_read = !found.has_errors();
    errors.extend(found.into_sorted().into_iter().map(|mut error| {
        if error.more == 0 {
            error.path = input.path.clone();
        }
        if let Some(label) = &mut error.primary {
            label.file = input.clone();
        }
        error
    }));
    let Some(root) = root.filter(|_| is_read) else { return };
    let lines = LineIndex::new(input);
    let at = FilePosition::of_file(&input.path, &lines);
    if let Some(ruleset) = valid::ruleset(&named, limits) {
        valid::take(&ruleset, &root, edge, at, gathered);
        return;
    }
    let context = ImportContext { edge: edge.clone(), limits, defaults: defaults(&root) };
    if !lists(&root, &context, at, gathered) {
        let reason = "no rules in it: expected a list of rules, a table with `rules`, or a standalone file";
        gathered.dropped(at, "", "", reason);
    }
}

/// The same file under a name that says what it is: a dump of a command has any name.
fn named_by_content(input: &SourceFile) -> SourceFile {
    let syntax = Syntax::of_path(&input.path);
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&input.text).is_ok();
    let name = match syntax {
        Some(Syntax::Yaml) if !is_json => "input.yaml",
        Some(Syntax::Json) => "input.json",
        _ if is_json => "input.json",
        _ => "input.toml",
    };
    SourceFile::new(name, input.text.clone())
}

/// `[defaults]` of a standalone file of which something is not valid.
fn defaults<'n, 'a>(root: &'n Node<'a>) -> &'n [Entry<'a>] {
    let Parsed::Table(entries) = &root.value else { return &[] };
    let defaults = entries.iter().find(|entry| entry.key == "defaults").map(|entry| &entry.node.value);
    match defaults {
        Some(Parsed::Table(defaults)) => defaults,
        _ => &[],
    }
}

/// False if there is nothing that could hold rules.
fn lists(root: &Node<'_>, context: &ImportContext<'_, '_>, at: FilePosition<'_>, gathered: &mut Gathered) -> bool {
    match &root.value {
        Parsed::Array(rules) => {
            for entry in rules {
                rule::take(entry, context, at, gathered);
            }
            true
        }
        Parsed::Table(entries) if owners::is_one(entries) => {
            owners::take(entries, at, gathered);
            true
        }
        Parsed::Table(entries) => {
            let mut is_found = false;
            for entry in entries {
                is_found |= entry_of_root(entry, context, at, gathered);
            }
            is_found
        }
        _ => false,
    }
}

fn entry_of_root(
    entry: &Entry<'_>,
    context: &ImportContext<'_, '_>,
    at: FilePosition<'_>,
    gathered: &mut Gathered,
) -> bool {
    let here = at.at(entry.key_span);
    match (entry.key.as_ref(), &entry.node.value) {
        (key, Parsed::Array(rules)) if LISTS.contains(&key) => {
            for entry in rules {
                rule::take(entry, context, at, gathered);
            }
            return true;
        }
        (key, Parsed::Table(clients)) if LISTS.contains(&key) => {
            for client in clients {
                of_client(&client.key, &client.node, context, at, gathered);
            }
            return true;
        }
        ("owners" | "owner_rate_limits" | "owner_caps" | "quotas" | "traffic_quotas", Parsed::Array(owners)) => {
            for owner in owners {
                match &owner.value {
                    Parsed::Table(entries) => owners::take(entries, at.at(owner.span), gathered),
                    other => {
                        let reason = format!("expected an owner, this is {}", other.kind());
                        gathered.dropped(at.at(owner.span), "", entry.key.as_ref(), reason);
                    }
                }
            }
            return true;
        }
        ("clients" | "edges", Parsed::Array(clients)) => {
            for client in clients {
                client_entry(client, context, at, gathered);
            }
            return true;
        }
        ("global", Parsed::Table(settings)) => global(settings, &context.edge, at, gathered),
        ("stats", _) => statistics(here, gathered),
        // Each rule takes the defaults.
        ("defaults", Parsed::Table(_)) | (_, Parsed::Null) => {}
        (key, value) if MORE.contains(&key) => {
            if !matches!(value, Parsed::Null | Parsed::Bool(false)) {
                gathered.dropped(here, "", key, "the list continues on other pages: import all of them");
            }
        }
        (key, _) if ABOUT.contains(&key) => gathered.ignored(here, "", key, "not part of a rule"),
        (key, _) => gathered.dropped(here, "", key, "there is no such key"),
    }
    false
}

/// The statistics socket says nothing about forwarding.
pub(super) fn statistics(at: FilePosition<'_>, gathered: &mut Gathered) {
    let reason = "the statistics socket has no counterpart: see `portunus stats`";
    gathered.ignored(at, "", "stats", reason);
}

/// The rules under the name of their client.
fn of_client(
    name: &str,
    rules: &Node<'_>,
    context: &ImportContext<'_, '_>,
    at: FilePosition<'_>,
    gathered: &mut Gathered,
) {
    let here = at.at(rules.span);
    let Some(edge) = rule::edge_name(name, here, gathered) else {
        gathered.dropped(here, name, "", "the name of the client is empty");
        return;
    };
    let context = ImportContext { edge, ..context.clone() };
    match &rules.value {
        Parsed::Array(rules) => {
            for entry in rules {
                rule::take(entry, &context, at, gathered);
            }
        }
        other => {
            gathered.dropped(here, name, "", format!("expected a list of rules, this is {}", other.kind()));
        }
    }
}

/// A client with its name and its rules.
fn client_entry(client: &Node<'_>, context: &ImportContext<'_, '_>, at: FilePosition<'_>, gathered: &mut Gathered) {
    let here = at.at(client.span);
    let Parsed::Table(entries) = &client.value else {
        gathered.dropped(here, "", "", format!("expected a client, this is {}", client.value.kind()));
        return;
    };
    let named =
        |keys: &[&str]| entries.iter().find(|entry| keys.contains(&entry.key.as_ref())).map(|entry| &entry.node);
    let name = named(&["name", "client_name", "client"]).and_then(|node| json(node).as_str().map(str::to_owned));
    let label = name.clone().unwrap_or_default();
    match (name, named(&["rules"])) {
        (Some(name), Some(rules)) => of_client(&name, rules, context, at, gathered),
        (None, Some(_)) => gathered.dropped(here, "", "", "a client without a name"),
        (_, None) => gathered.ignored(here, "", "", "a client without rules"),
    }
    for entry in entries {
        let (key, at) = (entry.key.as_ref(), at.at(entry.key_span));
        match &entry.node.value {
            value if *value == Parsed::Null || ["name", "client_name", "client", "rules"].contains(&key) => {}
            _ if ABOUT.contains(&key) || rule::is_state(key, &entry.node) => {
                gathered.ignored(at, &label, key, "the current state of the client, not its configuration");
            }
            _ => gathered.dropped(at, &label, key, "there is no such key"),
        }
    }
}

/// Settings of the process: of use to `portunus up` alone, whose edge is `local`.
pub(super) fn global(settings: &[Entry<'_>], edge: &EdgeName, at: FilePosition<'_>, gathered: &mut Gathered) {
    for entry in settings {
        let (key, here) = (entry.key.as_ref(), at.at(entry.key_span));
        let value = json(&entry.node);
        if *edge != EdgeName::local() {
            let reason = "a setting of the process: `portunus edge` takes its own as flags";
            gathered.dropped(here, "", &format!("global.{key}"), reason);
        } else if gathered.global.get(key).is_some_and(|known| *known != value) {
            let reason = "another file sets it to another value";
            gathered.dropped(here, "", &format!("global.{key}"), reason);
        } else if let Some(reason) = refused(key, &value) {
            gathered.dropped(here, "", &format!("global.{key}"), reason);
        } else {
            gathered.global.insert(key.to_owned(), value);
        }
    }
}

/// Why `[global]` does not take the setting.
fn refused(key: &str, value: &serde_json::Value) -> Option<String> {
    if fields::global::TABLE.find(key, 0).is_none() {
        return Some("there is no such setting".to_owned());
    }
    let rule = "[[rule]]\nname = \"a\"\nlisten_port = 1\ntarget = \"127.0.0.1:2\"\n";
    let file = SourceFile::new("local.toml", format!("[global]\n{key} = {value}\n\n{rule}"));
    let checked = check_tree(&TreeFiles { files: vec![file], problems: Vec::new() }, &CheckLimits::default());
    let errors = checked.diagnostics.into_iter().filter(|found| found.severity == Severity::Error);
    let messages: Vec<String> = errors.map(|found| found.message).collect();
    (!messages.is_empty()).then(|| messages.join("; "))
}
