//! The targets of all rules as text: totals first, then what is down, what is alike in one line, then all rows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reconciler::act::operator::documents::TargetsDocument;
use reconciler::decide::target_totals::TargetRow;
use schema::health::TargetState;

use super::table::Columns;
use super::words::{ago, count, joined, plain};
use super::{style, summary};
use crate::output::clean;

/// Lines about what is down; the table below has the rest.
const GROUPS: usize = 10;

/// Totals, groups and rows.
pub(crate) fn text(document: &TargetsDocument, now: Timestamp) -> String {
    let totals = summary::targets(&document.totals, plain);
    let mut text = if totals.is_empty() { "No targets".to_owned() } else { totals.join(" · ") };
    text.push('\n');
    text.push_str(&down(&document.targets));
    if !document.targets.is_empty() {
        text.extend(["\n", &table(&document.targets, now)]);
    }
    let left_out = document.totals.all - document.targets.len() as u64;
    if left_out > 0 {
        text.extend(["and ", &left_out.to_string(), " more, which --limit omits\n"]);
    }
    text
}

/// `127.0.0.1:7101 is down in 30 rules on 5 edges: L4CON: refused`, one line for each target that is down.
pub(crate) fn down(rows: &[TargetRow]) -> String {
    let mut groups: BTreeMap<&str, Vec<&TargetRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.target.state == TargetState::Down) {
        groups.entry(&row.target.target).or_default().push(row);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let left_out = groups.len().saturating_sub(GROUPS);
    let mut text: String = groups.iter().take(GROUPS).map(|(target, rows)| group(target, rows)).collect();
    if left_out > 0 {
        text.extend(["and ", &count(left_out as u64, "more target"), "; `portunus targets --state down` lists all\n"]);
    }
    text
}

fn group(target: &str, rows: &[&TargetRow]) -> String {
    let edges: BTreeSet<&str> = rows.iter().map(|row| row.edge.as_str()).collect();
    let causes: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| row.target.last.as_ref())
        .map(|last| joined(&[&last.code, &last.detail]))
        .collect();
    let (cause, more) = match causes.len() {
        0 => (String::new(), String::new()),
        1 => (causes.into_iter().collect(), String::new()),
        several => (causes.into_iter().next().unwrap_or_default(), format!(" and {} more results", several - 1)),
    };
    let place = match rows {
        [row] => format!("{}/{}", row.edge, row.rule),
        _ => format!("{} on {}", count(rows.len() as u64, "rule"), count(edges.len() as u64, "edge")),
    };
    let colon = if cause.is_empty() { "" } else { ": " };
    format!("{} is {} in {place}{colon}{cause}{more}\n", clean(target), style::error("down"))
}

fn table(rows: &[TargetRow], now: Timestamp) -> String {
    let mut columns = Columns::new(&["RULE", "TARGET", "STATE", "SINCE", "#WEIGHT", "LAST RESULT"]);
    for row in rows {
        let target = &row.target;
        let last = target.last.as_ref().map(|last| joined(&[&last.code, &last.detail])).unwrap_or_default();
        columns.row(&[
            format!("{}/{}", row.edge, row.rule),
            target.target.clone(),
            state(row),
            target.since.map(|at| ago(at, now)).unwrap_or_default(),
            target.weight.to_string(),
            last,
        ]);
    }
    columns.text("")
}

/// `up`; `–` where nothing is known and nothing will tell; of an edge that is offline, `unknown (up)`.
pub(crate) fn state(row: &TargetRow) -> String {
    match row.last_state {
        Some(last) => format!("unknown ({last})"),
        None if row.is_unchecked() => "–".to_owned(),
        None => row.target.state_in_words(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rows(document: &Value) -> Vec<TargetRow> {
        serde_json::from_value(document.clone()).expect("rows")
    }

    #[test]
    fn what_is_alike_is_one_line() {
        let row = |edge: &str, rule: &str, target: &str, state: &str| {
            json!({"edge": edge, "rule": rule, "target": target, "state": state,
                "last": {"code": "L4CON", "detail": "refused"}})
        };
        let all = json!([
            row("a", "r1", "h:1", "down"),
            row("a", "r2", "h:1", "down"),
            row("b", "r1", "h:1", "down"),
            row("b", "r3", "k:1", "down"),
            row("b", "r4", "z:1", "up")
        ]);
        let text = anstream::adapter::strip_str(&down(&rows(&all))).to_string();
        let expected = "h:1 is down in 3 rules on 2 edges: L4CON: refused\nk:1 is down in b/r3: L4CON: refused\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_state_says_what_is_known() {
        let row = json!([{"edge": "a", "rule": "r", "target": "h:1", "state": "unknown", "last_state": "up"},
            {"edge": "a", "rule": "r", "target": "h:1", "state": "unknown"},
            {"edge": "a", "rule": "r", "target": "h:1", "state": "unknown", "checked": true}]);
        assert_eq!(rows(&row).iter().map(state).collect::<Vec<_>>(), ["unknown (up)", "–", "unknown"]);
    }
}
