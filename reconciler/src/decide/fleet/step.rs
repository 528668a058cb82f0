//! One step of the fleet: when it is made, and what follows from it. Values.

use jiff::Timestamp;

use super::{Effect, Notice};
use crate::decide::record::Record;

/// A step that is being made.
#[derive(Debug)]
pub(super) struct Step {
    /// The time of all of it.
    pub(super) now: Timestamp,
    /// What is to be carried out, in order.
    pub(super) effects: Vec<Effect>,
}

impl Step {
    /// A step without effects yet.
    pub(super) const fn at(now: Timestamp) -> Self {
        Self { now, effects: Vec::new() }
    }

    /// Adds an effect.
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Has a record written before anything else of the step is carried out.
    pub(super) fn persist(&mut self, record: Record) {
        self.push(Effect::Persist(record));
    }

    /// Emits an event.
    pub(super) fn emit(&mut self, notice: Notice) {
        self.push(Effect::Emit(notice));
    }

    /// The effects, records first: a server that ends in the middle has all of a decision written down, or none.
    pub(super) fn into_effects(mut self) -> Vec<Effect> {
        // Stable, so that the last record under a key stays the last one.
        self.effects.sort_by_key(|effect| !matches!(effect, Effect::Persist(_)));
        self.effects
    }
}
