//! Running counters, and figures as read from them. Shared memory, no I/O.
//!
//! Keeps: every counter has one writer, so that counting is a load and a store and shares no cache line; whoever
//! reads adds up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use schema::counters::{Counts, Figures};

/// When connections to a target came about, in milliseconds since 1970; 0: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastTimes {
    /// The last one that did.
    pub success_ms: u64,
    /// The last one that did not.
    pub failure_ms: u64,
}

/// A counter with one writer.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub(super) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    pub(super) fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One set of running counters, of one worker. A multiple of two cache lines, which processors fetch together.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Tally {
    pub(super) counts: Counts<Counter>,
    pub(super) last_success_ms: Counter,
    pub(super) last_failure_ms: Counter,
}

impl Tally {
    /// One live connection or flow more.
    pub(super) fn begins(&self, is_flow: bool) {
        self.counts.active_connections.add(1);
        self.counts.active_flows.add(is_flow.into());
    }

    /// One less.
    pub(super) fn ends(&self, is_flow: bool) {
        self.counts.active_connections.sub(1);
        self.counts.active_flows.sub(is_flow.into());
    }

    /// Adds what was counted to figures.
    pub(super) fn add_to(&self, figures: &mut Figures) {
        self.counts.add_to(figures, Counter::read);
    }

    /// The later times of these and of its own.
    pub(super) fn times(&self, times: LastTimes) -> LastTimes {
        LastTimes {
            success_ms: times.success_ms.max(self.last_success_ms.read()),
            failure_ms: times.failure_ms.max(self.last_failure_ms.read()),
        }
    }
}
