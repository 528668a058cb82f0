//! What subscribers see of a rule's targets: a snapshot first, then events. Pure.
//! Keeps: every event carries the full new value of what it is about, so that a late subscriber misses nothing.

use std::fmt;
use std::sync::Arc;

use super::history::StateChange;
use super::pool::RuleHealth;
use super::ports::PortChange;
use super::result::Outcome;
use super::state::TargetState;
use crate::rule::Target;

/// The identity of a target inside its rule: `HOST:PORT` or `HOST:LO-HI`, as people write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey(Arc<str>);

impl TargetKey {
    /// Of a target.
    pub fn of(target: &Target) -> Self {
        Self(target.to_string().into())
    }

    /// As people write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One target as subscribers see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetView {
    /// Which one.
    pub key: TargetKey,
    /// Its pool.
    pub priority: u8,
    /// The weight that the rule or an override gives it.
    pub weight: u8,
    /// Its state.
    pub state: TargetState,
}

impl TargetView {
    pub(super) fn is_same_but_state(&self, other: &Self) -> bool {
        (&self.key, self.priority, self.weight) == (&other.key, other.priority, other.weight)
    }
}

/// One thing that happened to the targets of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RuleEvent {
    /// A target's state is another one.
    Changed {
        /// Which target.
        key: TargetKey,
        /// From what to what, and why.
        change: StateChange,
    },
    /// Connections failed one port of a target of several, or recovered it. No part of the snapshot: the other ports
    /// go on as they were.
    Port {
        /// Which target.
        key: TargetKey,
        /// Which of its ports.
        port: u16,
        /// Which way.
        change: PortChange,
        /// What the last connection met.
        outcome: Outcome,
    },
    /// Targets joined, left, or have another place, priority or weight: all of them, in file order.
    Membership {
        /// Those that the rule has now.
        targets: Vec<TargetView>,
    },
    /// The effective weights are others: all of them, in file order; those above 0 are the eligible targets.
    Weights {
        /// The pool that carries weight.
        active_pool: Option<u8>,
        /// What each target carries.
        weights: Vec<u8>,
    },
    /// The rule's health is another one.
    Health {
        /// Before.
        from: RuleHealth,
        /// Now.
        to: RuleHealth,
    },
}

/// Everything that events change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// In file order.
    pub targets: Vec<TargetView>,
    /// The pool that carries weight.
    pub active_pool: Option<u8>,
    /// The effective weight of each target.
    pub weights: Vec<u8>,
    /// How the rule is.
    pub health: RuleHealth,
}

impl Snapshot {
    /// Takes in one event.
    pub fn apply(&mut self, event: &RuleEvent) {
        match event {
            RuleEvent::Changed { key, change } => {
                let seen = self.targets.iter_mut().filter(|target| target.key == *key);
                seen.for_each(|target| target.state = change.to);
            }
            RuleEvent::Port { .. } => {}
            RuleEvent::Membership { targets } => self.targets.clone_from(targets),
            RuleEvent::Weights { active_pool, weights } => {
                self.active_pool = *active_pool;
                self.weights.clone_from(weights);
            }
            RuleEvent::Health { to, .. } => self.health = *to,
        }
    }
}
