//! Which revision to try next, and what is known by then. Pure.
//!
//! Keeps: what is good stays before what is bad; a revision is tried once, also where it was applied several times.

use std::collections::BTreeMap;

use reconciler::decide::ledger::{Entry, HistoryEntry, LedgerAction, NoRevision, resolve};
use schema::canonical::Digest;

/// What a try tells of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// It cannot be told.
    Skipped,
}

/// Why there is nothing to search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSearch {
    #[error(transparent)]
    NoRevision(#[from] NoRevision),
    #[error("nothing was applied yet")]
    Nothing,
    #[error("{good} was never applied before {bad}: the good revision comes first")]
    Order { good: String, bad: String },
}

/// A search between a good and a bad revision.
#[derive(Debug)]
pub(super) struct Search {
    /// In the order in which they were applied: the good one, those between, the bad one.
    revisions: Vec<Entry>,
    /// The last that is known to be good.
    good: usize,
    /// The first that is known to be bad.
    bad: usize,
    known: BTreeMap<Digest, Verdict>,
}

impl Search {
    /// Between two revisions as a person names them; the one in force is bad where none is named.
    pub(super) fn new(
        history: &[HistoryEntry],
        good: &str,
        bad: Option<&str>,
        in_force: Option<Digest>,
    ) -> Result<Self, NoSearch> {
        let lines = || history.iter().map(|found| &found.entry);
        let named = good;
        let good = resolve(history, in_force, good)?.entry.digest;
        let (bad, named_bad) = match bad {
            Some(bad) => (resolve(history, in_force, bad)?.entry.digest, bad.to_owned()),
            None => (in_force.ok_or(NoSearch::Nothing)?, "the revision in force".to_owned()),
        };
        // A rollback brings nothing that was not there before.
        let mut applied: Vec<&Entry> = lines()
            .filter(|entry| entry.is_start() && matches!(entry.action, LedgerAction::Apply | LedgerAction::Resume))
            .collect();
        applied.dedup_by_key(|entry| entry.digest);
        let last = applied.iter().rposition(|entry| entry.digest == bad);
        let range = last.and_then(|last| Some((applied[..last].iter().rposition(|entry| entry.digest == good)?, last)));
        let (first, last) = range.ok_or_else(|| NoSearch::Order { good: named.to_owned(), bad: named_bad })?;
        let revisions: Vec<Entry> = applied[first..=last].iter().map(|entry| (*entry).clone()).collect();
        let known = [(good, Verdict::Good), (bad, Verdict::Bad)].into();
        Ok(Self { bad: revisions.len() - 1, good: 0, revisions, known })
    }

    /// How many revisions may be the first bad one.
    pub(super) fn left(&self) -> usize {
        self.bad - self.good
    }

    /// The last revision that is known to be good.
    pub(super) fn good(&self) -> &Entry {
        &self.revisions[self.good]
    }

    /// The revision to try next: of those that may still tell something, the one nearest to the middle.
    pub(super) fn next(&self) -> Option<&Entry> {
        let middle = usize::midpoint(self.good, self.bad);
        let is_open = |index: &usize| !self.known.contains_key(&self.revisions[*index].digest);
        let open = (self.good + 1..self.bad).filter(is_open);
        open.min_by_key(|index| index.abs_diff(middle)).map(|index| &self.revisions[index])
    }

    /// Takes what a try told.
    pub(super) fn tell(&mut self, digest: Digest, verdict: Verdict) {
        self.known.insert(digest, verdict);
        let between = self.good + 1..self.bad;
        match verdict {
            Verdict::Good => {
                let last = between.rev().find(|index| self.revisions[*index].digest == digest);
                self.good = last.unwrap_or(self.good);
            }
            Verdict::Bad => {
                let first = between.into_iter().find(|index| self.revisions[*index].digest == digest);
                self.bad = first.unwrap_or(self.bad);
            }
            Verdict::Skipped => {}
        }
    }

    /// Those of which one is the first bad one: one alone, unless some in between could not be told.
    pub(super) fn suspects(&self) -> &[Entry] {
        &self.revisions[self.good + 1..=self.bad]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        Digest::of(letter.to_string().as_bytes())
    }

    /// One apply per letter; a capital letter is a rollback to the small one.
    fn history(letters: &str) -> Vec<HistoryEntry> {
        let entry = |(index, letter): (usize, char)| Entry {
            id: index as u64 + 1,
            apply_id: format!("a{}", index + 1),
            action: if letter.is_ascii_uppercase() { LedgerAction::Rollback } else { LedgerAction::Apply },
            digest: digest(letter.to_ascii_lowercase()),
            ..Entry::default()
        };
        let whole = |(index, line)| HistoryEntry::of_line(line, index as u64 + 1, true);
        letters.chars().enumerate().map(entry).enumerate().map(whole).collect()
    }

    fn search(letters: &str, good: char, bad: char) -> Result<Search, NoSearch> {
        let (good, bad) = (digest(good).to_string(), digest(bad).to_string());
        Search::new(&history(letters), &good, Some(&bad), None)
    }

    /// Runs a search; what it found and how many tries it took.
    fn run(mut search: Search, tell: impl Fn(char) -> Verdict) -> (String, usize) {
        let letter = |entry: &Entry| ('a'..='z').find(|letter| digest(*letter) == entry.digest).expect("one of ours");
        let mut tries = 0;
        while let Some(entry) = search.next().cloned() {
            search.tell(entry.digest, tell(letter(&entry)));
            tries += 1;
        }
        (search.suspects().iter().map(letter).collect(), tries)
    }

    fn bad_from(first: char) -> impl Fn(char) -> Verdict {
        move |letter| if letter < first { Verdict::Good } else { Verdict::Bad }
    }

    #[test]
    fn the_first_bad_revision_is_found_wherever_it_is_in_few_tries() {
        for first in 'b'..='p' {
            let (found, tries) = run(search("abcdefghijklmnop", 'a', 'p').expect("a search"), bad_from(first));
            assert_eq!(found, first.to_string());
            assert!(tries <= 4, "{first}: {tries}");
        }
        assert_eq!(run(search("ab", 'a', 'b').expect("a search"), bad_from('b')), ("b".to_owned(), 0));
    }

    #[test]
    fn what_cannot_be_told_is_passed_over_and_left_as_a_suspect() {
        let skip_in_the_way = |letter| if letter == 'd' { Verdict::Skipped } else { bad_from('f')(letter) };
        assert_eq!(run(search("abcdefgh", 'a', 'h').expect("a search"), skip_in_the_way).0, "f");
        let skip_the_first = |letter| if "ef".contains(letter) { Verdict::Skipped } else { bad_from('f')(letter) };
        assert_eq!(run(search("abcdefgh", 'a', 'h').expect("a search"), skip_the_first).0, "efg");
        assert_eq!(run(search("abcd", 'a', 'd').expect("a search"), |_| Verdict::Skipped).0, "bcd");
    }

    #[test]
    fn rollbacks_and_repetitions_are_no_revisions_of_their_own() {
        assert_eq!(run(search("abbCAcdD", 'a', 'd').expect("a search"), bad_from('c')), ("c".to_owned(), 2));
        assert_eq!(
            run(search("abacad", 'a', 'd').expect("a search"), bad_from('d')),
            ("d".to_owned(), 0),
            "from the last a"
        );
    }

    #[test]
    fn the_good_one_comes_before_the_bad_one() {
        assert!(matches!(search("abc", 'c', 'a'), Err(NoSearch::Order { .. })));
        assert!(matches!(search("abc", 'a', 'a'), Err(NoSearch::Order { .. })));
        assert!(matches!(search("abc", 'a', 'x'), Err(NoSearch::NoRevision(NoRevision::Unknown { .. }))));
        let nothing = Search::new(&history("a"), &digest('a').to_string(), None, None);
        assert!(matches!(nothing, Err(NoSearch::Nothing)));
    }
}
