//! Rounds of probes that operators asked for and edges have not answered. Pure state, owned by the driver; bounded by
//! the time that an asker waits.

use std::collections::HashMap;

use schema::proto;
use tokio::sync::oneshot;

use crate::decide::fleet::SessionId;
use crate::decide::target::TargetView;

/// Why there are no results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The edge has no session.
    #[error("the edge is not connected")]
    NotConnected,
    /// It did not answer.
    #[error("the edge did not answer in time")]
    Timeout,
    /// It has nothing to check.
    #[error("{message}")]
    Refused {
        /// `unknown_rule`, `unknown_target` or `no_check`.
        code: String,
        /// In words.
        message: String,
    },
}

/// The targets as they are after the round.
pub type CheckAnswer = Result<Vec<TargetView>, CheckError>;

#[derive(Debug)]
struct Pending {
    session: SessionId,
    reply: oneshot::Sender<CheckAnswer>,
}

/// Questions without an answer, by number.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pending: HashMap<u64, Pending>,
    next_request: u64,
}

impl Checks {
    /// Notes a question and gives it its number. Questions whose asker went away are forgotten here.
    pub(super) fn expect(
        &mut self,
        session: SessionId,
        mut request: proto::CheckTargets,
        reply: oneshot::Sender<CheckAnswer>,
    ) -> proto::CheckTargets {
        self.pending.retain(|_, pending| !pending.reply.is_closed());
        self.next_request += 1;
        request.request_id = self.next_request;
        self.pending.insert(self.next_request, Pending { session, reply });
        request
    }

    /// Takes an answer in; one from another session than was asked is none.
    pub(super) fn take(&mut self, session: SessionId, answer: proto::TargetsChecked) {
        if self.pending.get(&answer.request_id).is_none_or(|pending| pending.session != session) {
            return;
        }
        let pending = self.pending.remove(&answer.request_id).expect("looked up on the line above");
        let answer = match answer.refused {
            Some(refusal) => Err(CheckError::Refused { code: refusal.code, message: refusal.message }),
            None => Ok(answer.targets.into_iter().map(Into::into).collect()),
        };
        // An asker that went away needs no answer.
        drop(pending.reply.send(answer));
    }

    /// Answers what a session will not answer any more.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        let ended: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| pending.session == session).map(|(id, _)| *id).collect();
        for pending in ended.into_iter().filter_map(|id| self.pending.remove(&id)) {
            drop(pending.reply.send(Err(CheckError::NotConnected)));
        }
    }
}
