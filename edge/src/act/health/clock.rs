//! The two clocks of health: one that only goes forward, for verdicts, and that of the wall, for people. I/O.
//!
//! Keeps: a point in time is shown alike each time, unless the wall clock was set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A wall clock that is off by more was set, not slewed.
const SET: Duration = Duration::from_secs(2);

/// Time since the start of the edge.
pub(super) struct Clock {
    start: Instant,
    /// The wall clock at the start, as it is now.
    wall: Duration,
}

fn wall() -> Duration {
    // Before 1970 nothing is right anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Clock {
    /// Starts at 0.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), wall: wall() }
    }

    /// Since the start.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same for timers.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    /// Takes over a wall clock that was set.
    pub(super) fn follow(&mut self) {
        let start = wall().saturating_sub(self.now());
        if start.abs_diff(self.wall) > SET {
            self.wall = start;
        }
    }

    /// In milliseconds since 1970.
    pub(super) fn shown(&self, at: Duration) -> u64 {
        (self.wall + at).as_millis() as u64
    }
}
