//! What was reported as wrong and is not over yet, so that it is reported once, and its end is as well. Pure.
//!
//! Keeps: the end of something that was never reported is not reported; what was reported before a restart of the server
//! is not reported again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::render::words::lasting;

/// Prefix of the marks in the store.
pub const TOLD_PREFIX: &str = "notify-told/";

/// Since when something is wrong, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldMark {
    /// Since when.
    pub since: Timestamp,
    /// How much, or what exactly: tells a worse state from a bad one, and one tree from another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub level: String,
}

/// All that was reported and is not over.
#[derive(Debug, Clone, Default)]
pub struct Told {
    marks: BTreeMap<String, ToldMark>,
    /// Keys that changed since they were written down.
    changed: Vec<String>,
}

impl Told {
    /// As it was written down; keys are without their prefix.
    pub fn restored(marks: impl IntoIterator<Item = (String, ToldMark)>) -> Self {
        Self { marks: marks.into_iter().collect(), changed: Vec::new() }
    }

    /// Notes that something is wrong; true if that is news.
    pub(super) fn begins(&mut self, key: &str, level: &str, now: Timestamp) -> bool {
        let before = self.marks.get(key);
        if before.is_some_and(|mark| mark.level == level) {
            return false;
        }
        let since = before.map_or(now, |mark| mark.since);
        self.marks.insert(key.to_owned(), ToldMark { since, level: level.to_owned() });
        self.changed.push(key.to_owned());
        true
    }

    /// Notes that it is over; since when it was wrong, if that was reported.
    pub(super) fn ends(&mut self, key: &str) -> Option<Timestamp> {
        let mark = self.marks.remove(key)?;
        self.changed.push(key.to_owned());
        Some(mark.since)
    }

    /// The keys that begin so.
    pub(super) fn below(&self, prefix: &str) -> Vec<String> {
        let from = self.marks.range(prefix.to_owned()..);
        from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// What is to be written down: each key with its mark, or without one where it is over.
    pub(super) fn take_changes(&mut self) -> Vec<(String, Option<ToldMark>)> {
        let mut keys = std::mem::take(&mut self.changed);
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|key| (self.marks.get(&key).cloned(), key)).map(|(mark, key)| (key, mark)).collect()
    }
}

/// How long something took, for people.
pub(super) fn lasted(since: Timestamp, now: Timestamp) -> String {
    lasting(now.duration_since(since).as_secs().max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    #[test]
    fn a_state_is_news_once_and_its_end_only_if_it_was_reported() {
        let mut told = Told::default();
        assert_eq!(told.ends("a"), None);
        assert!(told.begins("a", "warning", at(1)));
        assert!(!told.begins("a", "warning", at(2)));
        assert!(told.begins("a", "exhausted", at(3)), "a worse state is news");
        assert_eq!(told.take_changes().len(), 1);
        assert_eq!(told.ends("a"), Some(at(1)));
        assert_eq!(told.take_changes(), [("a".to_owned(), None)]);
        assert!(told.take_changes().is_empty());
    }
}
