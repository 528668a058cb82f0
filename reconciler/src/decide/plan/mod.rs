//! The planner: what applying a tree would change, edge by edge and port by port. Pure and deterministic.
//!
//! Keeps: nothing planned differs from what is applied: both come from one [`assign`] and one `schema::diff`. A [`Plan`]
//! is what the server works with, and [`PlanDocument`] is its JSON.

mod changes;
mod conversion;
mod document;
mod ended;
mod ephemeral;
mod file;
mod hints;
mod impact;
mod model;
mod proof;
mod rail;
mod rails;
mod shared_host;
mod source;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::diagnostic::DiagnosticJson;
use schema::name::EdgeName;
use schema::ruleset::{EdgeRules, Rails, RuleSet, rules_only};

use self::changes::EdgePlan;
use super::assign::{assign, is_at_rest};
use super::drift::{Drift, DriftKind, drift};
use super::edges::Edges;
use super::succession::Succession;
use super::view::{Basis, EdgeView};

pub use conversion::InvalidPlan;
pub use document::{
    Action, Base, BaseEdge, FORMAT_VERSION, PlanDocument, PlannedChange, Ports, RailVerdict, Remark, Summary,
};
pub use ended::{Ended, ended};
pub use file::{FileDocument, PlanFile, PlanFileError};
pub use hints::Hint;
pub use impact::{Impact, ImpactKind, Losing};
pub use model::{Plan, PortChanges, ReasonCode, RuleChange};
pub use proof::{EdgeProof, Lease, Proof, ProofStatus, RuleProof};
pub use rail::{AllowFlag, Rail, RailKind};
pub use rails::Allowances;
pub(crate) use shared_host::companions;
pub use source::{LONGEST_LABEL, Source, Uncommitted, filter_note};
pub use waves::PlannedWave;
pub(crate) use waves::grouped;

/// How long a plan can be applied.
pub const LIFETIME: Duration = Duration::from_hours(24);

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// The valid tree.
    pub ruleset: &'a RuleSet,
    /// Its provenance.
    pub source: &'a Source,
    /// All edges as the server knows them.
    pub edges: &'a Edges,
    /// The line of generations.
    pub lineage: &'a str,
    /// The rails of the last applied tree, `None` before the first apply.
    pub rails: Option<&'a Rails>,
    /// The commit in force, and how the tree's commit stands to it.
    pub succession: Succession<'a>,
    /// What the person allows.
    pub allowances: &'a Allowances,
    /// Warnings of the tree.
    pub diagnostics: &'a [DiagnosticJson],
    /// The time.
    pub now: Timestamp,
}

/// Makes the plan.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let (mut plan, _) = plan_without_drift(input);
    plan.drift = drift(input.edges);
    let is_bare = |edge: &EdgeName| input.edges.get(edge).is_some_and(EdgeView::is_bare);
    let is_concern =
        |one: &Drift| one.kind != DriftKind::EdgeOffline || input.ruleset.names(&one.edge) || !is_bare(&one.edge);
    plan.drift.retain(is_concern);
    plan.hints = hints::hints(input.ruleset, input.edges, input.now);
    plan.hints.extend(ephemeral::hints(input.ruleset, input.edges, &plan.changes));
    plan.hints.extend(shared_host::hints(input.ruleset, input.edges, &plan));
    plan
}

/// The same without what runs in another way than was applied, which changes nothing of the plan; and the edges that
/// are not at rest under the tree, the only ones of which applying it can change the rules.
pub(super) fn plan_without_drift(input: &PlanInput<'_>) -> (Plan, BTreeSet<EdgeName>) {
    let mut planned = PlannedEdges::at(input);
    let rails = rails::evaluate(input, &planned.moved, planned.summary.connections_affected);
    let is_railed = rails.iter().any(|rail| rail.tripped);
    let is_uncommitted = input.source.uncommitted().is_some();
    let touched: BTreeSet<&EdgeName> = planned.changes.iter().map(|change| &change.edge).collect();
    let waves = waves::shown(input.ruleset, touched.into_iter().cloned());
    let mut plan = Plan {
        plan_id: Digest::default(),
        created_at: input.now,
        expires_at: input.now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX),
        source: input.source.clone(),
        base: Base {
            lineage: input.lineage.to_owned(),
            commit: input.succession.applied.map(str::to_owned),
            descends: input.succession.is_kept_by(input.source.commit.as_deref()),
            edges: std::mem::take(&mut planned.base),
        },
        complete: planned.is_complete,
        applyable: !is_railed && (input.allowances.dirty || !is_uncommitted),
        summary: planned.summary,
        changes: planned.changes,
        waves,
        drift: Vec::new(),
        hints: Vec::new(),
        rails,
        diagnostics: input.diagnostics.to_vec(),
        dirty_allowed: is_uncommitted && input.allowances.dirty,
        not_followed: None,
        frozen: None,
        hidden: 0,
        leases: BTreeMap::new(),
    };
    plan.plan_id = plan.compute_id();
    (plan, planned.moved)
}

/// What a look at every edge found.
#[derive(Default)]
struct PlannedEdges {
    base: BTreeMap<EdgeName, BaseEdge>,
    changes: Vec<RuleChange>,
    summary: Summary,
    /// The edges that are not at rest under the tree.
    moved: BTreeSet<EdgeName>,
    is_complete: bool,
}

impl PlannedEdges {
    fn at(input: &PlanInput<'_>) -> Self {
        let mut planned = Self { is_complete: true, ..Self::default() };
        let (unknown, none) = (EdgeView::default(), EdgeRules::new());
        for (name, edge, wanted) in input.edges.beside(&input.ruleset.edges) {
            // What it runs is drift, and nobody's to change before a tree names it: it may run any number of rules.
            let is_stranger = edge.is_some_and(|edge| edge.is_stranger && edge.desired.is_none());
            if is_stranger && !input.ruleset.names(name) {
                continue;
            }
            let (edge, wanted) = (edge.unwrap_or(&unknown), wanted.unwrap_or(&none));
            planned.take(&EdgePlan { name, edge, wanted, ruleset: input.ruleset, now: input.now });
        }
        for change in &planned.changes {
            change.count(&mut planned.summary);
        }
        planned
    }

    fn take(&mut self, of: &EdgePlan<'_>) {
        let EdgePlan { name, edge, wanted, .. } = *of;
        let mut has_changes = false;
        if is_at_rest(edge, wanted) {
            self.summary.unchanged += wanted.len() as u32;
        } else {
            self.moved.insert(name.clone());
            let (changes, unchanged) = of.changes();
            self.summary.unchanged += unchanged;
            has_changes = !changes.is_empty();
            self.changes.extend(changes);
        }
        let is_concerned = has_changes || !wanted.is_empty();
        self.summary.edges += u32::from(has_changes);
        self.is_complete &= edge.connected || !is_concerned;
        let base = BaseEdge {
            generation: edge.desired_generation().max(edge.observed_generation()),
            digest: edge.running_digest(),
            connected: edge.connected,
            observed_at: edge.last_seen,
            decided: is_concerned && !edge.connected && is_decided(edge, wanted),
        };
        self.base.insert(name.clone(), base);
    }
}

/// True if the edge is to run just that already, whether it knows it or not.
fn is_decided(edge: &EdgeView, wanted: &EdgeRules) -> bool {
    edge.desired.as_ref().is_some_and(|desired| rules_only(&desired.wanted) == rules_only(wanted))
}

/// What each of these edges would be sent, and what that is decided from.
pub fn asked_for(
    ruleset: &RuleSet,
    edges: &Edges,
    names: &BTreeSet<EdgeName>,
) -> BTreeMap<EdgeName, (EdgeRules, Basis)> {
    let none = EdgeRules::new();
    let asked = names.iter().filter_map(|name| {
        let edge = edges.get(name)?;
        let wanted = ruleset.edges.get(name).unwrap_or(&none);
        Some((name.clone(), (assign(edge, wanted).rules, edge.basis()?)))
    });
    asked.collect()
}

#[cfg(test)]
mod tests;
