//! The last changes of a target's state, newest first. Pure.
//! Keeps: five at most, so that a flapping target costs no memory.

use std::collections::VecDeque;
use std::time::Duration;

use super::result::{Layer, Outcome, ResultCode};
use super::state::{Operation, TargetState};

/// Changes that are kept per target.
pub const HISTORY_LENGTH: usize = 5;

/// Why a state changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
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
pub struct Change {
    /// Before.
    pub from: TargetState,
    /// After.
    pub to: TargetState,
    /// When, on the clock of the caller.
    pub time: Duration,
    /// Why.
    pub cause: Cause,
}

impl Change {
    fn outcome(&self) -> Option<&Outcome> {
        match &self.cause {
            Cause::Active(outcome) | Cause::Passive(outcome) => Some(outcome),
            Cause::Operation(_) | Cause::CheckChanged => None,
        }
    }

    /// The code of the result that did it, if a result did.
    pub fn code(&self) -> Option<ResultCode> {
        self.outcome().map(Outcome::code)
    }

    /// The layer of that result.
    pub fn layer(&self) -> Option<Layer> {
        self.code().map(ResultCode::layer)
    }

    /// What a person can act on.
    pub fn detail(&self) -> &str {
        match &self.cause {
            Cause::Active(outcome) | Cause::Passive(outcome) => outcome.detail(),
            Cause::Operation(operation) => operation.as_str(),
            Cause::CheckChanged => "the check has changed",
        }
    }
}

/// The last changes, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct History(VecDeque<Change>);

impl History {
    /// Notes one; the oldest goes when there are too many.
    pub fn add(&mut self, change: Change) {
        self.0.truncate(HISTORY_LENGTH - 1);
        self.0.push_front(change);
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Change> {
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
