//! What every page begins with: the fleet in one line, and the navigation. Pure.

use std::collections::BTreeMap;

use super::words::{Badge, count};
use crate::decide::drift::DriftKind;
use crate::decide::fleet::{ApplyResult, Outcome};
use crate::decide::operators::Role;
use crate::decide::render::summary;
use crate::decide::summary::FleetSummary;

/// The fleet in one line, as `status` begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetLine {
    /// In sync or not.
    pub verdict: Badge,
    /// Held and frozen, which a person decided.
    pub marks: Vec<Badge>,
    /// The rest, part by part.
    pub parts: Vec<LinePart>,
}

/// A part of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePart {
    /// What it says.
    pub text: String,
    /// True for a count of what is well, which a narrow screen leaves out.
    pub is_count: bool,
}

impl LinePart {
    /// Something to look at.
    pub(crate) fn trouble(text: String) -> Self {
        Self { text, is_count: false }
    }

    fn count(text: String) -> Self {
        Self { text, is_count: true }
    }
}

/// The line of a fleet.
pub fn line(summary: &FleetSummary) -> FleetLine {
    let is_empty = summary.revision.digest.is_none() && !summary.revision.held && summary.drift.is_empty();
    let verdict = match (summary.in_sync, is_empty) {
        (true, _) => Badge::up("In sync"),
        (false, true) => Badge::off("Nothing has been applied yet"),
        (false, false) => Badge::warn("Out of sync"),
    };
    let held = summary.revision.held.then(|| Badge::warn("held"));
    let frozen = summary.frozen.as_ref().map(|_| Badge::warn("frozen"));
    let troubles = applying(summary).into_iter().chain(drifted(&summary.drift));
    let mut parts: Vec<LinePart> = troubles.map(LinePart::trouble).collect();
    if summary.rules.down > 0 {
        parts.push(LinePart::trouble(format!("{} down", count(summary.rules.down, "rule"))));
    }
    parts.push(LinePart::count(count(summary.edges.all, "edge")));
    parts.push(LinePart::count(count(summary.rules.all, "rule")));
    parts.extend(targets(summary));
    FleetLine { verdict, marks: held.into_iter().chain(frozen).collect(), parts }
}

/// The apply that runs, or the last one where it reached only a part of its edges and what is missing is missing still.
fn applying(summary: &FleetSummary) -> Option<String> {
    let apply = summary.apply.as_ref().filter(|apply| Some(apply.digest) == summary.revision.digest)?;
    let extent = extent(apply);
    match apply.outcome {
        Outcome::Running => Some(format!("applying: {extent}")),
        Outcome::Partial | Outcome::Interrupted | Outcome::Returned if !summary.drift.is_empty() => {
            Some(format!("applied in part: {extent}"))
        }
        _ => None,
    }
}

/// `3 of 12 edges`: where an apply is done, and every changed rule serves.
pub fn extent(apply: &ApplyResult) -> String {
    format!("{} of {}", summary::done(apply), count(apply.edges.len() as u64, "edge"))
}

/// `1 edge offline`, `2 rules failed`: how many of each kind.
pub fn drifted(kinds: &BTreeMap<DriftKind, u64>) -> Vec<String> {
    kinds.iter().map(|(kind, number)| drift_in_words(*kind, *number)).collect()
}

/// One kind of drift with its figure.
pub fn drift_in_words(kind: DriftKind, number: u64) -> String {
    summary::drift_in_words(kind, |one| count(number, one))
}

/// `26 of 27 targets up`; those that nothing checks and nothing met are counted apart.
fn targets(summary: &FleetSummary) -> Vec<LinePart> {
    let totals = &summary.targets;
    let known = totals.all.saturating_sub(totals.unchecked);
    let mut parts = Vec::new();
    if known > 0 {
        let mut text = format!("{} of {} up", totals.up, count(known, "target"));
        for (number, state) in [(totals.down, "down"), (totals.unknown.saturating_sub(totals.unchecked), "unknown")] {
            if number > 0 {
                text.extend([", ", &number.to_string(), " ", state]);
            }
        }
        parts.push(LinePart { text, is_count: totals.down == 0 });
    }
    if totals.unchecked > 0 {
        parts.push(LinePart::count(format!("{} not checked", count(totals.unchecked, "target"))));
    }
    parts
}

/// The views that the navigation names: path, name, and the weakest role that may open it.
pub const VIEWS: &[(&str, &str, Role)] = &[
    ("/ui/", "Fleet", Role::Viewer),
    ("/ui/edges", "Edges", Role::Viewer),
    ("/ui/rules", "Rules", Role::Viewer),
    ("/ui/plan", "Plan", Role::Viewer),
    ("/ui/applies", "Applies", Role::Viewer),
    ("/ui/history", "History", Role::Viewer),
    ("/ui/drift", "Drift", Role::Viewer),
    ("/ui/quotas", "Quotas", Role::Viewer),
    ("/ui/connections", "Connections", Role::Viewer),
    ("/ui/audit", "Audit", Role::Admin),
];

/// A link into a view, where there is such a view.
pub fn link(path: &str) -> Option<String> {
    let base = path.split('?').next().unwrap_or(path);
    VIEWS.iter().any(|(view, _, _)| is_within(view, base)).then(|| path.to_owned())
}

/// True for the path of a view, and for those below it.
fn is_within(view: &str, path: &str) -> bool {
    path == view || (view != "/ui/" && path.strip_prefix(view).is_some_and(|rest| rest.starts_with('/')))
}

/// The result of a probe in words: `HTTP 503 (L7STS)`
pub fn target_of(code: &str, detail: &str) -> String {
    match (code.is_empty(), detail.is_empty()) {
        (false, false) => format!("{detail} ({code})"),
        (false, true) => code.to_owned(),
        (true, _) => detail.to_owned(),
    }
}

/// One entry of the navigation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NavEntry {
    /// Where it leads.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// True for the view that is open, or that a part of is.
    pub is_current: bool,
}

/// The navigation of an operator with that role, seen from a path.
pub fn navigation(role: Role, path: &str) -> Vec<NavEntry> {
    let is_in = |view: &str| is_within(view, path);
    let allowed = VIEWS.iter().filter(|(_, _, least)| role >= *least);
    allowed.map(|(view, name, _)| NavEntry { path: view, name, is_current: is_in(view) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_whether_all_is_well_before_it_counts() {
        let mut summary = FleetSummary::default();
        assert_eq!(line(&summary).verdict.word, "Nothing has been applied yet");
        summary.in_sync = true;
        summary.targets.all = 5;
        (summary.targets.up, summary.targets.down) = (1, 1);
        (summary.targets.unknown, summary.targets.unchecked) = (3, 3);
        let found = line(&summary);
        let text =
            |found: &FleetLine| found.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" · ");
        assert_eq!(found.verdict.word, "In sync");
        assert_eq!(text(&found), "0 edges · 0 rules · 1 of 2 targets up, 1 down · 3 targets not checked");
        summary.in_sync = false;
        summary.drift = [(DriftKind::EdgeOffline, 1), (DriftKind::Failed, 2)].into();
        let found = line(&summary);
        assert_eq!(found.verdict.word, "Out of sync");
        assert!(text(&found).starts_with("2 rules failed · 1 edge offline · 0 edges"), "{found:?}");
    }

    #[test]
    fn a_part_of_a_view_is_in_the_view() {
        let current = |path: &str| {
            let entries = navigation(Role::Viewer, path);
            entries.into_iter().find(|entry| entry.is_current).map(|entry| entry.name)
        };
        assert_eq!(current("/ui/"), Some("Fleet"));
        assert_eq!((current("/ui/rules"), current("/ui/rules/edge-01/web")), (Some("Rules"), Some("Rules")));
        assert_eq!((current("/ui/nothing"), current("/ui/rulesets"), current("/ui/audit")), (None, None, None));
        assert_eq!(link("/ui/rules?state=failed").as_deref(), Some("/ui/rules?state=failed"));
        assert_eq!(link("/ui/nothing"), None);
    }
}
