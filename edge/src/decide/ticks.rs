//! Time as workers count it: in ticks since they started. Pure.

use std::time::Duration;

/// A moment, or a number of ticks.
pub type Tick = u64;

/// One tick: what a deadline is rounded up to.
pub const TICK: Duration = Duration::from_millis(16);

/// Ticks that have passed after that much time.
pub fn passed(since_start: Duration) -> Tick {
    (since_start.as_millis() / TICK.as_millis()) as Tick
}

/// Ticks to wait for that much time, never less: the running tick does not count.
pub const fn ticks(wait: Duration) -> Tick {
    wait.as_millis().div_ceil(TICK.as_millis()) as Tick + 1
}

/// How long so many ticks last.
pub fn lasting(ticks: Tick) -> Duration {
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// How long from one moment until a tick begins.
pub fn until(tick: Tick, since_start: Duration) -> Duration {
    lasting(tick).saturating_sub(since_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_never_shorter_than_asked_for() {
        let start = Duration::from_millis(31);
        let tick = passed(start) + ticks(Duration::from_millis(200));
        assert!(until(tick, start) >= Duration::from_millis(200));
        assert!(until(tick, start) <= Duration::from_millis(200) + 2 * TICK);
    }
}
