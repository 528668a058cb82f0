//! The first lines of a status: in sync or not, healthy or not, and which commit is in force since when. Pure.
//!
//! Keeps: sync and health are two axes. A target that is down is named beside the verdict and does not change it.

use std::collections::BTreeMap;

use crate::decide::drift::DriftKind;
use crate::decide::fleet::{ApplyResult, EdgeOutcome, Outcome, Verdict};
use crate::decide::status::{RevisionStatus, StatusDocument};
use crate::decide::target_totals::TargetTotals;
use jiff::Timestamp;
use schema::health::RuleHealth;

use super::clean::clean;
use super::plan::source;
use super::style;
use super::words::{ago, count};

/// Between the parts of a line.
const DOT: &str = " · ";

/// `In sync · 3 edges · 30 rules · 27 of 27 targets up`
pub fn verdict(status: &StatusDocument) -> String {
    let mut parts = Vec::new();
    if is_in_sync(status) {
        parts.push(style::added("In sync").to_string());
    } else if status.revision.digest.is_none() && !status.revision.held && status.drift.is_empty() {
        parts.push(style::strong("Nothing has been applied yet").to_string());
    } else {
        parts.push(style::warning("Out of sync").to_string());
    }
    if status.revision.held {
        parts.push("held".to_owned());
    }
    parts.extend(applying(status));
    parts.extend(drifted(status));
    parts.push(count(status.edges.len() as u64, "edge"));
    parts.push(count(status.edges.iter().map(|edge| edge.rules.len() as u64).sum::<u64>(), "rule"));
    parts.extend(health(status));
    parts.join(DOT)
}

/// True if what runs everywhere is what was applied, and what was applied is what is followed.
pub fn is_in_sync(status: &StatusDocument) -> bool {
    status.revision.digest.is_some() && !status.revision.held && status.drift.is_empty()
}

/// The apply that runs, or the last one where it reached only a part of its edges and what is missing is missing still.
fn applying(status: &StatusDocument) -> Option<String> {
    let apply = status.apply.as_ref().filter(|apply| Some(apply.digest) == status.revision.digest)?;
    let extent = format!("{} of {}", done(apply), count(apply.edges.len() as u64, "edge"));
    match apply.outcome {
        Outcome::Running => Some(format!("applying: {extent}")),
        Outcome::Partial | Outcome::Interrupted | Outcome::Returned if !status.drift.is_empty() => {
            Some(format!("applied in part: {extent}{}", stopped(apply)))
        }
        _ => None,
    }
}

/// Edges where the apply is done, and every changed rule serves.
pub fn done(apply: &ApplyResult) -> usize {
    apply.edges.iter().filter(|edge| edge.outcome == EdgeOutcome::Done && is_whole(edge)).count()
}

/// True if no changed rule of the edge failed or was rejected.
pub fn is_whole(edge: &crate::decide::fleet::EdgeResult) -> bool {
    use schema::state::RuleState::{Failed, Rejected};
    !edge.rules.iter().any(|rule| matches!(rule.state, Some(Failed | Rejected)))
}

/// `, rollout stopped at wave 1`
fn stopped(apply: &ApplyResult) -> String {
    let Some(reason) = &apply.stopped else { return String::new() };
    let wave = reason.strip_prefix("wave ").and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    wave.map_or_else(|| ", rollout stopped".to_owned(), |wave| format!(", rollout stopped at wave {wave}"))
}

/// `1 edge offline`, `2 rules failed`: how many of each kind.
fn drifted(status: &StatusDocument) -> Vec<String> {
    let mut kinds: BTreeMap<DriftKind, u64> = BTreeMap::new();
    for drift in &status.drift {
        *kinds.entry(drift.kind).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, number)| drift_in_words(kind, |one| count(number, one))).collect()
}

/// `2 rules failed`: one kind of drift with its figure, which `count` writes before the noun.
pub fn drift_in_words(kind: DriftKind, count: impl Fn(&str) -> String) -> String {
    match kind {
        DriftKind::Missing => format!("{} missing", count("rule")),
        DriftKind::Extra => count("extra rule"),
        DriftKind::Changed => format!("{} changed", count("rule")),
        DriftKind::Failed => format!("{} failed", count("rule")),
        DriftKind::Rejected => format!("{} rejected", count("rule")),
        DriftKind::EdgeOffline => format!("{} offline", count("edge")),
        DriftKind::StaleGeneration => format!("{} behind", count("edge")),
        DriftKind::Unsettled => format!("{} unsettled", count("edge")),
        DriftKind::Override => count("override"),
    }
}

/// `1 rule down`, `26 of 27 targets up`, `3 targets not checked`
fn health(status: &StatusDocument) -> Vec<String> {
    let rules = status.edges.iter().flat_map(|edge| &edge.rules);
    let down = rules.filter(|rule| rule.health == Some(RuleHealth::Down)).count() as u64;
    let mut parts = Vec::new();
    if down > 0 {
        parts.push(style::error(format!("{} down", count(down, "rule"))).to_string());
    }
    parts.extend(targets(&status.targets));
    parts
}

/// `26 of 27 targets up`; those that nothing checks and nothing met are counted apart.
pub fn targets(totals: &TargetTotals) -> Vec<String> {
    let known = totals.all - totals.unchecked;
    let mut parts = Vec::new();
    if known > 0 {
        let mut text = format!("{} of {} up", totals.up, count(known, "target"));
        for (number, state) in [(totals.down, "down"), (totals.unknown - totals.unchecked, "unknown")] {
            if number > 0 {
                text.extend([", ", &number.to_string(), " ", state]);
            }
        }
        parts.push(text);
    }
    if totals.unchecked > 0 {
        parts.push(format!("{} not checked", count(totals.unchecked, "target")));
    }
    parts
}

/// `Commit 0a1b2c3 on main by Ann <ann@example.org>, applied by operator 3m ago`; `None` before the first apply.
pub fn provenance(status: &StatusDocument, now: Timestamp) -> Option<String> {
    let revision = &status.revision;
    let digest = revision.digest?;
    let mut text = format!("{} {}", style::strong("Revision"), digest.short());
    if let Some(source) = revision.applied.as_ref().map(source) {
        text.extend([", ", &source]);
    }
    if let Some(at) = revision.applied_at {
        let by = by(revision).map(|by| format!(" by {by}")).unwrap_or_default();
        text.extend([", applied", &by, " ", &ago(at, now)]);
    }
    if revision.verdict == Some(Verdict::Waiting) && revision.attempted.as_ref().map(|one| one.digest) != Some(digest) {
        text.push_str("; a newer tree waits for an apply");
    }
    Some(text)
}

/// `operator as ann@laptop`: the operator whom the server authenticated, and whom the client says it acted for.
fn by(revision: &RevisionStatus) -> Option<String> {
    let (actor, claimed) = (revision.actor.as_deref(), revision.applied_by.as_deref());
    match (actor, claimed) {
        (Some(actor), Some(claimed)) if actor != claimed => Some(format!("{} as {}", clean(actor), clean(claimed))),
        (actor, claimed) => actor.or(claimed).map(|name| clean(name).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(changes: &Value) -> StatusDocument {
        let rule = json!({"rule": "web", "spec": {"listen_port": 80, "target": "a:1"}, "health": "up",
            "targets": [{"target": "a:1", "state": "up", "last": {"code": "L4OK"}}]});
        let digest = format!("sha256:{}", "0".repeat(64));
        let mut document = json!({
            "revision": {"digest": digest},
            "edges": [{"name": "edge-01", "connected": true, "rules": [rule]}],
            "targets": {"all": 1, "up": 1},
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            document[name.as_str()] = value.clone();
        }
        serde_json::from_value(document).expect("a status")
    }

    fn plain(status: &StatusDocument) -> String {
        anstream::adapter::strip_str(&verdict(status)).to_string()
    }

    #[test]
    fn the_first_line_says_whether_all_is_well() {
        assert_eq!(plain(&status(&json!({}))), "In sync · 1 edge · 1 rule · 1 of 1 target up");
        let none = status(&json!({"revision": {}, "edges": [], "targets": {}}));
        assert_eq!(plain(&none), "Nothing has been applied yet · 0 edges · 0 rules");
    }

    #[test]
    fn a_target_that_is_down_is_named_and_is_not_out_of_sync() {
        let down = status(&json!({"targets": {"all": 5, "up": 1, "down": 1, "unknown": 3, "unchecked": 3}}));
        let expected = "In sync · 1 edge · 1 rule · 1 of 2 targets up, 1 down · 3 targets not checked";
        assert_eq!(plain(&down), expected);
    }

    #[test]
    fn what_is_not_in_sync_is_counted_by_kind() {
        let drift = json!([{"edge": "edge-01", "kind": "edge_offline"}, {"edge": "e", "rule": "a", "kind": "failed"},
            {"edge": "e", "rule": "b", "kind": "failed"}]);
        let text = plain(&status(&json!({"drift": drift})));
        assert!(text.starts_with("Out of sync · 2 rules failed · 1 edge offline · 1 edge"), "{text}");
    }

    #[test]
    fn an_apply_that_stopped_says_where() {
        let edge = |name: &str, outcome: &str| json!({"edge": name, "outcome": outcome, "generation": 1, "code": "", "message": "", "rules": []});
        let digest = format!("sha256:{}", "0".repeat(64));
        let apply = json!({"id": "a1", "plan_id": digest, "digest": digest, "commit": null, "actor": "ann",
            "outcome": "partial", "started_at": "2025-01-01T00:00:00Z", "finished_at": null,
            "stopped": "wave 1 failed on edge-01",
            "edges": [edge("edge-01", "done"), edge("edge-02", "skipped")]});
        let drift = json!([{"edge": "edge-02", "kind": "stale_generation"}]);
        let text = plain(&status(&json!({"drift": drift, "apply": apply})));
        assert!(text.contains("applied in part: 1 of 2 edges, rollout stopped at wave 1"), "{text}");
        let healed = plain(&status(&json!({"apply": apply})));
        assert!(healed.starts_with("In sync · 1 edge"), "{healed}");
    }
}
