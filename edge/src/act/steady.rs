//! The clock by which what has an end ends: that of the wall when it was first read, carried on by the one of the host
//! that nobody sets. I/O.
//!
//! Keeps: an end is neither put off nor hastened by a wall clock that is set, not over a restart of the edge either; after
//! a restart of the host the wall clock is all there is.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use prost::Message;

/// Names the start of the host.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How far the clock is before the one that counts from the start of the host; as it is stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Steady {
    /// Which start of the host it counts from.
    #[prost(string, tag = "1")]
    boot: String,
    #[prost(uint64, tag = "2")]
    ahead_ms: u64,
}

/// Since the start of the host, suspended times included.
fn since_boot() -> Duration {
    // Linux has this clock; a host without it has only that of the wall.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

impl Steady {
    /// The stored clock, if it is of this start of the host; else one that is set by the wall clock now.
    pub(crate) fn start(stored: Option<Self>) -> Self {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        if let Some(stored) = stored.filter(|stored| stored.boot == boot && !boot.is_empty()) {
            return stored;
        }
        // Before 1970 nothing is right anyway.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { boot, ahead_ms: millis(wall.saturating_sub(since_boot())) }
    }

    /// Milliseconds since 1970 by this clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ahead_ms.saturating_add(millis(since_boot()))
    }

    /// How long until then.
    pub(crate) fn rest(&self, until_ms: u64) -> Duration {
        Duration::from_millis(until_ms.saturating_sub(self.now_ms()))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_over_a_restart_of_the_edge_and_begins_anew_with_the_host() {
        let before = Steady::start(None);
        // As if the wall clock had been set back by an hour since the first start.
        let an_hour_off = Steady { ahead_ms: before.ahead_ms + 3_600_000, ..before.clone() };
        let after = Steady::start(Some(an_hour_off.clone()));
        assert_eq!(after, an_hour_off);
        assert!(after.now_ms() >= before.now_ms() + 3_600_000);
        let of_another_start = Steady { boot: "another".to_owned(), ..an_hour_off };
        let anew = Steady::start(Some(of_another_start));
        assert!(anew.now_ms().abs_diff(before.now_ms()) < 60_000);
        assert_eq!(anew.rest(0), Duration::ZERO);
    }
}
