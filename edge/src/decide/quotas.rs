//! What is kept of quotas: what was used in which period, for rules and owners, through renames, removals and restarts.
//! Pure.
//!
//! Keeps: what was used counts until its period ends, whatever happens to the rule meanwhile; a clock that is set back
//! begins no period.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::periods::{Calendar, PeriodBounds};

/// Whose quota it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaOf {
    /// All rules of an owner on this edge.
    Owner(String),
    /// One rule.
    Rule(String),
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes.
    pub used: u64,
    /// In this period.
    pub within: PeriodBounds,
}

impl Usage {
    /// The usage at a moment: nothing once another period has begun.
    #[must_use]
    pub fn at(self, calendar: &Calendar, now: i64) -> Self {
        let within = calendar.at(now);
        if within.starts > self.within.starts {
            return Self { used: 0, within };
        }
        // Before its period it is by a clock that was set back since.
        if now < self.within.starts { self } else { Self { within, ..self } }
    }

    /// Both: their sum where they are of one period, else that of the later one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self.within.starts.cmp(&other.within.starts) {
            Ordering::Equal => Self { used: self.used.saturating_add(other.used), ..self },
            Ordering::Less => other,
            Ordering::Greater => self,
        }
    }

    /// What it is more than an earlier one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let before = if earlier.within.starts == self.within.starts { earlier.used } else { 0 };
        Self { used: self.used.saturating_sub(before), ..self }
    }

    /// True while it still counts for somebody who comes back.
    pub fn counts(self, now: i64) -> bool {
        self.used > 0 && self.within.ends.is_none_or(|ends| now < ends)
    }
}

/// Usages of the same quotas, added up where they are of one period; of several periods the last one counts.
pub fn joined(usages: impl Iterator<Item = (QuotaOf, Usage)>) -> BTreeMap<QuotaOf, Usage> {
    let mut all: BTreeMap<QuotaOf, Usage> = BTreeMap::new();
    for (of, usage) in usages {
        let known = all.entry(of).or_insert(Usage { used: 0, ..usage });
        *known = known.and(usage);
    }
    all
}

/// Usages of rules and owners that no limit counts for now, oldest names last.
const ABSENT: usize = 4096;

/// What each name got, and what is left.
pub type HandedOver<T> = (Vec<(QuotaOf, Option<T>)>, BTreeMap<QuotaOf, T>);

/// Hands usages over from those who have them to those who are to have a quota now: each with its own name, and with
/// the name of before where it was another one. What is left is for those who come back.
pub fn hand_over<T>(mut before: BTreeMap<QuotaOf, T>, next: Vec<(QuotaOf, Option<QuotaOf>)>) -> HandedOver<T> {
    // A renamed rule first: another one may have its name of before.
    let (renamed, others): (Vec<_>, Vec<_>) = next.into_iter().partition(|(_, former)| former.is_some());
    let mut handed = Vec::new();
    for (name, former) in renamed.into_iter().chain(others) {
        let usage = before.remove(former.as_ref().unwrap_or(&name));
        handed.push((name, usage));
    }
    (handed, before)
}

/// Forgets usages that count for nobody any more, and bounds the rest.
pub fn keep_absent<T>(absent: &mut BTreeMap<QuotaOf, T>, now: i64, usage: impl Fn(&T) -> Usage) {
    absent.retain(|_, one| usage(one).counts(now));
    while absent.len() > ABSENT {
        absent.pop_last();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use schema::quota::{Period, Quota};

    use super::*;

    const DAY: i64 = 86_400;

    fn calendar(period: Period) -> Calendar {
        Calendar::new(&Quota { period, ..Quota::new(NonZeroU64::MIN) })
    }

    #[test]
    fn a_period_that_ends_begins_with_nothing_used() {
        let day = calendar(Period::Day);
        let usage = Usage { used: 7, within: day.at(10 * DAY + 5) };
        assert_eq!(usage.at(&day, 11 * DAY - 1).used, 7);
        let next = usage.at(&day, 11 * DAY);
        assert_eq!(next, Usage { used: 0, within: PeriodBounds { starts: 11 * DAY, ends: Some(12 * DAY) } });
        assert!(usage.counts(11 * DAY - 1) && !usage.counts(11 * DAY));
        assert!(Usage { used: 1, within: PeriodBounds::default() }.counts(i64::MAX));
    }

    #[test]
    fn a_clock_that_is_set_back_and_forth_begins_no_period() {
        let day = calendar(Period::Day);
        let usage = Usage { used: 7, within: day.at(10 * DAY + 5) };
        let back = usage.at(&day, 3 * DAY);
        assert_eq!(back, usage);
        assert_eq!(back.at(&day, 10 * DAY + 6), usage);
    }

    #[test]
    fn usages_add_up_within_a_period_and_a_later_period_counts_alone() {
        let usage = |used, starts| Usage { used, within: PeriodBounds { starts, ends: Some(starts + 10) } };
        assert_eq!(usage(7, 0).and(usage(3, 0)), usage(10, 0));
        assert_eq!((usage(7, 0).and(usage(3, 10)), usage(3, 10).and(usage(7, 0))), (usage(3, 10), usage(3, 10)));
        assert_eq!((usage(7, 0).since(usage(3, 0)), usage(2, 10).since(usage(7, 0))), (usage(4, 0), usage(2, 10)));
        let of = QuotaOf::Rule("a".to_owned());
        let all = joined([(of.clone(), usage(1, 0)), (of.clone(), usage(2, 0))].into_iter());
        assert_eq!(all, BTreeMap::from([(of, usage(3, 0))]));
    }

    #[test]
    fn a_longer_period_counts_what_was_used_and_a_shorter_one_begins_anew() {
        let (hour, total) = (calendar(Period::Hour), calendar(Period::Total));
        let usage = Usage { used: 7, within: hour.at(10 * DAY) };
        assert_eq!(usage.at(&total, 10 * DAY), Usage { used: 7, within: PeriodBounds::default() });
        assert_eq!(usage.at(&total, 10 * DAY).at(&hour, 10 * DAY).used, 0);
    }

    #[test]
    fn a_renamed_rule_takes_its_usage_along_and_its_old_name_begins_anew() {
        let rule = |name: &str| QuotaOf::Rule(name.to_owned());
        let before = BTreeMap::from([(rule("a"), 1), (rule("b"), 2), (rule("gone"), 3)]);
        let next = vec![(rule("a"), None), (rule("b"), Some(rule("a"))), (rule("c"), Some(rule("b")))];
        let (mut handed, left) = hand_over(before, next);
        handed.sort();
        assert_eq!(handed, [(rule("a"), None), (rule("b"), Some(1)), (rule("c"), Some(2))]);
        assert_eq!(left, BTreeMap::from([(rule("gone"), 3)]));
    }

    #[test]
    fn who_is_absent_is_remembered_until_the_period_ends_and_within_bounds() {
        let usage = |used| Usage { used, within: PeriodBounds { starts: 0, ends: Some(10) } };
        let name = |count: usize| QuotaOf::Rule(format!("r{count:05}"));
        let mut absent: BTreeMap<_, _> = (0..2 * ABSENT).map(|count| (name(count), usage(1))).collect();
        keep_absent(&mut absent, 5, |usage| *usage);
        assert_eq!(absent.len(), ABSENT);
        keep_absent(&mut absent, 10, |usage| *usage);
        assert!(absent.is_empty());
    }
}
