//! When a target that is waited for is asked again: one that is new, or that an operator took back into use. Pure.

use std::time::Duration;

/// `[rule.health] retry`: how often such a target is asked before a failure is a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retry {
    /// Tries after the first one.
    pub max: u8,
    /// From the first try to the second; doubles with each further one.
    pub initial_ms: u32,
    /// The longest wait between two tries, not below the first.
    pub max_ms: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max: 5, initial_ms: 500, max_ms: 8000 }
    }
}

impl Retry {
    /// How long to wait after so many failed tries, the first one included; none: that was the last one.
    pub fn after(&self, failed: usize) -> Option<Duration> {
        if failed == 0 || failed > usize::from(self.max) {
            return None;
        }
        // Beyond 32 doublings every wait is the longest.
        let doubled = u64::from(self.initial_ms) << (failed - 1).min(32);
        Some(Duration::from_millis(doubled.min(self.max_ms.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retry: Retry) -> Vec<u128> {
        (1..).map_while(|failed| retry.after(failed)).map(|wait| wait.as_millis()).collect()
    }

    #[test]
    fn waits_double_from_the_first_to_the_longest() {
        assert_eq!(waits(Retry::default()), [500, 1000, 2000, 4000, 8000]);
        assert_eq!(waits(Retry { max: 4, initial_ms: 300, max_ms: 700 }), [300, 600, 700, 700]);
        assert_eq!(waits(Retry { max: 0, ..Retry::default() }), []);
        assert_eq!(waits(Retry { max: 255, initial_ms: 3_600_000, max_ms: 3_600_000 }).len(), 255);
    }
}
