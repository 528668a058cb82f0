//! What workers, resolver and control share. Shared memory.
//!
//! Keeps: nothing in it is locked, and nothing but loads of it is touched per event.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use schema::counters::SniMiss;
use tokio::sync::{Notify, mpsc};

use super::counting::shortages::Shortages;
use super::mailbox::Mailbox;
use super::room::Room;
use super::targets::question::NameQuestion;
use super::targets::routing::Routing;
use crate::act::connection_log::ConnectionLog;
use crate::act::names::Names;
use crate::act::policy::PolicyInForce;

/// What workers, resolver and control share.
pub(super) struct Shared {
    pub(super) routing: ArcSwap<Routing>,
    pub(super) workers: Box<[Mailbox]>,
    pub(super) questions: mpsc::Sender<NameQuestion>,
    /// What needs no question.
    pub(super) names: Names,
    /// What may be connected to.
    pub(super) policy: PolicyInForce,
    /// Every connection ends at once, later ones too.
    pub(super) is_resetting: AtomicBool,
    /// The workers end.
    pub(super) is_stopping: AtomicBool,
    /// Told when a worker's last connection ends.
    pub(super) emptied: Notify,
    /// Connections of all workers that have no rule yet.
    undecided: AtomicUsize,
    /// TLS clients and others that no rule was for, by cause.
    misses: [AtomicU64; SniMiss::ALL.len()],
    /// For more clients.
    pub(super) room: Room,
    pub(super) shortages: Shortages,
    /// Where connections that end are written down.
    pub(super) log: Option<ConnectionLog>,
    /// Names this run of the edge: names of connections from before a restart name none of it.
    pub(super) run: u32,
}

impl Shared {
    pub(super) fn new(
        workers: Vec<Mailbox>,
        questions: mpsc::Sender<NameQuestion>,
        (names, policy): (Names, PolicyInForce),
        log: Option<ConnectionLog>,
    ) -> Self {
        Self {
            room: Room::new(workers.len()),
            routing: ArcSwap::default(),
            workers: workers.into(),
            questions,
            names,
            policy,
            is_resetting: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            emptied: Notify::new(),
            undecided: AtomicUsize::new(0),
            misses: Default::default(),
            shortages: Shortages::default(),
            log,
            run: getrandom::u32().unwrap_or_default(),
        }
    }

    /// Live connections.
    pub(super) fn count(&self) -> usize {
        self.workers.iter().map(Mailbox::load).sum::<usize>() + self.undecided.load(Relaxed)
    }

    /// A connection waits for its rule.
    pub(super) fn undecided(&self) {
        self.undecided.fetch_add(1, Relaxed);
    }

    /// It counts as one of a worker, or has ended.
    pub(super) fn decided(&self) {
        if self.undecided.fetch_sub(1, Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// No rule was for a connection.
    pub(super) fn missed(&self, why: SniMiss) {
        self.misses[why as usize].fetch_add(1, Relaxed);
    }

    /// How many there were, by cause.
    pub(super) fn misses(&self) -> [u64; SniMiss::ALL.len()] {
        self.misses.each_ref().map(|count| count.load(Relaxed))
    }

    /// True if there are more live connections than the edge's policy allows, the one that has just begun included.
    pub(super) fn is_beyond_policy(&self) -> bool {
        self.policy.load().max_connections.is_some_and(|most| self.count() > most as usize)
    }

    /// The worker with the fewest connections; `own` among equals, for it need not be woken.
    pub(super) fn least_loaded(&self, own: usize) -> usize {
        let by_load = |index: &usize| (self.workers[*index].load(), *index != own);
        (0..self.workers.len()).min_by_key(by_load).unwrap_or(own)
    }

    /// A worker has a connection less.
    pub(super) fn ended(&self, worker: usize) {
        if self.workers[worker].ended() {
            self.emptied.notify_waiters();
        }
    }

    /// Makes all workers look at what they share.
    pub(super) fn wake_all(&self) {
        self.workers.iter().for_each(Mailbox::wake);
    }
}
