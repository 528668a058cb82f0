//! The rollout: the apply that is under way with its waves and its trial, and the quiet window of its edges. Pure.
//!
//! Keeps: an operator's apply keeps others out until its lease lapses; nobody is late while a wave is watched or waits
//! for the end of a freeze.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

use super::before::Before;
use super::waves::Waves;
use super::{Applied, ApplyResult, EdgeOutcome};
use crate::decide::ledger::Entry;
use crate::decide::view::{Basis, EdgeView};

/// How long an operator's apply keeps others out after its operator was heard last: a few of the calls that the
/// command line makes every five seconds may be lost.
const LEASE: Duration = Duration::from_secs(20);

/// Who applies, and until when others wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who.
    pub holder: String,
    /// Since when.
    pub since: Timestamp,
    /// When it lapses unless the holder is heard in the meantime.
    pub until: Timestamp,
}

/// An apply whose edges wait for a confirmation.
#[derive(Debug, Clone)]
pub(super) struct Confirming {
    pub(super) within: Duration,
    /// What was in force before it.
    pub(super) before: Option<Box<Applied>>,
}

/// An apply that is not over.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Until when it keeps other operators and the followed tree out, if it is an operator's.
    pub(super) lease: Timestamp,
    pub(super) result: ApplyResult,
    pub(super) deadline: Timestamp,
    pub(super) is_automatic: bool,
    pub(super) allow_offline: bool,
    /// Rules with an active check must be up.
    pub(super) wait_healthy: bool,
    /// The ledger's line of its start.
    pub(super) entry: Entry,
    /// Where its edges do not change at once.
    pub(super) waves: Option<Waves>,
    /// What the plan that a person saw was made from, and what was decided there before.
    pub(super) bases: BTreeMap<EdgeName, (Basis, Before)>,
    /// Where its edges wait for a confirmation.
    pub(super) confirming: Option<Confirming>,
    /// Something of the result was not told yet.
    pub(super) is_untold: bool,
    /// When it is emitted next, where it has many edges.
    pub(super) tell_from: Timestamp,
}

impl Run {
    /// The end of a lease that is renewed now.
    pub(super) fn lease_from(now: Timestamp) -> Timestamp {
        now.checked_add(LEASE).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn concerns(&self, edge: &EdgeName) -> bool {
        self.result.place_of(edge).is_some()
    }

    /// Where the results of an edge are, or those of all; results are in the order of names.
    pub(super) fn places_of(&self, edge: Option<&EdgeName>) -> Range<usize> {
        let Some(edge) = edge else { return 0..self.result.edges.len() };
        self.result.place_of(edge).map_or(0..0, |place| place..place + 1)
    }

    /// When there is something to tell again.
    pub(super) fn next_word(&self) -> Option<Timestamp> {
        self.is_untold.then_some(self.tell_from)
    }

    /// What the plan found on an edge, as long as its state is to be taken from there.
    pub(super) fn basis_of(&self, edge: &EdgeName, view: &EdgeView) -> Option<Basis> {
        let result = self.result.edge(edge)?;
        let is_meant = result.outcome == EdgeOutcome::Waiting && result.generation == view.desired_generation();
        self.bases.get(edge).filter(|_| is_meant).map(|(basis, _)| *basis)
    }
}

/// What is being rolled out, if anything is.
#[derive(Debug, Clone, Default)]
pub(super) struct Rollout {
    /// The apply that is under way.
    pub(super) run: Option<Run>,
    /// How long changes may wait for a quiet moment, on the edges of the apply that runs.
    quiet: BTreeMap<EdgeName, Duration>,
}

impl Rollout {
    /// The apply that is under way.
    pub(super) fn result(&self) -> Option<&ApplyResult> {
        self.run.as_ref().map(|run| &run.result)
    }

    /// True if an edge is one of those that the apply changes.
    pub(super) fn concerns(&self, edge: &EdgeName) -> bool {
        self.run.as_ref().is_some_and(|run| run.concerns(edge))
    }

    /// How long a change may wait for a quiet moment on an edge.
    pub(super) fn quiet_window(&self, edge: &EdgeName) -> Duration {
        self.quiet.get(edge).copied().unwrap_or_default()
    }

    /// Lets changes on these edges wait for a quiet moment, and on no others.
    pub(super) fn set_quiet<'e>(&mut self, edges: impl Iterator<Item = &'e EdgeName>, window: Duration) {
        let waits = edges.filter(|_| !window.is_zero());
        self.quiet = waits.map(|edge| (edge.clone(), window)).collect();
    }

    /// An edge is forgotten.
    pub(super) fn forget(&mut self, edge: &EdgeName) {
        self.quiet.remove(edge);
    }

    /// Nothing waits for a quiet moment any more.
    pub(super) fn end_quiet(&mut self) {
        self.quiet.clear();
    }

    /// The operator's apply that keeps others out.
    pub(super) fn lock(&self, now: Timestamp) -> Option<Lock> {
        let run = self.run.as_ref().filter(|run| !run.is_automatic)?;
        let until = run.lease;
        (now < until).then(|| Lock { holder: run.result.actor.clone(), since: run.result.started_at, until })
    }

    /// The operator of an apply is still there.
    pub(super) fn renew_lease(&mut self, apply: &str, now: Timestamp) {
        if let Some(run) = self.run.as_mut().filter(|run| run.result.id == apply) {
            run.lease = Run::lease_from(now);
        }
    }

    /// When something is to be looked at without an event.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let run = self.run.as_ref()?;
        // While a wave is watched or waits for the end of a freeze, nobody is late.
        let is_awaited = run.result.edges.iter().any(|edge| edge.outcome == EdgeOutcome::Waiting);
        let soak = run.waves.as_ref().and_then(Waves::next_look);
        is_awaited.then_some(run.deadline).into_iter().chain(run.next_word()).chain(soak).min()
    }
}

#[cfg(test)]
mod tests;
