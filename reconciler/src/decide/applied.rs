//! The tree that is in force, and how far its rollout came. Values, below planner and fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::{EdgeName, Labels};
use schema::ruleset::Rails;
use serde::{Deserialize, Serialize};

use super::plan::Source;

fn is_empty(names: &Arc<BTreeSet<EdgeName>>) -> bool {
    names.is_empty()
}

/// The tree that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its provenance and digest.
    pub source: Source,
    /// Its rails, which guard against the next tree.
    pub rails: Rails,
    /// When.
    pub at: Timestamp,
    /// By which apply.
    pub apply_id: String,
    /// By whom; empty where an earlier version wrote it down.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// Who or which CI run the client says it acted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// Set where a rollout was stopped: it is not begun again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedRollout>,
    /// What was in force before it, while edges may still return to that by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Applied>>,
    /// Edges that its rollout has not reached.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unreached: BTreeSet<EdgeName>,
    /// The terms of a rollout that does not reach all of its edges at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Arc<RolloutTerms>>,
    /// True where a restart of the server cut that rollout off, until it goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
    /// The edges that it names, with rules or without.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub named: Arc<BTreeSet<EdgeName>>,
    /// Labels of edges, from its inventory.
    #[serde(default)]
    pub labels: Arc<BTreeMap<EdgeName, Labels>>,
    /// Digest of its portunus.toml, or of nothing where it has none; `None` where an earlier version wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Digest>,
    /// The commit that was applied last before it, where it has none itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_commit: Option<String>,
}

impl Applied {
    /// The commit that was applied last: its own, or the one before it, where the tree has no commit.
    pub fn last_commit(&self) -> Option<&str> {
        self.source.commit.as_deref().or(self.earlier_commit.as_deref())
    }
}

/// A rollout that did not reach all of its edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedRollout {
    /// The tree.
    pub digest: Digest,
    /// Which wave failed, and where.
    pub reason: String,
}

/// What a rollout was begun with, so that another process of the server can go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutTerms {
    /// All edges that it is to change.
    pub edges: BTreeSet<EdgeName>,
    /// Offline edges do not stop it.
    pub allow_offline: bool,
    /// Rules with an active check must be up.
    pub wait_healthy: bool,
    /// How long an edge may take.
    pub timeout: Duration,
    /// A failed edge was to revert all of them, which ends with the process that knew what they ran before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
}
