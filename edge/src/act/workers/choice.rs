//! Which targets a connection tries, as health said last; and what connections tell health in return. Shared memory.
//!
//! Health owns the verdicts and publishes what follows from them as one immutable value per rule; workers only read it.
//! What a worker learns of a target goes back through a bounded queue that it never waits for.
//!
//! Keeps: a connection holds the value that it was chosen by, whatever is published later; a rule whose targets never
//! failed sends nothing back.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use schema::health::{DialOrder, Request, Selection, Standing, TargetGroup, TargetKey, Turn};
use schema::net::PortRange;
use schema::rule::{MAX_TARGETS, Rule, Target};
use tokio::sync::mpsc;

use crate::decide::dial::Cause;

/// Messages to health that may wait: a burst of failures of every worker. What finds no room is not missed, for a
/// target that fails goes on failing.
pub const FEEDBACK: usize = 4096;
/// No target's trial is due.
const NO_TRIAL: u8 = u8::MAX;

/// One target as connections see it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where it is.
    pub target: Target,
    /// Its identity in the rule.
    pub key: TargetKey,
    /// Its live connections on all workers, counted where the rule balances by them.
    pub live: Arc<AtomicU32>,
    /// Health waits for a success: a failure was counted, or the target failed by what connections met.
    pub awaits_success: Arc<AtomicBool>,
}

impl Place {
    /// A target that nobody has connected to yet.
    pub fn new(target: Target) -> Self {
        Self { key: TargetKey::of(&target), target, live: Arc::default(), awaits_success: Arc::default() }
    }
}

/// What holds until health publishes the next one.
#[derive(Debug)]
pub struct Chosen {
    /// In the order of the selection. Those of the version before while health still waits for the new ones.
    pub places: Box<[Place]>,
    /// The listen ports that the targets' ports match, first to first.
    pub listen: PortRange,
    /// Who carries what.
    pub selection: Selection,
}

impl Chosen {
    /// Every target as it is written, before anything is known about it.
    pub fn of(rule: &Rule) -> Self {
        Self {
            places: rule.targets.iter().cloned().map(Place::new).collect(),
            listen: rule.listen.ports,
            selection: TargetGroup::new(rule, Duration::ZERO).selection().clone(),
        }
    }

    /// True if a target of an earlier value still takes connections.
    pub(super) fn takes(&self, earlier: &Place) -> bool {
        let here = self.places.iter().position(|place| place.key == earlier.key);
        here.and_then(|index| self.selection.standings().get(index)).is_some_and(Standing::takes_connections)
    }
}

/// What a connection met at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It answered. Told only where [`Place::awaits_success`] says so.
    Answer,
    /// It could not be connected to.
    Failure(Cause),
    /// Its name did not resolve.
    NoAddress,
    /// Nothing yet: this connection is its trial.
    Trial,
}

/// What a worker tells health.
#[derive(Debug, Clone)]
pub struct Feedback {
    /// The group of the choice.
    pub group: u64,
    /// Which of its targets.
    pub target: TargetKey,
    /// What it met there.
    pub met: Met,
}

/// The targets of one rule, for its connections.
#[derive(Debug)]
pub struct Choice {
    chosen: ArcSwap<Chosen>,
    /// The place of a failed target whose trial the next connection is.
    trial: AtomicU8,
    group: u64,
    feedback: mpsc::Sender<Feedback>,
}

impl Choice {
    /// For the connections of one rule; `group` comes back in all that is told.
    pub fn new(group: u64, chosen: Chosen, feedback: mpsc::Sender<Feedback>) -> Self {
        Self { chosen: ArcSwap::from_pointee(chosen), trial: AtomicU8::new(NO_TRIAL), group, feedback }
    }

    /// For a rule whose targets nobody watches: every target counts as it is written, for good.
    pub fn unwatched(rule: &Rule) -> Self {
        let (feedback, _) = mpsc::channel(1);
        Self::new(0, Chosen::of(rule), feedback)
    }

    /// Makes this valid for every connection from now on.
    pub fn publish(&self, chosen: Chosen) {
        // A trial belongs to a place of what was published before.
        self.trial.store(NO_TRIAL, Relaxed);
        self.chosen.store(Arc::new(chosen));
    }

    /// What was published last.
    pub fn chosen(&self) -> Arc<Chosen> {
        self.chosen.load_full()
    }

    /// Makes the next connection the trial of a failed target.
    pub fn offer_trial(&self, place: usize) {
        self.trial.store(place as u8, Relaxed);
    }

    /// What a new connection tries, and in which order. Allocates nothing.
    pub fn pick(&self, client: IpAddr, turn: &mut Turn) -> (Arc<Chosen>, DialOrder) {
        let chosen = self.chosen();
        let trial = self.take_trial(&chosen);
        let mut connections = [0; MAX_TARGETS];
        for (count, place) in connections.iter_mut().zip(&chosen.places) {
            *count = place.live.load(Relaxed);
        }
        let order = chosen.selection.order(&mut Request { client, connections: &connections, turn, trial });
        (chosen, order)
    }

    fn take_trial(&self, chosen: &Chosen) -> Option<usize> {
        if self.trial.load(Relaxed) == NO_TRIAL {
            return None;
        }
        let place = usize::from(self.trial.swap(NO_TRIAL, Relaxed));
        let tried = chosen.places.get(place)?;
        self.tell(tried, Met::Trial);
        Some(place)
    }

    /// Tells health what a connection met. Never waits.
    pub fn tell(&self, place: &Place, met: Met) {
        if met == Met::Answer && !place.awaits_success.load(Relaxed) {
            return;
        }
        let feedback = Feedback { group: self.group, target: place.key.clone(), met };
        if self.feedback.try_send(feedback).is_err() && !self.feedback.is_closed() {
            tracing::debug!(target = %place.key, "health is told of failures faster than it takes them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;

    #[test]
    fn a_trial_is_taken_once_and_an_answer_is_told_only_to_who_waits_for_it() {
        let (sender, mut told) = mpsc::channel(FEEDBACK);
        let rule = rule("web", 8000, 8000);
        let chosen = Chosen::of(&rule);
        let choice = Choice::new(7, chosen, sender);
        let client = "192.0.2.1".parse().expect("an address");
        let (chosen, order) = choice.pick(client, &mut Turn::default());
        assert_eq!(order.iter().collect::<Vec<_>>(), [0]);
        choice.tell(&chosen.places[0], Met::Answer);
        assert!(told.try_recv().is_err());
        chosen.places[0].awaits_success.store(true, Relaxed);
        choice.tell(&chosen.places[0], Met::Answer);
        assert_eq!(told.try_recv().expect("told").met, Met::Answer);
        choice.offer_trial(0);
        choice.pick(client, &mut Turn::default());
        choice.pick(client, &mut Turn::default());
        assert_eq!(told.try_recv().expect("told").met, Met::Trial);
        assert!(told.try_recv().is_err());
    }
}
