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
use super::words::{ago, count_with, plain};

/// Between the parts of a line.
const DOT: &str = " · ";

/// `In sync · 3 edges · 30 rules · 27 of 27 targets up`
pub fn verdict(status: &StatusDocument) -> String {
    let figures = FirstLine::of_status(status);
    let word = figures.sync().in_words();
    let mut parts = vec![match figures.sync() {
        Sync::InSync => style::added(word).to_string(),
        Sync::NothingApplied => style::strong(word).to_string(),
        Sync::OutOfSync => style::warning(word).to_string(),
    }];
    if status.revision.held {
        parts.push("held".to_owned());
    }
    let styled = |part: LinePart| if part.is_bad { style::error(part.text).to_string() } else { part.text };
    parts.extend(figures.parts(plain).into_iter().map(styled));
    parts.join(DOT)
}

/// True if what runs everywhere is what was applied, and what was applied is what is followed.
pub fn is_in_sync(status: &StatusDocument) -> bool {
    FirstLine::of_status(status).sync() == Sync::InSync
}

/// The first word about a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// What runs everywhere is what was applied, and what was applied is what is followed.
    InSync,
    /// There is nothing yet that could be in sync.
    NothingApplied,
    /// Something else runs, or something else is followed.
    OutOfSync,
}

impl Sync {
    /// The word.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::InSync => "In sync",
            Self::NothingApplied => "Nothing has been applied yet",
            Self::OutOfSync => "Out of sync",
        }
    }
}

/// A part of the first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePart {
    /// A few words.
    pub text: String,
    /// True for what does not serve.
    pub is_bad: bool,
    /// True for a count of what is well, which a narrow screen leaves out.
    pub is_count: bool,
}

impl LinePart {
    /// Something to look at.
    pub fn trouble(text: String) -> Self {
        Self { text, is_bad: false, is_count: false }
    }

    fn count(text: String) -> Self {
        Self { text, is_bad: false, is_count: true }
    }
}

/// What the first line about a fleet is made of, for every place that shows it: `status`, the page and `top`.
#[derive(Debug, Clone)]
pub struct FirstLine<'a> {
    /// What is in force.
    pub revision: &'a RevisionStatus,
    /// The apply that runs, or the last one.
    pub apply: Option<&'a ApplyResult>,
    /// Drift by kind.
    pub drift: BTreeMap<DriftKind, u64>,
    /// How many edges there are.
    pub edges: u64,
    /// How many rules there are.
    pub rules: u64,
    /// How many of them are down.
    pub down: u64,
    /// The targets of all rules.
    pub targets: &'a TargetTotals,
}

impl<'a> FirstLine<'a> {
    fn of_status(status: &'a StatusDocument) -> Self {
        let mut drift: BTreeMap<DriftKind, u64> = BTreeMap::new();
        for one in &status.drift {
            *drift.entry(one.kind).or_default() += 1;
        }
        let rules = || status.edges.iter().flat_map(|edge| &edge.rules);
        Self {
            revision: &status.revision,
            apply: status.apply.as_ref(),
            drift,
            edges: status.edges.len() as u64,
            rules: rules().count() as u64,
            down: rules().filter(|rule| rule.health == Some(RuleHealth::Down)).count() as u64,
            targets: &status.targets,
        }
    }

    /// The first word.
    pub fn sync(&self) -> Sync {
        let is_clean = self.drift.is_empty() && !self.revision.held;
        match (is_clean, self.revision.digest.is_some()) {
            (true, true) => Sync::InSync,
            (true, false) => Sync::NothingApplied,
            (false, _) => Sync::OutOfSync,
        }
    }

    /// What follows, after the marks of what a person decided; `figure` writes a number.
    pub fn parts(&self, figure: impl Fn(u64) -> String + Copy) -> Vec<LinePart> {
        let count = |number: u64, one: &str| count_with(number, one, figure);
        let mut parts: Vec<LinePart> = self.applying(figure).map(LinePart::trouble).into_iter().collect();
        let drift = self.drift.iter().map(|(kind, number)| drift_in_words(*kind, *number, figure));
        parts.extend(drift.map(LinePart::trouble));
        parts.push(LinePart::count(count(self.edges, "edge")));
        parts.push(LinePart::count(count(self.rules, "rule")));
        if self.down > 0 {
            parts.push(LinePart { is_bad: true, ..LinePart::trouble(format!("{} down", count(self.down, "rule"))) });
        }
        let is_well = self.targets.down == 0;
        let targets = targets(self.targets, figure).into_iter();
        parts.extend(targets.map(|text| if is_well { LinePart::count(text) } else { LinePart::trouble(text) }));
        parts
    }

    /// The apply that runs, or the last one where it reached only a part of its edges and what is missing is missing still.
    fn applying(&self, figure: impl Fn(u64) -> String) -> Option<String> {
        let apply = self.apply.filter(|apply| Some(apply.digest) == self.revision.digest)?;
        let extent = extent(apply, figure);
        match apply.outcome {
            Outcome::Running => Some(format!("applying: {extent}")),
            Outcome::Partial | Outcome::Interrupted | Outcome::Returned if !self.drift.is_empty() => {
                Some(format!("applied in part: {extent}{}", stopped(apply)))
            }
            _ => None,
        }
    }
}

/// `3 of 12 edges`: where an apply is done, and every changed rule serves.
pub fn extent(apply: &ApplyResult, figure: impl Fn(u64) -> String) -> String {
    format!("{} of {}", done(apply), count_with(apply.edges.len() as u64, "edge", figure))
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

/// `2 rules failed`: one kind of drift with its number, which `figure` writes.
pub fn drift_in_words(kind: DriftKind, number: u64, figure: impl Fn(u64) -> String) -> String {
    let count = |one: &str| count_with(number, one, &figure);
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

/// `26 of 27 targets up`; those that nothing checks and nothing met are counted apart.
pub fn targets(totals: &TargetTotals, figure: impl Fn(u64) -> String) -> Vec<String> {
    let count = |number: u64, one: &str| count_with(number, one, &figure);
    let known = totals.all.saturating_sub(totals.unchecked);
    let mut parts = Vec::new();
    if known > 0 {
        let mut text = format!("{} of {} up", figure(totals.up), count(known, "target"));
        for (number, state) in [(totals.down, "down"), (totals.unknown.saturating_sub(totals.unchecked), "unknown")] {
            if number > 0 {
                text.extend([", ", &figure(number), " ", state]);
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
