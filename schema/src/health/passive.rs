//! What connections tell about a target: failures in a row within a sliding window, successes in a row. Pure.

use std::time::Duration;

/// Failures in a row that fail a target.
pub const PASSIVE_FAILURES: usize = 3;
/// The time within which they count; exactly this long ago still does.
pub const PASSIVE_WINDOW: Duration = Duration::from_secs(30);
/// Successes in a row that recover a target which connections failed.
pub const PASSIVE_SUCCESSES: u8 = 2;

/// The last failures and successes of one target's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PassiveWindow {
    // Oldest first; more than the last three never matter.
    failures: [Option<Duration>; PASSIVE_FAILURES],
    successes: u8,
}

impl PassiveWindow {
    /// Notes a failure; true if it completes a row that fails the target.
    pub fn failed(&mut self, now: Duration) -> bool {
        self.successes = 0;
        self.failures.rotate_left(1);
        self.failures[PASSIVE_FAILURES - 1] = Some(now);
        self.failures[0].is_some_and(|oldest| now.saturating_sub(oldest) <= PASSIVE_WINDOW)
    }

    /// Notes a success; true if it completes a row that recovers the target.
    pub fn succeeded(&mut self) -> bool {
        self.failures = [None; PASSIVE_FAILURES];
        self.successes = (self.successes + 1).min(PASSIVE_SUCCESSES);
        self.successes == PASSIVE_SUCCESSES
    }

    /// True if a success would empty the window.
    pub fn has_failures(&self) -> bool {
        self.failures.iter().any(Option::is_some)
    }

    /// Forgets everything: a fresh verdict needs a full row again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(times_ms: &[u64]) -> bool {
        let mut window = PassiveWindow::default();
        times_ms.iter().fold(false, |_, at| window.failed(Duration::from_millis(*at)))
    }

    #[test]
    fn three_failures_within_thirty_seconds_inclusive_trip() {
        assert!(trips(&[0, 10, 30_000]));
        assert!(!trips(&[0, 10, 30_001]));
        assert!(!trips(&[0, 10]));
    }

    #[test]
    fn the_window_slides_and_does_not_tumble() {
        assert!(trips(&[0, 20_000, 40_000, 50_000]));
        assert!(!trips(&[0, 20_000, 40_000, 60_000]));
    }

    #[test]
    fn a_success_empties_the_window() {
        let mut window = PassiveWindow::default();
        window.failed(Duration::ZERO);
        window.failed(Duration::ZERO);
        assert!(!window.succeeded());
        assert!(!window.failed(Duration::ZERO));
    }

    #[test]
    fn a_failure_ends_a_row_of_successes() {
        let mut window = PassiveWindow::default();
        assert!(!window.succeeded());
        window.failed(Duration::ZERO);
        assert!(!window.succeeded());
        assert!(window.succeeded());
    }
}
