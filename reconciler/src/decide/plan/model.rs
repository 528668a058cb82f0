//! A plan as the server works with it: listeners, codes and rails are values, not texts. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::codes::RuleCode;
use schema::diagnostic::DiagnosticJson;
use schema::name::{EdgeName, RuleName};
use schema::net::ListenRange;
use schema::ruleset::Origin;
use schema::spec::FieldChange;

use super::proof::{Lease, Proof};
use super::rail::Rail;
use super::{Action, Base, Hint, Impact, ImpactKind, PlanDocument, PlannedWave, Source, Summary};
use crate::decide::drift::Drift;
use crate::decide::fleet::Freeze;

/// A plan. [`PlanDocument`] is its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Digest of the rest without what time and connections change.
    pub plan_id: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being applicable.
    pub expires_at: Timestamp,
    /// The tree.
    pub source: Source,
    /// The state that it starts from.
    pub base: Base,
    /// False if an edge was planned from its last known state.
    pub complete: bool,
    /// False if `apply` would refuse it now.
    pub applyable: bool,
    /// Figures.
    pub summary: Summary,
    /// By edge and rule.
    pub changes: Vec<RuleChange>,
    /// Which edges change in which wave; empty where the tree has no waves, or nothing changes.
    pub waves: Vec<PlannedWave>,
    /// What differs now from what was applied.
    pub drift: Vec<Drift>,
    /// What running rules say that the plan does nothing about.
    pub hints: Vec<Hint>,
    /// All rails.
    pub rails: Vec<Rail>,
    /// Findings of the tree, warnings only.
    pub diagnostics: Vec<DiagnosticJson>,
    /// True if the tree is not committed, and the person allows that.
    pub dirty_allowed: bool,
    /// Why the server would refuse the tree whatever else holds: in mode `apply` it follows another one.
    pub not_followed: Option<String>,
    /// The freeze that stood when the plan was made.
    pub frozen: Option<Freeze>,
    /// How much is left out because the operator may not see it.
    pub hidden: u64,
    /// What edges hold for it.
    pub leases: BTreeMap<EdgeName, Lease>,
}

impl Plan {
    /// The identity, as the document has it.
    pub fn compute_id(&self) -> Digest {
        PlanDocument::from(self.clone()).into_id()
    }

    /// The same plan in a fleet that is frozen, or is not.
    #[must_use]
    pub fn under(self, frozen: Option<Freeze>) -> Self {
        Self { applyable: self.applyable && frozen.is_none(), frozen, ..self }
    }

    /// True if a rail is tripped.
    pub fn is_railed(&self) -> bool {
        self.rails.iter().any(|rail| rail.tripped)
    }

    /// Counts what its changes do.
    pub(super) fn count(&mut self) {
        let (unchanged, edges) = (self.summary.unchanged, self.summary.edges);
        self.summary = Summary { unchanged, edges, ..Summary::default() };
        for change in &self.changes {
            change.count(&mut self.summary);
        }
    }
}

/// One change of one rule on one edge.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleChange {
    /// The edge.
    pub edge: EdgeName,
    /// The rule, by its new name.
    pub rule: RuleName,
    /// Its name before, if it moves.
    pub previous_rule: Option<RuleName>,
    /// What happens.
    pub action: Action,
    /// Why, for `reject` and `retry`; `client_not_connected` where the edge is planned from its last known state.
    pub code: Option<ReasonCode>,
    /// In words.
    pub message: Option<String>,
    /// Its listeners.
    pub ports: PortChanges,
    /// Its fields.
    pub fields: Vec<FieldChange>,
    /// What it means for live connections.
    pub impact: Impact,
    /// Where the tree has the rule; of a removed one: where it stood.
    pub origin: Option<Origin>,
    /// How sure it is, where edges were asked.
    pub proof: Option<Proof>,
}

impl RuleChange {
    /// A change that touches nothing yet.
    pub(super) fn new(edge: EdgeName, rule: RuleName, action: Action) -> Self {
        Self {
            edge,
            rule,
            previous_rule: None,
            action,
            code: None,
            message: None,
            ports: PortChanges::default(),
            fields: Vec::new(),
            impact: Impact::new(ImpactKind::None, 0),
            origin: None,
            proof: None,
        }
    }

    /// Adds it to the figures of its plan.
    pub(super) fn count(&self, summary: &mut Summary) {
        let width = |ranges: &[ListenRange]| ranges.iter().map(|range| range.ports.width()).sum::<u32>();
        *summary.of_mut(self.action) += 1;
        summary.ports_bound += width(&self.ports.bind);
        summary.ports_released += width(&self.ports.release);
        if matches!(self.impact.kind, ImpactKind::Drain | ImpactKind::Gap) {
            summary.connections_affected = summary.connections_affected.saturating_add(self.impact.connections);
        }
    }

    /// What it does to listeners alone, which is compared with what was planned before.
    pub(in crate::decide) fn core(&self) -> (&EdgeName, &RuleName, Action, &[ListenRange]) {
        (&self.edge, &self.rule, self.action, &self.ports.bind)
    }
}

/// The listeners of a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortChanges {
    /// To be bound.
    pub bind: Vec<ListenRange>,
    /// Open now and afterwards.
    pub keep: Vec<ListenRange>,
    /// To be closed.
    pub release: Vec<ListenRange>,
}

impl PortChanges {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &ListenRange> {
        self.bind.iter().chain(&self.keep).chain(&self.release)
    }
}

/// Why a rule is not changed as the tree has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasonCode {
    /// A code of this version.
    Known(RuleCode),
    /// What an edge of a newer version reported.
    Other(String),
}

impl ReasonCode {
    /// The code with this text.
    pub fn read(text: &str) -> Self {
        RuleCode::parse(text).map_or_else(|| Self::Other(text.to_owned()), Self::Known)
    }

    /// As in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(code) => code.as_str(),
            Self::Other(text) => text,
        }
    }
}

impl From<RuleCode> for ReasonCode {
    fn from(code: RuleCode) -> Self {
        Self::Known(code)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
