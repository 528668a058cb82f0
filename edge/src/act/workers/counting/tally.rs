//! Running counters, and figures as read from them. Shared memory, no I/O.
//!
//! Keeps: every counter has one writer, so that counting is a load and a store and shares no cache line; whoever
//! reads adds up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use schema::counters::{Counts, Figures};

/// Milliseconds since 1970.
pub(crate) fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

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
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub(crate) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One set of running counters, of one worker. A multiple of two cache lines, which processors fetch together.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) counts: Counts<Counter>,
    pub(crate) last_success_ms: Counter,
    pub(crate) last_failure_ms: Counter,
}

impl Tally {
    /// One live connection or flow more.
    pub(crate) fn begins(&self, is_flow: bool) {
        self.counts.active_connections.add(1);
        self.counts.active_flows.add(is_flow.into());
    }

    /// One less.
    pub(crate) fn ends(&self, is_flow: bool) {
        self.counts.active_connections.sub(1);
        self.counts.active_flows.sub(is_flow.into());
    }

    /// Adds what was counted to figures.
    pub(crate) fn add_to(&self, figures: &mut Figures) {
        self.counts.add_to(figures, Counter::read);
    }

    /// The later times of these and of its own.
    pub(crate) fn times(&self, times: LastTimes) -> LastTimes {
        LastTimes {
            success_ms: times.success_ms.max(self.last_success_ms.read()),
            failure_ms: times.failure_ms.max(self.last_failure_ms.read()),
        }
    }
}
