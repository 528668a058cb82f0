//! What every page begins with: the fleet in one line, and the navigation. Pure.

use super::words::{Badge, grouped};
use crate::decide::drift::DriftKind;
use crate::decide::fleet::ApplyResult;
use crate::decide::operators::Role;
pub use crate::decide::render::summary::LinePart;
use crate::decide::render::summary::{self, FirstLine, Sync};
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

/// The line of a fleet: what `status` begins with, in the same words.
pub fn line(summary: &FleetSummary) -> FleetLine {
    let first = FirstLine {
        revision: &summary.revision,
        apply: summary.apply.as_ref(),
        drift: summary.drift.clone(),
        edges: summary.edges.all,
        rules: summary.rules.all,
        down: summary.rules.down,
        targets: &summary.targets,
    };
    let word = first.sync().in_words();
    let verdict = match first.sync() {
        Sync::InSync => Badge::up(word),
        Sync::NothingApplied => Badge::off(word),
        Sync::OutOfSync => Badge::warn(word),
    };
    let held = summary.revision.held.then(|| Badge::warn("held"));
    let frozen = summary.frozen.as_ref().map(|_| Badge::warn("frozen"));
    let parts = first.parts(grouped);
    FleetLine { verdict, marks: held.into_iter().chain(frozen).collect(), parts }
}

/// `3 of 12 edges`: where an apply is done, and every changed rule serves.
pub fn extent(apply: &ApplyResult) -> String {
    summary::extent(apply, grouped)
}

/// One kind of drift with its figure.
pub fn drift_in_words(kind: DriftKind, number: u64) -> String {
    summary::drift_in_words(kind, number, grouped)
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
    use schema::canonical::Digest;

    use crate::decide::status::RevisionStatus;

    use super::*;

    #[test]
    fn the_line_says_whether_all_is_well_before_it_counts() {
        let mut summary = FleetSummary::default();
        assert_eq!(line(&summary).verdict.word, "Nothing has been applied yet");
        summary.revision.digest = Some(Digest::of(b"tree"));
        summary.targets.all = 5;
        (summary.targets.up, summary.targets.down) = (1, 1);
        (summary.targets.unknown, summary.targets.unchecked) = (3, 3);
        let found = line(&summary);
        let text =
            |found: &FleetLine| found.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" · ");
        assert_eq!(found.verdict.word, "In sync");
        assert_eq!(text(&found), "0 edges · 0 rules · 1 of 2 targets up, 1 down · 3 targets not checked");
        summary.drift = [(DriftKind::EdgeOffline, 1), (DriftKind::Failed, 2)].into();
        let found = line(&summary);
        assert_eq!(found.verdict.word, "Out of sync");
        assert!(text(&found).starts_with("2 rules failed · 1 edge offline · 0 edges"), "{found:?}");
    }

    #[test]
    fn a_rollout_that_stopped_is_in_the_line_as_the_status_words_it() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let edge = |name: &str, outcome: &str| serde_json::json!({"edge": name, "outcome": outcome, "generation": 1, "code": "", "message": "", "rules": []});
        let apply = serde_json::json!({"id": "a1", "plan_id": digest, "digest": digest, "commit": null, "actor": "ann",
            "outcome": "partial", "started_at": "2025-01-01T00:00:00Z", "finished_at": null,
            "stopped": "wave 1 failed on edge-01", "edges": [edge("edge-01", "done"), edge("edge-02", "skipped")]});
        let summary = FleetSummary {
            revision: RevisionStatus { digest: Digest::parse(&digest), ..RevisionStatus::default() },
            apply: Some(serde_json::from_value(apply).expect("an apply")),
            drift: [(DriftKind::StaleGeneration, 1)].into(),
            ..FleetSummary::default()
        };
        let found = line(&summary);
        assert_eq!(found.parts[0].text, "applied in part: 1 of 2 edges, rollout stopped at wave 1", "{found:?}");
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
