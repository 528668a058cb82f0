//! The planner: what applying a tree would change, edge by edge and port by port. Pure and deterministic.
//!
//! Keeps: nothing planned differs from what is applied. [`plan`] returns the document that people see together with
//! the assignments that an apply puts in force, both from one call of [`assign`] and one of `schema::diff`.

mod document;
mod ended;
mod ephemeral;
mod file;
mod hints;
mod impact;
mod proof;
mod rails;
mod shared_host;
mod source;
mod waves;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schema::access;
use schema::canonical::Digest;
use schema::codes::RuleCode;
use schema::diagnostic::DiagnosticJson;
use schema::diff::{self, Change, ChangeKind};
use schema::ending::{self, Endings, Part};
use schema::name::{EdgeName, RuleName};
use schema::net::ListenRange;
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Origin, Rails, RuleSet, rules_only};
use schema::spec::{FieldChange, field_changes, new_fields};
use schema::state::RuleState;

use super::assign::{assign, is_at_rest};
use super::drift::{Drift, DriftKind, drift};
use super::edges::Edges;
use super::succession::Succession;
use super::view::{Basis, EdgeView};

pub use document::{
    Action, Base, BaseEdge, FORMAT_VERSION, PlanDocument, PlannedChange, Ports, RailVerdict, Remark, Summary,
};
pub use ended::{Ended, ended};
pub use file::{FileDocument, PlanFile, PlanFileError};
pub use hints::Hint;
pub use impact::{Impact, ImpactKind, Losing};
pub use proof::{EdgeProof, Lease, Proof, ProofStatus, RuleProof};
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
pub fn plan(input: &PlanInput<'_>) -> PlanDocument {
    let (mut document, _) = plan_without_drift(input);
    document.drift = drift(input.edges);
    let is_bare = |edge: &EdgeName| input.edges.get(edge).is_some_and(EdgeView::is_bare);
    let is_concern =
        |one: &Drift| one.kind != DriftKind::EdgeOffline || input.ruleset.names(&one.edge) || !is_bare(&one.edge);
    document.drift.retain(is_concern);
    document.hints = hints::hints(input.ruleset, input.edges, input.now);
    document.hints.extend(ephemeral::hints(input.ruleset, input.edges, &document.changes));
    document.hints.extend(shared_host::hints(input.ruleset, input.edges, &document));
    document
}

/// The same without what runs in another way than was applied, which changes nothing of the plan; and the edges that
/// are not at rest under the tree, the only ones of which applying it can change the rules.
pub(super) fn plan_without_drift(input: &PlanInput<'_>) -> (PlanDocument, BTreeSet<EdgeName>) {
    let mut moved = BTreeSet::new();
    let empty_rules = EdgeRules::new();
    let unknown = EdgeView::default();
    let mut summary = Summary::default();
    let mut changes = Vec::new();
    let mut base = Base {
        lineage: input.lineage.to_owned(),
        commit: input.succession.applied.map(str::to_owned),
        descends: input.succession.is_kept_by(input.source.commit.as_deref()),
        edges: BTreeMap::new(),
    };
    let mut complete = true;
    for (name, edge, wanted) in input.edges.beside(&input.ruleset.edges) {
        // What it runs is drift, and nobody's to change before a tree names it: it may run any number of rules.
        let is_stranger = edge.is_some_and(|edge| edge.is_stranger && edge.desired.is_none());
        if is_stranger && !input.ruleset.names(name) {
            continue;
        }
        let (edge, wanted) = (edge.unwrap_or(&unknown), wanted.unwrap_or(&empty_rules));
        let before = changes.len();
        if is_at_rest(edge, wanted) {
            summary.unchanged += wanted.len() as u32;
        } else {
            moved.insert(name.clone());
            summary.unchanged += plan_edge(name, edge, wanted, (input.ruleset, input.now), &mut changes);
        }
        let is_concerned = changes.len() > before || !wanted.is_empty();
        if changes.len() > before {
            summary.edges += 1;
        }
        complete &= edge.connected || !is_concerned;
        base.edges.insert(
            name.clone(),
            BaseEdge {
                generation: edge.desired_generation().max(edge.observed_generation()),
                digest: edge.running_digest(),
                connected: edge.connected,
                observed_at: edge.last_seen,
                decided: is_concerned && !edge.connected && is_decided(edge, wanted),
            },
        );
    }
    for change in &changes {
        count(change, &mut summary);
    }
    for change in &changes {
        let connections = match change.impact.kind {
            ImpactKind::Drain | ImpactKind::Gap => change.impact.connections,
            ImpactKind::None | ImpactKind::NewConnections => 0,
        };
        summary.connections_affected = summary.connections_affected.saturating_add(connections);
    }
    let rails = rails::evaluate(input, &moved, summary.connections_affected);
    let is_railed = rails.iter().any(|rail| rail.tripped);
    let uncommitted = input.source.uncommitted();
    let is_uncommitted = uncommitted.is_some();
    let touched: BTreeSet<&EdgeName> = changes.iter().map(|change| &change.edge).collect();
    let waves = waves::shown(input.ruleset, touched.into_iter().cloned());
    let mut document = PlanDocument {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "plan".to_owned(),
        plan_id: Digest::default(),
        created_at: input.now,
        expires_at: input.now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX),
        source: input.source.clone(),
        base,
        complete,
        applyable: !is_railed && (input.allowances.dirty || !is_uncommitted),
        summary,
        changes,
        waves,
        drift: Vec::new(),
        hints: Vec::new(),
        rails,
        diagnostics: input.diagnostics.to_vec(),
        dirty_allowed: is_uncommitted && input.allowances.dirty,
        uncommitted: uncommitted.map(|why| Remark { code: why.code().to_owned(), message: why.message() }),
        not_followed: None,
        frozen: None,
        hidden: 0,
        leases: BTreeMap::new(),
    };
    document.plan_id = document.compute_id();
    (document, moved)
}

/// True if the edge is to run just that already, whether it knows it or not.
fn is_decided(edge: &EdgeView, wanted: &EdgeRules) -> bool {
    edge.desired.as_ref().is_some_and(|desired| rules_only(&desired.wanted) == rules_only(wanted))
}

/// Appends the changes of one edge, in rule order; returns how many rules stay.
fn plan_edge(
    name: &EdgeName,
    edge: &EdgeView,
    wanted: &EdgeRules,
    (ruleset, now): (&RuleSet, Timestamp),
    changes: &mut Vec<PlannedChange>,
) -> u32 {
    let running = edge.running();
    let assignment = assign(edge, wanted);
    let target = rules_only(&assignment.rules);
    let set = diff::diff(&running, &target);
    let endings = ending::ends(&set);
    let mut unchanged = set.unchanged;
    let origin_of = |rule: &RuleName| -> Option<Origin> {
        let disabled = ruleset.disabled.get(name);
        wanted
            .get(rule)
            .or_else(|| disabled.and_then(|rules| rules.get(rule)))
            .or_else(|| edge.placed(rule))
            .and_then(|placed| placed.origin.clone())
    };
    let mut of_edge: Vec<PlannedChange> = set
        .changes
        .iter()
        .map(|change| {
            let retry = change.after.as_ref().and_then(|after| retried(edge, after));
            let is_rejected = assignment.rejected.contains_key(&change.rule);
            let impact = impact(edge, change, &endings, now);
            let mut planned = planned(name, change, impact, origin_of(&change.rule));
            if let Some((code, message)) = retry.filter(|_| !is_rejected) {
                planned.action = Action::Retry;
                planned.code = Some(code);
                planned.message = Some(message);
            }
            planned
        })
        .filter(|planned| !assignment.rejected.contains_key(&planned.rule) || planned.action == Action::Remove)
        .collect();
    let is_named = |rule: &RuleName| of_edge.iter().any(|change| change.rule == *rule);
    let gone: Vec<PlannedChange> = edge
        .waiting()
        .iter()
        .filter(|(rule, _)| !wanted.contains_key(*rule) && !is_named(rule))
        .map(|(rule, before)| removal_of_waiting(name, before, origin_of(rule)))
        .collect();
    of_edge.extend(gone);
    for (rule, rejection) in &assignment.rejected {
        let after = &wanted[rule].rule;
        let fields = running.get(rule).map_or_else(|| new_fields(after), |before| field_changes(before, after));
        if running.contains_key(rule) && target.get(rule) == running.get(rule) {
            unchanged = unchanged.saturating_sub(1);
        }
        of_edge.push(PlannedChange {
            edge: name.clone(),
            rule: rule.clone(),
            previous_rule: None,
            action: Action::Reject,
            code: Some(rejection.code.as_str().to_owned()),
            message: Some(rejection.message.clone()),
            ports: Ports {
                keep: running.get(rule).map(|before| before.listen.to_string()).into_iter().collect(),
                ..Ports::default()
            },
            fields,
            impact: Impact::new(ImpactKind::None, 0),
            origin: origin_of(rule),
            proof: None,
        });
    }
    if !edge.connected {
        for change in of_edge.iter_mut().filter(|change| change.code.is_none()) {
            change.code = Some(RuleCode::ClientNotConnected.as_str().to_owned());
            change.message = Some("the edge is not connected: planned from its last known state".to_owned());
        }
    }
    of_edge.sort_by(|a, b| a.rule.cmp(&b.rule));
    changes.append(&mut of_edge);
    unchanged
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

/// A rule that the edge was told and that does not serve: there is nothing to close, and it goes all the same.
fn removal_of_waiting(edge: &EdgeName, rule: &Rule, origin: Option<Origin>) -> PlannedChange {
    PlannedChange {
        edge: edge.clone(),
        rule: rule.name.clone(),
        previous_rule: None,
        action: Action::Remove,
        code: None,
        message: None,
        ports: Ports::default(),
        fields: Vec::new(),
        impact: Impact::new(ImpactKind::None, 0),
        origin,
        proof: None,
    }
}

/// Code and message, if the edge was told this very version and failed to run it.
fn retried(edge: &EdgeView, after: &Rule) -> Option<(String, String)> {
    let view = edge.rule(&after.name)?;
    let is_this_version = view.told().is_some_and(|told| **told == *after);
    (view.state == RuleState::Failed && is_this_version).then(|| (view.code.clone(), view.message.clone()))
}

fn planned(name: &EdgeName, change: &Change, impact: Impact, origin: Option<Origin>) -> PlannedChange {
    let texts = |ranges: &[ListenRange]| ranges.iter().map(ToString::to_string).collect();
    PlannedChange {
        edge: name.clone(),
        rule: change.rule.clone(),
        previous_rule: change.previous_rule.clone(),
        action: match change.kind {
            ChangeKind::Activate => Action::Activate,
            ChangeKind::Rebind => Action::Rebind,
            ChangeKind::Update => Action::Update,
            ChangeKind::Move => Action::Move,
            ChangeKind::Remove => Action::Remove,
        },
        code: None,
        message: None,
        ports: Ports { bind: texts(&change.bind), keep: texts(&change.keep), release: texts(&change.release) },
        impact,
        fields: fields(change),
        origin,
        proof: None,
    }
}

fn fields(change: &Change) -> Vec<FieldChange> {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => field_changes(before, after),
        (None, Some(after)) => new_fields(after),
        (_, None) => Vec::new(),
    }
}

/// What a change means for live connections. What drains already is ended by an earlier one.
fn impact(edge: &EdgeView, change: &Change, endings: &Endings, now: Timestamp) -> Impact {
    let Some(before) = &change.before else { return Impact::new(ImpactKind::None, 0) };
    let parts: Vec<&Part> = endings.of_rule(&before.name).collect();
    let view = edge.rule(&before.name);
    let is_label = |path: &str| matches!(path, "name" | "description" | "owner" | "protected" | "drain_timeout_secs");
    let refuses = change.after.as_ref().is_some_and(|after| access::ends_refused(before, after));
    let kind = if !parts.is_empty() || refuses {
        ImpactKind::Drain
    } else if fields(change).iter().all(|field| is_label(&field.path)) {
        ImpactKind::None
    } else {
        ImpactKind::NewConnections
    };
    let drains = view.and_then(|view| view.live.as_ref()).map(|live| live.drains.as_slice()).unwrap_or_default();
    Impact {
        losing: endings.loss_of(&before.name).map(Losing::from).or(refuses.then_some(Losing::Access)),
        draining: drains.iter().map(|drain| drain.connections).sum(),
        draining_secs: drains.iter().map(|drain| drain.secs_left(now)).max(),
        // Whom lists refuse is not known here: it may be all of them.
        ..Impact::new(kind, view.map_or(0, |view| if refuses { view.going_on() } else { view.ended_by(&parts) }))
    }
}

fn count(change: &PlannedChange, summary: &mut Summary) {
    *summary.of_mut(change.action) += 1;
    summary.ports_bound += change.ports.bind.iter().map(|text| width(text)).sum::<u32>();
    summary.ports_released += change.ports.release.iter().map(|text| width(text)).sum::<u32>();
}

/// How many ports a text of [`Ports`] stands for.
pub fn width(text: &str) -> u32 {
    let ports = text.rsplit(':').next().unwrap_or(text).trim_end_matches("/udp");
    match ports.split_once('-') {
        Some((first, last)) => {
            let port = |text: &str| text.parse::<u32>().unwrap_or(0);
            port(last).saturating_sub(port(first)) + 1
        }
        None => 1,
    }
}

#[cfg(test)]
mod tests;
