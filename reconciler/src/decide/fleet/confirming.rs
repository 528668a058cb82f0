//! States that an edge keeps only if it hears in time that they are good; otherwise it returns by itself. Pure.
//!
//! Keeps: only what its own apply has found good is confirmed, and only by the server that found it so; what an edge
//! returned to is what is wanted there from then on, under a generation of its own, until somebody applies again.

use schema::codes::RuleCode;
use schema::name::{EdgeName, RuleName};
use schema::ruleset::{EdgeRules, Placed};
use schema::state::RuleState;

use super::before::Before;
use super::freezing::Deed;
use super::rollout::Run;
use super::step::Step;
use super::{EdgeOutcome, EdgeResult, Effect, Fleet, Refusal, StoppedRollout};
use crate::decide::ledger::{Entry, LedgerAction};
use crate::decide::plan::{self, Plan};
use crate::decide::record::Record;
use crate::decide::view::{Confirmation, EdgeView, RuleView};

/// What an edge that can wait for a confirmation says of itself.
pub const FEATURE: &str = "confirm";
/// The code of an edge that cannot.
const UNSUPPORTED: &str = "confirmation_unsupported_by_client";
/// The code of one that returned.
pub(super) const NOT_CONFIRMED: &str = "not_confirmed";

/// True if the accepted state of an edge is kept only on confirmation.
pub(super) fn is_awaited(view: &EdgeView) -> bool {
    view.report.as_ref().is_some_and(|report| report.confirmation == Confirmation::Awaited)
}

/// What an edge that returned runs and tries again, as it says itself; `None` for one that did not.
pub(super) fn returned_to(view: &EdgeView) -> Option<EdgeRules> {
    let report = view.report.as_ref().filter(|report| report.confirmation == Confirmation::Missed)?;
    let told = report.rules.iter();
    let told = told.filter(|(name, rule)| rule.state != RuleState::Draining && !view.overrides.contains_key(*name));
    let placed = |(name, rule): (&RuleName, &RuleView)| {
        let rule = rule.told()?.clone();
        let placed = view.placed(name).filter(|placed| placed.rule == rule);
        Some((name.clone(), Placed { origin: placed.and_then(|placed| placed.origin.clone()), rule }))
    };
    Some(told.filter_map(placed).collect())
}

/// True if nothing that the apply changed there is in trouble, and nothing else is that was not before.
fn is_good(edge: &EdgeResult, view: &EdgeView, before: Option<&Before>) -> bool {
    let is_well = |rule: &super::RuleResult| {
        let is_old_trouble = matches!(rule.action, plan::Action::Reject | plan::Action::Retry);
        let serves = matches!(rule.state, None | Some(RuleState::Active | RuleState::Draining));
        is_old_trouble || (serves && !rule.is_unhealthy())
    };
    edge.rules.iter().all(is_well) && before.is_none_or(|before| before.worse_off(view).next().is_none())
}

/// What is to be confirmed is not left to an edge that nobody can hear.
pub(super) fn leave_out(edge: &mut EdgeResult) {
    edge.outcome = EdgeOutcome::Offline;
    RuleCode::ClientNotConnected.as_str().clone_into(&mut edge.code);
    "is offline and was left unchanged: it could not be confirmed".clone_into(&mut edge.message);
}

impl Fleet {
    /// Refuses an apply that edges could not keep their part of.
    pub(super) fn can_confirm(&self, plan: &Plan) -> Result<(), Refusal> {
        let cannot = |edge: &&EdgeName| {
            let view = self.edges.get(*edge).filter(|view| view.connected);
            view.and_then(|view| view.hello.as_ref()).is_some_and(|hello| !hello.features.contains(FEATURE))
        };
        match plan.changes.iter().map(|change| &change.edge).find(cannot) {
            None => Ok(()),
            Some(edge) => Err(Refusal::Rejected {
                reason: UNSUPPORTED.to_owned(),
                message: format!("{edge} does not support confirmations: its version is too old"),
            }),
        }
    }

    /// Confirms what this apply has found good, once per session.
    pub(super) fn confirm_good_edges(&mut self, run: &Run, about: Option<&EdgeName>, step: &mut Step) {
        let concerned = &run.result.edges[run.places_of(about)];
        for edge in concerned.iter().filter(|edge| edge.outcome == EdgeOutcome::Waiting) {
            let Some(view) = self.edges.get(&edge.edge).filter(|view| view.connected && is_awaited(view)) else {
                continue;
            };
            let is_this = view.observed_generation() == edge.generation;
            let before = run.bases.get(&edge.edge).map(|(_, before)| before);
            let Some(link) = self.links.get_mut(&edge.edge) else { continue };
            if is_this && is_good(edge, view, before) && link.confirm(edge.generation) {
                step.push(Effect::Confirm {
                    session: link.session(),
                    edge: edge.edge.clone(),
                    generation: edge.generation,
                });
            }
        }
    }

    /// Takes note of an edge that returned: what it runs is wanted there now, and the tree is not begun again by
    /// itself.
    pub(super) fn look_for_return(&mut self, edge: &EdgeName, step: &mut Step) {
        let Some(view) = self.edges.get(edge) else { return };
        let (Some(report), Some(desired)) = (&view.report, &view.desired) else { return };
        let Some(wanted) = returned_to(view) else { return };
        // Once the return is recorded, nothing is on trial any more, whatever the edge repeats.
        let is_of_decided = desired.confirm_within.is_some()
            && report.lineage == self.lineage
            && (report.generation, report.desired_digest) == (desired.generation, desired.digest);
        if !is_of_decided {
            return;
        }
        let is_of = |run: &Run| run.confirming.is_some() && run.concerns(edge);
        let run = self.rollout.run.as_mut().filter(|run| is_of(run));
        let known = run.as_ref().and_then(|run| run.bases.get(edge)).map(|(_, before)| before.clone());
        let is_known = known.as_ref().is_some_and(|known| known.wanted.keys().eq(wanted.keys()));
        let before = known.filter(|_| is_known).unwrap_or_else(|| Before::with(wanted));
        let reason = format!("{edge} was not confirmed in time and reverted to its previous state");
        let Some(run) = run else {
            self.take_back(edge, &before, step);
            return self.returned_alone(edge, &reason, step);
        };
        run.bases.remove(edge);
        if let Some(result) = run.result.edge_mut(edge) {
            result.outcome = EdgeOutcome::Returned;
            NOT_CONFIRMED.clone_into(&mut result.code);
            "no confirmation arrived in time: the edge reverted to its previous state".clone_into(&mut result.message);
        }
        run.is_untold = true;
        self.take_back(edge, &before, step);
    }

    /// What the edge returned to is wanted there. It may be the very set that was on trial, which keeps its generation.
    fn take_back(&mut self, edge: &EdgeName, before: &Before, step: &mut Step) {
        self.put_back(edge, before, step);
        let desired = self.edges.get_mut(edge).and_then(|view| view.desired.as_mut());
        if let Some(desired) = desired.filter(|desired| desired.confirm_within.is_some()) {
            desired.confirm_within = None;
            step.persist(Record::edge(edge, desired));
        }
    }

    /// The apply is over for its server, which may be another one by now.
    fn returned_alone(&mut self, edge: &EdgeName, reason: &str, step: &mut Step) {
        let generation = self.edges.get(edge).map_or(0, EdgeView::desired_generation);
        let line = Entry {
            generations: [(edge.clone(), generation)].into(),
            note: reason.to_owned(),
            ..self.line(
                Deed { action: LedgerAction::Return, actor: edge.as_str(), why: String::new(), outcome: "returned" },
                step.now,
            )
        };
        let line = line.chained(&mut self.head);
        if let Some(applied) = self.applied.take() {
            let digest = applied.source.digest;
            let mut back = applied.before.clone().map_or(applied, |before| *before);
            back.stopped.get_or_insert(StoppedRollout { digest, reason: reason.to_owned() });
            step.persist(Record::applied(&back));
            self.applied = Some(back);
        }
        step.persist(Record::ledger(&line));
        self.follow(step);
    }

    /// What is in force after an apply whose edges waited for confirmations.
    pub(super) fn settle_confirmed(&mut self, run: &Run, step: &mut Step) {
        let Some(confirming) = &run.confirming else { return };
        let is_this = self.applied.as_ref().is_some_and(|applied| applied.apply_id == run.result.id);
        let Some(mut applied) = self.applied.clone().filter(|_| is_this) else { return };
        let digest = applied.source.digest;
        let all = |outcome| run.result.edges.iter().filter(move |edge| edge.outcome == outcome);
        let returned: Vec<String> = all(EdgeOutcome::Returned).map(|edge| edge.edge.to_string()).collect();
        // Where nobody was heard again, all may still return: what was in force is needed then.
        let is_open = all(EdgeOutcome::Timeout).next().is_some() && all(EdgeOutcome::Done).next().is_none();
        if !is_open {
            applied.before = None;
        }
        if !returned.is_empty() {
            let reason = format!("no confirmation in time on {}", returned.join(", "));
            if all(EdgeOutcome::Done).next().is_none()
                && let Some(before) = &confirming.before
            {
                applied = (**before).clone();
            }
            applied.stopped = Some(StoppedRollout { digest, reason });
        }
        step.persist(Record::applied(&applied));
        self.applied = Some(applied);
    }
}
