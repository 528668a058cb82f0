//! A notifier with the letters that wait for it. State of the task.

use std::sync::Arc;

use crate::decide::notices::{
    FailureDocument, GivenUp, Letter, LetterContent, Notifier, NotifierDocument, NotifierKind, Outbox,
};

/// A notifier with its outbox.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) notifier: Arc<Notifier>,
    pub(super) shown: String,
    pub(super) outbox: Outbox,
    pub(super) given_up: Option<GivenUp>,
    pub(super) is_failing: bool,
}

impl Slot {
    /// As others see it.
    pub(super) fn document(&self) -> NotifierDocument {
        let (notifier, outbox) = (&self.notifier, &self.outbox);
        NotifierDocument {
            name: notifier.name.clone(),
            kind: notifier.kind,
            forge: notifier.forge,
            receiver: self.shown.clone(),
            events: notifier.filter.topics().collect(),
            pending: outbox.pending(),
            oldest: outbox.oldest(),
            next_attempt: outbox.next_due(),
            sent: outbox.sent,
            last_sent: outbox.last_sent(),
            failed: outbox.failed,
            last_error: outbox
                .last_failure()
                .map(|failure| FailureDocument { at: failure.at, message: failure.message.clone() }),
            given_up: self.given_up.as_ref().map_or(0, |given_up| given_up.count),
            last_given_up: self
                .given_up
                .as_ref()
                .map(|given_up| FailureDocument { at: given_up.at, message: given_up.error.clone() }),
            condensed: outbox.condensed,
        }
    }
}

/// True for a letter of the kind that the notifier takes; its name may have been another notifier's before.
pub(super) fn fits(kind: NotifierKind, letter: &Letter) -> bool {
    matches!(letter.content, LetterContent::Commit(_)) == (kind == NotifierKind::CommitStatus)
}
