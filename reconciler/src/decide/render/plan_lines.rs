//! Many changes, one line each: those that are alike on several edges are one line together, and an edge that is offline
//! and was sent the state already is one line. Pure.
//!
//! Keeps: a line says all that a change shown in full does.

use std::collections::BTreeMap;

use crate::decide::plan::{Action, PlanDocument, PlannedChange};
use schema::name::EdgeName;

use super::clean::clean;
use super::difference::{Difference, difference};
use super::words::{count, listed};
use super::{change, new_rule, style};

/// More edges in one line are counted.
const SHOWN_EDGES: usize = 6;
/// More edges that wait are one line together.
const SHOWN_WAITING: usize = 6;

/// True for a change of an edge that is offline and for which it was decided before: it takes effect when the edge comes.
pub fn is_decided(plan: &PlanDocument, change: &PlannedChange) -> bool {
    plan.is_decided(change)
}

/// One line for each change; the same change on several edges is one.
pub fn grouped<'a>(changes: impl Iterator<Item = &'a PlannedChange>) -> Vec<String> {
    let mut groups: Vec<(String, &PlannedChange, Vec<&EdgeName>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for change in changes {
        let details = details(change);
        let key = format!("{} {} {:?} {details}", change.rule, change.action.as_str(), change.previous_rule);
        let place = *places.entry(key).or_insert_with(|| {
            groups.push((details, change, Vec::new()));
            groups.len() - 1
        });
        groups[place].2.push(&change.edge);
    }
    groups.iter().map(|(details, change, edges)| line(change, edges, details)).collect()
}

/// One line for each edge that waits for what was decided before, or for all where they are many.
pub fn waiting(plan: &PlanDocument) -> Vec<String> {
    let mut edges: BTreeMap<&EdgeName, u64> = BTreeMap::new();
    for change in plan.changes.iter().filter(|change| is_decided(plan, change)) {
        *edges.entry(&change.edge).or_default() += 1;
    }
    let words = "decided before, in effect when the edge is back";
    if edges.len() <= SHOWN_WAITING {
        let line =
            |(edge, number): (&EdgeName, u64)| format!("{edge} is offline: {}, {words}", count(number, "change"));
        return edges.into_iter().map(line).collect();
    }
    let changes: u64 = edges.values().sum();
    let names: Vec<&EdgeName> = edges.into_keys().collect();
    let shown = listed(&names, SHOWN_EDGES);
    vec![format!("{} are offline: {}, {words}: {shown}", count(names.len() as u64, "edge"), count(changes, "change"))]
}

/// `~ web  update on 5 edges (edge-01, …)  rules/a.toml:7  max_connections: 0 → 5; new connections only`
fn line(change: &PlannedChange, edges: &[&EdgeName], details: &str) -> String {
    let was = change.previous_rule.as_ref().map(|previous| format!(" (was {previous})")).unwrap_or_default();
    let sign = change.action.sign();
    let head = match edges {
        [edge] => format!("{sign} {edge}/{}{was}", change.rule),
        _ => format!("{sign} {}{was}", change.rule),
    };
    let head = match change.action {
        Action::Activate => style::added(head).to_string(),
        Action::Remove => style::removed(head).to_string(),
        Action::Reject => style::error(head).to_string(),
        Action::Rebind | Action::Update | Action::Move | Action::Retry => style::changed(head).to_string(),
    };
    let place = match edges {
        [_] => String::new(),
        several => format!(" on {} ({})", count(several.len() as u64, "edge"), listed(several, SHOWN_EDGES)),
    };
    let origin = change.origin.as_ref().map(|origin| format!("  {}", style::faint(change::place(origin))));
    let gap = if details.is_empty() { "" } else { "  " };
    format!("{head}  {}{place}{}{gap}{details}", change.action.as_str(), origin.unwrap_or_default())
}

/// All that is below the heading of a change shown in full.
fn details(change: &PlannedChange) -> String {
    let mut parts: Vec<String> = change::reason(change).into_iter().collect();
    let ports = [("bind", &change.ports.bind), ("keep", &change.ports.keep), ("release", &change.ports.release)];
    for (verb, ranges) in ports.into_iter().filter(|(_, ranges)| !ranges.is_empty()) {
        let ranges: Vec<_> = ranges.iter().map(|range| clean(range)).collect();
        parts.push(format!("{verb} {}", ranges.join(", ")));
    }
    parts.extend(new_rule::listener(change).map(|listener| format!("listen {}", clean(&listener))));
    parts.extend(new_rule::targets(change).map(|targets| format!("to {}", clean(&targets))));
    let is_new = new_rule::is_new(change);
    for field in new_rule::shown_fields(change) {
        let path = clean(&field.path);
        parts.push(match difference(&field.before, &field.after) {
            Difference::Line(_, after) if is_new => format!("{path}: {after}"),
            Difference::Line(before, after) => format!("{path}: {before} → {after}"),
            Difference::Lines(lines) => {
                let lines: Vec<String> = lines
                    .into_iter()
                    .filter(|(sign, _)| matches!(sign, '+' | '-'))
                    .map(|(sign, line)| format!("{sign}{line}"))
                    .collect();
                format!("{path}: {}", lines.join(" "))
            }
        });
    }
    parts.extend(change::impact(change));
    parts.extend(change::proof(change).map(|proof| format!("proof {proof}")));
    parts.join("; ")
}
