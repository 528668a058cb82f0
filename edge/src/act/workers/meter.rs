//! The counters of one rule, and the admission of its connections. Shared memory, no I/O.
//!
//! A meter belongs to the rule and not to one of its versions: updates, moves and rebinds carry it on.
//! Keeps: a connection is counted as active from its admission until its ticket is dropped, on every path; only what
//! limits and drains need at once (how many live, how many came) is shared between workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use schema::net::Listener;
use schema::rule::{Host, Target};
use tokio::sync::Notify;

use super::routing::Route;
pub use super::tally::Figures;
use super::tally::Tally;
use crate::decide::dial::Cause;

/// A target as the counters know it: its host and its first port.
pub type TargetKey = (Host, u16);

fn key(target: &Target) -> TargetKey {
    (target.host.clone(), target.ports.first())
}

/// Figures of one listen port.
pub type PortFigures = (u16, Figures);
/// Figures of one target.
pub type TargetFigures = (TargetKey, Figures);

/// Which of a rule's connections are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All.
    Rule,
    /// Those that came in through a socket.
    Listeners(Vec<Listener>),
    /// Those that go to a target.
    Targets(Vec<TargetKey>),
}

impl Scope {
    /// The connections of targets that a newer version does not have.
    pub(crate) fn of_removed_targets(before: &[Target], after: &[Target]) -> Option<Self> {
        let stays = |target: &&Target| after.iter().any(|other| key(other) == key(target));
        let gone: Vec<TargetKey> = before.iter().filter(|target| !stays(target)).map(key).collect();
        (!gone.is_empty()).then_some(Self::Targets(gone))
    }
}

/// Tallies by key. Only one worker adds keys, so that a new map can replace the old one without a lock.
type Tallies<K> = ArcSwap<BTreeMap<K, Arc<Tally>>>;

/// Finds the tally of a key, or starts one at the first traffic.
fn tally_of<K: Ord + Clone>(tallies: &Tallies<K>, key: &K) -> Arc<Tally> {
    let known = tallies.load();
    if let Some(tally) = known.get(key) {
        return tally.clone();
    }
    let tally = Arc::<Tally>::default();
    let mut more = BTreeMap::clone(&known);
    more.insert(key.clone(), tally.clone());
    tallies.store(Arc::new(more));
    tally
}

/// What one worker counts of a rule.
#[derive(Default)]
struct Shard {
    total: Tally,
    /// Only ports that had traffic.
    ports: Tallies<u16>,
    /// Only targets that had traffic.
    targets: Tallies<TargetKey>,
}

/// The counters and live connections of one rule.
#[derive(Default)]
pub struct Meter {
    /// By worker.
    shards: Box<[Shard]>,
    /// Live connections.
    active: AtomicU64,
    /// Connections so far.
    admitted: AtomicU64,
    /// Told whenever the last connection ends.
    emptied: Arc<Notify>,
}

impl Meter {
    /// A meter that tells `emptied` whenever its last connection ends.
    pub(super) fn new(workers: usize, emptied: Arc<Notify>) -> Self {
        let shards = std::iter::repeat_with(Shard::default).take(workers).collect();
        Self { shards, emptied, ..Self::default() }
    }

    /// The rule's figures.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.shards.iter().for_each(|shard| shard.total.add_to(&mut figures));
        Figures { active_connections: self.active(), connections_total: self.next_connection(), ..figures }
    }

    /// Live connections.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Figures of every port that had traffic.
    pub fn per_port(&self) -> Vec<PortFigures> {
        self.sums(|shard| &shard.ports)
    }

    /// Figures of every target that had traffic.
    pub fn per_target(&self) -> Vec<TargetFigures> {
        self.sums(|shard| &shard.targets)
    }

    fn sums<K: Ord + Clone>(&self, of: impl Fn(&Shard) -> &Tallies<K>) -> Vec<(K, Figures)> {
        let mut sums = BTreeMap::<K, Figures>::new();
        for shard in &self.shards {
            for (key, tally) in of(shard).load().iter() {
                tally.add_to(sums.entry(key.clone()).or_default());
            }
        }
        sums.into_iter().collect()
    }

    /// Connections so far: those that come later have this number or a higher one.
    pub(crate) fn next_connection(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    /// Counts a connection that was not taken in.
    pub(super) fn refused(&self, worker: usize, port: u16) {
        let shard = &self.shards[worker];
        shard.total.refused.add(1);
        tally_of(&shard.ports, &port).refused.add(1);
    }
}

/// A connection that was taken in, wherever it is served.
pub(super) struct Admitted {
    pub(super) route: Arc<Route>,
    listener: Listener,
    /// Which of the rule's targets it goes to.
    target: usize,
    id: u64,
}

impl Admitted {
    /// Takes a connection in, unless the rule has as many as it may. Allocates nothing.
    pub(super) fn new(route: &Arc<Route>, listener: Listener) -> Option<Self> {
        let rule = &route.rule;
        // The first one until balancing exists; the capability keeps rules with more of them away.
        let target = rule.targets.iter().position(|target| target.enabled && target.weight > 0)?;
        let max = rule.max_connections.map_or(u64::MAX, |max| u64::from(max.get()));
        let meter = &route.meter;
        meter.active.fetch_update(Relaxed, Relaxed, |active| (active < max).then_some(active + 1)).ok()?;
        let id = meter.admitted.fetch_add(1, Relaxed);
        Some(Self { route: route.clone(), listener, target, id })
    }

    fn meter(&self) -> &Meter {
        &self.route.meter
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.meter().active.fetch_sub(1, Relaxed) == 1 {
            self.meter().emptied.notify_one();
        }
    }
}

/// One connection as its worker counts it.
pub(super) struct Ticket {
    admitted: Admitted,
    worker: usize,
    port: Arc<Tally>,
    target: Arc<Tally>,
}

impl Ticket {
    /// Starts to count a connection that this worker serves.
    pub(super) fn new(admitted: Admitted, worker: usize) -> Self {
        let shard = &admitted.meter().shards[worker];
        let port = tally_of(&shard.ports, &admitted.listener.port);
        let target = tally_of(&shard.targets, &key(&admitted.route.rule.targets[admitted.target]));
        for tally in [&shard.total, &port, &target] {
            tally.active.add(1);
            tally.total.add(1);
        }
        Self { admitted, worker, port, target }
    }

    /// Where it came in.
    pub(super) fn listener(&self) -> Listener {
        self.admitted.listener
    }

    /// Its rule as of its start.
    pub(super) fn route(&self) -> &Arc<Route> {
        &self.admitted.route
    }

    /// Where it goes.
    pub(super) fn target(&self) -> &Target {
        &self.route().rule.targets[self.admitted.target]
    }

    /// True if it is one of those that are meant.
    pub(super) fn is_in(&self, meter: &Arc<Meter>, scope: &Scope, before: u64) -> bool {
        Arc::ptr_eq(&self.route().meter, meter)
            && self.admitted.id < before
            && match scope {
                Scope::Rule => true,
                Scope::Listeners(listeners) => listeners.contains(&self.admitted.listener),
                Scope::Targets(targets) => targets.contains(&key(self.target())),
            }
    }

    fn tallies(&self) -> [&Tally; 3] {
        [&self.admitted.meter().shards[self.worker].total, &self.port, &self.target]
    }

    /// Counts bytes from the client to the target.
    pub(super) fn moved_in(&self, bytes: usize) {
        self.tallies().iter().for_each(|tally| tally.bytes_in.add(bytes as u64));
    }

    /// Counts bytes from the target to the client.
    pub(super) fn moved_out(&self, bytes: usize) {
        self.tallies().iter().for_each(|tally| tally.bytes_out.add(bytes as u64));
    }

    /// Counts a name that did not resolve.
    pub(super) fn dns_failed(&self) {
        self.tallies().iter().for_each(|tally| tally.dns_failures.add(1));
    }

    /// Counts an address that could not be connected to.
    pub(super) fn connect_failed(&self, cause: Cause) {
        let index = Cause::ALL.iter().position(|one| *one == cause).expect("ALL holds every cause");
        self.tallies().iter().for_each(|tally| tally.connect_errors[index].add(1));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tallies().iter().for_each(|tally| tally.active.sub(1));
    }
}
