//! The changes of one edge: what its rules become, port by port, and what its live connections notice. Pure.

use jiff::Timestamp;
use schema::access;
use schema::codes::RuleCode;
use schema::diff::{self, Change, ChangeKind, Rules};
use schema::ending::{self, Endings, Part};
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Origin, RuleSet, rules_only};
use schema::spec::{FieldChange, field_changes, new_fields};
use schema::state::RuleState;

use super::model::{PortChanges, ReasonCode, RuleChange};
use super::{Action, Impact, ImpactKind, Losing};
use crate::decide::assign::{Assignment, assign};
use crate::decide::view::EdgeView;

/// An edge as it is, and what a tree wants of it.
pub(super) struct EdgePlan<'p> {
    pub(super) name: &'p EdgeName,
    pub(super) edge: &'p EdgeView,
    pub(super) wanted: &'p EdgeRules,
    pub(super) ruleset: &'p RuleSet,
    pub(super) now: Timestamp,
}

impl EdgePlan<'_> {
    /// The changes in the order of the rules, and how many rules stay.
    pub(super) fn changes(&self) -> (Vec<RuleChange>, u32) {
        let running = self.edge.running();
        let assignment = assign(self.edge, self.wanted);
        let target = rules_only(&assignment.rules);
        let set = diff::diff(&running, &target);
        let endings = ending::ends(&set);
        let of_set = set.changes.iter().map(|change| self.change(change, &assignment, &endings));
        let is_rejected = |change: &RuleChange| assignment.rejected.contains_key(&change.rule);
        let mut changes: Vec<RuleChange> =
            of_set.filter(|change| !is_rejected(change) || change.action == Action::Remove).collect();
        changes.extend(self.removals_of_waiting(&changes));
        let mut unchanged = set.unchanged;
        for rule in assignment.rejected.keys() {
            if running.contains_key(rule) && target.get(rule) == running.get(rule) {
                unchanged = unchanged.saturating_sub(1);
            }
            changes.push(self.rejection(rule, &assignment, &running));
        }
        if !self.edge.connected {
            for change in changes.iter_mut().filter(|change| change.code.is_none()) {
                change.code = Some(RuleCode::ClientNotConnected.into());
                change.message = Some("the edge is not connected: planned from its last known state".to_owned());
            }
        }
        changes.sort_by(|a, b| a.rule.cmp(&b.rule));
        (changes, unchanged)
    }

    /// Where the tree has the rule, or where it stood.
    fn origin_of(&self, rule: &RuleName) -> Option<Origin> {
        let disabled = self.ruleset.disabled.get(self.name).and_then(|rules| rules.get(rule));
        let placed = self.wanted.get(rule).or(disabled).or_else(|| self.edge.placed(rule));
        placed.and_then(|placed| placed.origin.clone())
    }

    fn change(&self, change: &Change, assignment: &Assignment, endings: &Endings) -> RuleChange {
        let impact = impact(self.edge, change, endings, self.now);
        let mut planned = planned(self.name, change, impact, self.origin_of(&change.rule));
        let retry = change.after.as_ref().and_then(|after| retried(self.edge, after));
        let is_rejected = assignment.rejected.contains_key(&change.rule);
        if let Some((code, message)) = retry.filter(|_| !is_rejected) {
            planned.action = Action::Retry;
            planned.code = Some(code);
            planned.message = Some(message);
        }
        planned
    }

    /// Rules that the edge received and that do not serve: there is nothing to close, and they are removed even so.
    fn removals_of_waiting(&self, changes: &[RuleChange]) -> Vec<RuleChange> {
        let is_named = |rule: &RuleName| changes.iter().any(|change| change.rule == *rule);
        let waiting = self.edge.waiting();
        let gone = waiting.iter().filter(|(rule, _)| !self.wanted.contains_key(*rule) && !is_named(rule));
        let removal = |(rule, before): (&RuleName, &std::sync::Arc<Rule>)| RuleChange {
            origin: self.origin_of(rule),
            ..RuleChange::new(self.name.clone(), before.name.clone(), Action::Remove)
        };
        gone.map(removal).collect()
    }

    /// A rule that the edge cannot run: what it runs of it stays.
    fn rejection(&self, rule: &RuleName, assignment: &Assignment, running: &Rules) -> RuleChange {
        let (rejection, after) = (&assignment.rejected[rule], &self.wanted[rule].rule);
        let before = running.get(rule);
        RuleChange {
            code: Some(rejection.code.into()),
            message: Some(rejection.message.clone()),
            ports: PortChanges {
                keep: before.map(|before| before.listen).into_iter().collect(),
                ..PortChanges::default()
            },
            fields: before.map_or_else(|| new_fields(after), |before| field_changes(before, after)),
            origin: self.origin_of(rule),
            ..RuleChange::new(self.name.clone(), rule.clone(), Action::Reject)
        }
    }
}

/// Code and message, if the edge was told this very version and failed to run it.
fn retried(edge: &EdgeView, after: &Rule) -> Option<(ReasonCode, String)> {
    let view = edge.rule(&after.name)?;
    let is_this_version = view.told().is_some_and(|told| **told == *after);
    (view.state == RuleState::Failed && is_this_version).then(|| (ReasonCode::read(&view.code), view.message.clone()))
}

fn planned(name: &EdgeName, change: &Change, impact: Impact, origin: Option<Origin>) -> RuleChange {
    let action = match change.kind {
        ChangeKind::Activate => Action::Activate,
        ChangeKind::Rebind => Action::Rebind,
        ChangeKind::Update => Action::Update,
        ChangeKind::Move => Action::Move,
        ChangeKind::Remove => Action::Remove,
    };
    let (bind, keep, release) = (change.bind.clone(), change.keep.clone(), change.release.clone());
    RuleChange {
        previous_rule: change.previous_rule.clone(),
        ports: PortChanges { bind, keep, release },
        impact,
        fields: fields(change),
        origin,
        ..RuleChange::new(name.clone(), change.rule.clone(), action)
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
