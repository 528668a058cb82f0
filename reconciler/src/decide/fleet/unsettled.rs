//! Edges that do not come to rest: each state that one is sent is answered by a reason for another. Pure.
//!
//! Keeps: such an edge costs a state a minute and not one per message; it is written down once; and two servers that
//! decide for one edge are recognised by their lineages.

use std::time::Duration;

use jiff::Timestamp;
use schema::name::EdgeName;

use super::freezing::Deed;
use super::step::Step;
use super::{Fleet, Notice};
use crate::decide::drift::{Drift, DriftKind};
use crate::decide::ledger::{Entry, LedgerAction};
use crate::decide::record::Record;

/// States in a row that need no patience: an edge that lost its state, its rules and its capabilities at once takes
/// three.
const AT_ONCE: u32 = 5;
/// The wait before the next one; it doubles with each.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// An edge that gave no reason for another state for so long has settled: above the longest wait, after which one that
/// has not gives the next.
const AT_REST: Duration = Duration::from_mins(2);

/// What is known of an edge that was sent another state for a reason of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unsettled {
    /// States that it was sent since it was at rest.
    states: u32,
    /// Before that, no other one is decided.
    not_before: Option<Timestamp>,
    /// Whether one waits for that.
    is_waiting: bool,
    /// When it was sent the last of them.
    last: Option<Timestamp>,
    /// It ran what was decided at some time since.
    was_settled: bool,
    /// The server that had decided for it meanwhile, by its lineage.
    other: Option<String>,
    /// That one was there twice in a row, or this server's own state was what it replaced.
    is_two_servers: bool,
    is_written_down: bool,
}

impl Unsettled {
    fn is_shown(&self) -> bool {
        self.states >= AT_ONCE
    }

    fn is_at_rest(&self, now: Timestamp) -> bool {
        self.last.is_some_and(|last| last.checked_add(AT_REST).is_ok_and(|end| end <= now))
    }

    fn code(&self) -> &'static str {
        if self.is_two_servers { "two_servers" } else { "unsettled" }
    }

    fn in_words(&self, lineage: &str) -> String {
        match &self.other {
            Some(other) if self.is_two_servers => format!(
                "two servers control this edge: this one ({lineage}) and one of lineage {other}; stop one of them, or \
                 connect the edge to one server only"
            ),
            _ => format!("the edge did not settle after {AT_ONCE} consecutive states; it is sent at most one a minute"),
        }
    }
}

impl Fleet {
    /// True if another state may be decided for an edge because of what it reported. One that may not waits for a tick.
    pub(super) fn may_decide_again(&mut self, edge: &EdgeName, step: &mut Step) -> bool {
        let Some(known) = self.unsettled.get_mut(edge) else { return true };
        if known.is_at_rest(step.now) {
            self.unsettled.remove(edge);
            return true;
        }
        known.is_waiting = known.not_before.is_some_and(|from| step.now < from);
        if !known.is_waiting {
            return true;
        }
        if !std::mem::replace(&mut known.is_written_down, true) {
            let (code, message) = (known.code(), known.in_words(&self.lineage));
            let note = format!("{edge}: {message}");
            let line = Entry {
                note,
                ..self.line(
                    Deed { action: LedgerAction::Edge, actor: "server", why: String::new(), outcome: "unsettled" },
                    step.now,
                )
            };
            step.persist(Record::ledger(&line.chained(&mut self.head)));
            step.emit(Notice::Unsettled { edge: edge.clone(), code: code.to_owned(), message });
        }
        false
    }

    /// Notes that another state was decided for an edge because of what it reported.
    pub(super) fn decided_again(&mut self, edge: &EdgeName, now: Timestamp) {
        let Some(view) = self.edges.get(edge) else { return };
        let foreign = view.report.as_ref().filter(|report| report.generation > 0 && report.lineage != self.lineage);
        let foreign = foreign.map(|report| report.lineage.clone());
        let known = self.unsettled.entry(edge.clone()).or_default();
        known.states = known.states.saturating_add(1);
        // Whatever a server's state replaced: one that was here before, or the own one that had been accepted.
        known.is_two_servers |= foreign.is_some() && (foreign == known.other || known.was_settled);
        if foreign.is_some() {
            known.other = foreign;
        }
        known.last = Some(now);
        known.was_settled = false;
        known.is_waiting = false;
        if known.states >= AT_ONCE {
            let doubled = FIRST.saturating_mul(1 << (known.states - AT_ONCE).min(6)).min(LONGEST);
            known.not_before = Some(now.checked_add(doubled).unwrap_or(Timestamp::MAX));
        }
    }

    /// Notes whether an edge runs what was decided.
    pub(super) fn note_rest(&mut self, edge: &EdgeName) {
        let Some(known) = self.unsettled.get_mut(edge) else { return };
        let is_own = |view: &crate::decide::view::EdgeView| {
            view.is_settled() && view.report.as_ref().is_some_and(|report| report.lineage == self.lineage)
        };
        if self.edges.get(edge).is_some_and(is_own) {
            known.was_settled = true;
            known.is_waiting = false;
        }
    }

    /// Decides again for edges whose wait is over, and forgets those that have come to rest.
    pub(super) fn look_at_unsettled(&mut self, step: &mut Step) {
        self.unsettled.retain(|_, known| !known.is_at_rest(step.now));
        let is_due = |known: &Unsettled| known.is_waiting && known.not_before.is_none_or(|from| from <= step.now);
        let due = self.unsettled.iter().filter(|(_, known)| is_due(known)).map(|(edge, _)| edge.clone());
        for edge in due.collect::<Vec<_>>() {
            if let Some(known) = self.unsettled.get_mut(&edge) {
                known.is_waiting = false;
            }
            // One that is offline says by its next hello what it runs.
            if self.links.contains_key(&edge) && self.reconsider(&edge, step) {
                self.send_if_needed(&edge, step);
            }
        }
    }

    /// When the wait of one of them is over.
    pub(super) fn next_look_at_unsettled(&self) -> Option<Timestamp> {
        self.unsettled.values().filter(|known| known.is_waiting).filter_map(|known| known.not_before).min()
    }

    /// The drift that they are.
    pub(super) fn unsettled_drift(&self) -> impl Iterator<Item = Drift> + '_ {
        let shown = self.unsettled.iter().filter(|(_, known)| known.is_shown());
        shown.map(|(edge, known)| Drift {
            edge: edge.clone(),
            rule: None,
            kind: DriftKind::Unsettled,
            code: known.code().to_owned(),
            message: known.in_words(&self.lineage),
            fields: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
