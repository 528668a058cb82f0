//! How long to wait before trying again. Pure: chance is an argument.
//!
//! Keeps: a delay never exceeds its cap, however often something failed.

use std::time::Duration;

/// First delay before a failed rule is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest delay before a failed rule is tried again: a freed port is taken within it.
const RETRY_CAP: Duration = Duration::from_secs(8);
/// First delay before the next session.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// Longest delay before the next session.
const RECONNECT_CAP: Duration = Duration::from_secs(5);

/// The delay after the given number of failures in a row of one rule, the first being 1.
pub fn retry_delay(failures: u32) -> Duration {
    doubled(RETRY_FIRST, RETRY_CAP, failures)
}

/// The delay after the given number of sessions in a row that did not come about, the first being 1.
/// `chance` spreads it over its upper half, so that the edges of a restarted server do not come all at once.
pub fn reconnect_delay(failures: u32, chance: u32) -> Duration {
    let whole = doubled(RECONNECT_FIRST, RECONNECT_CAP, failures);
    let share = f64::from(chance) / f64::from(u32::MAX);
    whole.mul_f64(0.5 + share / 2.0)
}

fn doubled(first: Duration, cap: Duration, failures: u32) -> Duration {
    // Both caps are reached within ten doublings; more would only overflow.
    first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_from_250_ms_to_8_s() {
        let delays: Vec<u128> = (1..=7).map(|failures| retry_delay(failures).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(retry_delay(u32::MAX), Duration::from_secs(8));
    }

    #[test]
    fn reconnects_stay_between_half_and_whole_of_a_delay_that_ends_at_5_s() {
        assert_eq!(reconnect_delay(1, 0), Duration::from_millis(50));
        assert_eq!(reconnect_delay(1, u32::MAX), Duration::from_millis(100));
        assert_eq!(reconnect_delay(u32::MAX, u32::MAX), Duration::from_secs(5));
    }
}
