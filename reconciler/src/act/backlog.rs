//! Effects that wait for the disk: in their order, so that nothing is sent that was not recorded before. Pure.

use std::collections::VecDeque;

use crate::decide::fleet::Effect;
use crate::decide::record::Record;

/// Effects that may wait: some for every edge of a large fleet. A disk that stays full longer than that leaves the
/// fleet's memory too far ahead, and sessions end until it is written.
const FULL: usize = 65_536;

/// What was decided and is not carried out yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    effects: VecDeque<Effect>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// True if no more sessions should be taken.
    pub(super) fn is_full(&self) -> bool {
        self.effects.len() >= FULL
    }

    pub(super) fn extend(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
    }

    /// The records that have to be durable before anything else.
    pub(super) fn records(&self) -> Vec<Record> {
        let record = |effect: &Effect| match effect {
            Effect::Persist(record) => Some(record.clone()),
            _ => None,
        };
        self.effects.iter().map_while(record).collect()
    }

    /// Forgets so many from the front: they were written.
    pub(super) fn written(&mut self, count: usize) {
        self.effects.drain(..count);
    }

    /// The next effect, which is not a record once [`Self::records`] are written.
    pub(super) fn next(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Forgets everything: it is taken back.
    pub(super) fn clear(&mut self) {
        self.effects.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn records_come_before_what_follows_them_and_not_with_what_comes_later() {
        let record =
            |key: &str| Effect::Persist(Record { key: key.to_owned(), value: Vec::new(), files: Arc::default() });
        let mut backlog = Backlog::default();
        backlog.extend(vec![record("a"), record("b"), Effect::Welcome { session: 1 }, record("c")]);
        let keys: Vec<String> = backlog.records().into_iter().map(|record| record.key).collect();
        assert_eq!(keys, ["a", "b"]);
        backlog.written(2);
        assert_eq!(backlog.next(), Some(Effect::Welcome { session: 1 }));
        assert_eq!(backlog.records().len(), 1);
    }
}
