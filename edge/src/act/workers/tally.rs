//! Running counters, and figures as read from them. Shared memory, no I/O.
//!
//! Keeps: every counter has one writer, so that counting is a load and a store and shares no cache line; whoever
//! reads adds up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::decide::breaks::Break;
use crate::decide::datagrams::Lost;
use crate::decide::dial::{Cause, Outcome};

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
    /// Connections that were broken, in the order of [`Break::ALL`].
    pub broken: [u64; Break::ALL.len()],
    /// Times that other targets took over, or gave back; of a rule only.
    pub target_failovers: u64,
    /// What came of choosing a target, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Milliseconds since 1970 of the last connection that came about; 0: none. Of targets only.
    pub last_success_ms: u64,
    /// The same of the last one that did not.
    pub last_failure_ms: u64,
    /// Datagrams from clients that went to targets.
    pub udp_datagrams_in: u64,
    /// Datagrams from targets that went to clients.
    pub udp_datagrams_out: u64,
    /// Live flows; they count as connections too.
    pub active_flows: u64,
    /// New flows that found no room.
    pub flows_dropped_overflow: u64,
    /// Datagrams that were not passed on, in the order of [`Lost::ALL`].
    pub datagrams_dropped: [u64; Lost::ALL.len()],
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

/// One set of running counters, of one worker. A multiple of two cache lines, which processors fetch together; what
/// moves with every read comes first.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Tally {
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) datagrams_in: Counter,
    pub(super) datagrams_out: Counter,
    active: Counter,
    flows: Counter,
    pub(super) total: Counter,
    pub(super) refused: Counter,
    pub(super) dns_failures: Counter,
    pub(super) connect_errors: [Counter; Cause::ALL.len()],
    pub(super) broken: [Counter; Break::ALL.len()],
    pub(super) outcomes: [Counter; Outcome::ALL.len()],
    pub(super) last_success_ms: Counter,
    pub(super) last_failure_ms: Counter,
    pub(super) overflow: Counter,
    pub(super) lost: [Counter; Lost::ALL.len()],
}

impl Tally {
    /// One live connection or flow more.
    pub(super) fn begins(&self, is_flow: bool) {
        self.active.add(1);
        self.flows.add(is_flow.into());
    }

    /// One less.
    pub(super) fn ends(&self, is_flow: bool) {
        self.active.sub(1);
        self.flows.sub(is_flow.into());
    }

    /// Adds what was counted to figures.
    pub(super) fn add_to(&self, figures: &mut Figures) {
        figures.bytes_in += self.bytes_in.read();
        figures.bytes_out += self.bytes_out.read();
        figures.active_connections += self.active.read();
        figures.connections_total += self.total.read();
        figures.connections_refused += self.refused.read();
        figures.dns_failures += self.dns_failures.read();
        for (sum, counter) in figures.connect_errors.iter_mut().zip(&self.connect_errors) {
            *sum += counter.read();
        }
        for (sum, counter) in figures.broken.iter_mut().zip(&self.broken) {
            *sum += counter.read();
        }
        for (sum, counter) in figures.outcomes.iter_mut().zip(&self.outcomes) {
            *sum += counter.read();
        }
        figures.last_success_ms = figures.last_success_ms.max(self.last_success_ms.read());
        figures.last_failure_ms = figures.last_failure_ms.max(self.last_failure_ms.read());
        figures.udp_datagrams_in += self.datagrams_in.read();
        figures.udp_datagrams_out += self.datagrams_out.read();
        figures.active_flows += self.flows.read();
        figures.flows_dropped_overflow += self.overflow.read();
        for (sum, counter) in figures.datagrams_dropped.iter_mut().zip(&self.lost) {
            *sum += counter.read();
        }
    }
}
