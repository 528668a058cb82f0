//! What is written down about requests: those that could change something, and those that were refused. Pure.
//!
//! Keeps: refusals cannot fill the disk: beyond [`REFUSALS`] an hour they are counted only. Those of strangers and those of
//! each operator are counted apart, so that nobody can hide the refusals of another.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Prefix of its records.
pub const AUDIT_PREFIX: &str = "audit/";
/// Refusals that are written down within an hour, of strangers and of each operator.
pub const REFUSALS: u64 = 1000;
/// Entries that are kept, the newest ones: some hundred bytes each.
pub const KEPT: u64 = 20_000;
const HOUR: Duration = Duration::from_hours(1);

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it was answered.
    pub at: Timestamp,
    /// The operator; empty where nobody was recognised.
    pub who: String,
    /// The address that it came from; empty where there is none.
    pub from: String,
    /// Method and path.
    pub what: String,
    /// `done`, or the code of the problem.
    pub outcome: String,
}

/// The refusals of the current hour, and how many were not written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// When the hour began.
    since: Option<Timestamp>,
    /// Written down since, by operator; strangers have no name.
    #[serde(default)]
    written_by: BTreeMap<String, u64>,
    /// Not written down, ever.
    pub beyond: u64,
}

impl Refusals {
    /// Counts one; true if it is to be written down.
    pub fn count(&mut self, who: &str, now: Timestamp) -> bool {
        let is_over = |since: Timestamp| now.duration_since(since).unsigned_abs() >= HOUR;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.written_by.clear();
        }
        let written = self.written_by.entry(who.to_owned()).or_default();
        if *written < REFUSALS {
            *written += 1;
            return true;
        }
        self.beyond += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_an_hour_are_written_down_and_the_rest_is_counted() {
        let at = |secs| Timestamp::from_second(secs).expect("a time");
        let mut refusals = Refusals::default();
        let written = (0..1500).filter(|second| refusals.count("", at(*second))).count();
        assert_eq!((written, refusals.beyond), (1000, 500));
        assert!(!refusals.count("", at(3599)));
        assert!(refusals.count("", at(3600)), "the next hour");
        assert_eq!(refusals.beyond, 501);
    }

    #[test]
    fn strangers_do_not_hide_what_an_operator_tried() {
        let now = Timestamp::from_second(0).expect("a time");
        let mut refusals = Refusals::default();
        assert_eq!((0..2000).filter(|_| refusals.count("", now)).count(), 1000);
        assert!(refusals.count("ci", now));
        assert_eq!((0..2000).filter(|_| refusals.count("ci", now)).count(), 999);
        assert!(refusals.count("ada", now));
    }
}
