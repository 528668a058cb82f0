//! What the server has asked edges and not been answered. Pure state of the driver; bounded by the time that an asker
//! waits.
//!
//! Keeps: every question has exactly one end: the answer of the session that was asked, the end of that session, or an
//! asker that no longer waits. An edge that goes away is an answer, never the end of the server.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::decide::fleet::SessionId;

/// Why an edge gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It has no session.
    #[error("the edge is not connected")]
    NotConnected,
    /// Its session ended before it answered.
    #[error("the edge disconnected before it answered")]
    WentAway,
    /// It did not answer.
    #[error("the edge did not answer in time")]
    Timeout,
    /// Its version does not know the question.
    #[error("the version of the edge does not support this request")]
    Unable,
}

/// Where the answer goes.
pub(super) type Reply<A> = oneshot::Sender<Result<A, NoAnswer>>;

#[derive(Debug)]
struct Pending<A> {
    session: SessionId,
    reply: Reply<A>,
}

/// Questions of one kind without an answer, by number.
#[derive(Debug)]
pub(super) struct Questions<A> {
    pending: HashMap<u64, Pending<A>>,
    last: u64,
}

impl<A> Default for Questions<A> {
    fn default() -> Self {
        Self { pending: HashMap::new(), last: 0 }
    }
}

impl<A> Questions<A> {
    /// Notes a question and gives it its number, which is never 0. Questions whose asker went away are forgotten here.
    pub(super) fn expect(&mut self, session: SessionId, reply: Reply<A>) -> u64 {
        self.pending.retain(|_, pending| !pending.reply.is_closed());
        self.last += 1;
        self.pending.insert(self.last, Pending { session, reply });
        self.last
    }

    /// Takes an answer in; one from another session than the one that was asked is dropped.
    pub(super) fn answer(&mut self, session: SessionId, number: u64, answer: A) {
        if self.pending.get(&number).is_some_and(|pending| pending.session == session)
            && let Some(pending) = self.pending.remove(&number)
        {
            // An asker that went away needs no answer.
            drop(pending.reply.send(Ok(answer)));
        }
    }

    /// Answers what a session can no longer answer.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        for (_, pending) in self.pending.extract_if(|_, pending| pending.session == session) {
            drop(pending.reply.send(Err(NoAnswer::WentAway)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_from_the_session_that_was_asked_and_its_end_is_an_answer() {
        let mut questions = Questions::default();
        let (reply, mut first) = oneshot::channel();
        let number = questions.expect(7, reply);
        questions.answer(8, number, "a stranger's");
        first.try_recv().expect_err("another session answered");
        questions.answer(7, number, "its own");
        assert_eq!(first.try_recv(), Ok(Ok("its own")));

        let ((reply, mut second), (other, mut third)) = (oneshot::channel(), oneshot::channel());
        questions.expect(7, reply);
        let of_other = questions.expect(8, other);
        questions.session_ended(7);
        assert_eq!(second.try_recv(), Ok(Err(NoAnswer::WentAway)));
        questions.answer(8, of_other, "still there");
        assert_eq!(third.try_recv(), Ok(Ok("still there")));
    }

    #[test]
    fn a_question_whose_asker_went_away_is_forgotten() {
        let mut questions = Questions::<()>::default();
        for _ in 0..100 {
            let (reply, _) = oneshot::channel();
            questions.expect(1, reply);
        }
        assert_eq!(questions.pending.len(), 1);
    }
}
