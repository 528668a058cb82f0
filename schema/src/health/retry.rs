//! When a rule that waits for its new targets asks them again. Pure.

use std::time::Duration;

/// The waits before each retry: half a second, doubling to eight.
pub const ACTIVATION_RETRIES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// How long to wait after this many failed retries; none: the rule gives up waiting.
pub fn retry_after(failed_retries: usize) -> Option<Duration> {
    ACTIVATION_RETRIES.get(failed_retries).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_retries_each_twice_as_late_as_the_one_before() {
        let waits: Vec<Duration> = (0..).map_while(retry_after).collect();
        assert_eq!(waits.len(), 5);
        assert_eq!((waits[0].as_millis(), waits[4].as_millis()), (500, 8000));
        assert!(waits.windows(2).all(|pair| pair[1] == pair[0] * 2));
    }
}
