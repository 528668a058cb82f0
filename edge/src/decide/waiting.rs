//! How long a target that is new, resumed or enabled again is waited for (DESIGN §7, Retry). Pure.
//!
//! Keeps: a target is awaited until a try passes or its tries are used up; until then no failure is a verdict.

use std::time::Duration;

use schema::health::{Retry, TargetKey};

#[derive(Debug, Clone, PartialEq, Eq)]
struct AwaitedTarget {
    key: TargetKey,
    attempts: usize,
    /// When to ask next; none for one whose first turn comes with those of others.
    due: Option<Duration>,
}

/// The targets that a rule waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AwaitedTargets {
    retry: Retry,
    targets: Vec<AwaitedTarget>,
}

/// What an attempt at a target was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptAtAwaited {
    /// The target is not awaited.
    None,
    /// It is still awaited.
    OneOfMore,
    /// It is not awaited any more.
    Last,
}

impl AwaitedTargets {
    /// For none, by what a check says.
    pub fn new(retry: Retry) -> Self {
        Self { retry, targets: Vec::new() }
    }

    /// Waits for targets, the first time at `due`. One that is awaited already begins anew.
    pub fn extend(&mut self, targets: impl IntoIterator<Item = TargetKey>, due: Option<Duration>) {
        for key in targets {
            self.targets.retain(|awaited| awaited.key != key);
            self.targets.push(AwaitedTarget { key, attempts: 0, due });
        }
    }

    /// Takes what a changed check says; tries that were made still count.
    pub fn set_retry(&mut self, retry: Retry) {
        self.retry = retry;
    }

    /// True once it waits for none.
    pub fn is_over(&self) -> bool {
        self.targets.is_empty()
    }

    fn find(&self, key: &TargetKey) -> Option<&AwaitedTarget> {
        self.targets.iter().find(|awaited| awaited.key == *key)
    }

    /// Attempts so far at a target that is awaited, else 0.
    pub fn attempts(&self, key: &TargetKey) -> usize {
        self.find(key).map_or(0, |awaited| awaited.attempts)
    }

    /// When to ask a target again that is awaited.
    pub fn due(&self, key: &TargetKey) -> Option<Duration> {
        self.find(key)?.due
    }

    /// Notes a probe's end.
    pub fn attempted(&mut self, key: &TargetKey, is_pass: bool, now: Duration) -> AttemptAtAwaited {
        let Some(index) = self.targets.iter().position(|awaited| awaited.key == *key) else {
            return AttemptAtAwaited::None;
        };
        let awaited = &mut self.targets[index];
        awaited.attempts += 1;
        awaited.due = self.retry.after(awaited.attempts).filter(|_| !is_pass).map(|wait| now + wait);
        if awaited.due.is_some() {
            return AttemptAtAwaited::OneOfMore;
        }
        self.targets.swap_remove(index);
        AttemptAtAwaited::Last
    }

    /// Notes that an attempt found out nothing: it does not count, and is made again.
    pub fn missed(&mut self, key: &TargetKey, now: Duration) {
        if let Some(awaited) = self.targets.iter_mut().find(|awaited| awaited.key == *key) {
            awaited.due = self.retry.after(awaited.attempts.max(1)).map(|wait| now + wait);
        }
    }

    /// Waits no longer for those that are not to be awaited any more.
    pub fn retain(&mut self, is_awaited: impl Fn(&TargetKey) -> bool) {
        self.targets.retain(|awaited| is_awaited(&awaited.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_target_has_five_retries_or_until_a_pass() {
        let key = TargetKey::of(&rule("web", 1, 1).targets[0]);
        let mut waiting = AwaitedTargets::new(Retry::default());
        assert_eq!(waiting.attempted(&key, false, NOW), AttemptAtAwaited::None);
        waiting.extend([key.clone()], Some(NOW));
        assert_eq!(waiting.due(&key), Some(NOW));
        let mut retries = Vec::new();
        while waiting.attempted(&key, false, NOW) == AttemptAtAwaited::OneOfMore {
            retries.extend(waiting.due(&key));
        }
        assert_eq!((retries.len(), retries[4]), (5, NOW + Duration::from_secs(8)));
        assert!(waiting.is_over() && waiting.attempts(&key) == 0);
        waiting.extend([key.clone()], None);
        waiting.attempted(&key, false, NOW);
        assert_eq!(waiting.attempts(&key), 1);
        assert_eq!(waiting.attempted(&key, true, NOW), AttemptAtAwaited::Last);
        assert!(waiting.is_over());
    }

    #[test]
    fn an_attempt_that_found_out_nothing_does_not_count() {
        let key = TargetKey::of(&rule("web", 1, 1).targets[0]);
        let mut waiting = AwaitedTargets::new(Retry { max: 1, ..Retry::default() });
        waiting.extend([key.clone()], None);
        for _ in 0..9 {
            waiting.missed(&key, NOW);
            assert_eq!(waiting.due(&key), Some(NOW + Duration::from_millis(500)));
        }
        assert_eq!(waiting.attempted(&key, false, NOW), AttemptAtAwaited::OneOfMore);
        assert_eq!(waiting.attempted(&key, false, NOW), AttemptAtAwaited::Last);
    }
}
