//! The ledger: one append-only, hash-chained line per step of an apply and per freeze or hold that ends. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A tree was applied.
    #[default]
    Apply,
    /// A recorded revision was applied again, and is held.
    Rollback,
    /// A hold ended, or what was cut off was completed.
    Resume,
    /// Applying was stopped.
    Freeze,
    /// Applying was allowed again.
    Unfreeze,
    /// An edge went back by itself to what it ran before an apply, after the server had ended that.
    Return,
    /// A target was paused, disabled or weighed at runtime, or a break-glass rule was added; or either ended.
    Override,
    /// An edge as a whole did not settle, or was forgotten.
    Edge,
}

impl Action {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Rollback => "rollback",
            Self::Resume => "resume",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Return => "return",
            Self::Override => "override",
            Self::Edge => "edge",
        }
    }

    /// Lines that say nothing are applies: those of ledgers that are older than the other actions.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_apply(&self) -> bool {
        *self == Self::Apply
    }
}

/// One line. A finished apply has two: `started`, and its outcome with the id of the first in `of`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The apply that it belongs to; empty where it is about none.
    pub apply_id: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Action::is_apply")]
    pub action: Action,
    /// Why, in the words of the person who did it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// When a freeze or a break-glass rule ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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
    /// `started`, `applied`, `partial`, `superseded`, `returned` or `interrupted`; `frozen`, `unfrozen` or `released`; of
    /// an override of a target `override`, `override_ended`, `override_expired` or `override_dropped`, of a break-glass
    /// rule `rule_added`, `rule_removed`, `rule_expired` or `rule_taken_over`; of an edge `unsettled` or `forgotten`.
    pub outcome: String,
    /// The generation that each touched edge was given.
    pub generations: BTreeMap<EdgeName, u64>,
    /// Edges that the apply has changed and then brought back to what they ran before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub brought_back: BTreeSet<EdgeName>,
    /// Rails that a person overrode, with the flag.
    pub overridden: Vec<String>,
    /// What happened, of a line that belongs to no apply; of the end of an apply, why its rollout was stopped.
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
    /// True for the first line of an apply.
    pub fn is_start(&self) -> bool {
        self.of.is_none() && !self.apply_id.is_empty()
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
                        // Waves give generations as they go.
                        started.entry.generations = line.generations;
                        started.entry.brought_back = line.brought_back;
                        started.entry.note = line.note;
                        started.entry.outcome = line.outcome;
                    }
                }
            }
        }
        if let Some(newest) = entries.iter_mut().rev().find(|found| found.entry.is_start()) {
            newest.held = held;
        }
        entries
    }
}

/// What came of looking through the whole chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// How many lines there are.
    pub lines: u64,
    /// Id of the last one, 0 where there is none.
    pub last: u64,
    /// Its hash. Kept elsewhere, it shows later whether lines were taken off the end.
    pub head: Digest,
    /// The first line that does not fit the chain, if any: it was changed afterwards, or one before it was, or is gone.
    pub broken: Option<u64>,
    /// Whether a line has the hash that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contained: Option<bool>,
}

impl Verification {
    /// Looks through all lines, oldest first. `expected` is the end that the chain should have, where that is known.
    pub fn of(lines: &[Entry], expected: Option<Head>) -> Self {
        let last = lines.last().map_or(Head::default(), |line| Head { id: line.id, hash: line.hash });
        let cut = expected.filter(|expected| *expected != last).map(|expected| expected.id.min(last.id + 1));
        let broken = first_break(lines).or(cut);
        Self { lines: lines.len() as u64, last: last.id, head: last.hash, broken, contained: None }
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

/// Shorter prefixes of hashes are taken for a slip, as git does.
const SHORTEST_PREFIX: usize = 4;

/// Why a text names no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRevision {
    /// It is no prefix of a hash.
    #[error("`{0}` names no revision: it takes a digest or a commit, or at least {SHORTEST_PREFIX} letters of one")]
    Form(String),
    /// Nothing of that name was applied.
    #[error("no revision {0} was applied; `portunus history` lists those that were")]
    Unknown(String),
    /// Several were.
    #[error("{name} stands for several revisions: {}", digests.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The revisions.
        digests: Vec<String>,
    },
}

/// The newest line of the revision that a person names by digest, commit, or a prefix of either.
pub fn resolve<'a>(entries: impl IntoIterator<Item = &'a Entry>, text: &str) -> Result<&'a Entry, NoRevision> {
    let lower = text.to_ascii_lowercase();
    let (hash, is_digest) = match lower.strip_prefix("sha256:") {
        Some(rest) => (rest, true),
        None => (lower.as_str(), false),
    };
    if hash.len() < SHORTEST_PREFIX || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(NoRevision::Form(text.to_owned()));
    }
    let of_digest = |entry: &Entry| entry.digest.to_string().trim_start_matches("sha256:").starts_with(hash);
    let of_commit = |entry: &Entry| entry.commit.as_deref().is_some_and(|commit| commit.starts_with(hash));
    let mut found: Vec<&Entry> = entries
        .into_iter()
        .filter(|entry| entry.is_start() && (of_digest(entry) || (!is_digest && of_commit(entry))))
        .collect();
    let count = |found: &[&Entry]| found.iter().map(|entry| entry.digest).collect::<BTreeSet<_>>().len();
    let is_one_commit = found.iter().map(|entry| &entry.commit).collect::<BTreeSet<_>>().len() == 1;
    if count(&found) > 1 && is_one_commit && found.iter().any(|entry| !entry.dirty) {
        // What a commit means is what it holds, not what somebody had on disk beside it.
        found.retain(|entry| !entry.dirty);
    }
    match count(&found) {
        0 => Err(NoRevision::Unknown(text.to_owned())),
        1 => Ok(found.pop().expect("one revision has a line")),
        _ => {
            let names: BTreeSet<String> = found.iter().map(|entry| entry.digest.to_string()).collect();
            Err(NoRevision::Ambiguous { name: text.to_owned(), digests: names.into_iter().collect() })
        }
    }
}
