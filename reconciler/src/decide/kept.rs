//! Which records of earlier applies are kept: trees, plans and seals of plan files, the newest of each. Pure.
//!
//! Keeps: what an apply adds and what it makes too old are known together, so that both are one transaction.

use std::collections::VecDeque;

use super::record::{PLAN_PREFIX, REVISION_PREFIX, USED_PLAN_PREFIX};

/// Trees that are kept with their files, newest first: a rollback further back begins in git. The ledger keeps all.
pub const REVISIONS: usize = 200;
/// Plans that are kept, newest first: a revision that is applied again and again has many.
pub const PLANS: usize = 1000;
/// Seals of plan files that were used: a plan expires after a day, and nobody applies so many files in one.
pub const SEALS: usize = 10_000;

/// The keys of what is kept, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    revisions: VecDeque<String>,
    plans: VecDeque<String>,
    seals: VecDeque<String>,
}

impl Kept {
    /// True for a key that is kept for a while only.
    pub fn concerns(key: &str) -> bool {
        [REVISION_PREFIX, PLAN_PREFIX, USED_PLAN_PREFIX].iter().any(|prefix| key.starts_with(prefix))
    }

    /// Takes a key in that is written now; the keys that are too old from now on.
    pub fn wrote(&mut self, key: &str) -> Option<String> {
        let (list, most) = if key.starts_with(REVISION_PREFIX) {
            (&mut self.revisions, REVISIONS)
        } else if key.starts_with(PLAN_PREFIX) {
            (&mut self.plans, PLANS)
        } else if key.starts_with(USED_PLAN_PREFIX) {
            (&mut self.seals, SEALS)
        } else {
            return None;
        };
        // A tree that is applied again is as new as any.
        if let Some(place) = list.iter().position(|known| known == key) {
            list.remove(place);
        }
        list.push_front(key.to_owned());
        if list.len() > most { list.pop_back() } else { None }
    }

    /// True for a key that is not too old.
    pub fn has(&self, key: &str) -> bool {
        [&self.revisions, &self.plans, &self.seals].iter().any(|list| list.iter().any(|known| known == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_one_too_many_is_written() {
        let mut kept = Kept::default();
        let key = |number: usize| format!("{REVISION_PREFIX}{number}");
        for number in 0..REVISIONS {
            assert_eq!(kept.wrote(&key(number)), None);
        }
        assert_eq!(kept.wrote(&key(0)), None, "applied again");
        assert_eq!(kept.wrote(&key(REVISIONS)), Some(key(1)));
        assert!(kept.has(&key(0)) && !kept.has(&key(1)));
        assert_eq!(kept.wrote("ledger/1"), None);
        assert!(!Kept::concerns("edge/a") && Kept::concerns(&key(1)));
    }
}
