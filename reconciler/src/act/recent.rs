//! The newest notices, so that a listener that was away for a moment can catch up. Pure state, owned by the driver.
//!
//! Keeps: notices are handed out only where none between them and the listener's last one is missing.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use crate::decide::fleet::Notice;

/// Notices that are kept: several minutes of a large fleet, a few megabytes at most.
const KEPT: usize = 1024;
/// Edges in the notices that are kept, for one of an apply holds all that it touches: some 300 bytes each.
const KEPT_EDGES: usize = 32_768;

/// A notice with its number in the stream and the time at which it came.
pub type Numbered = (u64, Timestamp, Arc<Notice>);

/// The newest notices with their numbers, which follow on each other.
#[derive(Debug, Default)]
pub struct Recent {
    notices: VecDeque<Numbered>,
    edges: usize,
}

fn edges_in(notice: &Notice) -> usize {
    if let Notice::Apply { result } = notice { result.edges.len() } else { 0 }
}

impl Recent {
    /// Takes in the newest one.
    pub(super) fn add(&mut self, (number, at, notice): Numbered) {
        self.edges += edges_in(&notice);
        self.notices.push_back((number, at, notice));
        while self.notices.len() > KEPT || (self.edges > KEPT_EDGES && self.notices.len() > 1) {
            let Some((_, _, oldest)) = self.notices.pop_front() else { break };
            self.edges -= edges_in(&oldest);
        }
    }

    /// All notices after that number; `None` where some of them are not kept any more, or never were of this life of
    /// the server.
    pub fn after(&self, number: u64) -> Option<Vec<Numbered>> {
        let (first, last) = (self.notices.front()?.0, self.notices.back()?.0);
        // The number before the first one kept has missed nothing either.
        (number.saturating_add(1) >= first && number <= last)
            .then(|| self.notices.iter().filter(|(each, ..)| *each > number).cloned().collect())
    }

    /// Those that came at that time or later, as far as they are kept.
    pub fn since(&self, from: Timestamp) -> Vec<Numbered> {
        self.notices.iter().filter(|(_, at, _)| *at >= from).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use schema::name::EdgeName;

    use super::*;

    fn filled(count: u64) -> Recent {
        let edge = EdgeName::new("a").expect("a name");
        let notice = Notice::Edge { edge, connected: true, generation: 0, desired_generation: 0 };
        let mut recent = Recent::default();
        for number in 101..=100 + count {
            let at = Timestamp::from_second(number.cast_signed()).expect("a time");
            recent.add((number, at, Arc::new(notice.clone())));
        }
        recent
    }

    fn numbers(recent: &Recent, after: u64) -> Option<Vec<u64>> {
        Some(recent.after(after)?.into_iter().map(|(number, ..)| number).collect())
    }

    #[test]
    fn who_was_away_for_a_moment_gets_what_it_missed() {
        let recent = filled(3);
        assert_eq!(numbers(&recent, 101), Some(vec![102, 103]));
        assert_eq!(numbers(&recent, 100), Some(vec![101, 102, 103]));
        assert_eq!(numbers(&recent, 103), Some(Vec::new()));
    }

    #[test]
    fn what_came_since_a_time_is_kept_for_a_while() {
        let found = filled(3).since(Timestamp::from_second(102).expect("a time"));
        assert_eq!(found.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [102, 103]);
    }

    #[test]
    fn a_number_that_is_not_kept_or_never_was_gets_nothing() {
        let recent = filled(KEPT as u64 + 5);
        assert_eq!(numbers(&recent, 104), None);
        assert_eq!(numbers(&recent, 105).map(|all| all.len()), Some(KEPT));
        assert_eq!(numbers(&recent, 101 + KEPT as u64 + 5), None);
        assert_eq!(numbers(&Recent::default(), 7), None);
    }
}
