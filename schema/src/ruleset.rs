//! What a tree says, once it is valid: its inventory, its rules and what each edge should run. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, Digest};
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::name::{EdgeName, Labels, RuleName};
use crate::rollout::Rollout;
use crate::rule::Rule;

/// Where a rule stands in its tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, relative to the tree.
    pub file: Arc<str>,
    /// Line from 1.
    pub line: u32,
    /// Column from 1.
    pub column: u32,
}

/// A rule with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Where it stands; `None` for rules that no tree holds.
    pub origin: Option<Origin>,
}

/// The rules of one edge, by name.
pub type EdgeRules = BTreeMap<RuleName, Placed>;

/// `[rails]` of portunus.toml (CONTRACT §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rails {
    /// Of an edge's rules.
    pub max_removed_percent: u32,
    /// In all.
    pub max_removed_rules: u32,
    /// Of an edge's rules.
    pub max_rebound_percent: u32,
    /// 0: no limit.
    pub max_connections_dropped: u64,
}

impl Default for Rails {
    fn default() -> Self {
        Self { max_removed_percent: 30, max_removed_rules: 25, max_rebound_percent: 30, max_connections_dropped: 0 }
    }
}

/// `[global]` of an upstream standalone file: settings of the process that `portunus up` runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Global {
    /// A name for people.
    pub label: Option<String>,
    /// `error` to `trace`.
    pub log_level: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// How long connections may drain at the end.
    pub shutdown_drain_secs: Option<u64>,
}

/// A valid tree. The rules of an edge that has none are absent.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    /// Digest of the files, see [`tree_digest`].
    pub digest: Digest,
    /// The `[[edge]]` entries.
    pub inventory: BTreeMap<EdgeName, Labels>,
    /// What each edge should run: enabled rules only.
    pub edges: BTreeMap<EdgeName, EdgeRules>,
    /// Rules with `enabled = false`, by edge: declared, shown, not deployed.
    pub disabled: BTreeMap<EdgeName, EdgeRules>,
    /// The rails for the next tree.
    pub rails: Rails,
    /// In which order edges change.
    pub rollout: Rollout,
    /// Settings of the process, for `up`.
    pub global: Global,
    /// Rule files without anything but blanks, in path order.
    pub empty_files: Vec<Arc<str>>,
}

impl RuleSet {
    /// The labels of the edges that have any.
    pub fn labels(&self) -> BTreeMap<EdgeName, Labels> {
        let labelled = self.inventory.iter().filter(|(_, labels)| !labels.is_empty());
        labelled.map(|(name, labels)| (name.clone(), labels.clone())).collect()
    }

    /// True for an edge of the inventory, or one that a rule is for.
    pub fn names(&self, edge: &EdgeName) -> bool {
        self.inventory.contains_key(edge) || self.edges.contains_key(edge) || self.disabled.contains_key(edge)
    }

    /// All of these.
    pub fn names_of_edges(&self) -> BTreeSet<EdgeName> {
        self.inventory.keys().chain(self.edges.keys()).chain(self.disabled.keys()).cloned().collect()
    }

    /// How many rules on all edges together.
    pub fn rule_count(&self) -> usize {
        self.edges.values().map(BTreeMap::len).sum()
    }
}

/// The files of a tree as read, before anyone looked inside: valid text in path order, and what could not be read.
#[derive(Debug, Clone, Default)]
pub struct TreeFiles {
    /// Rule files and `portunus.toml`, in path order.
    pub files: Vec<SourceFile>,
    /// Files that are unreadable, too large or not UTF-8.
    pub problems: Vec<Diagnostic>,
}

/// Digest of a tree: over paths and contents, so a comment makes another revision of the same rules.
pub fn tree_digest(files: &[SourceFile]) -> Digest {
    canonical::digest_parts(files.iter().flat_map(|file| [file.path.as_bytes(), file.text.as_bytes()]))
}

/// Only the rules of an edge's set, for diffing.
pub fn rules_only(rules: &EdgeRules) -> BTreeMap<RuleName, Arc<Rule>> {
    rules.iter().map(|(name, placed)| (name.clone(), placed.rule.clone())).collect()
}
