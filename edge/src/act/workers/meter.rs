//! The counters and live connections of one rule. Shared memory, no I/O.
//!
//! A meter belongs to the rule and not to one of its versions: updates, moves and rebinds carry it on.
//! Keeps: a connection is counted as active from its admission until its ticket is dropped, on every path.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schema::net::Listener;
use schema::rule::{Host, Target};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::decide::dial::Cause;

/// A target as the counters know it: its host and its first port.
pub type TargetKey = (Host, u16);

fn key(target: &Target) -> TargetKey {
    (target.host.clone(), target.ports.first())
}

/// Counters as read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// From clients to targets.
    pub bytes_in: u64,
    /// From targets to clients.
    pub bytes_out: u64,
    /// Live connections.
    pub active_connections: u64,
    /// Connections that were admitted.
    pub connections_total: u64,
    /// Connections that were refused: above the limit, or no target takes any.
    pub connections_refused: u64,
    /// Names that did not resolve.
    pub dns_failures: u64,
    /// By cause, in the order of [`Cause::ALL`].
    pub connect_errors: [u64; Cause::ALL.len()],
}

/// Figures of one listen port.
pub type PortFigures = (u16, Figures);
/// Figures of one target.
pub type TargetFigures = (TargetKey, Figures);

/// One set of running counters.
#[derive(Default)]
struct Tally {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    active: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    dns_failures: AtomicU64,
    connect_errors: [AtomicU64; Cause::ALL.len()],
}

impl Tally {
    fn read(&self) -> Figures {
        Figures {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            active_connections: self.active.load(Relaxed),
            connections_total: self.total.load(Relaxed),
            connections_refused: self.refused.load(Relaxed),
            dns_failures: self.dns_failures.load(Relaxed),
            connect_errors: std::array::from_fn(|cause| self.connect_errors[cause].load(Relaxed)),
        }
    }
}

struct Live {
    listener: Listener,
    target: TargetKey,
    reset: CancellationToken,
}

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

/// The counters and live connections of one rule.
#[derive(Default)]
pub struct Meter {
    total: Tally,
    /// Only ports that had traffic.
    ports: Mutex<BTreeMap<u16, Arc<Tally>>>,
    /// Only targets that had traffic.
    targets: Mutex<BTreeMap<TargetKey, Arc<Tally>>>,
    live: Mutex<HashMap<u64, Live>>,
    next: AtomicU64,
    /// Told whenever the last connection ends.
    emptied: Arc<Notify>,
}

/// A panic while a map is held leaves it whole: every change of it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// A meter that tells `emptied` whenever its last connection ends.
    pub fn new(emptied: Arc<Notify>) -> Self {
        Self { emptied, ..Self::default() }
    }

    /// The rule's figures.
    pub fn figures(&self) -> Figures {
        self.total.read()
    }

    /// Live connections.
    pub fn active(&self) -> u64 {
        self.total.active.load(Relaxed)
    }

    /// Figures of every port that had traffic.
    pub fn per_port(&self) -> Vec<PortFigures> {
        lock(&self.ports).iter().map(|(port, tally)| (*port, tally.read())).collect()
    }

    /// Figures of every target that had traffic.
    pub fn per_target(&self) -> Vec<TargetFigures> {
        lock(&self.targets).iter().map(|(target, tally)| (target.clone(), tally.read())).collect()
    }

    /// Connections so far: those that come later have this number or a higher one.
    pub(crate) fn next_connection(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// Resets connections of the scope that are older than `before`.
    pub(crate) fn reset(&self, scope: &Scope, before: u64) {
        for (_, live) in lock(&self.live).iter().filter(|(id, _)| **id < before) {
            let is_meant = match scope {
                Scope::Rule => true,
                Scope::Listeners(listeners) => listeners.contains(&live.listener),
                Scope::Targets(targets) => targets.contains(&live.target),
            };
            if is_meant {
                live.reset.cancel();
            }
        }
    }

    /// Takes a connection in, unless that would be more than `max`. Allocates nothing where it refuses.
    pub(super) fn admit(
        self: &Arc<Self>,
        listener: Listener,
        target: &Target,
        max: Option<NonZeroU32>,
    ) -> Option<Ticket> {
        let max = max.map_or(u64::MAX, |max| u64::from(max.get()));
        let admitted = self.total.active.fetch_update(Relaxed, Relaxed, |active| (active < max).then_some(active + 1));
        admitted.ok()?;
        let id = self.next.fetch_add(1, Relaxed);
        let target = key(target);
        let port = lock(&self.ports).entry(listener.port).or_default().clone();
        let per_target = lock(&self.targets).entry(target.clone()).or_default().clone();
        let reset = CancellationToken::new();
        let live = Live { listener, target, reset: reset.clone() };
        lock(&self.live).insert(id, live);
        self.total.total.fetch_add(1, Relaxed);
        for tally in [&port, &per_target] {
            tally.active.fetch_add(1, Relaxed);
            tally.total.fetch_add(1, Relaxed);
        }
        Some(Ticket { meter: self.clone(), port, target: per_target, id, reset })
    }

    /// Counts a connection that was not taken in.
    pub(super) fn refused(&self, port: u16) {
        self.total.refused.fetch_add(1, Relaxed);
        lock(&self.ports).entry(port).or_default().refused.fetch_add(1, Relaxed);
    }
}

/// One admitted connection.
pub(super) struct Ticket {
    meter: Arc<Meter>,
    port: Arc<Tally>,
    target: Arc<Tally>,
    id: u64,
    /// Cancelled when the connection must end at once.
    pub(super) reset: CancellationToken,
}

impl Ticket {
    fn tallies(&self) -> [&Tally; 3] {
        [&self.meter.total, &self.port, &self.target]
    }

    /// Counts bytes from the client to the target.
    pub(super) fn moved_in(&self, bytes: usize) {
        self.tallies().iter().for_each(|tally| _ = tally.bytes_in.fetch_add(bytes as u64, Relaxed));
    }

    /// Counts bytes from the target to the client.
    pub(super) fn moved_out(&self, bytes: usize) {
        self.tallies().iter().for_each(|tally| _ = tally.bytes_out.fetch_add(bytes as u64, Relaxed));
    }

    /// Counts a name that did not resolve.
    pub(super) fn dns_failed(&self) {
        self.tallies().iter().for_each(|tally| _ = tally.dns_failures.fetch_add(1, Relaxed));
    }

    /// Counts an address that could not be connected to.
    pub(super) fn connect_failed(&self, cause: Cause) {
        let index = Cause::ALL.iter().position(|one| *one == cause).expect("ALL holds every cause");
        self.tallies().iter().for_each(|tally| _ = tally.connect_errors[index].fetch_add(1, Relaxed));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.meter.live).remove(&self.id);
        self.port.active.fetch_sub(1, Relaxed);
        self.target.active.fetch_sub(1, Relaxed);
        if self.meter.total.active.fetch_sub(1, Relaxed) == 1 {
            self.meter.emptied.notify_one();
        }
    }
}
