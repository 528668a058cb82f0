//! What runs in another way than it was applied, as text: what is alike in one line, then the rest by place. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::decide::drift::{Drift, DriftKind};
use schema::state::RuleState;

use super::change::write_field;
use super::words::{count, joined, listed};
use super::{Length, rule_words, style};

/// More differences of one kind with the same words are one line together.
const SHOWN_ALIKE: usize = 3;
/// The same where they name fields, which that line leaves out.
const SHOWN_CHANGED: usize = 10;
/// More places in one line are counted.
const SHOWN_PLACES: usize = 8;

type Key<'a> = (DriftKind, bool, &'a str, &'a str);

/// What differs from what was applied.
pub fn write(to: &mut String, drift: &[Drift], length: Length) -> fmt::Result {
    if drift.is_empty() {
        return Ok(());
    }
    writeln!(to, "\n{}", style::warning("Drift: the running state differs from the applied one:"))?;
    let mut groups: BTreeMap<Key<'_>, Vec<&Drift>> = BTreeMap::new();
    let mut alone: BTreeMap<String, Vec<&Drift>> = BTreeMap::new();
    for one in drift {
        if let Some(key) = key(one, length) {
            groups.entry(key).or_default().push(one);
        }
    }
    groups.retain(|_, group| {
        let is_bare = group.iter().all(|one| one.fields.is_empty());
        group.len() > if is_bare { SHOWN_ALIKE } else { SHOWN_CHANGED }
    });
    for group in groups.values() {
        writeln!(to, "  {}", line(group))?;
    }
    for one in drift.iter().filter(|one| key(one, length).is_none_or(|key| !groups.contains_key(&key))) {
        alone.entry(place(one)).or_default().push(one);
    }
    for (place, found) in alone {
        for one in found {
            write!(to, "  {} {}", style::changed(one.kind.as_str()), place)?;
            let words = words(one);
            let colon = if words.is_empty() { "" } else { ": " };
            writeln!(to, "{colon}{words}")?;
            for field in &one.fields {
                write_field(to, field, false)?;
            }
        }
    }
    Ok(())
}

/// What is alike has the same key; when an edge was heard last tells nothing apart.
fn key(one: &Drift, length: Length) -> Option<Key<'_>> {
    let message = if one.kind == DriftKind::EdgeOffline { "" } else { one.message.as_str() };
    (length == Length::Brief).then_some((one.kind, one.rule.is_some(), one.code.as_str(), message))
}

/// `edge_offline 45 edges (edge-06, edge-07 and 43 more): client_not_connected`
fn line(group: &[&Drift]) -> String {
    let first = group[0];
    let places: Vec<String> = group.iter().map(|one| place(one)).collect();
    let number = count(places.len() as u64, if first.rule.is_some() { "rule" } else { "edge" });
    let words = if first.kind == DriftKind::EdgeOffline { joined(&[&first.code]) } else { words(first) };
    let colon = if words.is_empty() { "" } else { ": " };
    let kind = style::changed(first.kind.as_str());
    format!("{kind} {number} ({}){colon}{words}", listed(&places, SHOWN_PLACES))
}

/// `EDGE/RULE`, or the edge.
pub fn place(drift: &Drift) -> String {
    match &drift.rule {
        Some(rule) => format!("{}/{rule}", drift.edge),
        None => drift.edge.to_string(),
    }
}

/// Code and message, as far as there are any.
pub fn words(drift: &Drift) -> String {
    let state = if drift.kind == DriftKind::Failed { RuleState::Failed } else { RuleState::Active };
    rule_words::cause(state, &drift.code, &drift.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_alike_is_one_line_and_the_rest_is_by_place() {
        let mut all: Vec<Drift> = Vec::new();
        for number in 1..=45 {
            let one = json!({"edge": format!("edge-{number:02}"), "kind": "edge_offline",
                "code": "client_not_connected", "message": format!("last seen at minute {number}")});
            all.push(serde_json::from_value(one).expect("drift"));
        }
        all.push(serde_json::from_value(json!({"edge": "z", "rule": "web", "kind": "missing"})).expect("drift"));
        let mut text = String::new();
        write(&mut text, &all, Length::Brief).expect("written");
        let text = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert!(lines[0].starts_with("  edge_offline 45 edges (edge-01, edge-02,"), "{text}");
        assert!(lines[0].ends_with(" and 37 more): client_not_connected"), "{text}");
        assert_eq!(lines[1..], ["  missing z/web"], "{text}");
    }
}
