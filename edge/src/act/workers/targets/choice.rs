//! Which targets a connection tries, as health said last; and what connections tell health in return. Shared memory.
//!
//! Health owns the verdicts and publishes what follows from them as one immutable value per rule; workers only read it.
//! What a worker learns of a target goes back through a bounded queue that it never waits for.
//!
//! Keeps: a connection holds the value that it was chosen by, whatever is published later; a rule whose targets never
//! failed sends nothing back.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use schema::health::{
    DialOrder, Request, Rotation, Selection, Selections, Standing, TargetGroup, TargetKey, TargetState, port_bit,
};
use schema::net::PortRange;
use schema::rule::{Host, MAX_TARGETS, Rule, Target};
use tokio::sync::mpsc;

use crate::decide::dial;
use crate::decide::faults::ConnectCause;

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
    /// The ports at which health waits for a success, as [`port_bit`]s: a failure was counted there, or the target
    /// failed by what connections met.
    pub awaits_success: Arc<AtomicU64>,
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
    /// Who carries what, port by port.
    pub selections: Selections,
    /// Ports of the range at which the next connection is the trial of a failed target.
    pub trials: Box<[PortTrial]>,
}

/// A trial that is on offer at one port of a range.
#[derive(Debug)]
pub struct PortTrial {
    /// From the first port of the range.
    offset: u16,
    /// The target, until a connection takes it.
    place: AtomicU8,
}

impl PortTrial {
    /// Makes the next connection at this offset the trial of a target.
    pub fn new(offset: u16, place: usize) -> Self {
        Self { offset, place: AtomicU8::new(place as u8) }
    }
}

impl Chosen {
    /// Every target as it is written, before anything is known about it.
    pub fn of(rule: &Rule) -> Self {
        Self {
            places: rule.targets.iter().cloned().map(Place::new).collect(),
            listen: rule.listen.ports,
            selections: TargetGroup::new(rule, Duration::ZERO).selections().clone(),
            trials: Box::default(),
        }
    }

    /// What holds for connections to this listen port.
    pub fn selection(&self, port: u16) -> &Selection {
        self.selections.at(self.offset(port))
    }

    /// How far into the range a port is.
    fn offset(&self, port: u16) -> u16 {
        port.wrapping_sub(self.listen.first())
    }

    /// The target that connections to a listen port find at this host and port.
    fn place_of(&self, (host, target_port): (&Host, u16), port: u16) -> Option<usize> {
        let is_it = |place: &Place| {
            place.target.host == *host && dial::target_port(self.listen, place.target.ports, port) == target_port
        };
        self.listen.contains(port).then(|| self.places.iter().position(is_it)).flatten()
    }

    /// True if connections to this listen port that the target at this host and port serves have somewhere better to
    /// go: it has failed for that port, and another one is eligible there.
    pub(crate) fn has_better(&self, at: (&Host, u16), port: u16) -> bool {
        let selection = self.selection(port);
        let state = self.place_of(at, port).and_then(|place| selection.standings().get(place)).map(|one| one.state);
        state == Some(TargetState::Down) && selection.pools().active().is_some()
    }

    /// True if a place that a listen port led to before is one of its targets still, and takes connections.
    pub(crate) fn takes(&self, listen_port: u16, host: &Host, port: u16) -> bool {
        let here = self.place_of((host, port), listen_port);
        here.and_then(|index| self.selections.rest().standings().get(index)).is_some_and(Standing::takes_connections)
    }
}

/// What a connection met at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOutcome {
    /// It answered. Told only where [`Place::awaits_success`] is true.
    Answer,
    /// It could not be connected to.
    Failure(ConnectCause),
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
    /// Which port of that target.
    pub port: u16,
    /// What it met there.
    pub met: ConnectionOutcome,
}

/// The targets of one rule, for its connections.
#[derive(Debug)]
pub struct Choice {
    chosen: ArcSwap<Chosen>,
    /// The place of a failed target whose trial the next connection is.
    trial: AtomicU8,
    /// Another one for everything that is published, on the whole edge.
    version: AtomicU32,
    /// What the rule's connections are chosen by since it listens elsewhere.
    next: OnceLock<Arc<Choice>>,
    group: u64,
    feedback: mpsc::Sender<Feedback>,
}

/// A number that no other value on this edge has, until four billions of them were published.
fn next_version() -> u32 {
    static VERSIONS: AtomicU32 = AtomicU32::new(0);
    VERSIONS.fetch_add(1, Relaxed)
}

impl Choice {
    /// For the connections of one rule; `group` comes back in all that is told.
    pub fn new(group: u64, chosen: Chosen, feedback: mpsc::Sender<Feedback>) -> Self {
        let (chosen, trial) = (ArcSwap::from_pointee(chosen), AtomicU8::new(NO_TRIAL));
        Self { chosen, trial, version: next_version().into(), next: OnceLock::new(), group, feedback }
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
        self.version.store(next_version(), Relaxed);
    }

    /// Names what the rule's connections are chosen by from now on. Flows that came in before live for long: they look
    /// there for a better target.
    pub fn replaced_by(&self, next: Arc<Self>) {
        // A choice is replaced once, and its successor is replaced itself.
        _ = self.next.set(next);
    }

    /// What the rule's connections are chosen by now.
    pub(crate) fn newest(self: &Arc<Self>) -> &Arc<Self> {
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        newest
    }

    /// Another one after everything that was published.
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    /// What was published last.
    pub fn chosen(&self) -> Arc<Chosen> {
        self.chosen.load_full()
    }

    /// Makes the next connection the trial of a failed target.
    pub fn offer_trial(&self, place: usize) {
        self.trial.store(place as u8, Relaxed);
    }

    /// What a new connection to a listen port tries, and in which order. Allocates nothing.
    pub fn pick(&self, client: IpAddr, port: u16, turn: &mut Rotation) -> (Arc<Chosen>, DialOrder) {
        let chosen = self.chosen();
        let trial = self.take_trial(&chosen, port);
        let mut connections = [0; MAX_TARGETS];
        for (count, place) in connections.iter_mut().zip(&chosen.places) {
            *count = place.live.load(Relaxed);
        }
        let order = chosen.selection(port).order(&mut Request { client, connections: &connections, turn, trial });
        (chosen, order)
    }

    fn take_trial(&self, chosen: &Chosen, port: u16) -> Option<usize> {
        let offset = chosen.offset(port);
        let of_port = chosen.trials.binary_search_by_key(&offset, |trial| trial.offset).ok();
        let trial = of_port.map_or(&self.trial, |index| &chosen.trials[index].place);
        if trial.load(Relaxed) == NO_TRIAL {
            return None;
        }
        let place = usize::from(trial.swap(NO_TRIAL, Relaxed));
        let tried = chosen.places.get(place)?;
        self.tell(tried, dial::target_port(chosen.listen, tried.target.ports, port), ConnectionOutcome::Trial);
        Some(place)
    }

    /// Tells health what a connection met at a port of a target. Never waits.
    pub fn tell(&self, place: &Place, port: u16, met: ConnectionOutcome) {
        if met == ConnectionOutcome::Answer && place.awaits_success.load(Relaxed) & port_bit(port) == 0 {
            return;
        }
        let feedback = Feedback { group: self.group, target: place.key.clone(), port, met };
        if self.feedback.try_send(feedback).is_err() && !self.feedback.is_closed() {
            tracing::debug!(target = %place.key, "failures are reported to health faster than it accepts them");
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
        let (chosen, order) = choice.pick(client, 8000, &mut Rotation::default());
        let port = rule.targets[0].ports.first();
        assert_eq!(order.iter().collect::<Vec<_>>(), [0]);
        choice.tell(&chosen.places[0], port, ConnectionOutcome::Answer);
        assert!(told.try_recv().is_err());
        chosen.places[0].awaits_success.store(port_bit(port), Relaxed);
        choice.tell(&chosen.places[0], port, ConnectionOutcome::Answer);
        assert_eq!(told.try_recv().expect("told").met, ConnectionOutcome::Answer);
        choice.offer_trial(0);
        choice.pick(client, 8000, &mut Rotation::default());
        choice.pick(client, 8000, &mut Rotation::default());
        assert_eq!(told.try_recv().expect("told").met, ConnectionOutcome::Trial);
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn a_trial_at_one_port_is_taken_by_a_connection_to_that_port_alone() {
        let (sender, mut told) = mpsc::channel(FEEDBACK);
        let rule = rule("web", 8000, 8009);
        let choice = Choice::new(7, Chosen { trials: [PortTrial::new(4, 0)].into(), ..Chosen::of(&rule) }, sender);
        let client = "192.0.2.1".parse().expect("an address");
        for port in [8000, 8003, 8004, 8004, 8005] {
            choice.pick(client, port, &mut Rotation::default());
        }
        let trial = told.try_recv().expect("told");
        assert_eq!((trial.met, trial.port), (ConnectionOutcome::Trial, rule.targets[0].ports.first() + 4));
        assert!(told.try_recv().is_err());
    }
}
