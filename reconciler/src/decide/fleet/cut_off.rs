//! An apply that the end of its server cut off: what is known of its edges. Pure.
//!
//! Keeps: an edge that is not known to run the state is never written down as done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

use super::apply::Start;
use super::{Applied, ApplyResult, EdgeOutcome, Fleet};
use crate::decide::ledger::{Entry, RecordedEdge};

/// What a rollout was begun with, so that another process of the server can go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutTerms {
    /// All edges that it is to change.
    pub edges: BTreeSet<EdgeName>,
    /// Offline edges are no reason to stop it.
    pub allow_offline: bool,
    /// Rules with an active check must be up.
    pub wait_healthy: bool,
    /// How long an edge may take.
    pub timeout: Duration,
}

impl RolloutTerms {
    pub(super) fn of(start: &Start<'_>, result: &ApplyResult) -> Self {
        Self {
            edges: result.edges.iter().map(|edge| edge.edge.clone()).collect(),
            allow_offline: start.allow_offline,
            wait_healthy: start.wait_healthy,
            timeout: start.timeout,
        }
    }
}

impl Fleet {
    /// What is recorded of the edges of an apply that was cut off.
    pub(super) fn cut_off_edges(&self, started: &Entry) -> BTreeMap<EdgeName, RecordedEdge> {
        let applied = self.applied.as_ref().filter(|applied| applied.apply_id == started.apply_id);
        let rollout = applied.and_then(|applied| applied.rollout.as_ref());
        let names = started.generations.keys().chain(rollout.iter().flat_map(|rollout| &rollout.edges));
        let names: BTreeSet<&EdgeName> = names.collect();
        names.into_iter().map(|name| (name.clone(), self.cut_off_edge(name, started, applied))).collect()
    }

    fn cut_off_edge(&self, name: &EdgeName, started: &Entry, applied: Option<&Applied>) -> RecordedEdge {
        let decided = self.edges.get(name).and_then(|view| view.desired.as_ref());
        let least = started.generations.get(name).copied().unwrap_or_default();
        let (outcome, message) = if applied.is_some_and(|applied| applied.unreached.contains(name)) {
            (EdgeOutcome::Skipped, "the server ended before its turn")
        } else if decided.is_some_and(|desired| desired.acknowledged && desired.generation >= least) {
            (EdgeOutcome::Done, "")
        } else {
            (EdgeOutcome::Timeout, "the server ended before the edge had answered")
        };
        RecordedEdge { outcome, code: String::new(), message: message.to_owned(), rules: Vec::new() }
    }
}
