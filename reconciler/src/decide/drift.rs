//! How what runs differs from what was applied: drift, kept apart from planned changes. Pure.

use schema::codes::RuleCode;
use schema::name::{EdgeName, RuleName};
use schema::spec::{FieldChange, field_changes};
use schema::state::RuleState;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::edges::Edges;
use super::view::{EdgeView, Report};

/// The kinds of drift (CONTRACT §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Applied, and not there.
    Missing,
    /// There, and never applied.
    Extra,
    /// There in another version.
    Changed,
    /// Its edge could not do it; it is retried.
    Failed,
    /// Its edge cannot do it.
    Rejected,
    /// The edge has no session: the verdict is unknown, never in sync.
    EdgeOffline,
    /// The edge is connected and has not taken the newest generation.
    StaleGeneration,
    /// The edge answers every state with a reason for another.
    Unsettled,
    /// A deliberate, expiring deviation.
    Override,
}

impl DriftKind {
    /// Every kind, for metrics.
    pub const ALL: &'static [Self] = &[
        Self::Missing,
        Self::Extra,
        Self::Changed,
        Self::Failed,
        Self::Rejected,
        Self::EdgeOffline,
        Self::StaleGeneration,
        Self::Unsettled,
        Self::Override,
    ];

    /// True if applying the tree would act on it. An edge that is offline and a deliberate deviation are shown only.
    pub const fn is_acted_on(self) -> bool {
        match self {
            Self::Missing
            | Self::Extra
            | Self::Changed
            | Self::Failed
            | Self::Rejected
            | Self::StaleGeneration
            | Self::Unsettled => true,
            Self::EdgeOffline | Self::Override => false,
        }
    }

    /// As in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::EdgeOffline => "edge_offline",
            Self::StaleGeneration => "stale_generation",
            Self::Unsettled => "unsettled",
            Self::Override => "override",
        }
    }
}

/// The message of a rule that runs in another version.
const CHANGED: &str = "the edge runs a version that differs from the applied one";
/// The code of an edge that a rollout has not reached.
pub const ROLLOUT_UNFINISHED: &str = "rollout_unfinished";
/// How the message begins where it will not reach it: the rollout was stopped, and nothing is sent again by itself.
pub const STOPPED_BEFORE: &str = "the rollout stopped before it";

/// One deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The edge.
    pub edge: EdgeName,
    /// The rule; `None` where the whole edge is meant.
    #[serde(default)]
    pub rule: Option<RuleName>,
    /// What kind.
    pub kind: DriftKind,
    /// The edge's code, if it gave one.
    #[serde(default)]
    pub code: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// What differs, for `changed`: before is what was applied, after is what runs.
    #[serde(default)]
    pub fields: Vec<FieldChange>,
}

/// All drift of all edges, by edge and rule.
pub fn drift(edges: &Edges) -> Vec<Drift> {
    let mut all = Vec::new();
    for (name, edge) in edges {
        of_edge(name, edge, &mut all);
    }
    all
}

/// The drift of one edge.
pub fn of_one(name: &EdgeName, edge: &EdgeView) -> Vec<Drift> {
    let mut all = Vec::new();
    of_edge(name, edge, &mut all);
    all
}

/// An edge that the rollout of what was applied last has not reached: it runs, as it was told, what was applied before.
pub(super) fn unreached(edge: &EdgeName, why: String) -> Drift {
    let code = ROLLOUT_UNFINISHED.to_owned();
    Drift { edge: edge.clone(), rule: None, kind: DriftKind::StaleGeneration, code, message: why, fields: Vec::new() }
}

fn of_edge(name: &EdgeName, edge: &EdgeView, all: &mut Vec<Drift>) {
    let mut found = EdgeDrift { name, edge, all };
    found.of_session();
    found.of_decisions();
    if let Some(report) = &edge.report {
        found.of_report(report);
        found.of_applied(report);
        found.of_others(report);
    }
}

/// The drift of an edge while it is looked for.
struct EdgeDrift<'d> {
    name: &'d EdgeName,
    edge: &'d EdgeView,
    all: &'d mut Vec<Drift>,
}

impl EdgeDrift<'_> {
    fn add(&mut self, rule: Option<&RuleName>, kind: DriftKind, code: &str, message: String) {
        let (edge, rule, code) = (self.name.clone(), rule.cloned(), code.to_owned());
        self.all.push(Drift { edge, rule, kind, code, message, fields: Vec::new() });
    }

    fn of_session(&mut self) {
        let edge = self.edge;
        let is_expected = edge.desired.as_ref().is_some_and(|desired| !desired.wanted.is_empty());
        if !edge.connected && (is_expected || edge.report.is_some() || edge.hello.is_some()) {
            let since = edge.last_seen.map_or_else(|| "never seen".to_owned(), |at| format!("last seen {at:.0}"));
            self.add(None, DriftKind::EdgeOffline, RuleCode::ClientNotConnected.as_str(), since);
        }
    }

    /// What operators and the planner decided otherwise than the tree.
    fn of_decisions(&mut self) {
        let edge = self.edge;
        for (rule, held) in &edge.overrides {
            let message = format!("{} added it, until {:.0}: {}", held.actor, held.until, held.why);
            self.add(Some(rule), DriftKind::Override, "", message);
        }
        for (rule, rejection) in edge.desired.iter().flat_map(|desired| &desired.rejected) {
            self.add(Some(rule), DriftKind::Rejected, rejection.code.as_str(), rejection.message.clone());
        }
        for each in &edge.deviations {
            self.add(Some(&each.rule), DriftKind::Override, each.deviation.as_str(), each.in_words());
        }
    }

    /// What the edge reports of itself.
    fn of_report(&mut self, report: &Report) {
        let edge = self.edge;
        if edge.connected && edge.desired.is_some() && !edge.is_settled() {
            let desired = edge.desired_generation();
            let message = format!("the edge runs generation {}, but {desired} is desired", report.generation);
            self.add(None, DriftKind::StaleGeneration, RuleCode::StaleGeneration.as_str(), message);
        }
        let is_rejected =
            |rule: &RuleName| edge.desired.as_ref().is_some_and(|desired| desired.rejected.contains_key(rule));
        for (rule, view) in report.rules.iter().filter(|(rule, _)| !is_rejected(rule)) {
            let kind = match view.state {
                RuleState::Failed => DriftKind::Failed,
                RuleState::Rejected => DriftKind::Rejected,
                _ => continue,
            };
            self.add(Some(rule), kind, &view.code, view.message.clone());
        }
    }

    /// Applied rules that are missing, or run in another version.
    fn of_applied(&mut self, report: &Report) {
        let edge = self.edge;
        for (rule, wanted) in edge.desired.iter().flat_map(|desired| &desired.rules) {
            let wanted = &wanted.rule;
            let Some(view) = report.rules.get(rule).filter(|view| view.state != RuleState::Draining) else {
                let message = "the rule was applied, but the edge does not have it";
                self.add(Some(rule), DriftKind::Missing, "", message.to_owned());
                continue;
            };
            if let Some(running) = view.running.as_ref().filter(|running| *running != wanted)
                && view.state == RuleState::Active
            {
                let (edge, rule, message) = (self.name.clone(), Some(rule.clone()), CHANGED.to_owned());
                let (kind, code, fields) = (DriftKind::Changed, String::new(), field_changes(wanted, running));
                self.all.push(Drift { edge, rule, kind, code, message, fields });
            }
        }
    }

    /// Rules that the edge runs and that nobody applied.
    fn of_others(&mut self, report: &Report) {
        let edge = self.edge;
        // Until the edge has the newest generation, what is on its way to be removed is not a rule that nobody applied.
        let is_settled = edge.desired.is_none() || edge.is_settled();
        let is_applied =
            |rule: &RuleName| edge.desired.as_ref().is_some_and(|desired| desired.rules.contains_key(rule));
        for (rule, view) in report.rules.iter().filter(|_| is_settled) {
            // A pending rule is to be removed, and waits for a moment without connections.
            let is_going = matches!(view.state, RuleState::Draining | RuleState::Pending);
            if !is_applied(rule) && !is_going {
                let message = "the edge runs the rule, but it was never applied";
                self.add(Some(rule), DriftKind::Extra, "", message.to_owned());
            }
        }
    }
}

/// Reads drift that a server of an earlier version wrote: to it, a target that is down was drift of the kind
/// `degraded`.
pub(super) fn of_any_version<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<Drift>, D::Error> {
    let all = Vec::<Value>::deserialize(reader)?;
    let is_drift = |one: &Value| one.get("kind").and_then(Value::as_str) != Some("degraded");
    all.into_iter().filter(is_drift).map(|one| Drift::deserialize(one).map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests;
