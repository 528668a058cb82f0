//! How long a peer may leave data unacknowledged: when it is gone, when it is only slow. Pure.
//!
//! Keeps: a peer that acknowledges anything, if only that its window stays closed, is alive and never counts as gone; a
//! peer that is gone is found within three minutes; nothing is decided by one look alone.

use std::time::Duration;

/// The shortest time between two looks, where a rule's timeouts are short.
const LEAST_PERIOD: Duration = Duration::from_millis(250);
/// Looks within the shortest timeout of a rule.
const LOOKS: u32 = 4;

/// Until when a peer that takes nothing is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Between two looks at a connection that moved something or has something waiting.
    pub period: Duration,
    /// Silence of a peer for which something waits that makes it a gone one.
    pub gone: Duration,
    /// How soon the kernel asks again at a closed window. Left alone it asks every two minutes in the end.
    pub probe: Duration,
}

impl Bounds {
    /// Those of the product. Keepalive, which asks after a minute, runs only while nothing waits; a closed window is
    /// asked about at least every `probe` and `period`. With the last look after it the three minutes of CONTRACT §2
    /// hold.
    pub const REAL: Self =
        Self { period: Duration::from_secs(15), gone: Duration::from_secs(150), probe: Duration::from_secs(45) };
}

/// What the kernel says about what was sent to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Bytes that it has not acknowledged, the end of the data counted as one.
    pub waiting: u32,
    /// Bytes that it has acknowledged so far.
    pub acknowledged: u64,
    /// Since its last sign of life.
    pub silent_for: Duration,
}

/// A peer for which something waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    acknowledged: u64,
    /// When it was first seen that it had acknowledged as much.
    since: Duration,
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Nothing waits.
    Idle,
    /// Something waits, and was not seen before.
    Begun,
    /// The peer took something since the last look.
    Moved,
    /// The peer takes nothing. A user timeout of so long makes the kernel ask often enough, and ends nothing before the
    /// next look.
    Waits {
        /// The user timeout to set.
        user_timeout: Duration,
    },
    /// The peer is gone.
    Gone,
    /// The peer is alive, and took nothing for longer than it may.
    Stalled,
}

/// The time between two looks, where the rule has these timeouts.
pub fn period(bounds: Bounds, timeouts: impl IntoIterator<Item = Option<Duration>>) -> Duration {
    let shortest = timeouts.into_iter().flatten().min().map_or(bounds.period, |timeout| timeout / LOOKS);
    shortest.max(LEAST_PERIOD).min(bounds.period)
}

/// Judges a peer by a look at `now`, and remembers it in `wait`.
pub fn judge(
    wait: &mut Option<Wait>,
    look: Look,
    now: Duration,
    stalled_timeout: Option<Duration>,
    bounds: Bounds,
) -> Patience {
    if look.waiting == 0 {
        *wait = None;
        return Patience::Idle;
    }
    let fresh = Wait { acknowledged: look.acknowledged, since: now };
    let Some(known) = wait.replace(fresh) else { return Patience::Begun };
    if known.acknowledged != look.acknowledged {
        return Patience::Moved;
    }
    *wait = Some(known);
    let waited = now.saturating_sub(known.since);
    if look.silent_for >= bounds.gone && waited >= bounds.period {
        Patience::Gone
    } else if stalled_timeout.is_some_and(|timeout| timeout <= waited) {
        Patience::Stalled
    } else {
        // The kernel counts from the first time that it asked, which may be one period before it was seen here.
        Patience::Waits { user_timeout: waited + bounds.period + bounds.probe }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(wait: &mut Option<Wait>, look: Look, now: Duration, stalled_timeout: Option<Duration>) -> Patience {
        super::judge(wait, look, now, stalled_timeout, Bounds::REAL)
    }

    fn period(timeouts: [Option<Duration>; 2]) -> Duration {
        super::period(Bounds::REAL, timeouts)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn look(waiting: u32, acknowledged: u64, silent_for: u64) -> Look {
        Look { waiting, acknowledged, silent_for: secs(silent_for) }
    }

    #[test]
    fn a_peer_that_answers_and_takes_nothing_waits_for_ever_or_stalls() {
        let mut wait = None;
        assert_eq!(judge(&mut wait, look(9, 100, 1), secs(0), None), Patience::Begun);
        for now in (15..100_000).step_by(15) {
            let found = judge(&mut wait, look(9, 100, now % 60), secs(now), None);
            assert_eq!(found, Patience::Waits { user_timeout: secs(now + 60) });
        }
        assert_eq!(judge(&mut wait, look(9, 100, 60), secs(100_000), Some(secs(600))), Patience::Stalled);
        assert_eq!(judge(&mut wait, look(9, 101, 0), secs(100_015), Some(secs(600))), Patience::Moved);
        let waits = judge(&mut wait, look(9, 101, 15), secs(100_614), Some(secs(600)));
        assert!(matches!(waits, Patience::Waits { .. }), "{waits:?}");
        assert_eq!(judge(&mut wait, look(9, 101, 60), secs(100_615), Some(secs(600))), Patience::Stalled);
        assert_eq!(judge(&mut wait, look(0, 110, 0), secs(100_630), Some(secs(600))), Patience::Idle);
        assert_eq!(wait, None);
    }

    #[test]
    fn a_peer_that_gives_no_sign_of_life_while_something_waits_is_found_within_three_minutes() {
        // It went right after a sign of life; what waits is sent later, and looks come as late as they may.
        for sent in 0..60 {
            let mut wait = None;
            let found = (sent + 15..)
                .step_by(15)
                .find(|now| judge(&mut wait, look(9, 100, *now), secs(*now), None) == Patience::Gone);
            assert!(found.is_some_and(|now| (150..=180).contains(&now)), "{found:?}");
        }
    }

    #[test]
    fn one_look_alone_decides_nothing() {
        let mut wait = None;
        assert_eq!(judge(&mut wait, look(9, 100, 4000), secs(5), Some(secs(1))), Patience::Begun);
        let soon = judge(&mut wait, look(9, 100, 4000), Duration::from_millis(5_250), None);
        assert!(matches!(soon, Patience::Waits { .. }), "{soon:?}");
    }

    #[test]
    fn looks_are_as_close_as_the_shortest_timeout_needs() {
        assert_eq!(period([None, None]), Bounds::REAL.period);
        assert_eq!(period([Some(secs(3600)), None]), Bounds::REAL.period);
        assert_eq!(period([Some(secs(3600)), Some(secs(4))]), secs(1));
        assert_eq!(period([Some(secs(1)), None]), LEAST_PERIOD);
    }
}
