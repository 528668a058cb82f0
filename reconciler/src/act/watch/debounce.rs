//! When a burst of events is over. Pure: the time is an argument.
//!
//! Keeps: a signal comes when it was quiet for a while, and never later than the longest wait after the first event.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(super) struct Debounce {
    quiet: Duration,
    longest: Duration,
    /// The first and the last event since the last signal.
    burst: Option<(Instant, Instant)>,
}

impl Debounce {
    pub(super) fn new(quiet: Duration, longest: Duration) -> Self {
        Self { quiet, longest, burst: None }
    }

    /// Something happened.
    pub(super) fn event(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// When the signal is due, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.burst.map(|(first, last)| (last + self.quiet).min(first + self.longest))
    }

    /// True, once, when the signal is due.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.clear();
        }
        is_due
    }

    /// Forgets the burst: a signal was given for another reason.
    pub(super) fn clear(&mut self) {
        self.burst = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(2);

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn nothing_is_due_without_an_event() {
        let mut debounce = Debounce::new(QUIET, LONGEST);
        assert!(debounce.due().is_none() && !debounce.take(Instant::now()));
    }

    #[test]
    fn one_event_is_due_after_the_quiet_time_and_only_once() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, LONGEST);
        debounce.event(start);
        assert!(!debounce.take(at(start, 249)));
        assert!(debounce.take(at(start, 250)));
        assert!(!debounce.take(at(start, 10_000)));
    }

    #[test]
    fn each_event_puts_the_signal_off_but_not_beyond_the_longest_wait() {
        let start = Instant::now();
        let mut debounce = Debounce::new(QUIET, LONGEST);
        for millis in (0..=1900).step_by(100) {
            debounce.event(at(start, millis));
            assert_eq!(debounce.due(), Some(at(start, (millis + 250).min(2000))));
        }
        assert!(!debounce.take(at(start, 1999)));
        assert!(debounce.take(at(start, 2000)));
        debounce.event(at(start, 2100));
        assert_eq!(debounce.due(), Some(at(start, 2350)), "a new burst has its own longest wait");
    }
}
