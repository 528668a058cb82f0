//! What a limited operator sees: edges, rules and what happens to them. Pure.
//!
//! Keeps: what is not known to be inside the limits is left out, and counted where there is a place for the figure.

use schema::name::{EdgeName, RuleName};

use super::grant::GrantMatcher;
use super::touch;
use crate::decide::drift::Drift;
use crate::decide::edges::Edges;
use crate::decide::fleet::{ApplyResult, Notice};
use crate::decide::ledger::HistoryEntry;
use crate::decide::plan::{Plan, PlannedChange};
use crate::decide::status::{EdgeStatus, RevisionStatus, StatusDocument};

impl GrantMatcher {
    /// True if the operator may see a rule: one of its versions is inside.
    pub fn sees(&self, edges: &Edges, edge: &EdgeName, rule: &RuleName) -> bool {
        if !self.has_edge(edge) {
            return false;
        }
        let Some(view) = edges.get(edge).filter(|_| !self.is_of_edges_only()) else { return self.is_of_edges_only() };
        let is_inside = |version: &&std::sync::Arc<schema::rule::Rule>| {
            self.has_ports(version.listen.ports) && self.has_owner(&version.owner)
        };
        touch::versions(view, rule).iter().any(is_inside)
    }

    /// Leaves the edges and rules that are seen; how many were not: rules, and edges without any.
    pub fn leave_edges(&self, known: &Edges, edges: &mut Vec<EdgeStatus>) -> u64 {
        if self.is_none() {
            return 0;
        }
        let mut hidden = 0;
        edges.retain_mut(|edge| {
            let before = edge.rules.len() as u64;
            if !self.has_edge(&edge.name) {
                hidden += before.max(1);
                return false;
            }
            edge.rules.retain(|rule| self.sees(known, &edge.name, &rule.rule));
            edge.target_overrides.retain(|each| self.sees(known, &edge.name, &each.rule));
            hidden += before - edge.rules.len() as u64;
            true
        });
        hidden
    }

    /// Leaves the drift that is seen; how much was not.
    pub fn leave_drift(&self, known: &Edges, drift: &mut Vec<Drift>) -> u64 {
        let before = drift.len();
        let is_seen = |one: &Drift| match &one.rule {
            Some(rule) => self.sees(known, &one.edge, rule),
            None => self.has_edge(&one.edge),
        };
        drift.retain(|one| self.is_none() || is_seen(one));
        (before - drift.len()) as u64
    }

    /// Leaves of an apply what it does where the operator sees it.
    pub fn leave_apply(&self, known: &Edges, result: &mut ApplyResult) {
        if self.is_none() {
            return;
        }
        result.edges.retain(|edge| self.has_edge(&edge.edge));
        for edge in &mut result.edges {
            let name = edge.edge.clone();
            edge.rules.retain(|rule| self.sees(known, &name, &rule.rule));
        }
        result.stopped = result.stopped.take().map(|_| "a wave failed".to_owned());
    }

    /// Leaves out what the followed tree says about rules.
    pub fn leave_revision(&self, revision: &mut RevisionStatus) -> u64 {
        if self.is_none() {
            return 0;
        }
        let hidden = revision.errors.len() + revision.warnings.len();
        revision.errors.clear();
        revision.warnings.clear();
        revision.plan = None;
        hidden as u64
    }

    /// Leaves of a status what is seen; the rest is counted in it.
    pub fn leave_status(&self, known: &Edges, status: &mut StatusDocument) {
        if self.is_none() {
            return;
        }
        status.hidden += self.leave_edges(known, &mut status.edges) + self.leave_drift(known, &mut status.drift);
        status.hidden += self.leave_revision(&mut status.revision);
        if let Some(apply) = &mut status.apply {
            self.leave_apply(known, apply);
        }
    }

    /// Leaves of a plan what is seen: what the operator could not change is none of its changes.
    pub fn leave_plan(&self, known: &Edges, plan: &mut Plan) {
        if self.is_none() {
            return;
        }
        let before = plan.changes.len() + plan.hints.len();
        plan.changes.retain(|change| self.has_edge(&change.edge));
        plan.base.edges.retain(|edge, _| self.has_edge(edge));
        plan.hints.clear();
        plan.hidden = (before - plan.changes.len()) as u64 + self.leave_drift(known, &mut plan.drift);
        plan.plan_id = plan.compute_id();
    }

    /// Leaves of a plan that others may carry out what is seen.
    pub fn leave_foreign_plan(&self, known: &Edges, plan: &mut Plan) {
        if self.is_none() {
            return;
        }
        let before = plan.changes.len() + plan.hints.len() + plan.diagnostics.len();
        plan.changes.retain(|change| {
            let mut names = std::iter::once(&change.rule).chain(&change.previous_rule);
            names.any(|rule| self.sees(known, &change.edge, rule))
        });
        plan.base.edges.retain(|edge, _| self.has_edge(edge));
        for wave in &mut plan.waves {
            wave.edges.retain(|edge| self.has_edge(edge));
        }
        plan.waves.retain(|wave| !wave.edges.is_empty());
        plan.hints.clear();
        plan.diagnostics.clear();
        for rail in &mut plan.rails {
            rail.message.clear();
        }
        plan.hidden = (before - plan.changes.len()) as u64 + self.leave_drift(known, &mut plan.drift);
        plan.plan_id = plan.compute_id();
    }

    /// Leaves the changes of a recorded plan that are seen.
    pub fn leave_changes(&self, known: &Edges, changes: &mut Vec<PlannedChange>) {
        changes.retain(|change| self.is_none() || self.sees(known, &change.edge, &change.rule));
    }

    /// Leaves the entries of a history that are not about other edges or rules alone; how many were.
    pub fn leave_history(&self, known: &Edges, entries: &mut Vec<HistoryEntry>) -> u64 {
        if self.is_none() {
            return 0;
        }
        let before = entries.len();
        entries.retain_mut(|found| {
            let entry = &mut found.entry;
            // The line of an override begins with the address of its rule.
            let about = entry.note.split(' ').next().and_then(|text| schema::name::RuleAddress::parse(text).ok());
            if about.is_some_and(|address| !self.sees(known, &address.edge, &address.rule)) {
                return false;
            }
            let was_about_edges = !entry.generations.is_empty();
            entry.generations.retain(|edge, _| self.has_edge(edge));
            entry.edges.retain(|edge, _| self.has_edge(edge));
            entry.brought_back.retain(|edge| self.has_edge(edge));
            !was_about_edges || !entry.generations.is_empty()
        });
        (before - entries.len()) as u64
    }

    /// The event as the operator sees it; nothing where it does not.
    pub fn seen(&self, known: &Edges, notice: &Notice) -> Option<Notice> {
        let is_seen = match notice {
            _ if self.is_none() => true,
            Notice::Edge { edge, .. } | Notice::Unsettled { edge, .. } => self.has_edge(edge),
            Notice::Certificate { edge, .. } => edge.as_ref().is_none_or(|edge| self.has_edge(edge)),
            Notice::Rule { edge, rule, .. }
            | Notice::Health { edge, rule, .. }
            | Notice::Balance { edge, rule, .. }
            | Notice::Target { edge, rule, .. }
            | Notice::Weights { edge, rule, .. }
            | Notice::Override { edge, rule, .. }
            | Notice::Quota { edge, rule: Some(rule), .. } => self.sees(known, edge, rule),
            Notice::Quota { edge, rule: None, owner, .. } => self.has_edge(edge) && self.has_owner(owner),
            Notice::TargetOverride { edge, deviation, .. } => self.sees(known, edge, &deviation.rule),
            Notice::Apply { result } => {
                let mut result = result.clone();
                self.leave_apply(known, &mut result);
                return Some(Notice::Apply { result });
            }
            Notice::Tree { .. } | Notice::Remote { .. } | Notice::Freeze { .. } | Notice::Hold { .. } => true,
        };
        is_seen.then(|| notice.clone())
    }
}
