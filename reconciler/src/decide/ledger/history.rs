//! The ledger as people read it: one entry for each thing that happened, numbered from 1. Pure.
//!
//! Keeps: an entry has one number, whatever lines it is made of; the number of its first line is beside it, for the chain
//! of hashes is over lines.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, first_break};
use crate::decide::plan::Summary;

/// One apply, with how it ended, or another thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its first line. `id` is the number of the entry, and `outcome` that of its end: `started` while it runs.
    #[serde(flatten)]
    pub entry: Entry,
    /// The number of that line in the chain.
    #[serde(default)]
    pub line: u64,
    /// The first line of the commit's message.
    #[serde(default)]
    pub subject: Option<String>,
    /// Who or which CI run the client says it acted for. Nothing proves it, unlike `actor`.
    #[serde(default)]
    pub applied_by: Option<String>,
    /// The figures of its plan.
    #[serde(default)]
    pub summary: Option<Summary>,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
    /// True for the newest one while it is held in force although another tree is followed.
    #[serde(default)]
    pub held: bool,
    /// False from the first line on that does not fit the chain: the ledger was changed afterwards.
    pub intact: bool,
}

impl HistoryEntry {
    /// The entry that begins with this line.
    pub fn of_line(mut line: Entry, number: u64, intact: bool) -> Self {
        let (subject, applied_by, summary) = (line.subject.take(), line.applied_by.take(), line.summary.take());
        let first = std::mem::replace(&mut line.id, number);
        Self { entry: line, line: first, subject, applied_by, summary, finished_at: None, held: false, intact }
    }

    /// Joins the lines of a ledger.
    pub fn of_ledger(lines: Vec<Entry>, held: bool) -> Vec<Self> {
        let broken = first_break(&lines).unwrap_or(u64::MAX);
        let mut entries: Vec<Self> = Vec::new();
        for line in lines {
            let is_intact = line.id < broken;
            match line.of {
                None => {
                    let number = entries.len() as u64 + 1;
                    entries.push(Self::of_line(line, number, is_intact));
                }
                Some(of) => {
                    if let Some(started) = entries.iter_mut().rev().find(|entry| entry.line == of) {
                        started.complete(line, is_intact);
                    }
                }
            }
        }
        if let Some(newest) = entries.iter_mut().rev().find(|found| found.entry.is_start()) {
            newest.held = held;
        }
        entries
    }

    /// Takes in the line that completes it.
    pub(super) fn complete(&mut self, line: Entry, is_intact: bool) {
        self.finished_at = Some(line.at);
        self.intact &= is_intact;
        // Waves give generations as they go.
        self.entry.generations = line.generations;
        self.entry.brought_back = line.brought_back;
        self.entry.edges = line.edges;
        self.entry.note = line.note;
        self.entry.outcome = line.outcome;
    }

    /// True if its revision was taken back by itself: edges were not confirmed, or a failure brought them back.
    pub fn was_taken_back(&self) -> bool {
        self.entry.outcome == "returned" || !self.entry.brought_back.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Head, first_break};
    use super::*;

    /// Lines as a server wrote them before entries had numbers of their own: applies are named after their lines.
    fn old_ledger(head: &mut Head) -> Vec<Entry> {
        let mut lines = Vec::new();
        for _ in 0..2 {
            let apply_id = format!("a{}", head.id + 1);
            let started = Entry { apply_id, outcome: "started".to_owned(), ..Entry::default() }.chained(head);
            let ended = started.with_outcome("applied", Timestamp::UNIX_EPOCH).chained(head);
            lines.extend([started, ended]);
        }
        lines
    }

    #[test]
    fn entries_count_one_two_three_and_a_new_apply_is_named_after_its_number() {
        let mut head = Head::default();
        let mut lines = Vec::new();
        for number in 1..=3 {
            assert_eq!(head.next_apply(), format!("a{number}"));
            let started = Entry { apply_id: head.next_apply(), ..Entry::default() }.chained(&mut head);
            lines.push(started.clone());
            lines.push(started.with_outcome("applied", Timestamp::UNIX_EPOCH).chained(&mut head));
        }
        let entries = HistoryEntry::of_ledger(lines, false);
        let numbers: Vec<_> = entries.iter().map(|found| (found.entry.id, found.line)).collect();
        assert_eq!(numbers, [(1, 1), (2, 3), (3, 5)]);
        assert!(entries.iter().all(|found| found.intact && found.entry.outcome == "applied"));
    }

    #[test]
    fn an_older_ledger_is_numbered_and_no_id_of_an_apply_is_used_twice() {
        let mut head = Head::default();
        let mut lines = old_ledger(&mut head);
        assert_eq!(lines.iter().map(|line| line.apply_id.as_str()).collect::<Vec<_>>(), ["a1", "a1", "a3", "a3"]);
        for _ in 0..4 {
            let apply_id = head.next_apply();
            assert!(lines.iter().all(|line| line.apply_id != apply_id), "{apply_id}");
            lines.push(Entry { apply_id, ..Entry::default() }.chained(&mut head));
        }
        assert_eq!(first_break(&lines), None);
        let entries = HistoryEntry::of_ledger(lines, false);
        assert_eq!(entries.iter().map(|found| found.entry.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_line_of_an_earlier_version_keeps_its_hash() {
        let line = Entry { actor: "operator".to_owned(), ..Entry::default() };
        let text = serde_json::to_string(&line).expect("a line");
        for key in ["subject", "applied_by", "summary", "edges"] {
            assert!(!text.contains(key), "{key}: {text}");
        }
        let entry = HistoryEntry::of_line(line, 1, true);
        let json = serde_json::to_value(&entry).expect("an entry");
        assert!(json["subject"].is_null() && json["applied_by"].is_null() && json["summary"].is_null(), "{json}");
        assert_eq!(serde_json::from_value::<HistoryEntry>(json).expect("read back"), entry);
    }
}
