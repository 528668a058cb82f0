//! The last changes of a target's state, newest first. Pure.
//! Keeps: as many as the check says at most, so that a flapping target costs no memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::result::{Layer, Outcome, ResultCode};
use super::state::{Operation, TargetState};

/// Changes that are kept per target where the check says nothing else.
pub const DEFAULT_HISTORY: u8 = 5;
/// The most that a check may ask for: a screen, and a few kilobytes.
pub const MAX_HISTORY: u8 = 50;

/// Why a state changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChangeCause {
    /// The target joined the rule.
    Start,
    /// A probe's result.
    Active(Outcome),
    /// A connection's result.
    Passive(Outcome),
    /// An operator, or the rule's `enabled`.
    Operation(Operation),
    /// The rule's check is another one now.
    CheckChanged,
}

/// One change of a target's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateChange {
    /// Before.
    pub from: TargetState,
    /// After.
    pub to: TargetState,
    /// When, on the clock of the caller.
    pub time: Duration,
    /// Why.
    pub cause: ChangeCause,
}

impl StateChange {
    fn outcome(&self) -> Option<&Outcome> {
        match &self.cause {
            ChangeCause::Active(outcome) | ChangeCause::Passive(outcome) => Some(outcome),
            ChangeCause::Start | ChangeCause::Operation(_) | ChangeCause::CheckChanged => None,
        }
    }

    /// The code of the result that did it, if a result did.
    pub fn code(&self) -> Option<ResultCode> {
        self.outcome().map(Outcome::code)
    }

    /// The code of the result, or the word for what happened else: `start` (it joined, or its check is another one),
    /// `paused`, `resumed`, `disabled`, `enabled`, `removed`.
    pub fn word(&self) -> &'static str {
        match &self.cause {
            ChangeCause::Active(outcome) | ChangeCause::Passive(outcome) => outcome.code().as_str(),
            ChangeCause::Operation(operation) => operation.past(),
            ChangeCause::Start | ChangeCause::CheckChanged => "start",
        }
    }

    /// The layer of that result.
    pub fn layer(&self) -> Option<Layer> {
        self.code().map(ResultCode::layer)
    }

    /// What a person can act on.
    pub fn detail(&self) -> &str {
        match &self.cause {
            ChangeCause::Active(outcome) | ChangeCause::Passive(outcome) => outcome.detail(),
            ChangeCause::Start | ChangeCause::Operation(_) => "",
            ChangeCause::CheckChanged => "the check has changed",
        }
    }
}

/// The last changes, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History(VecDeque<StateChange>);

impl History {
    /// Notes one; of more than `keep`, the oldest are dropped.
    pub fn add(&mut self, change: StateChange, keep: u8) {
        self.0.push_front(change);
        self.keep(keep);
    }

    /// Keeps so many at most.
    pub fn keep(&mut self, most: u8) {
        self.0.truncate(most.into());
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &StateChange> {
        self.0.iter()
    }

    /// The newest.
    pub fn last(&self) -> Option<&StateChange> {
        self.0.front()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True before the first.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
