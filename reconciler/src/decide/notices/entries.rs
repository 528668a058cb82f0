//! What lines of the ledger say about applies, as news and as the status of commits. Pure.
//!
//! Keeps: a tree that differs from its commit never gives that commit a status.

use std::fmt::Write as _;

use schema::name::EdgeName;
use schema::state::RuleState;

use super::{CommitState, CommitStatus, News, Topic};
use crate::decide::ledger::{Entry, LedgerAction, RecordedEdge};
use crate::decide::outcome::EdgeOutcome;
use crate::decide::plan::Summary;
use crate::decide::render::words::{count, short_hash};

/// Edges and rules that a message names; the rest is counted.
const NAMED: usize = 5;

/// The news of a line, if it is one that people hear of: the end of an apply, or of the hold of a rollback.
pub(super) fn news(entry: &Entry, plan: &[String]) -> Option<News> {
    let topic = match entry.action {
        LedgerAction::Rollback => Topic::Rollback,
        LedgerAction::Resume if entry.outcome == "released" => Topic::Rollback,
        LedgerAction::Apply | LedgerAction::Resume | LedgerAction::Return => Topic::Apply,
        _ => return None,
    };
    if entry.outcome == "started" {
        return None;
    }
    let mut text = headline(entry);
    for line in failures(entry).iter().chain(plan) {
        write!(text, "\n{line}").expect("a string grows as needed");
    }
    let news = News::new(topic, entry.at, text).by(&entry.actor).because(&entry.why);
    Some(News { commit: entry.commit.clone(), ..news })
}

fn headline(entry: &Entry) -> String {
    let what = entry.commit.clone().unwrap_or_else(|| entry.digest.to_string());
    let what = short_hash(&what);
    let subject = entry.subject.as_ref().map_or_else(String::new, |subject| format!(" \"{subject}\""));
    let why = if entry.why.is_empty() { String::new() } else { format!(" ({})", entry.why) };
    let actor = &entry.actor;
    if entry.outcome == "released" {
        return format!("The rollback to {what} is no longer held; {actor} released it.");
    }
    let verb = match entry.action {
        LedgerAction::Rollback => "Rollback to",
        LedgerAction::Resume => "Resumed apply of",
        _ => "Apply of",
    };
    let id = if entry.apply_id.is_empty() { String::new() } else { format!(" ({})", entry.apply_id) };
    let changes = entry.summary.map_or_else(String::new, |summary| format!("; {}", changes(&summary)));
    format!("{verb} {what}{subject} by {actor}{why}{id}: {}{changes}", result(entry))
}

/// `applied, live on 3 of 3 edges, 0 connections cut`
fn result(entry: &Entry) -> String {
    let how = match entry.outcome.as_str() {
        "returned" => "reverted, because it was not confirmed in time",
        "superseded" => "superseded by a newer apply",
        "interrupted" => "interrupted by the end of the server",
        other => other,
    };
    let note = if entry.note.is_empty() { String::new() } else { format!(", {}", entry.note) };
    format!("{how}{note}, {}", extent(entry))
}

/// `live on 12 of 12 edges, 0 connections cut`
fn extent(entry: &Entry) -> String {
    if entry.edges.is_empty() {
        return "no edge had to change".to_owned();
    }
    let live = entry.edges.values().filter(|edge| is_live(edge)).count();
    let all = count(entry.edges.len() as u64, "edge");
    let cut = match entry.summary.map_or(0, |summary| summary.connections_affected) {
        0 => "0 connections cut".to_owned(),
        some => format!("at most {} cut", count(some, "connection")),
    };
    let offline = entry.edges.values().filter(|edge| edge.outcome == EdgeOutcome::Offline).count();
    let offline = if offline == 0 { String::new() } else { format!(", {offline} offline") };
    format!("live on {live} of {all}{offline}, {cut}")
}

fn is_live(edge: &RecordedEdge) -> bool {
    edge.outcome == EdgeOutcome::Done && edge.rules.is_empty()
}

/// `2 rules to add, 1 to remove`
fn changes(summary: &Summary) -> String {
    let parts = [
        (summary.activate, "added"),
        (summary.rebind + summary.update, "changed"),
        (summary.moved, "renamed"),
        (summary.remove, "removed"),
        (summary.reject, "rejected"),
        (summary.retry, "retried"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect();
    if parts.is_empty() { "no rule changed".to_owned() } else { format!("rules: {}", parts.join(", ")) }
}

/// A line for each edge that is not as planned, up to a bound.
fn failures(entry: &Entry) -> Vec<String> {
    let failed: Vec<(&EdgeName, &RecordedEdge)> = entry.edges.iter().filter(|(_, edge)| !is_live(edge)).collect();
    let mut lines: Vec<String> = failed.iter().take(NAMED).map(|(name, edge)| failure(name, edge)).collect();
    if failed.len() > NAMED {
        lines.push(format!("… and {} more", count((failed.len() - NAMED) as u64, "edge")));
    }
    lines
}

fn failure(name: &EdgeName, edge: &RecordedEdge) -> String {
    if edge.rules.is_empty() {
        let message = if edge.message.is_empty() { String::new() } else { format!(": {}", edge.message) };
        return format!("{name}: {}{message}", edge.outcome.as_str());
    }
    let shown: Vec<String> = edge
        .rules
        .iter()
        .take(NAMED)
        .map(|rule| {
            let state = rule.state.map_or("gone", RuleState::as_str);
            let why = if rule.message.is_empty() { &rule.code } else { &rule.message };
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("{name}/{} is {state}{why}", rule.rule)
        })
        .collect();
    let rest = edge.rules.len().saturating_sub(NAMED);
    let more = if rest == 0 { String::new() } else { format!("; … and {} more", count(rest as u64, "rule")) };
    format!("{}{more}", shown.join("; "))
}

/// The status that a line gives its commit.
pub(super) fn status(entry: &Entry) -> Option<CommitStatus> {
    let sha = entry.commit.clone().filter(|sha| is_full(sha) && !entry.dirty)?;
    let is_of_apply = matches!(
        entry.action,
        LedgerAction::Apply | LedgerAction::Rollback | LedgerAction::Resume | LedgerAction::Return
    );
    if !is_of_apply || entry.outcome == "released" {
        return None;
    }
    let (state, description) = match entry.outcome.as_str() {
        "started" => (CommitState::Pending, started(entry)),
        "applied" => (CommitState::Success, extent(entry)),
        _ => {
            let first = failures(entry).into_iter().next().map_or_else(String::new, |first| format!("; {first}"));
            (CommitState::Failure, format!("{}{first}", result(entry)))
        }
    };
    Some(CommitStatus { sha, state, description })
}

fn started(entry: &Entry) -> String {
    let edges = count(entry.generations.len() as u64, "edge");
    let changes = entry.summary.map_or_else(String::new, |summary| format!(": {}", changes(&summary)));
    format!("{} is applying it to {edges}{changes}", entry.actor)
}

/// True for a full hash: forges take no other.
pub(super) fn is_full(sha: &str) -> bool {
    matches!(sha.len(), 40 | 64) && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
}
