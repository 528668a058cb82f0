//! The ledger: one append-only, hash-chained line per step of an apply. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

/// One line. A finished apply has two: `started`, and its outcome with the id of the first in `of`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The apply that it belongs to.
    pub apply_id: String,
    /// The line that an outcome completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Identity of the plan.
    pub plan_id: Digest,
    /// Digest of the tree.
    pub digest: Digest,
    /// Full hash, if the tree came from a commit.
    pub commit: Option<String>,
    /// Who wrote the commit.
    pub author: Option<String>,
    /// Who applied it.
    pub actor: String,
    /// True if the tree differed from its commit.
    pub dirty: bool,
    /// `started`, `applied`, `partial`, `superseded` or `interrupted`; of an override of a target `override`,
    /// `override_ended`, `override_expired` or `override_dropped`.
    pub outcome: String,
    /// The generation that each touched edge was given.
    pub generations: BTreeMap<EdgeName, u64>,
    /// Rails that a person overrode, with the flag.
    pub overridden: Vec<String>,
    /// What happened, of a line that belongs to no apply.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Hash of the line before, zeros for the first.
    pub previous_hash: Digest,
    /// Hash of this line with its `hash` empty.
    pub hash: Digest,
}

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Id of the last line.
    pub id: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Entry {
    /// True for a line of an apply, false for one of an override.
    pub fn is_of_apply(&self) -> bool {
        !self.apply_id.is_empty()
    }

    /// The line that completes this one, still without number and hash.
    #[must_use]
    pub fn with_outcome(&self, outcome: &str, at: Timestamp) -> Self {
        Self { of: Some(self.id), at, outcome: outcome.to_owned(), overridden: Vec::new(), ..self.clone() }
    }

    /// Gives the line its number and links it to the chain.
    #[must_use]
    pub fn chained(mut self, head: &mut Head) -> Self {
        self.id = head.id + 1;
        self.previous_hash = head.hash;
        self.hash = self.compute_hash();
        *head = Head { id: self.id, hash: self.hash };
        self
    }

    /// The hash that the line should have.
    pub fn compute_hash(&self) -> Digest {
        let bare = Self { hash: Digest::default(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&bare).expect("the line holds only maps with text keys"))
    }
}

/// One apply as people read it: its first line, with how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The line of its start; `outcome` is the one of its end, `started` while it runs.
    #[serde(flatten)]
    pub entry: Entry,
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
    /// Joins the lines of a ledger.
    pub fn of_ledger(lines: Vec<Entry>, held: bool) -> Vec<Self> {
        let broken = first_break(&lines).unwrap_or(u64::MAX);
        let mut entries: Vec<Self> = Vec::new();
        for line in lines {
            match line.of {
                None => {
                    let intact = line.id < broken;
                    entries.push(Self { entry: line, finished_at: None, held: false, intact });
                }
                Some(of) => {
                    if let Some(started) = entries.iter_mut().rev().find(|entry| entry.entry.id == of) {
                        started.finished_at = Some(line.at);
                        started.intact &= line.id < broken;
                        started.entry.outcome = line.outcome;
                    }
                }
            }
        }
        if let Some(newest) = entries.iter_mut().rev().find(|entry| entry.entry.is_of_apply()) {
            newest.held = held;
        }
        entries
    }
}

/// The id of the first line that does not fit the chain, if any.
pub fn first_break(entries: &[Entry]) -> Option<u64> {
    let mut head = Head::default();
    for entry in entries {
        let fits = entry.id == head.id + 1 && entry.previous_hash == head.hash && entry.hash == entry.compute_hash();
        if !fits {
            return Some(entry.id);
        }
        head = Head { id: entry.id, hash: entry.hash };
    }
    None
}
