//! Which revision a person means: by digest, commit, number of an entry, id of an apply, `previous` or `HEAD~N`. Pure.
//!
//! Keeps: a name that fits several revisions is never decided by guessing; the error lists them.

use std::collections::BTreeSet;

use schema::canonical::Digest;

use super::HistoryEntry;

/// Shorter prefixes of hashes are taken for a slip, as git does.
const SHORTEST_PREFIX: usize = 4;
/// More candidates are counted.
const SHOWN: usize = 8;

/// Why a text names no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRevision {
    /// It has no form that a name has.
    #[error(
        "`{0}` does not name a revision: expected a digest or a commit, or at least {SHORTEST_PREFIX} characters of \
         one, the number of an entry of `portunus history`, the id of an apply, `previous` or `HEAD~1`"
    )]
    Form(String),
    /// Nothing of that name was applied.
    #[error("no revision {name} was applied; {}", known(recent))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The newest revisions.
        recent: Vec<String>,
    },
    /// Several were.
    #[error("{name} matches several revisions: name one of them in full: {}", candidates.join("; "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The revisions.
        candidates: Vec<String>,
    },
    /// The entry is about something else.
    #[error("entry {id} of the history is about a different action ({action}) and has no revision; {}", known(recent))]
    NotAnApply {
        /// Its number.
        id: u64,
        /// What it is about.
        action: &'static str,
        /// The newest revisions.
        recent: Vec<String>,
    },
    /// There are not so many.
    #[error("{name} is before the first applied revision; {}", known(recent))]
    TooFar {
        /// What was asked for.
        name: String,
        /// The newest revisions.
        recent: Vec<String>,
    },
}

fn known(recent: &[String]) -> String {
    match recent {
        [] => "nothing has been applied yet".to_owned(),
        recent => format!("the newest revisions are {}", recent.join("; ")),
    }
}

/// `3 (commit 0a1b2c3d4e5f "Move web")`
fn in_words(found: &HistoryEntry) -> String {
    let entry = &found.entry;
    let subject = found.subject.as_ref().map(|subject| format!(" \"{subject}\"")).unwrap_or_default();
    let dirty = if entry.dirty { ", with changes that were not committed" } else { "" };
    let name = match &entry.commit {
        Some(commit) => format!("commit {}{subject}{dirty}, {}", commit.get(..12).unwrap_or(commit), entry.digest),
        None => format!("no commit, {}", entry.digest),
    };
    format!("{} ({name})", entry.id)
}

/// The newest entry of each of these revisions, newest first.
fn distinct<'a>(entries: impl DoubleEndedIterator<Item = &'a HistoryEntry>) -> Vec<&'a HistoryEntry> {
    let mut seen = BTreeSet::new();
    entries.rev().filter(|found| seen.insert((found.entry.digest, found.entry.commit.clone()))).collect()
}

fn recent(history: &[HistoryEntry]) -> Vec<String> {
    let all = distinct(history.iter().filter(|found| found.entry.is_start()));
    all.into_iter().take(SHOWN).map(in_words).collect()
}

/// The newest entry of the revision that a person names.
///
/// - `previous` is the revision that was in force before the one that is, whatever put it there: the newest entry with
///   other files than those in force. Twice in a row it goes there and back.
/// - `HEAD` is the commit that was applied last, and `HEAD~N` the Nth before it, in the order in which commits were
///   applied for the first time. Trees without a commit, or with changes beside it, have no place in that order.
/// - A number is an entry of the history, `a` and a number an apply; anything else a digest or a commit, or the first
///   characters of one.
///
/// What was taken back by itself, because it failed or was not confirmed, is neither `previous` nor `HEAD~N`.
pub fn resolve<'a>(
    history: &'a [HistoryEntry],
    in_force: Option<Digest>,
    text: &str,
) -> Result<&'a HistoryEntry, NoRevision> {
    let text = text.trim();
    if text == "previous" {
        let is_other = |found: &&HistoryEntry| found.entry.is_start() && Some(found.entry.digest) != in_force;
        let found = history.iter().rev().filter(is_other).find(|found| !found.was_taken_back());
        return found.ok_or_else(|| NoRevision::TooFar { name: text.to_owned(), recent: recent(history) });
    }
    if let Some(rest) = text.strip_prefix("HEAD") {
        let steps = match rest {
            "" => Some(0),
            "~" | "^" => Some(1),
            rest => rest.strip_prefix('~').and_then(|steps| steps.parse().ok()),
        };
        let steps: usize = steps.ok_or_else(|| NoRevision::Form(text.to_owned()))?;
        return back(history, text, steps);
    }
    named(history, text)
}

/// The Nth commit before the one that was applied last.
fn back<'a>(history: &'a [HistoryEntry], text: &str, steps: usize) -> Result<&'a HistoryEntry, NoRevision> {
    let commits: Vec<&HistoryEntry> = history
        .iter()
        .filter(|found| found.entry.is_start() && found.entry.commit.is_some() && !found.entry.dirty)
        .filter(|found| !found.was_taken_back())
        .collect();
    let mut seen = BTreeSet::new();
    let order: Vec<&str> = commits
        .iter()
        .filter_map(|found| found.entry.commit.as_deref())
        .filter(|commit| seen.insert(*commit))
        .collect();
    let head = commits.last().and_then(|found| found.entry.commit.as_deref());
    let place = head.and_then(|head| order.iter().position(|commit| *commit == head));
    let wanted = place.and_then(|place| place.checked_sub(steps)).map(|place| order[place]);
    let found = commits.into_iter().rev().find(|found| wanted.is_some() && found.entry.commit.as_deref() == wanted);
    found.ok_or_else(|| NoRevision::TooFar { name: text.to_owned(), recent: recent(history) })
}

fn named<'a>(history: &'a [HistoryEntry], text: &str) -> Result<&'a HistoryEntry, NoRevision> {
    let number = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse::<u64>().ok());
    let by_id = history.iter().find(|found| Some(found.entry.id) == number || found.entry.apply_id == text);
    let by_id = by_id.filter(|_| !text.is_empty());
    let by_hash = of_hash(history, text);
    let is_form = number.is_some() || by_hash.is_some() || is_apply_id(text);
    let mut found: Vec<&HistoryEntry> = by_hash.unwrap_or_default();
    match by_id {
        Some(entry) if !entry.entry.is_start() && found.is_empty() => {
            let (id, action) = (entry.entry.id, entry.entry.action.as_str());
            return Err(NoRevision::NotAnApply { id, action, recent: recent(history) });
        }
        Some(entry) if found.is_empty() => return Ok(entry),
        Some(entry) if entry.entry.is_start() => found.push(entry),
        _ => {}
    }
    let digests: BTreeSet<Digest> = found.iter().map(|found| found.entry.digest).collect();
    match (digests.len(), found.last()) {
        (1, Some(newest)) => Ok(newest),
        (0, _) | (_, None) if is_form => Err(NoRevision::Unknown { name: text.to_owned(), recent: recent(history) }),
        (0, _) | (_, None) => Err(NoRevision::Form(text.to_owned())),
        _ => {
            let candidates = distinct(found.into_iter()).into_iter().map(in_words).collect();
            Err(NoRevision::Ambiguous { name: text.to_owned(), candidates })
        }
    }
}

fn is_apply_id(text: &str) -> bool {
    text.strip_prefix('a').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Entries whose digest or commit begins so; `None` where the text is no beginning of a hash.
fn of_hash<'a>(history: &'a [HistoryEntry], text: &str) -> Option<Vec<&'a HistoryEntry>> {
    let lower = text.to_ascii_lowercase();
    let (hash, is_digest) = match lower.strip_prefix("sha256:") {
        Some(rest) => (rest, true),
        None => (lower.as_str(), false),
    };
    if hash.len() < SHORTEST_PREFIX || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let of_digest =
        |found: &HistoryEntry| found.entry.digest.to_string().trim_start_matches("sha256:").starts_with(hash);
    let of_commit = |found: &HistoryEntry| found.entry.commit.as_deref().is_some_and(|commit| commit.starts_with(hash));
    let is_it =
        |found: &&HistoryEntry| found.entry.is_start() && (of_digest(found) || (!is_digest && of_commit(found)));
    let mut found: Vec<&HistoryEntry> = history.iter().filter(is_it).collect();
    let digests: BTreeSet<Digest> = found.iter().map(|found| found.entry.digest).collect();
    let is_one_commit = found.iter().map(|found| &found.entry.commit).collect::<BTreeSet<_>>().len() == 1;
    if digests.len() > 1 && is_one_commit && found.iter().any(|found| !found.entry.dirty) {
        // What a commit means is what it holds, not what somebody had on disk beside it.
        found.retain(|found| !found.entry.dirty);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, LedgerAction};
    use super::*;

    /// One entry a word: `A` is a tree of the commit `aaaa…`, `a` the same with changes beside it, `-` a freeze, `x` a
    /// tree without a commit; `!` behind it: it was taken back.
    fn history(words: &str) -> Vec<HistoryEntry> {
        let entry = |(index, word): (usize, &str)| {
            let letter = word.chars().next().expect("a letter");
            let is_apply = letter != '-';
            let commit = (is_apply && letter != 'x').then(|| letter.to_ascii_lowercase().to_string().repeat(40));
            let line = Entry {
                id: index as u64 + 1,
                apply_id: if is_apply { format!("a{}", index + 1) } else { String::new() },
                action: if is_apply { LedgerAction::Apply } else { LedgerAction::Freeze },
                digest: Digest::of(letter.to_string().as_bytes()),
                dirty: letter.is_ascii_lowercase() && letter != 'x',
                commit,
                outcome: if word.ends_with('!') { "returned" } else { "applied" }.to_owned(),
                ..Entry::default()
            };
            HistoryEntry::of_line(line, index as u64 + 1, true)
        };
        words.split(' ').enumerate().map(entry).collect()
    }

    fn found(words: &str, in_force: char, text: &str) -> Result<u64, NoRevision> {
        let in_force = Digest::of(in_force.to_string().as_bytes());
        resolve(&history(words), Some(in_force), text).map(|found| found.entry.id)
    }

    #[test]
    fn previous_is_what_was_in_force_before() {
        assert_eq!(found("A B", 'B', "previous"), Ok(1));
        assert_eq!(found("A B A", 'A', "previous"), Ok(2), "there and back");
        assert_eq!(found("A B B - B", 'B', "previous"), Ok(1), "entries with the same files are passed over");
        assert_eq!(found("A B C!", 'B', "previous"), Ok(1), "what was taken back was never in force");
        assert!(matches!(found("A", 'A', "previous"), Err(NoRevision::TooFar { .. })));
    }

    #[test]
    fn head_counts_back_over_commits_in_the_order_of_their_first_apply() {
        assert_eq!(found("A B C", 'C', "HEAD~1"), Ok(2));
        assert_eq!(found("A B C", 'C', "HEAD~2"), Ok(1));
        assert_eq!(found("A B C", 'C', "HEAD"), Ok(3));
        assert_eq!(found("A B C B", 'B', "HEAD~1"), Ok(1), "after a rollback to B its own predecessor");
        assert_eq!(found("A B x b", 'b', "HEAD"), Ok(2), "only what is committed has a place");
        assert_eq!(found("A B C!", 'B', "HEAD~1"), Ok(1));
        let far = found("A B", 'B', "HEAD~2").expect_err("not so many");
        assert!(far.to_string().contains("the newest revisions are 2 (commit bbbbbbbbbbbb"), "{far}");
        assert!(matches!(found("A B", 'B', "HEAD-1"), Err(NoRevision::Form(_))));
    }

    #[test]
    fn numbers_ids_and_hashes_are_names() {
        for (text, id) in [("1", 1), ("a2", 2), ("aaaa", 1), ("bbbbbb", 2)] {
            assert_eq!(found("A B", 'B', text), Ok(id), "{text}");
        }
        let digest = Digest::of(b"A").to_string();
        assert_eq!(found("A B", 'B', &digest), Ok(1));
        assert_eq!(found("A B", 'B', &digest[..14]), Ok(1));
        assert!(matches!(found("A B", 'B', "3"), Err(NoRevision::Unknown { .. })));
        assert!(matches!(found("A B", 'B', "abc"), Err(NoRevision::Form(_))));
        assert!(matches!(found("A B", 'B', "ffffffff"), Err(NoRevision::Unknown { .. })));
        let freeze = found("A - B", 'B', "2").expect_err("a freeze");
        assert!(
            freeze.to_string().starts_with("entry 2 of the history is about a different action (freeze)"),
            "{freeze}"
        );
    }

    #[test]
    fn a_name_of_several_lists_them_and_a_commit_means_what_it_holds() {
        let digest = |word: &str| Digest::of(word.as_bytes()).to_string();
        let mut all = history("A B");
        all[1].entry.commit = Some(format!("aaaa{}", "b".repeat(36)));
        let several = resolve(&all, None, "aaaa").expect_err("both").to_string();
        assert!(several.contains(&digest("A")) && several.contains(&digest("B")), "{several}");
        assert_eq!(found("a A", 'A', "aaaa"), Ok(2), "the clean one");
        let dirty = found("a", 'a', "aaaa");
        assert_eq!(dirty, Ok(1));
    }
}
