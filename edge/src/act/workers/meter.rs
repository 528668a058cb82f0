//! The counters of one rule, and the admission of its connections. Shared memory, no I/O.
//!
//! A meter belongs to the rule and not to one of its versions: updates, moves and rebinds carry it on.
//! Keeps: a connection is counted as active from its admission until its ticket is dropped, on every path; only what
//! limits and drains need at once (how many live, how many came) is shared between workers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use schema::health::{DialOrder, Turn};
use schema::net::Listener;
use schema::rule::{Balance, Host, MAX_TARGETS, Target};
use tokio::sync::Notify;

use super::choice::{Chosen, Met, Place};
use super::routing::Route;
pub use super::tally::Figures;
use super::tally::Tally;
use crate::decide::dial::{self, Cause, Outcome};

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
    /// Whose turn it is among the rule's targets; written by this worker alone.
    turn: [AtomicI32; MAX_TARGETS],
}

impl Shard {
    /// Lets a choice move the rotation.
    fn with_turn<T>(&self, choose: impl FnOnce(&mut Turn) -> T) -> T {
        let mut turn = Turn::from_credits(self.turn.each_ref().map(|credit| credit.load(Relaxed)));
        let chosen = choose(&mut turn);
        for (kept, credit) in self.turn.iter().zip(turn.credits()) {
            kept.store(credit, Relaxed);
        }
        chosen
    }
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
    /// Changes of the pool that carries weight.
    pool_changes: AtomicU64,
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
        Figures {
            active_connections: self.active(),
            connections_total: self.next_connection(),
            target_failovers: figures.target_failovers + self.pool_changes.load(Relaxed),
            ..figures
        }
    }

    /// Counts a failover that no connection made: the weight went to another pool, or back.
    pub fn pool_changed(&self) {
        self.pool_changes.fetch_add(1, Relaxed);
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

    /// One live connection less.
    fn leave(&self) {
        if self.active.fetch_sub(1, Relaxed) == 1 {
            self.emptied.notify_one();
        }
    }

    /// Counts a connection that was not taken in.
    pub(super) fn refused(&self, worker: usize, port: u16, why: Refusal) {
        let shard = &self.shards[worker];
        for tally in [&shard.total, &*tally_of(&shard.ports, &port)] {
            tally.refused.add(1);
            if why == Refusal::NoServer {
                tally.outcomes[index_of(&Outcome::ALL, Outcome::NoServer)].add(1);
            }
        }
    }
}

fn index_of<T: Copy + PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).expect("ALL holds every one")
}

/// Milliseconds since 1970.
fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Why a connection is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The rule has as many as it may.
    Limit,
    /// No target takes any.
    NoServer,
}

/// A connection that was taken in, wherever it is served.
pub(super) struct Admitted {
    pub(super) route: Arc<Route>,
    listener: Listener,
    /// The targets as they were when it came.
    chosen: Arc<Chosen>,
    /// Which of them it tries.
    order: DialOrder,
    /// How many of the order are behind it.
    step: u8,
    id: u64,
}

impl Admitted {
    /// Takes a connection in, unless the rule has as many as it may or no target takes any. Allocates nothing. To be
    /// called by the worker that accepted it.
    pub(super) fn new(route: &Arc<Route>, listener: Listener, client: IpAddr, worker: usize) -> Result<Self, Refusal> {
        let max = route.rule.max_connections.map_or(u64::MAX, |max| u64::from(max.get()));
        let meter = &route.meter;
        let taken = meter.active.fetch_update(Relaxed, Relaxed, |active| (active < max).then_some(active + 1));
        taken.map_err(|_| Refusal::Limit)?;
        let (chosen, order) = match route.rule.balance {
            Balance::RoundRobin | Balance::LeastConnections => {
                meter.shards[worker].with_turn(|turn| route.choice.pick(client, turn))
            }
            Balance::Failover | Balance::SourceIp => route.choice.pick(client, &mut Turn::default()),
        };
        if order.is_empty() {
            meter.leave();
            return Err(Refusal::NoServer);
        }
        let id = meter.admitted.fetch_add(1, Relaxed);
        let admitted = Self { route: route.clone(), listener, chosen, order, step: 0, id };
        if admitted.counts_live() {
            admitted.place().live.fetch_add(1, Relaxed);
        }
        Ok(admitted)
    }

    fn place_index(&self) -> usize {
        self.order.iter().nth(self.step.into()).expect("a step stays inside the order, which is not empty")
    }

    fn place(&self) -> &Place {
        &self.chosen.places[self.place_index()]
    }

    /// Nobody else needs to know how many connections a target has on all workers at once.
    fn counts_live(&self) -> bool {
        self.route.rule.balance == Balance::LeastConnections
    }

    /// Moves on to the next target that still takes connections. False where there is none.
    fn go_on(&mut self) -> bool {
        let now = self.route.choice.chosen();
        let is_newer = !Arc::ptr_eq(&now, &self.chosen);
        let takes = |place: &usize| !is_newer || now.takes(&self.chosen.places[*place]);
        let mut rest = self.order.iter().enumerate().skip(usize::from(self.step) + 1);
        let Some((step, next)) = rest.find(|(_, place)| takes(place)) else { return false };
        if self.counts_live() {
            self.place().live.fetch_sub(1, Relaxed);
            self.chosen.places[next].live.fetch_add(1, Relaxed);
        }
        self.step = step as u8;
        true
    }

    fn meter(&self) -> &Meter {
        &self.route.meter
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.counts_live() {
            self.place().live.fetch_sub(1, Relaxed);
        }
        self.meter().leave();
    }
}

/// One connection as its worker counts it.
pub(super) struct Ticket {
    admitted: Admitted,
    worker: u32,
    /// The target that it is at serves it.
    is_served: bool,
    port: Arc<Tally>,
    target: Arc<Tally>,
}

impl Ticket {
    /// Starts to count a connection that this worker serves.
    pub(super) fn new(admitted: Admitted, worker: usize) -> Self {
        let shard = &admitted.meter().shards[worker];
        let port = tally_of(&shard.ports, &admitted.listener.port);
        let target = tally_of(&shard.targets, &key(&admitted.place().target));
        for tally in [&shard.total, &*port] {
            tally.active.add(1);
            tally.total.add(1);
        }
        target.active.add(1);
        Self { admitted, worker: worker as u32, is_served: false, port, target }
    }

    /// Goes on to the next target. False where no target is left.
    pub(super) fn go_on(&mut self) -> bool {
        if !self.admitted.go_on() {
            return false;
        }
        self.target.active.sub(1);
        let shard = &self.admitted.meter().shards[self.worker as usize];
        self.target = tally_of(&shard.targets, &key(&self.admitted.place().target));
        self.target.active.add(1);
        self.tallies().iter().for_each(|tally| tally.target_failovers.add(1));
        true
    }

    /// The target that it is at has answered.
    pub(super) fn served(&mut self) {
        self.is_served = true;
        self.target.total.add(1);
        self.target.last_success_ms.set(wall_clock());
        self.route().choice.tell(self.place(), Met::Answer);
        let carries_weight = self.admitted.chosen.selection.pools().is_eligible(self.admitted.place_index());
        self.came_to(match self.admitted.step {
            _ if !carries_weight => Outcome::Untracked,
            0 => Outcome::First,
            _ => Outcome::Next,
        });
    }

    /// It ends without a target.
    pub(super) fn unserved(&self) {
        self.came_to(Outcome::NoServer);
    }

    /// Tells what it met at the target that it is at; nothing where the target is not to blame.
    pub(super) fn failed(&self, met: Option<Met>) {
        if let Some(met) = met {
            self.target.last_failure_ms.set(wall_clock());
            self.route().choice.tell(self.place(), met);
        }
    }

    fn came_to(&self, outcome: Outcome) {
        let index = index_of(&Outcome::ALL, outcome);
        self.tallies().iter().for_each(|tally| tally.outcomes[index].add(1));
    }

    /// True if another target is tried where this one fails.
    pub(super) fn has_more(&self) -> bool {
        usize::from(self.admitted.step) + 1 < self.admitted.order.len()
    }

    /// True if it was sent on before.
    pub(super) fn has_moved(&self) -> bool {
        self.admitted.step > 0
    }

    /// Which target of the order it is at.
    pub(super) fn step(&self) -> u8 {
        self.admitted.step
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
        &self.place().target
    }

    /// The port of its target that matches the one it came in at.
    pub(super) fn target_port(&self) -> u16 {
        dial::target_port(self.admitted.chosen.listen, self.target().ports, self.listener().port)
    }

    fn place(&self) -> &Place {
        self.admitted.place()
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
        [&self.admitted.meter().shards[self.worker as usize].total, &self.port, &self.target]
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
        let index = index_of(&Cause::ALL, cause);
        self.tallies().iter().for_each(|tally| tally.connect_errors[index].add(1));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_served {
            // Every connection belongs to one target: the one that serves it, or the last one tried.
            self.target.total.add(1);
        }
        self.tallies().iter().for_each(|tally| tally.active.sub(1));
    }
}
