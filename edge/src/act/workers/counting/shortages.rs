//! What this host lacked when a target was to be reached. Shared memory.
//!
//! Keeps: no worker waits for another one; one log line a minute for each shortage, however many connections meet it.

use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use crate::decide::faults::{Complaints, ConnectCause};

/// The shortages that all workers have met.
pub(crate) struct Shortages {
    start: Instant,
    complaints: Mutex<Complaints>,
}

impl Default for Shortages {
    fn default() -> Self {
        Self { start: Instant::now(), complaints: Mutex::default() }
    }
}

impl Shortages {
    /// Takes note of a failure that may be one of this host.
    pub(crate) fn note(&self, cause: ConnectCause) {
        if cause.is_targets() {
            return;
        }
        let mut complaints = match self.complaints.try_lock() {
            Ok(complaints) => complaints,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another worker notes one at this moment, and the next one is noted again.
            Err(TryLockError::WouldBlock) => return,
        };
        let due = complaints.note(cause, self.start.elapsed());
        drop(complaints);
        if let Some(count) = due {
            tracing::warn!(cause = cause.as_str(), count, "a target was not reached: {}", cause.of_host());
        }
    }
}
