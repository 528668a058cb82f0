//! A rule as data: JSON and TOML with the keys of the rule language, and field by field. Pure.
//!
//! Keeps: `from_json(to_json(rule)) == rule`; every key comes from the field table.

mod lists;
mod parts;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::check;
use crate::decode;
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::fields::{per_source, retry, rule, spec};
use crate::findings::Findings;
use crate::name::EdgeName;
use crate::rule::Rule;
use crate::text;

use parts::FieldPart;

/// One field that differs between two versions of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field, such as `targets[0].host`.
    pub path: String,
    /// Its value before, null where the field is absent.
    pub before: Value,
    /// Its value after, null where the field is absent.
    pub after: Value,
}

/// The rule with the keys of the rule language, defaults omitted.
pub fn to_json(rule: &Rule) -> Map<String, Value> {
    let mut map = given(parts::of_rule(rule));
    match parts::short_target(rule) {
        Some(target) => map.insert("target".to_owned(), target.into()),
        None => map
            .insert("targets".to_owned(), rule.targets.iter().map(|target| given(parts::of_target(target))).collect()),
    };
    if let Some(health) = &rule.health {
        map.insert("health".to_owned(), Value::Object(given(parts::of_health(health))));
    }
    for (path, parts) in parts::tables(rule) {
        nest(&mut map, path, given(parts));
    }
    if let Some(lists) = lists::references(rule) {
        map.insert("access_lists".to_owned(), lists);
    }
    map
}

/// Puts a table at its path.
fn nest(map: &mut Map<String, Value>, path: &str, table: Map<String, Value>) {
    let Some((first, rest)) = path.split_once('.') else {
        map.insert(path.to_owned(), Value::Object(table));
        return;
    };
    if let Value::Object(inner) = map.entry(first).or_insert_with(|| Value::Object(Map::new())) {
        nest(inner, rest, table);
    }
}

fn given(parts: Vec<FieldPart>) -> Map<String, Value> {
    parts.into_iter().filter(|part| !part.is_default).map(|part| (part.key.to_owned(), part.value)).collect()
}

/// The rule of such a value, through the decoder of rule files; it may carry the limits of its owner. The error names every
/// key that is wrong and why.
pub fn from_json(value: &Value) -> Result<Rule, String> {
    let file = SourceFile::new("", "");
    let mut found = Findings::new();
    let draft = decode::decode(&file, text::from_json(value), &spec::TABLE, &mut found);
    let rule = draft.as_ref().and_then(|draft| check::whole_rule(&file, draft, &mut found));
    let reason = |one: Diagnostic| match one.help {
        Some(help) => format!("{} ({help})", one.message),
        None => one.message,
    };
    let mut reasons: Vec<String> = found.into_found().into_iter().map(reason).collect();
    let placing = [rule::EDGES, rule::EDGE_LABELS, rule::ENABLED];
    for slot in placing.into_iter().filter_map(|field| draft.as_ref()?.get(field)) {
        if slot.bool() != Some(true) {
            let key = rule::TABLE.fields[slot.field].key;
            reasons.push(format!("`{key}` does not belong to a rule of one edge"));
        }
    }
    match rule {
        Some(rule) if reasons.is_empty() => Ok(rule),
        _ => Err(reasons.join("; ")),
    }
}

/// Every field with its default filled in, by path; fields without a value are absent.
pub fn flat(rule: &Rule) -> BTreeMap<String, Value> {
    let tables: Vec<_> = parts::tables(rule).into_iter().map(|(path, _)| path).collect();
    flat_beside(rule, &tables)
}

/// The same for a comparison with a rule that has these tables: of a table that only one of the two has, defaults are
/// left out.
fn flat_beside(rule: &Rule, tables: &[&str]) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut add = |prefix: &str, parts: Vec<FieldPart>| {
        for part in parts.into_iter().filter(|part| !part.value.is_null()) {
            fields.insert(format!("{prefix}{}", part.key), part.value);
        }
    };
    add("", parts::of_rule(rule));
    for (index, target) in rule.targets.iter().enumerate() {
        add(&format!("targets[{index}]."), parts::of_target(target));
    }
    match &rule.health {
        Some(health) => add("health.", parts::of_health(health)),
        None => add("health.", vec![FieldPart::given("kind", "none")]),
    }
    for (path, mut parts) in parts::tables(rule) {
        if !tables.contains(&path) {
            parts.retain(|part| !part.is_default);
        }
        add(&format!("{path}."), parts);
    }
    fields
}

/// The fields that differ, in the order of their paths; the name is one of them for a renamed rule. Of lists of networks,
/// what is added and removed is named beside them.
pub fn field_changes(before: &Rule, after: &Rule) -> Vec<FieldChange> {
    let mut changes = key_changes(before, after);
    changes.extend(lists::changes(before, after));
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    changes
}

fn key_changes(before: &Rule, after: &Rule) -> Vec<FieldChange> {
    let tables = |rule: &Rule| parts::tables(rule).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let (known, wanted) = (tables(before), tables(after));
    let (mut before, mut after) = (flat_beside(before, &wanted), flat_beside(after, &known));
    let paths: std::collections::BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    paths
        .into_iter()
        .filter_map(|path| {
            let before = before.remove(&path).unwrap_or_default();
            let after = after.remove(&path).unwrap_or_default();
            (before != after).then_some(FieldChange { path, before, after })
        })
        .collect()
}

/// Every field of a new rule that is not at its default, in the order of the paths; nothing is before it.
pub fn new_fields(rule: &Rule) -> Vec<FieldChange> {
    let mut fields = BTreeMap::new();
    let mut add = |prefix: &str, parts: Vec<FieldPart>| {
        let given = parts.into_iter().filter(|part| !part.is_default);
        fields.extend(given.map(|part| (format!("{prefix}{}", part.key), part.value)));
    };
    add("", parts::of_rule(rule));
    for (index, target) in rule.targets.iter().enumerate() {
        add(&format!("targets[{index}]."), parts::of_target(target));
    }
    if let Some(health) = &rule.health {
        add("health.", parts::of_health(health));
    }
    for (path, parts) in parts::tables(rule) {
        add(&format!("{path}."), parts);
    }
    fields.extend(lists::of_new(rule).into_iter().map(|change| (change.path, change.after)));
    fields.into_iter().map(|(path, after)| FieldChange { path, before: Value::Null, after }).collect()
}

/// The rule as one `[[rule]]` in canonical form, placed on an edge where one is given. The limits of its owner are left out:
/// an `[[owner]]` entry holds them.
pub fn to_toml(rule: &Rule, edge: Option<&EdgeName>) -> String {
    let mut text = "[[rule]]\n".to_owned();
    let mut keys: Vec<(usize, &str, String)> = parts::of_rule(rule)
        .into_iter()
        .filter(|part| !part.is_default)
        .map(|part| (order(part.key), part.key, toml_value(&part.value)))
        .collect();
    if let Some(target) = parts::short_target(rule) {
        keys.push((rule::TARGET, "target", toml_value(&target.into())));
    } else {
        let entries: Vec<String> =
            rule.targets.iter().map(|target| format!("  {},\n", inline_table(parts::of_target(target)))).collect();
        keys.push((rule::TARGETS, "targets", format!("[\n{}]", entries.concat())));
    }
    if let Some(edge) = edge {
        keys.push((rule::EDGES, "edges", format!("[{}]", toml_value(&edge.as_str().into()))));
    }
    if let Some(health) = &rule.health {
        keys.push((rule::HEALTH, "health", inline_table(parts::of_health(health))));
    }
    for (path, text) in inline_tables(rule) {
        keys.push((order(path), path, text));
    }
    keys.sort_by_key(|(order, ..)| *order);
    for (_, key, value) in keys {
        writeln!(text, "{key} = {value}").expect("a string grows as needed");
    }
    text
}

fn order(key: &str) -> usize {
    rule::TABLE.find(key, 0).unwrap_or(usize::MAX)
}

/// The sub-tables that say who may connect and how much, as TOML.
fn inline_tables(rule: &Rule) -> Vec<(&'static str, String)> {
    let mut tables: Vec<(&str, Vec<FieldPart>)> = Vec::new();
    for (path, parts) in parts::tables(rule).into_iter().filter(|(path, _)| !path.starts_with("owner_limits")) {
        match (path.split_once('.'), tables.last_mut()) {
            // A table inside of the one before it stands before its last key, `mode`.
            (Some((_, key)), Some((_, outer))) => {
                let at = outer.len().saturating_sub(1);
                outer.insert(at, FieldPart::given(key, Value::Object(given(parts))));
            }
            _ => tables.push((path, parts)),
        }
    }
    tables.into_iter().map(|(path, parts)| (path, inline_table(parts))).collect()
}

fn inline_table(parts: Vec<FieldPart>) -> String {
    let given = parts.into_iter().filter(|part| !part.is_default);
    let pairs: Vec<String> = given.map(|part| format!("{} = {}", part.key, toml_value(&part.value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn toml_value(value: &Value) -> String {
    match value {
        // A rule holds strings, numbers, flags, lists and tables of them only; numbers and flags are written alike in both.
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let tables = [&retry::TABLE, &per_source::TABLE];
            let keys = tables.into_iter().flat_map(|table| table.own_fields().map(|(_, field)| field.key));
            let pairs = keys.filter_map(|key| Some(format!("{key} = {}", toml_value(map.get(key)?))));
            let pairs: Vec<String> = pairs.collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
