//! The ledger: one append-only, hash-chained line per step of an apply and per freeze or hold that ends. Pure.
//!
//! Keeps: a key that a later version adds is absent from lines that do not use it, so that the hashes of old lines hold.

mod history;
mod index;
mod revisions;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::outcome::EdgeOutcome;
use super::plan::Summary;
pub use history::HistoryEntry;
pub use index::{EntryPlace, LedgerIndex};
pub use revisions::{NoRevision, resolve};

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LedgerAction {
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
    /// An operator ended live connections.
    Connections,
    /// The period of a quota was begun anew.
    Quota,
}

impl LedgerAction {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Apply,
        Self::Rollback,
        Self::Resume,
        Self::Freeze,
        Self::Unfreeze,
        Self::Return,
        Self::Override,
        Self::Edge,
        Self::Connections,
        Self::Quota,
    ];

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
            Self::Connections => "connections",
            Self::Quota => "quota",
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
    #[serde(default, skip_serializing_if = "LedgerAction::is_apply")]
    pub action: LedgerAction,
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
    /// The first line of the commit's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who applied it.
    pub actor: String,
    /// Who or which CI run the client says it acted for. Nothing proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// True if the tree differed from its commit.
    pub dirty: bool,
    /// `started`, `applied`, `partial`, `superseded`, `returned` or `interrupted`; `frozen`, `unfrozen` or `released`; of
    /// an override of a target `override`, `override_ended`, `override_expired` or `override_dropped`, of a break-glass
    /// rule `rule_added`, `rule_removed`, `rule_expired` or `rule_taken_over`; of an edge `unsettled` or `forgotten`;
    /// of connections `connections_ended`; of a quota `quota_reset`.
    pub outcome: String,
    /// The generation that each touched edge was given.
    pub generations: BTreeMap<EdgeName, u64>,
    /// The figures of its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Of the end of an apply, how it went on each edge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edges: BTreeMap<EdgeName, RecordedEdge>,
    /// Edges that the apply changed and then reverted.
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

/// Every outcome of an entry: of applies, of what people decided about the fleet, of overrides, and of edges.
pub const OUTCOMES: &[&str] = &[
    "started",
    "applied",
    "partial",
    "superseded",
    "returned",
    "interrupted",
    "frozen",
    "unfrozen",
    "released",
    "override",
    "override_ended",
    "override_expired",
    "override_dropped",
    "rule_added",
    "rule_removed",
    "rule_expired",
    "rule_taken_over",
    "unsettled",
    "forgotten",
    "connections_ended",
    "quota_reset",
];

/// How an apply ended on one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEdge {
    /// How.
    pub outcome: EdgeOutcome,
    /// A code where it did not go well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The rules that are not as planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RecordedRule>,
}

/// A rule that an apply did not leave as it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRule {
    /// The rule.
    pub rule: RuleName,
    /// The state that its edge reported last; none for a rule that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RuleState>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Id of the last line.
    pub id: u64,
    /// Its hash.
    pub hash: Digest,
    /// How many entries the lines make: lines that complete another one are not counted.
    pub entries: u64,
    /// The highest number in the id of an apply.
    pub last_apply: u64,
}

impl Head {
    /// Takes in the line that follows.
    pub fn advance(&mut self, line: &Entry) {
        self.id = line.id;
        self.hash = line.hash;
        if line.of.is_none() {
            self.entries += 1;
        }
        let number = line.apply_id.strip_prefix('a').and_then(|number| number.parse().ok());
        self.last_apply = self.last_apply.max(number.unwrap_or_default());
    }

    /// The id of the apply that begins next: `a` and the number of its entry. A ledger whose applies were named after
    /// their lines goes on with those numbers, so that no id is used twice.
    pub fn next_apply(&self) -> String {
        let number = self.entries + 1;
        format!("a{}", if number > self.last_apply { number } else { self.id + 1 })
    }
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
        head.advance(&self);
        self
    }

    /// The hash that the line should have.
    pub fn compute_hash(&self) -> Digest {
        let bare = Self { hash: Digest::default(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&bare).expect("the line holds only maps with text keys"))
    }
}

/// The result of checking the whole chain.
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
        let (last, hash) = lines.last().map_or((0, Digest::default()), |line| (line.id, line.hash));
        let is_other = |expected: &Head| (expected.id, expected.hash) != (last, hash);
        let cut = expected.filter(is_other).map(|expected| expected.id.min(last + 1));
        let broken = first_break(lines).or(cut);
        Self { lines: lines.len() as u64, last, head: hash, broken, contained: None }
    }
}

/// The id of the first line that does not fit the chain, if any.
pub fn first_break(entries: &[Entry]) -> Option<u64> {
    let mut head = Head::default();
    for entry in entries {
        if !fits(&head, entry) {
            return Some(entry.id);
        }
        head.advance(entry);
    }
    None
}

/// True if the line follows that end of the chain.
fn fits(head: &Head, line: &Entry) -> bool {
    line.id == head.id + 1 && line.previous_hash == head.hash && line.hash == line.compute_hash()
}
