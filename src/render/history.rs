//! The history as text: a row for each entry, and one entry with its summary first, then what was not as planned. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use jiff::Timestamp;
use reconciler::act::operator::documents::HistoryDetail;
use reconciler::decide::fleet::EdgeOutcome;
use reconciler::decide::ledger::{Entry, HistoryEntry, LedgerAction, RecordedEdge};
use reconciler::decide::plan::{PlannedChange, Summary};
use schema::name::EdgeName;

use super::table::Columns;
use super::words::{ago, count, joined, lasting, listed, short_hash, time};
use super::{change, plan_lines, style};
use crate::output::{clean, is_wide};

/// More edges of one kind are counted.
const SHOWN_EDGES: usize = 8;
/// More changes are one line each.
const SHOWN_IN_FULL: usize = 6;
/// More of these lines are counted.
const SHOWN_LINES: usize = 20;
/// More rules that were not as planned are counted.
const SHOWN_RULES: usize = 20;

/// One row for each entry. What no entry has is not a column, and what the other columns say in short is one of wide
/// tables.
pub(crate) fn all(entries: &[HistoryEntry], now: Timestamp) -> String {
    let is_explained = entries.iter().any(|found| !found.entry.note.is_empty() || !found.entry.why.is_empty());
    let mut headings = vec!["ID", "AT", "OUTCOME", "CHANGES", "COMMIT", "SUBJECT", "AUTHOR", "BY"];
    if is_wide() {
        headings.extend(["EDGES", "APPLY"]);
    }
    headings.extend(is_explained.then_some("WHY"));
    let mut columns = Columns::new(&headings).yielding(&["WHY", "AUTHOR", "SUBJECT", "COMMIT", "BY"]);
    for found in entries {
        let entry = &found.entry;
        let mut cells = vec![
            entry.id.to_string(),
            if is_wide() { time(entry.at) } else { ago(entry.at, now) },
            outcome(found),
            found.summary.as_ref().map(changes).unwrap_or_default(),
            commit(entry),
            found.subject.clone().unwrap_or_default(),
            entry.author.clone().unwrap_or_default(),
            by(found),
        ];
        if is_wide() {
            cells.extend([edges(entry), entry.apply_id.clone()]);
        }
        cells.extend(is_explained.then(|| joined(&[&entry.note, &entry.why])));
        columns.row(&cells);
    }
    columns.text("")
}

/// `applied`, `rollback applied, held`, `frozen`: an outcome that belongs to one action names that as well.
fn outcome(found: &HistoryEntry) -> String {
    let (action, outcome) = (found.entry.action, &found.entry.outcome);
    let is_clear = action == LedgerAction::Apply || !found.entry.is_start();
    let outcome = if is_clear { outcome.clone() } else { format!("{} {outcome}", action.as_str()) };
    if found.held { format!("{outcome}, held") } else { outcome }
}

/// `+1 ~2 -0`, with the signs of a plan; kinds that are not among these three are shown where there are any.
pub(crate) fn changes(summary: &Summary) -> String {
    let mut text = format!("+{} ~{} -{}", summary.activate, summary.update, summary.remove);
    let others = [('±', summary.rebind), ('>', summary.moved), ('!', summary.reject), ('?', summary.retry)];
    for (sign, number) in others.into_iter().filter(|(_, number)| *number > 0) {
        write!(text, " {sign}{number}").expect("a string grows as needed");
    }
    text
}

/// The operator whom the server authenticated, and whom the client says it acted for.
fn by(found: &HistoryEntry) -> String {
    let actor = &found.entry.actor;
    found.applied_by.as_ref().map_or_else(|| actor.clone(), |claimed| format!("{actor} as {claimed}"))
}

fn edges(entry: &Entry) -> String {
    let touched = entry.edges.len().max(entry.generations.len());
    count(touched as u64, "edge")
}

fn commit(entry: &Entry) -> String {
    let dirty = if entry.dirty { " (dirty)" } else { "" };
    match &entry.commit {
        Some(commit) => format!("{}{dirty}", short_hash(commit)),
        None => "no commit".to_owned(),
    }
}

/// One entry.
pub(crate) fn one(detail: &HistoryDetail, now: Timestamp) -> String {
    let mut text = String::new();
    write_one(&mut text, detail, now).expect("a string grows as needed");
    text
}

fn write_one(to: &mut String, detail: &HistoryDetail, now: Timestamp) -> fmt::Result {
    let found = &detail.entry;
    writeln!(to, "{}", headline(found, now))?;
    write_facts(to, found)?;
    write_unplanned(to, found)?;
    match &detail.plan {
        None => {}
        Some(plan) if plan.changes.is_empty() => to.push_str("\nThere was nothing to change.\n"),
        Some(plan) => write_planned(to, &plan.changes)?,
    }
    write_chain(to, found)
}

/// What was planned: a few changes in full, more of them one line each.
fn write_planned(to: &mut String, changes: &[PlannedChange]) -> fmt::Result {
    writeln!(to, "\n{}", style::strong("Planned:"))?;
    if changes.len() <= SHOWN_IN_FULL || is_wide() {
        for change in changes {
            write!(to, "\n{}\n{}", style::strong(&change.edge), change::change(change))?;
        }
        return Ok(());
    }
    let lines = plan_lines::grouped(changes.iter());
    for line in lines.iter().take(SHOWN_LINES) {
        writeln!(to, "  {line}")?;
    }
    if lines.len() > SHOWN_LINES {
        writeln!(to, "  and {}; -o wide shows all in full", count((lines.len() - SHOWN_LINES) as u64, "more line"))?;
    }
    Ok(())
}

/// `Entry 3 · partial · +1 ~2 -0 · 3 done, 2 offline · 5m ago, took 12s`
fn headline(found: &HistoryEntry, now: Timestamp) -> String {
    let entry = &found.entry;
    let mut parts = vec![style::strong(format!("Entry {}", entry.id)).to_string(), clean(&outcome(found)).into_owned()];
    parts.extend(found.summary.as_ref().map(changes));
    if entry.is_start() {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for edge in entry.edges.values() {
            *counts.entry(edge.outcome.in_words()).or_default() += 1;
        }
        let counts: Vec<String> = counts.into_iter().map(|(words, number)| format!("{number} {words}")).collect();
        let all = edges(entry);
        parts.push(if counts.is_empty() { all } else { format!("{all}: {}", counts.join(", ")) });
    }
    let took = found.finished_at.map(|end| end.duration_since(entry.at).as_secs().max(0).unsigned_abs());
    let took = took.map(|secs| format!(", took {}", lasting(secs))).unwrap_or_default();
    parts.push(format!("{}{took}", ago(entry.at, now)));
    parts.join(" · ")
}

fn write_facts(to: &mut String, found: &HistoryEntry) -> fmt::Result {
    let entry = &found.entry;
    let mut line = |key: &str, value: &str| match value {
        "" => Ok(()),
        value => writeln!(to, "{key:<10} {}", clean(value)),
    };
    line("commit", entry.commit.as_deref().unwrap_or("no commit"))?;
    line("subject", found.subject.as_deref().unwrap_or_default())?;
    line("author", entry.author.as_deref().unwrap_or_default())?;
    line("dirty", if entry.dirty { "yes" } else { "" })?;
    line("actor", &entry.actor)?;
    let claimed = found.applied_by.as_ref().map(|name| format!("{name} (as its client reports)"));
    line("applied by", &claimed.unwrap_or_default())?;
    line("apply", &entry.apply_id)?;
    line("at", &time(entry.at))?;
    line("ended", &found.finished_at.map(time).unwrap_or_default())?;
    line("held", if found.held { "yes" } else { "" })?;
    line("until", &entry.until.map(time).unwrap_or_default())?;
    line("why", &entry.why)?;
    line("what", &entry.note)?;
    line("overridden", &entry.overridden.join(", "))?;
    let generation = |(edge, generation): (&EdgeName, &u64)| {
        let back = if entry.brought_back.contains(edge) { ", then reverted" } else { "" };
        format!("{edge} generation {generation}{back}")
    };
    let generations: Vec<String> = entry.generations.iter().map(generation).collect();
    line("edges", &listed(&generations, SHOWN_EDGES))
}

/// What did not end as it was planned: edges with the same end in one line, then rules.
fn write_unplanned(to: &mut String, found: &HistoryEntry) -> fmt::Result {
    let mut edges: BTreeMap<String, Vec<&EdgeName>> = BTreeMap::new();
    let mut rules = Vec::new();
    for (edge, ended) in &found.entry.edges {
        if ended.outcome != EdgeOutcome::Done || !ended.message.is_empty() {
            edges.entry(end_in_words(ended)).or_default().push(edge);
        }
        rules.extend(ended.rules.iter().map(|rule| {
            let state = rule.state.map_or("gone", |state| state.as_str());
            let why = joined(&[&rule.code, &rule.message]);
            let colon = if why.is_empty() { "" } else { ": " };
            format!("{edge}/{} {state}{colon}{why}", rule.rule)
        }));
    }
    if edges.is_empty() && rules.is_empty() {
        return Ok(());
    }
    writeln!(to, "\n{}", style::warning("Not as planned:"))?;
    for (words, names) in &edges {
        let number = if names.len() > 1 { format!("{} edges ", names.len()) } else { String::new() };
        writeln!(to, "  {number}{words}: {}", listed(names, SHOWN_EDGES))?;
    }
    for rule in rules.iter().take(SHOWN_RULES) {
        writeln!(to, "  {rule}")?;
    }
    if rules.len() > SHOWN_RULES {
        writeln!(to, "  and {}; -o json has all", count((rules.len() - SHOWN_RULES) as u64, "more rule"))?;
    }
    Ok(())
}

fn end_in_words(ended: &RecordedEdge) -> String {
    let why = joined(&[&ended.code, &ended.message]);
    if why.is_empty() { ended.outcome.in_words().to_owned() } else { format!("{} ({why})", ended.outcome.in_words()) }
}

fn write_chain(to: &mut String, found: &HistoryEntry) -> fmt::Result {
    let entry = &found.entry;
    writeln!(to)?;
    writeln!(to, "{:<10} {}", "digest", entry.digest)?;
    writeln!(to, "{:<10} {}", "plan", entry.plan_id)?;
    writeln!(to, "{:<10} {} (line {} of the ledger)", "hash", entry.hash, found.line)?;
    writeln!(to, "{:<10} {}", "previous", entry.previous_hash)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_have_the_signs_of_a_plan() {
        let summary = Summary { activate: 1, update: 2, ..Summary::default() };
        assert_eq!(changes(&summary), "+1 ~2 -0");
        let all = Summary { rebind: 3, moved: 4, reject: 5, retry: 6, remove: 7, ..Summary::default() };
        assert_eq!(changes(&all), "+0 ~0 -7 ±3 >4 !5 ?6");
    }

    #[test]
    fn an_entry_begins_with_its_summary_and_names_what_was_not_as_planned() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let mut edges = serde_json::Map::new();
        for number in 1..=50 {
            let outcome = if number > 5 { "offline" } else { "done" };
            edges.insert(format!("edge-{number:02}"), json!({"outcome": outcome}));
        }
        edges["edge-03"]["rules"] =
            json!([{"rule": "web", "state": "failed", "code": "port_in_use", "message": "port 80 already bound"}]);
        let entry = json!({"id": 3, "line": 5, "at": "2025-01-01T00:00:00Z", "apply_id": "a3", "plan_id": digest,
            "digest": digest, "commit": "c0ffee", "author": "Ann <ann@example.org>", "subject": "Move \u{1b}web",
            "actor": "operator", "applied_by": "ann@laptop", "dirty": false, "outcome": "partial", "generations": {},
            "overridden": [], "previous_hash": digest, "hash": digest, "intact": true, "edges": edges, "plan": null,
            "finished_at": "2025-01-01T00:00:12Z", "summary": Summary { update: 30, ..Summary::default() }});
        let detail: HistoryDetail = serde_json::from_value(entry).expect("an entry");
        let now = "2025-01-01T00:05:00Z".parse().expect("a time");
        let text = anstream::adapter::strip_str(&one(&detail, now)).to_string();
        let first = "Entry 3 · partial · +0 ~30 -0 · 50 edges: 5 done, 45 offline · 5m ago, took 12s\n";
        assert!(text.starts_with(first), "{text}");
        for part in [
            "subject    Move \\u{1b}web\n",
            "applied by ann@laptop (as its client reports)\n",
            "\nNot as planned:\n  45 edges offline: edge-06, edge-07,",
            " and 37 more\n  edge-03/web failed: port_in_use: port 80 already bound\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().count() < 24, "a screen: {text}");
    }
}
