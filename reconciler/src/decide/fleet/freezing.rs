//! What people decided about the fleet as a whole: a freeze, and a rollback that is held. Pure.
//!
//! Keeps: both are durable and lines of the ledger; a freeze that ends by its time ends whether or not anybody looks.

use jiff::Timestamp;

use super::step::Step;
use super::{Fleet, Followed, Freeze, Hold, Mode, Notice, Refusal, TreeRead};
use crate::decide::ledger::{Entry, LedgerAction};
use crate::decide::record::Record;

/// What an operator decides about the fleet as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Stop applying. A freeze that stands is replaced; since when it holds stays.
    Freeze {
        /// Why.
        why: String,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// Apply again. Nothing happens where nothing is frozen.
    Unfreeze {
        /// Why.
        why: String,
    },
    /// End the hold of a rollback without applying anything. Nothing happens where nothing is held.
    Release {
        /// Why; may be empty.
        why: String,
    },
}

/// What a line of the ledger says that is not about an apply.
pub(super) struct Deed<'d> {
    pub(super) action: LedgerAction,
    pub(super) actor: &'d str,
    pub(super) why: String,
    pub(super) outcome: &'d str,
}

impl Fleet {
    /// The freeze that stands.
    pub fn frozen(&self) -> Option<&Freeze> {
        self.frozen.as_ref()
    }

    /// The rollback that is held.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    pub(super) fn control(&mut self, actor: &str, control: Control, step: &mut Step) -> Result<(), Refusal> {
        match control {
            Control::Freeze { why, until } => {
                let since = self.frozen.as_ref().map_or(step.now, |freeze| freeze.since);
                let freeze = Freeze { by: actor.to_owned(), why: why.clone(), since, until };
                self.frozen = Some(freeze);
                let line = self.line(Deed { action: LedgerAction::Freeze, actor, why, outcome: "frozen" }, step.now);
                self.record_freeze(Entry { until, ..line }, step);
                self.follow(step);
            }
            Control::Unfreeze { why } if self.frozen.is_some() => {
                self.frozen = None;
                let line =
                    self.line(Deed { action: LedgerAction::Unfreeze, actor, why, outcome: "unfrozen" }, step.now);
                self.record_freeze(line, step);
                self.follow(step);
            }
            Control::Release { why } if self.hold.is_some() => {
                if let Some(freeze) = &self.frozen {
                    return Err(Refusal::Frozen { freeze: freeze.clone() });
                }
                self.hold = None;
                let line = self.line(Deed { action: LedgerAction::Resume, actor, why, outcome: "released" }, step.now);
                let line = line.chained(&mut self.head);
                step.persist(Record::hold(None));
                step.persist(Record::ledger(&line));
                step.emit(Notice::Hold { hold: None, by: actor.to_owned() });
                self.follow(step);
            }
            Control::Unfreeze { .. } | Control::Release { .. } => {}
        }
        Ok(())
    }

    /// Ends a freeze whose time is over.
    pub(super) fn thaw(&mut self, step: &mut Step) {
        let is_over = |freeze: &mut Freeze| freeze.until.is_some_and(|until| until <= step.now);
        let Some(freeze) = self.frozen.take_if(is_over) else { return };
        let why = format!("the override by {} expired", freeze.by);
        let line =
            self.line(Deed { action: LedgerAction::Unfreeze, actor: "clock", why, outcome: "unfrozen" }, step.now);
        self.record_freeze(line, step);
        self.follow(step);
    }

    fn record_freeze(&mut self, line: Entry, step: &mut Step) {
        let line = line.chained(&mut self.head);
        step.persist(Record::freeze(self.frozen.as_ref()));
        step.persist(Record::ledger(&line));
        step.emit(Notice::Freeze { frozen: self.frozen.clone(), by: line.actor, why: line.why });
    }

    /// A line of the ledger that is not about an apply; it names the revision in force.
    pub(super) fn line(&self, deed: Deed<'_>, now: Timestamp) -> Entry {
        let Deed { action, actor, why, outcome } = deed;
        let source = self.applied.as_ref().map(|applied| &applied.source);
        Entry {
            action,
            why,
            at: now,
            actor: actor.to_owned(),
            digest: source.map(|source| source.digest).unwrap_or_default(),
            commit: source.and_then(|source| source.commit.clone()),
            author: source.and_then(|source| source.author.clone()),
            dirty: source.is_some_and(|source| source.dirty),
            outcome: outcome.to_owned(),
            ..Entry::default()
        }
    }

    /// The hold that a rollback makes, with the tree that it holds back; `None` where it is a rollback to the followed
    /// tree, for then nothing is held.
    pub(super) fn holding(&self, hold: Hold) -> Option<Hold> {
        let followed = self
            .attempt
            .as_ref()
            .map(|attempt| Followed { digest: attempt.source.digest, commit: attempt.source.commit.clone() });
        let is_followed = followed.as_ref().is_some_and(|followed| followed.digest == hold.digest);
        (!is_followed).then_some(Hold { followed, ..hold })
    }

    /// True if a rollback keeps this tree out. The first tree that is read after a rollback without one is what the
    /// rollback is measured against.
    pub(super) fn is_held_back(&mut self, tree: &TreeRead, step: &mut Step) -> bool {
        if self.mode != Mode::Apply {
            return false;
        }
        let Some(hold) = &mut self.hold else { return false };
        let read = Followed { digest: tree.source.digest, commit: tree.source.commit.clone() };
        if let Some(followed) = &hold.followed {
            return *followed == read;
        }
        hold.followed = Some(read);
        step.persist(Record::hold(Some(hold)));
        true
    }
}
