//! The audit: who asked for what, and what was refused. Pure.

use jiff::Timestamp;

use super::filter::FilterForm;
use super::query::ViewQuery;
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
    /// What is asked for.
    pub filter: FilterForm,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
}

/// The path of the view.
pub const PATH: &str = "/ui/audit";
/// How many entries are shown where the address does not say it.
pub const SHOWN: &str = "100";

/// The list of entries, which come oldest first.
pub fn list(query: &ViewQuery, entries: &[AuditEntry], beyond: u64, now: Timestamp) -> AuditView {
    let filter = FilterForm::new(PATH, query, &["limit"]).text(query, ("since", "Since", "10m, 2d or a time")).select(
        query,
        ("limit", "Rows"),
        &[("", SHOWN), ("500", "500"), ("1000", "1,000")],
    );
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
    let empty = if filter.is_used {
        "There were no such requests in this time."
    } else {
        "There have been no such requests yet."
    };
    AuditView { rows: entries.iter().rev().map(row).collect(), beyond, filter, empty: empty.to_owned() }
}
