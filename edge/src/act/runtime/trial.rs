//! A state that is kept only if the server confirms it in time: the edge returns to the one before by itself. I/O only
//! towards the state folder.
//!
//! Keeps: what is returned to is on the disk for as long as a return is possible, so that a restart returns too; a
//! return lowers no generation, for the one that was not confirmed stays the accepted one.

use std::time::Duration;

use schema::capability::{Capabilities, Limits};
use schema::networks::Lists;
use schema::wire;
use tokio::time::Instant;

use super::actor::Actor;
use crate::act::interfaces;
use crate::act::last_good::StoredTrial;
use crate::act::status::Confirmation;
use crate::act::steady::Steady;
use crate::decide::admission::Accepted;
use crate::decide::desired::Desired;

/// Whether what runs waits for a confirmation.
#[derive(Default)]
pub(super) enum Trial {
    /// It does not.
    #[default]
    None,
    /// It does.
    Awaited(Box<AwaitedConfirmation>),
    /// None came in time for the accepted generation: what ran before runs again.
    Missed,
}

/// A confirmation that is waited for.
pub(super) struct AwaitedConfirmation {
    /// What runs again without it.
    previous: Desired,
    /// Until when.
    due: Instant,
    /// The same for a process that comes after this one, by the clock that nobody sets.
    until_ms: u64,
    within: Duration,
}

/// What was waited for before a restart.
pub struct Pending {
    previous: Desired,
    rest: Duration,
    until_ms: u64,
    within: Duration,
}

impl Pending {
    /// From what was stored.
    pub(crate) fn restore(stored: StoredTrial, clock: &Steady, capabilities: &Capabilities, limits: &Limits) -> Self {
        let previous = stored.previous.unwrap_or_default();
        let within = Duration::from_millis(stored.within_ms);
        // After a restart of the host the clock begins anew, and must not make it wait for longer than it was told to.
        let rest = clock.rest(stored.until_ms).min(within);
        let accepted = Accepted { lineage: previous.lineage, generation: previous.generation, ..Accepted::default() };
        let lists = wire::entry::lists_from_wire(previous.lists, &Lists::default()).unwrap_or_default();
        let read =
            Desired::read(accepted, previous.rules, Some(&lists), capabilities, limits).ending_as_kept(previous.ends);
        let previous = read.on_host(&interfaces::addresses());
        Self { previous, rest, until_ms: stored.until_ms, within }
    }

    /// True if its time passed while nobody was there.
    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_zero()
    }

    /// The state before under the number of the one that was not confirmed.
    pub(crate) fn instead_of(self, desired: Desired) -> Desired {
        Desired { accepted: desired.accepted, ..self.previous }
    }
}

impl Actor {
    /// Begins to wait where the state that came asks for it; whatever was waited for before is over.
    pub(super) fn begin_trial(&mut self, former: Desired, confirm_within: Option<Duration>) {
        let before = std::mem::take(&mut self.trial);
        let Some(within) = confirm_within else { return };
        // A state that was never confirmed is nothing to return to.
        let previous = match before {
            Trial::Awaited(awaited) => awaited.previous,
            Trial::None | Trial::Missed => former,
        };
        let now_ms = self.health.steady().now_ms();
        let until_ms = now_ms.saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let due = Instant::now() + within;
        self.trial = Trial::Awaited(Box::new(AwaitedConfirmation { previous, due, until_ms, within }));
    }

    /// The time counts from the switch, not from the message.
    pub(super) fn trial_has_begun(&mut self) {
        if let Trial::Awaited(awaited) = &mut self.trial {
            awaited.due = Instant::now() + awaited.within;
        }
    }

    /// Goes on waiting after a restart.
    pub(super) fn resume_trial(&mut self, pending: Pending) {
        let Pending { previous, rest, until_ms, within } = pending;
        let due = Instant::now() + rest;
        self.trial = Trial::Awaited(Box::new(AwaitedConfirmation { previous, due, until_ms, within }));
    }

    /// When to return, if anything is waited for.
    pub(super) fn trial_ends(&self) -> Option<Instant> {
        match &self.trial {
            Trial::Awaited(awaited) => Some(awaited.due),
            Trial::None | Trial::Missed => None,
        }
    }

    /// The server has found this generation good.
    pub(super) async fn confirm(&mut self, lineage: &str, generation: u64) {
        let accepted = &self.desired.accepted;
        let is_meant = accepted.lineage == lineage && accepted.generation == generation;
        if is_meant && matches!(self.trial, Trial::Awaited(_)) {
            tracing::info!(generation, "the state is confirmed");
            self.trial = Trial::None;
            self.store().await;
            self.publish();
        }
    }

    /// Nobody confirmed in time: what ran before runs again, by the same road as ever.
    pub(super) async fn return_to_previous(&mut self) {
        let Trial::Awaited(awaited) = std::mem::replace(&mut self.trial, Trial::Missed) else { return };
        let accepted = self.desired.accepted.clone();
        tracing::warn!(
            generation = accepted.generation,
            "no confirmation arrived in time, the previous state runs \
            again"
        );
        self.change_to(Desired { accepted, ..awaited.previous }).await;
    }

    /// What the report says about it.
    pub(super) fn confirmation(&self) -> Confirmation {
        match self.trial {
            Trial::None => Confirmation::None,
            Trial::Awaited(_) => Confirmation::Awaited,
            Trial::Missed => Confirmation::Missed,
        }
    }

    /// What a restart must know of it.
    pub(super) fn stored_trial(&self) -> Option<StoredTrial> {
        match &self.trial {
            Trial::None => None,
            Trial::Awaited(awaited) => Some(StoredTrial {
                previous: Some(awaited.previous.to_wire()),
                until_ms: awaited.until_ms,
                within_ms: u64::try_from(awaited.within.as_millis()).unwrap_or(u64::MAX),
                is_missed: false,
            }),
            Trial::Missed => Some(StoredTrial { is_missed: true, ..StoredTrial::default() }),
        }
    }
}
