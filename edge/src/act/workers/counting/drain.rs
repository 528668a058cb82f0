//! Connections that end by a deadline. Shared memory.
//!
//! Keeps: a drain knows how many of its connections live; whoever holds it is one of them, or owns its deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use schema::net::ListenRange;

/// Connections that have the same time left.
#[derive(Debug)]
pub struct Drain {
    /// Where they came in.
    pub listen: Vec<ListenRange>,
    /// When what is left of them is reset, in milliseconds since 1970.
    pub ends_at_ms: u64,
    /// Access lists refuse their clients; nothing else has changed for them.
    pub(crate) is_refusal: bool,
    live: AtomicU64,
}

impl Drain {
    /// One without connections.
    pub(crate) fn new(listen: Vec<ListenRange>, ends_at_ms: u64, is_refusal: bool) -> Arc<Self> {
        Arc::new(Self { listen, ends_at_ms, is_refusal, live: AtomicU64::new(0) })
    }

    /// Connections that are left.
    pub fn live(&self) -> u64 {
        self.live.load(Relaxed)
    }

    pub(crate) fn join(&self) {
        self.live.fetch_add(1, Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.live.fetch_sub(1, Relaxed);
    }
}
