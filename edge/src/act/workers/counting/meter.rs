//! The counters of one rule. Shared memory, no I/O.
//!
//! A meter belongs to the rule and not to one of its versions: updates, moves and rebinds carry it on. A connection that
//! lives on under another rule is counted by that one from then on; what it moved before stays where it was counted.
//! Keeps: only what limits and drains need at once (how many live, how many came) is shared between workers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use schema::access::Enforcement;
use schema::counters::{ChoiceKind, Figures, RefusalReason, SniResult};
use schema::health::Rotation;
use schema::rule::{Host, MAX_TARGETS, Target};
use schema::shared_port::NameMatch;
use tokio::sync::Notify;

use super::super::limiting::limits::RuleLimits;
use super::tally::{Counter, LastTimes, Tally, wall_clock};
use crate::decide::sketch::{SourceNetwork, SourceSketch};

/// A target as the counters know it: its host and its first port.
pub type TargetKey = (Host, u16);

/// The key of a target.
pub(crate) fn key(target: &Target) -> TargetKey {
    (target.host.clone(), target.ports.first())
}

/// Figures of one listen port.
pub type PortFigures = (u16, Figures);
/// Figures of one target.
pub type TargetFigures = (TargetKey, Figures);

/// What is counted of one listen port.
#[derive(Default)]
pub(crate) struct PortTally {
    pub(crate) tally: Tally,
    /// When its last connection came, in milliseconds since 1970.
    last_ms: Counter,
    /// The places that its connections go to. Only one worker adds to them.
    places: ArcSwap<Vec<Arc<PlaceTally>>>,
}

/// What is counted of the connections of one listen port to one place.
pub(crate) struct PlaceTally {
    host: Host,
    port: u16,
    /// The first port of the row of targets that it is in.
    row: u16,
    /// Live connections that do not drain.
    pub(crate) live: Counter,
    /// The counters of that row.
    pub(crate) target: Arc<Tally>,
}

impl PortTally {
    /// Finds the counters of a place in a row of targets, or starts them.
    pub(crate) fn place(&self, port: u16, row: &TargetKey, target: impl FnOnce() -> Arc<Tally>) -> Arc<PlaceTally> {
        let known = self.places.load();
        let is_it = |place: &&Arc<PlaceTally>| place.port == port && place.row == row.1 && place.host == row.0;
        if let Some(place) = known.iter().find(is_it) {
            return place.clone();
        }
        let (host, live) = (row.0.clone(), Counter::default());
        let place = Arc::new(PlaceTally { host, port, row: row.1, live, target: target() });
        // Places that nobody goes to any more are forgotten, so that there are never more than connections.
        let mut more: Vec<_> = known.iter().filter(|place| Arc::strong_count(place) > 1).cloned().collect();
        more.push(place.clone());
        self.places.store(Arc::new(more));
        place
    }
}

/// Live connections that do not drain, by listen port and by the host and port that they go to.
pub type PlaceFigures = ((u16, Host, u16), u64);

/// Tallies by key. Only one worker adds keys, so that a new map can replace the old one without a lock.
pub(crate) type Tallies<K, T = Tally> = ArcSwap<BTreeMap<K, Arc<T>>>;

/// Finds the tally of a key, or starts one at the first traffic.
pub(crate) fn tally_of<K: Ord + Clone, T: Default>(tallies: &Tallies<K, T>, key: &K) -> Arc<T> {
    let known = tallies.load();
    if let Some(tally) = known.get(key) {
        return tally.clone();
    }
    let tally = Arc::<T>::default();
    let mut more = BTreeMap::clone(&known);
    more.insert(key.clone(), tally.clone());
    tallies.store(Arc::new(more));
    tally
}

/// What one worker counts of a rule.
#[derive(Default)]
pub(crate) struct Shard {
    pub(crate) total: Tally,
    /// Only ports that had traffic.
    pub(crate) ports: Tallies<u16, PortTally>,
    /// Only targets that had traffic.
    pub(crate) targets: Tallies<TargetKey>,
    /// Whose turn it is among the rule's targets; written by this worker alone.
    turn: [AtomicI32; MAX_TARGETS],
    /// When a flow found no room last, in milliseconds since 1970.
    overflow_ms: AtomicU64,
    /// True if [`Self::limits`] are some: all that a connection without limits looks at.
    pub(crate) is_limited: AtomicBool,
    /// What holds for its connections; written by control.
    pub(crate) limits: ArcSwapOption<RuleLimits>,
    /// Where connections come from. Its worker never waits for it.
    sources: Mutex<SourceSketch>,
}

impl Shard {
    /// Notes where a connection comes from, and that its port is used.
    pub(crate) fn used(&self, port: &PortTally, source: IpAddr) {
        let now_ms = wall_clock();
        port.last_ms.set(now_ms);
        // Somebody reads it just now: one connection less is counted.
        if let Ok(mut sources) = self.sources.try_lock() {
            sources.note(source, now_ms);
        }
    }

    /// Lets a choice move the rotation.
    pub(crate) fn with_turn<T>(&self, choose: impl FnOnce(&mut Rotation) -> T) -> T {
        let mut turn = Rotation::from_credits(self.turn.each_ref().map(|credit| credit.load(Relaxed)));
        let chosen = choose(&mut turn);
        for (kept, credit) in self.turn.iter().zip(turn.credits()) {
            kept.store(credit, Relaxed);
        }
        chosen
    }
}

/// Why a connection is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The rule has as many as it may.
    Limit,
    /// The rule has as many flows as it may.
    Overflow,
    /// No target takes any.
    NoServer,
    /// A check of the rule refuses it.
    Entry(RefusalReason),
}

/// The counters and live connections of one rule.
#[derive(Default)]
pub struct Meter {
    /// By worker.
    pub(crate) shards: Box<[Shard]>,
    /// Live connections.
    pub(crate) active: AtomicU64,
    /// Connections so far.
    pub(crate) admitted: AtomicU64,
    /// Changes of who carries the weight, either way.
    failovers: AtomicU64,
    /// Told whenever the last connection ends.
    emptied: Arc<Notify>,
}

impl Meter {
    /// A meter that tells `emptied` whenever its last connection ends.
    pub(crate) fn new(workers: usize, emptied: Arc<Notify>) -> Self {
        let shards = std::iter::repeat_with(Shard::default).take(workers).collect();
        Self { shards, emptied, ..Self::default() }
    }

    /// The rule's figures.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.shards.iter().for_each(|shard| shard.total.add_to(&mut figures));
        Figures {
            active_connections: self.active(),
            connections_total: self.admitted.load(Relaxed),
            target_failovers: self.failovers.load(Relaxed),
            ..figures
        }
    }

    /// Counts a failover or a return: other targets carry the weight from now on.
    pub fn failed_over(&self) {
        self.failovers.fetch_add(1, Relaxed);
    }

    /// Live connections.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Figures of every port that had traffic.
    pub fn per_port(&self) -> Vec<PortFigures> {
        self.sums(|shard| &shard.ports, |port| &port.tally)
    }

    /// Figures of every target that had traffic.
    pub fn per_target(&self) -> Vec<TargetFigures> {
        self.sums(|shard| &shard.targets, |target| target)
    }

    /// When connections to each target came about last, and when they did not.
    pub fn last_times(&self) -> BTreeMap<TargetKey, LastTimes> {
        let mut times = BTreeMap::<TargetKey, LastTimes>::new();
        for shard in &self.shards {
            for (key, tally) in shard.targets.load().iter() {
                let known = times.entry(key.clone()).or_default();
                *known = tally.times(*known);
            }
        }
        times
    }

    /// When the last connection came, and when each port was used last: now where it has connections.
    pub(crate) fn last_uses(&self, now_ms: u64) -> (u64, BTreeMap<u16, u64>) {
        let (mut last_ms, mut ports) = (0, BTreeMap::<u16, u64>::new());
        for shard in &self.shards {
            for (port, counted) in shard.ports.load().iter() {
                let came_ms = counted.last_ms.read();
                let is_open = counted.tally.counts.active_connections.read() > 0;
                let used = ports.entry(*port).or_default();
                *used = (*used).max(if is_open { now_ms } else { came_ms });
                last_ms = last_ms.max(came_ms);
            }
        }
        (last_ms, ports)
    }

    /// The networks that connections came from in the last day.
    pub(crate) fn sources(&self, now_ms: u64) -> Vec<SourceNetwork> {
        let of_shard = |shard: &Shard| match shard.sources.lock() {
            Ok(sources) => sources.recent(now_ms).collect::<Vec<_>>(),
            Err(_) => Vec::new(),
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// Live connections that do not drain, by place; places without any are left out.
    pub fn per_place(&self) -> Vec<PlaceFigures> {
        let mut sums = BTreeMap::<(u16, Host, u16), u64>::new();
        for shard in &self.shards {
            for (port, counted) in shard.ports.load().iter() {
                for place in counted.places.load().iter().filter(|place| place.live.read() > 0) {
                    *sums.entry((*port, place.host.clone(), place.port)).or_default() += place.live.read();
                }
            }
        }
        sums.into_iter().collect()
    }

    fn sums<K: Ord + Clone, T>(
        &self,
        of: impl Fn(&Shard) -> &Tallies<K, T>,
        tally: impl Fn(&T) -> &Tally,
    ) -> Vec<(K, Figures)> {
        let mut sums = BTreeMap::<K, Figures>::new();
        for shard in &self.shards {
            for (key, counted) in of(shard).load().iter() {
                tally(counted).add_to(sums.entry(key.clone()).or_default());
            }
        }
        sums.into_iter().collect()
    }

    /// New flows that found no room so far, and when the last one did not, in milliseconds since 1970.
    pub fn flows_refused(&self) -> (u64, u64) {
        let (count, last) = (self.figures().flows_dropped_overflow, |shard: &Shard| shard.overflow_ms.load(Relaxed));
        (count, self.shards.iter().map(last).max().unwrap_or_default())
    }

    /// Connections so far: those that come later have this number or a higher one.
    pub(crate) fn next_connection(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    /// What holds for its connections.
    pub(crate) fn limits(&self) -> Option<Arc<RuleLimits>> {
        self.shards.first().and_then(|shard| shard.limits.load_full())
    }

    /// Other limits hold for its connections from now on, live ones included.
    pub(crate) fn set_limits(&self, limits: Option<&Arc<RuleLimits>>) {
        for shard in &self.shards {
            shard.limits.store(limits.cloned());
            shard.is_limited.store(limits.is_some(), Relaxed);
        }
    }

    /// One live connection more, whatever the rule allows.
    pub(crate) fn join(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    /// A live connection that nobody serves.
    #[cfg(test)]
    pub(crate) fn arrived(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    /// One live connection less.
    pub(crate) fn leave(&self) {
        if self.active.fetch_sub(1, Relaxed) == 1 {
            self.emptied.notify_one();
        }
    }

    /// Counts a connection that came by the name which its client asked for.
    pub(crate) fn chosen_by_name(&self, worker: usize, port: u16, how: NameMatch) {
        let result = match how {
            NameMatch::Exact => SniResult::Exact,
            NameMatch::Wildcard => SniResult::Wildcard,
            NameMatch::Fallback => SniResult::Fallback,
        };
        let shard = &self.shards[worker];
        for tally in [&shard.total, &tally_of(&shard.ports, &port).tally] {
            tally.counts.sni.of(result).add(1);
        }
    }

    /// Counts a connection that was not taken in.
    pub(crate) fn refused(&self, worker: usize, port: u16, why: Refusal) {
        let shard = &self.shards[worker];
        if why == Refusal::Overflow {
            shard.overflow_ms.store(wall_clock(), Relaxed);
        }
        for tally in [&shard.total, &tally_of(&shard.ports, &port).tally] {
            if why == Refusal::Overflow {
                tally.counts.flows_dropped_overflow.add(1);
                continue;
            }
            tally.counts.connections_refused.add(1);
            match why {
                Refusal::NoServer => tally.counts.lb.of(ChoiceKind::NoServer).add(1),
                Refusal::Limit => tally.counts.refused.of(RefusalReason::Connections.by(Enforcement::Enforce)).add(1),
                Refusal::Entry(reason) => tally.counts.refused.of(reason.by(Enforcement::Enforce)).add(1),
                Refusal::Overflow => {}
            }
        }
    }
    /// Counts a connection that a check would have refused, did it not only observe.
    pub(crate) fn observed(&self, worker: usize, port: u16, reason: RefusalReason) {
        let shard = &self.shards[worker];
        for tally in [&shard.total, &tally_of(&shard.ports, &port).tally] {
            tally.counts.refused.of(reason.by(Enforcement::Observe)).add(1);
        }
    }
}
