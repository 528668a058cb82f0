//! The audit: who asked for what, and what was refused. Pure.

use jiff::Timestamp;

use super::words::{Badge, Moment, count};
use crate::decide::operators::AuditEntry;

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: Moment,
    /// Who; a stranger has no name.
    pub who: String,
    /// From which address.
    pub from: String,
    /// The request.
    pub what: String,
    /// The result.
    pub outcome: Badge,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditView {
    /// The newest first.
    pub rows: Vec<AuditRow>,
    /// Refusals that are only counted, in words; empty where there are none.
    pub beyond: String,
    /// Since when, as it was asked for.
    pub since: String,
    /// At most so many.
    pub limit: usize,
}

/// How many entries are shown where nobody says it.
pub const SHOWN: usize = 100;
/// More are not shown on one page.
pub const MOST: usize = 1000;

/// The list of entries, which come oldest first.
pub fn list(entries: &[AuditEntry], beyond: u64, (since, limit): (&str, usize), now: Timestamp) -> AuditView {
    let row = |entry: &AuditEntry| AuditRow {
        at: Moment::new(entry.at, now),
        who: if entry.who.is_empty() { "not signed in".to_owned() } else { entry.who.clone() },
        from: entry.from.clone(),
        what: entry.what.clone(),
        outcome: match entry.outcome.as_str() {
            "done" => Badge::up("done"),
            "accepted" => Badge::info("accepted"),
            refused => Badge::down(refused.replace('_', " ")),
        },
    };
    let beyond = if beyond > 0 {
        format!("{} beyond 1,000 an hour were not recorded.", count(beyond, "refusal"))
    } else {
        String::new()
    };
    AuditView { rows: entries.iter().rev().map(row).collect(), beyond, since: since.to_owned(), limit }
}
