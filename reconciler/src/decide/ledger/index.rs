//! Where the entries of a ledger are among its lines, so that a page of them is read without the rest. Pure.
//!
//! Keeps: a few numbers for each entry, whatever it holds; what is read by it is what reading all lines would give.

use super::history::HistoryEntry;
use super::{Entry, Head, LedgerAction, fits};

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPlace {
    /// The number of the entry.
    pub number: u64,
    /// Its first line.
    pub line: u64,
    /// The last line that completes it, if there is one.
    pub end: Option<u64>,
    /// What it is about.
    pub action: LedgerAction,
    /// The number in the id of its apply; 0 where it is about none.
    apply: u64,
}

/// The places of all entries, in their order.
#[derive(Debug, Default)]
pub struct LedgerIndex {
    places: Vec<EntryPlace>,
    head: Head,
    broken: Option<u64>,
}

impl LedgerIndex {
    /// The id of the last line that it knows.
    pub fn last_line(&self) -> u64 {
        self.head.id
    }

    /// Takes in the line that follows.
    pub fn add(&mut self, line: &Entry) {
        if self.broken.is_none() && !fits(&self.head, line) {
            self.broken = Some(line.id);
        }
        self.head.advance(line);
        match line.of {
            None => {
                let apply = line.apply_id.strip_prefix('a').and_then(|number| number.parse().ok());
                self.places.push(EntryPlace {
                    number: self.places.len() as u64 + 1,
                    line: line.id,
                    end: None,
                    action: line.action,
                    apply: apply.unwrap_or_default(),
                });
            }
            Some(of) => {
                if let Some(place) = self.places.iter_mut().rev().find(|place| place.line == of) {
                    place.end = Some(line.id);
                }
            }
        }
    }

    /// All of them, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &EntryPlace> {
        self.places.iter().rev()
    }

    /// The entry that a person names: by its number, or by the id of its apply.
    pub fn named(&self, name: &str) -> Option<EntryPlace> {
        let number = name.parse::<u64>().ok();
        let apply = name.strip_prefix('a').and_then(|number| number.parse::<u64>().ok()).filter(|number| *number > 0);
        let is_it = |place: &&EntryPlace| number == Some(place.number) || apply == Some(place.apply);
        self.places.iter().find(is_it).copied()
    }

    /// The number of the newest entry that put something in force.
    pub fn newest_apply(&self) -> Option<u64> {
        self.newest_first().find(|place| place.apply > 0).map(|place| place.number)
    }

    /// The entry of these lines, which are those of its place.
    pub fn entry(&self, place: EntryPlace, line: Entry, end: Option<Entry>, is_held: bool) -> HistoryEntry {
        let is_before = |id: u64| self.broken.is_none_or(|broken| id < broken);
        let mut entry = HistoryEntry::of_line(line, place.number, is_before(place.line));
        if let Some(end) = end {
            let is_intact = is_before(end.id);
            entry.complete(end, is_intact);
        }
        entry.held = is_held && self.newest_apply() == Some(place.number);
        entry
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn lines() -> Vec<Entry> {
        let mut head = Head::default();
        let mut lines = Vec::new();
        for number in 1..=4 {
            let action = if number == 2 { LedgerAction::Freeze } else { LedgerAction::Apply };
            let apply_id = if number == 2 { String::new() } else { format!("a{number}") };
            let started = Entry { apply_id, action, outcome: "started".to_owned(), ..Entry::default() };
            let started = started.chained(&mut head);
            lines.push(started.clone());
            if number % 2 == 1 {
                lines.push(started.with_outcome("applied", Timestamp::UNIX_EPOCH).chained(&mut head));
            }
        }
        lines
    }

    fn by_index(lines: &[Entry], is_held: bool) -> Vec<HistoryEntry> {
        let mut index = LedgerIndex::default();
        for line in lines {
            index.add(line);
        }
        let of = |id: u64| lines.iter().find(|line| line.id == id).expect("a line").clone();
        let entry = |place: &EntryPlace| index.entry(*place, of(place.line), place.end.map(of), is_held);
        let mut all: Vec<HistoryEntry> = index.newest_first().map(entry).collect();
        all.reverse();
        all
    }

    #[test]
    fn entries_by_their_places_are_those_of_the_whole_ledger() {
        let mut lines = lines();
        assert_eq!(by_index(&lines, true), HistoryEntry::of_ledger(lines.clone(), true));
        for changed in 0..lines.len() {
            let before = std::mem::replace(&mut lines[changed].actor, "eve".to_owned());
            assert_eq!(by_index(&lines, false), HistoryEntry::of_ledger(lines.clone(), false), "line {changed}");
            lines[changed].actor = before;
        }
    }

    #[test]
    fn an_entry_is_found_by_its_number_and_by_its_apply() {
        let mut index = LedgerIndex::default();
        for line in &lines() {
            index.add(line);
        }
        let number = |name: &str| index.named(name).map(|place| place.number);
        assert_eq!(
            (number("2"), number("a3"), number("a2"), number("a0"), number("")),
            (Some(2), Some(3), None, None, None)
        );
        assert_eq!(index.last_line(), 6);
    }
}
