//! What is known of a remote repository that the server follows, and when to look there again. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The first wait after a look that failed; it doubles with each that fails after it.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The remote as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteView {
    /// Where it is, without user and password of an https URL.
    pub url: String,
    /// The branch or tag that is followed.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The folder of the tree inside the repository; empty for the whole of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The commit that the ref named when it was seen last.
    pub commit: Option<String>,
    /// When the remote was asked last.
    pub attempted_at: Option<Timestamp>,
    /// When it answered last.
    pub fetched_at: Option<Timestamp>,
    /// Why the last look failed; `None` if it did not.
    pub error: Option<String>,
    /// Looks that failed one after the other, up to the last one.
    pub failures: u64,
    /// Looks since the start of the server that were answered.
    pub fetched: u64,
    /// Looks since the start of the server that failed.
    pub failed: u64,
}

/// How long to wait for the next look: the interval, and less while looks fail, so that a remote which comes back is
/// seen soon. Never longer than the interval.
pub fn pause(interval: Duration, failures: u64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return interval };
    let factor = 1_u32.checked_shl(u32::try_from(doublings).unwrap_or(u32::MAX)).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_remote_is_asked_again_soon_and_then_at_the_usual_pace() {
        let interval = Duration::from_secs(30);
        let pauses: Vec<u64> = (0..=7).map(|failures| pause(interval, failures).as_secs()).collect();
        assert_eq!(pauses, [30, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause(interval, u64::MAX), interval);
        assert_eq!(pause(Duration::from_millis(100), 5), Duration::from_millis(100));
    }
}
