//! The plan as JSON carries it (CONTRACT §4), and its identity. Pure.
//!
//! Long because all types of one document are read side by side.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::codes::RuleCode;
use schema::diagnostic::DiagnosticJson;
use schema::name::{EdgeName, RuleName};
use schema::ruleset::Origin;
use schema::spec::FieldChange;
use serde::{Deserialize, Serialize};

use super::proof::{Lease, Proof};
use super::rail::RailKind;
use super::source::Source;
use super::{Hint, Impact, PlannedWave};
use crate::decide::drift::Drift;
use crate::decide::fleet::Freeze;

/// Version of the JSON documents of this crate; additions keep it.
pub const FORMAT_VERSION: &str = "1.0";

/// A fact for people, with the code that programs go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// A code of CONTRACT.md.
    pub code: String,
    /// The sentence.
    pub message: String,
}

/// The state that a plan starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Base {
    /// The line of generations that the numbers belong to.
    pub lineage: String,
    /// The commit that was in force, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// True if the tree's commit is that one or is known to descend from it; `None` where either has no commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descends: Option<bool>,
    /// Every edge that the plan looked at.
    pub edges: BTreeMap<EdgeName, BaseEdge>,
}

impl Base {
    /// True for a change of an edge that is offline and for which it was decided before.
    pub(in crate::decide) fn has_decided(&self, change: &PlannedChange) -> bool {
        change.action != Action::Reject && self.edges.get(&change.edge).is_some_and(|base| base.decided)
    }
}

/// The state of one edge that a plan starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseEdge {
    /// The generation that was decided last.
    pub generation: u64,
    /// Digest of what runs.
    pub digest: Digest,
    /// True if the edge had a session.
    pub connected: bool,
    /// When the edge was heard last.
    pub observed_at: Option<Timestamp>,
    /// True if the edge has no session and what the tree wants there was decided before: it takes effect when it comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decided: bool,
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// `+`
    Activate,
    /// `±`: listeners change.
    Rebind,
    /// `~`: same listeners.
    Update,
    /// `>`: renamed.
    Move,
    /// `-`
    Remove,
    /// `!`: the edge does not support it.
    Reject,
    /// `?`: desired, but failed there.
    Retry,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] =
        [Self::Activate, Self::Rebind, Self::Update, Self::Move, Self::Remove, Self::Reject, Self::Retry];

    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Rebind => "rebind",
            Self::Update => "update",
            Self::Move => "move",
            Self::Remove => "remove",
            Self::Reject => "reject",
            Self::Retry => "retry",
        }
    }

    /// The sign in front of a change.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Activate => "+",
            Self::Rebind => "±",
            Self::Update => "~",
            Self::Move => ">",
            Self::Remove => "-",
            Self::Reject => "!",
            Self::Retry => "?",
        }
    }
}

/// The listeners of a change, as `ADDRESS:PORTS` texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ports {
    /// To be bound.
    pub bind: Vec<String>,
    /// Open now and afterwards.
    pub keep: Vec<String>,
    /// To be closed.
    pub release: Vec<String>,
}

/// One change of one rule on one edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// The edge.
    pub edge: EdgeName,
    /// The rule, by its new name.
    pub rule: RuleName,
    /// Its name before, if it moves.
    pub previous_rule: Option<RuleName>,
    /// What happens.
    pub action: Action,
    /// Why, for `reject` and `retry`; `client_not_connected` where the edge is planned from its last known state.
    pub code: Option<String>,
    /// In words.
    pub message: Option<String>,
    /// Its listeners.
    pub ports: Ports,
    /// Its fields.
    pub fields: Vec<FieldChange>,
    /// What it means for live connections.
    pub impact: Impact,
    /// Where the tree has the rule; of a removed one: where it stood.
    pub origin: Option<Origin>,
    /// How sure it is, where edges were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Figures of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// New rules.
    pub activate: u32,
    /// Rules whose listeners change.
    pub rebind: u32,
    /// Rules that change otherwise.
    pub update: u32,
    /// Renamed rules.
    #[serde(rename = "move")]
    pub moved: u32,
    /// Rules that go.
    pub remove: u32,
    /// Rules that an edge cannot do.
    pub reject: u32,
    /// Rules that failed and are desired.
    pub retry: u32,
    /// Rules that stay.
    pub unchanged: u32,
    /// Listeners to bind.
    pub ports_bound: u32,
    /// Listeners to close.
    pub ports_released: u32,
    /// Live connections that may be cut.
    pub connections_affected: u64,
    /// Edges with changes.
    pub edges: u32,
}

impl Summary {
    /// The figure that changes of this kind are counted in.
    pub(crate) const fn of_mut(&mut self, action: Action) -> &mut u32 {
        match action {
            Action::Activate => &mut self.activate,
            Action::Rebind => &mut self.rebind,
            Action::Update => &mut self.update,
            Action::Move => &mut self.moved,
            Action::Remove => &mut self.remove,
            Action::Reject => &mut self.reject,
            Action::Retry => &mut self.retry,
        }
    }

    /// How many changes are of this kind.
    pub const fn of(mut self, action: Action) -> u32 {
        *self.of_mut(action)
    }

    /// How many changes, rejections and retries included.
    pub const fn changes(&self) -> u32 {
        self.activate + self.rebind + self.update + self.moved + self.remove + self.reject + self.retry
    }
}

/// One rail and whether the plan trips it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RailVerdict {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub limit: u64,
    /// What the plan does, on the worst edge where it is per edge.
    pub actual: u64,
    /// True if that is too much and no flag allows it.
    pub tripped: bool,
    /// The flag with its number that would allow it; `None` where nothing does.
    #[serde(rename = "override")]
    pub allow: Option<String>,
    /// Which edges or rules, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// See [`FORMAT_VERSION`].
    pub format_version: String,
    /// `plan`
    pub kind: String,
    /// Digest of the rest without what time and connections change.
    pub plan_id: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being applicable.
    pub expires_at: Timestamp,
    /// The tree.
    pub source: Source,
    /// The state that it starts from.
    pub base: Base,
    /// False if an edge was planned from its last known state.
    pub complete: bool,
    /// False if `apply` would refuse it now.
    pub applyable: bool,
    /// Figures.
    pub summary: Summary,
    /// By edge and rule.
    pub changes: Vec<PlannedChange>,
    /// Which edges change in which wave; empty where the tree has no waves, or nothing changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<PlannedWave>,
    /// What differs now from what was applied.
    pub drift: Vec<Drift>,
    /// What running rules say that the plan does nothing about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<Hint>,
    /// All rails.
    pub rails: Vec<RailVerdict>,
    /// Findings of the tree, warnings only.
    pub diagnostics: Vec<DiagnosticJson>,
    /// True if the tree is not committed, and the person allows that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dirty_allowed: bool,
    /// Why the tree does not count as committed, whether that is allowed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncommitted: Option<Remark>,
    /// Why the server would refuse the tree whatever else holds: in mode `apply` it follows another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_followed: Option<String>,
    /// The freeze that stood when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
    /// How much is left out because the operator may not see it.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// What edges hold for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leases: BTreeMap<EdgeName, Lease>,
}

impl PlanDocument {
    /// True for a change of an edge that is offline and for which it was decided before: it takes effect when the edge
    /// comes.
    pub fn is_decided(&self, change: &PlannedChange) -> bool {
        self.base.has_decided(change)
    }

    /// The figures without what was decided before for edges that are offline, and how many changes that is.
    pub fn without_decided(&self) -> (Summary, u64) {
        let mut summary = self.summary;
        let mut edges: BTreeMap<&EdgeName, bool> = BTreeMap::new();
        let mut decided = 0;
        for change in &self.changes {
            let is_decided = self.is_decided(change);
            *edges.entry(&change.edge).or_insert(true) &= is_decided;
            if is_decided {
                decided += 1;
                let counter = summary.of_mut(change.action);
                *counter = counter.saturating_sub(1);
            }
        }
        summary.edges = edges.values().filter(|is_decided| !**is_decided).count() as u32;
        (summary, decided)
    }

    /// The identity: a digest without timestamps, connection counts and connected flags.
    pub fn compute_id(&self) -> Digest {
        self.clone().into_id()
    }

    pub(super) fn into_id(self) -> Digest {
        let mut bare = self;
        bare.plan_id = Digest::default();
        bare.created_at = Timestamp::UNIX_EPOCH;
        bare.expires_at = Timestamp::UNIX_EPOCH;
        bare.complete = true;
        bare.applyable = true;
        bare.summary.connections_affected = 0;
        bare.frozen = None;
        bare.dirty_allowed = false;
        bare.not_followed = None;
        bare.leases.clear();
        bare.hidden = 0;
        // Where the tree is in its repository changes nothing, and an earlier version did not say it.
        bare.source.folder = None;
        // Drift is what is, not what is planned; it holds last-seen times and comes and goes with sessions.
        bare.drift.clear();
        bare.hints.clear();
        for edge in bare.base.edges.values_mut() {
            edge.connected = false;
            edge.observed_at = None;
            edge.decided = false;
        }
        for change in &mut bare.changes {
            change.impact = Impact::new(change.impact.kind, 0);
            change.proof = None;
            if change.code.as_deref() == Some(RuleCode::ClientNotConnected.as_str()) {
                change.code = None;
                change.message = None;
            }
        }
        for rail in bare.rails.iter_mut().filter(|rail| rail.name == RailKind::MaxConnectionsDropped.as_str()) {
            rail.actual = 0;
            rail.tripped = false;
            rail.allow = None;
        }
        Digest::of(&serde_json::to_vec(&bare).expect("the document holds only maps with text keys"))
    }

    /// True if a rail is tripped.
    pub fn is_railed(&self) -> bool {
        self.rails.iter().any(|rail| rail.tripped)
    }
}
