//! The newest notices, so that a listener that was away for a moment can catch up. Pure state, owned by the driver.
//!
//! Keeps: notices are handed out only where none between them and the listener's last one is missing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::decide::fleet::Notice;

/// Notices that are kept: several minutes of a large fleet, a few megabytes at most.
const KEPT: usize = 1024;
/// Edges in the notices that are kept, for one of an apply holds all that it touches: some 300 bytes each.
const KEPT_EDGES: usize = 32_768;

/// The newest notices with their numbers, which follow on each other.
#[derive(Debug, Default)]
pub struct Recent {
    notices: VecDeque<(u64, Arc<Notice>)>,
    edges: usize,
}

fn edges_in(notice: &Notice) -> usize {
    if let Notice::Apply { result } = notice { result.edges.len() } else { 0 }
}

impl Recent {
    /// Takes in the newest one.
    pub(super) fn add(&mut self, number: u64, notice: Arc<Notice>) {
        self.edges += edges_in(&notice);
        self.notices.push_back((number, notice));
        while self.notices.len() > KEPT || (self.edges > KEPT_EDGES && self.notices.len() > 1) {
            let Some((_, oldest)) = self.notices.pop_front() else { break };
            self.edges -= edges_in(&oldest);
        }
    }

    /// All notices after that number; `None` where some of them are not kept any more, or never were of this life of
    /// the server.
    pub fn after(&self, number: u64) -> Option<Vec<(u64, Arc<Notice>)>> {
        let (first, last) = (self.notices.front()?.0, self.notices.back()?.0);
        // The number before the first one kept has missed nothing either.
        (number.saturating_add(1) >= first && number <= last)
            .then(|| self.notices.iter().filter(|(each, _)| *each > number).cloned().collect())
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
            recent.add(number, Arc::new(notice.clone()));
        }
        recent
    }

    fn numbers(recent: &Recent, after: u64) -> Option<Vec<u64>> {
        Some(recent.after(after)?.into_iter().map(|(number, _)| number).collect())
    }

    #[test]
    fn who_was_away_for_a_moment_gets_what_it_missed() {
        let recent = filled(3);
        assert_eq!(numbers(&recent, 101), Some(vec![102, 103]));
        assert_eq!(numbers(&recent, 100), Some(vec![101, 102, 103]));
        assert_eq!(numbers(&recent, 103), Some(Vec::new()));
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
