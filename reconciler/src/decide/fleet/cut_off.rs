//! An apply that the end of its server cut off: what is known of its edges, and when its rollout goes on. Pure.
//!
//! Keeps: an edge that is not known to run the state is never written down as done; a rollout goes on only after what it
//! reached has reported, and stops where that did not go well.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::EdgeName;
use schema::ruleset::RuleSet;
use schema::state::RuleState;

use super::beginning::Start;
use super::step::Step;
use super::{Applied, ApplyResult, EdgeOutcome, Fleet, Mode, Refusal, RolloutTerms, StoppedRollout};
use crate::decide::ledger::{Entry, RecordedEdge};
use crate::decide::record::Record;

/// What comes of a rollout that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// Nothing: there is none, or it went on.
    Over,
    /// It waits, for the fleet is frozen or nothing was heard yet.
    Waits,
    /// It can go on.
    Ready {
        /// The apply that began it.
        apply: String,
        /// Its tree.
        digest: Digest,
        /// Edges of it that have not reported yet.
        missing: usize,
    },
}

impl RolloutTerms {
    pub(super) fn of(start: &Start<'_>, result: &ApplyResult) -> Self {
        Self {
            edges: result.edges.iter().map(|edge| edge.edge.clone()).collect(),
            allow_offline: start.allow_offline,
            wait_healthy: start.wait_healthy,
            timeout: start.timeout,
            rollback: start.is_brought_back,
        }
    }
}

/// How many edges of any wave may fail.
pub(super) fn most_failed(ruleset: &RuleSet) -> u32 {
    ruleset.rollout.waves.iter().map(|wave| wave.max_failed).max().unwrap_or_default()
}

impl Fleet {
    /// What is recorded of the edges of an apply that was cut off.
    pub(super) fn cut_off_edges(&self, started: &Entry) -> BTreeMap<EdgeName, RecordedEdge> {
        let applied = self.applied.as_ref().filter(|applied| applied.apply_id == started.apply_id);
        let rollout = applied.and_then(|applied| applied.rollout.as_ref());
        let names = started.generations.keys().chain(rollout.iter().flat_map(|rollout| &rollout.edges));
        let names: BTreeSet<&EdgeName> = names.collect();
        names.into_iter().map(|name| (name.clone(), self.cut_off_edge(name, started, applied))).collect()
    }

    /// Notes that the rollout in force was cut off, so that it goes on in the modes that heal, also after another restart.
    pub(super) fn note_cut_off(&mut self, started: &Entry, step: &mut Step) {
        let Some(applied) = self.applied.as_mut().filter(|applied| applied.apply_id == started.apply_id) else {
            return;
        };
        // Edges that return by themselves decide about a trial.
        let is_open = applied.stopped.is_none() && applied.before.is_none() && applied.rollout.is_some();
        if is_open && !applied.unreached.is_empty() {
            applied.cut_off = true;
            step.persist(Record::applied(applied));
        }
    }

    /// The rollout that is to go on by itself.
    pub fn to_continue(&self) -> Option<&Applied> {
        let heals = self.mode != Mode::Off;
        let is_open =
            |applied: &&Applied| applied.cut_off && applied.stopped.is_none() && !applied.unreached.is_empty();
        self.applied.as_ref().filter(|applied| heals && self.rollout.run.is_none() && is_open(applied))
    }

    /// True once the rollout may go on without an operator: its edges have reported, and none of its waves would still be
    /// watched.
    pub(super) fn may_continue(&self, ruleset: &RuleSet, now: Timestamp) -> bool {
        let soak = ruleset.rollout.waves.iter().map(|wave| wave.soak).max().unwrap_or_default();
        let from = self.started_at.unwrap_or(now).checked_add(soak).unwrap_or(Timestamp::MAX);
        now >= from && matches!(self.continuation(), Continuation::Ready { missing: 0, .. })
    }

    /// Goes on with a rollout of the followed tree as soon as that may be.
    pub(super) fn continue_followed(&mut self, step: &mut Step) {
        if self.mode != Mode::Apply || self.to_continue().is_none() {
            return;
        }
        let Some(ruleset) = self.followed.as_ref().and_then(|tree| tree.ruleset.clone()) else { return };
        let digest = self.followed.as_ref().map(|tree| tree.source.digest);
        if digest.is_some_and(|digest| self.is_in_force(digest)) && self.may_continue(&ruleset, step.now) {
            self.follow(step);
        }
    }

    /// What a rollout that was cut off waits for.
    pub fn continuation(&self) -> Continuation {
        if self.cut_off.is_some() {
            return Continuation::Waits;
        }
        let Some(applied) = self.to_continue() else { return Continuation::Over };
        let rollout = applied.rollout.iter().flat_map(|rollout| &rollout.edges);
        let is_here = |name: &EdgeName| {
            let is_reached = !applied.unreached.contains(name);
            self.edges.get(name).is_some_and(|view| view.connected && (!is_reached || view.is_settled()))
        };
        if self.frozen.is_some() {
            return Continuation::Waits;
        }
        let missing = rollout.filter(|name| !is_here(name)).count();
        Continuation::Ready { apply: applied.apply_id.clone(), digest: applied.source.digest, missing }
    }

    /// Refuses to go on where an edge that the rollout reached is not well: it stops there.
    pub(super) fn check_reached(&mut self, max_failed: u32, step: &mut Step) -> Result<(), Refusal> {
        let Some(applied) = self.to_continue() else {
            return Err(Refusal::Stale { reason: "nothing is left of the rollout".to_owned() });
        };
        let edges = applied.rollout.iter().flat_map(|rollout| &rollout.edges);
        let reached = edges.filter(|name| !applied.unreached.contains(*name));
        let is_well = |name: &EdgeName| {
            let Some(view) = self.edges.get(name) else { return true };
            let is_failed = |rule: &crate::decide::view::RuleView| rule.state == RuleState::Failed;
            let rules = view.report.iter().flat_map(|report| report.rules.values());
            view.is_settled() && !rules.into_iter().any(is_failed)
        };
        let unwell: Vec<String> = reached.filter(|name| !is_well(name)).map(ToString::to_string).collect();
        if unwell.len() <= max_failed as usize {
            return Ok(());
        }
        let reason = format!("after a restart of the server, {} did not run what it was sent", unwell.join(", "));
        let digest = applied.source.digest;
        if let Some(applied) = &mut self.applied {
            applied.cut_off = false;
            applied.stopped = Some(StoppedRollout { digest, reason: reason.clone() });
            step.persist(Record::applied(applied));
        }
        Err(Refusal::Stale { reason })
    }

    fn cut_off_edge(&self, name: &EdgeName, started: &Entry, applied: Option<&Applied>) -> RecordedEdge {
        let decided = self.edges.get(name).and_then(|view| view.desired.as_ref());
        let least = started.generations.get(name).copied().unwrap_or_default();
        let (outcome, message) = if applied.is_some_and(|applied| applied.unreached.contains(name)) {
            (EdgeOutcome::Skipped, "the server stopped before its turn")
        } else if decided.is_some_and(|desired| desired.acknowledged && desired.generation >= least) {
            (EdgeOutcome::Done, "")
        } else {
            (EdgeOutcome::Timeout, "the server stopped before the edge answered")
        };
        RecordedEdge { outcome, code: String::new(), message: message.to_owned(), rules: Vec::new() }
    }
}
