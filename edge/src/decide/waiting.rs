//! How long a new version of a rule waits for targets that it did not have before (DESIGN §7, Retry). Pure.
//!
//! Keeps: a target is awaited until it is up or its retries are used up, and never again.

use std::time::Duration;

use schema::health::TargetKey;
use schema::health::retry::retry_after;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Awaited {
    key: TargetKey,
    attempts: usize,
    /// When to ask again.
    due: Option<Duration>,
}

/// The targets that a rule waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    targets: Vec<Awaited>,
}

impl Waiting {
    /// For targets that nobody has asked yet.
    pub fn of(targets: impl IntoIterator<Item = TargetKey>) -> Self {
        let awaited = |key| Awaited { key, attempts: 0, due: None };
        Self { targets: targets.into_iter().map(awaited).collect() }
    }

    /// True once it waits for none.
    pub fn is_over(&self) -> bool {
        self.targets.is_empty()
    }

    fn find(&self, key: &TargetKey) -> Option<&Awaited> {
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

    /// Notes a probe's end; true if the target was awaited.
    pub fn attempted(&mut self, key: &TargetKey, is_up: bool, now: Duration) -> bool {
        let Some(index) = self.targets.iter().position(|awaited| awaited.key == *key) else { return false };
        let awaited = &mut self.targets[index];
        awaited.attempts += 1;
        awaited.due = retry_after(awaited.attempts - 1).filter(|_| !is_up).map(|wait| now + wait);
        if awaited.due.is_none() {
            self.targets.swap_remove(index);
        }
        true
    }

    /// Notes that an attempt found out nothing: it does not count, and is made again.
    pub fn missed(&mut self, key: &TargetKey, now: Duration) {
        if let Some(awaited) = self.targets.iter_mut().find(|awaited| awaited.key == *key) {
            awaited.due = retry_after(awaited.attempts).map(|wait| now + wait);
        }
    }

    /// Waits no longer for those that are not to be awaited any more.
    pub fn retain(&mut self, is_awaited: impl Fn(&TargetKey) -> bool) {
        self.targets.retain(|awaited| is_awaited(&awaited.key));
    }

    /// Waits for more of them.
    pub fn extend(&mut self, more: Self) {
        self.targets.extend(more.targets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;

    #[test]
    fn a_target_has_five_retries_or_until_it_is_up() {
        let key = TargetKey::of(&rule("web", 1, 1).targets[0]);
        let mut waiting = Waiting::of([key.clone()]);
        let now = Duration::from_secs(100);
        let mut retries = Vec::new();
        while waiting.attempted(&key, false, now) {
            retries.extend(waiting.due(&key));
        }
        assert_eq!((retries.len(), retries[4]), (5, now + Duration::from_secs(8)));
        assert!(waiting.is_over() && waiting.attempts(&key) == 0);
        let mut waiting = Waiting::of([key.clone()]);
        waiting.attempted(&key, false, now);
        assert_eq!(waiting.attempts(&key), 1);
        waiting.attempted(&key, true, now);
        assert!(waiting.is_over());
    }
}
