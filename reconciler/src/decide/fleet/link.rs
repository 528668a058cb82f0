//! The link to an edge while it has a session: what was sent, what was answered, and what may be sent. Pure.
//!
//! Keeps: at most one desired state is in flight; what an edge refused as a whole is not sent again in its session, and
//! an edge that only moved on is asked a bounded number of times in a row.

use schema::canonical::Digest;
use schema::codes::RuleCode;

use super::SessionId;
use crate::decide::view::Report;

/// So often in a row an edge may have moved on before it is left alone until its next session: each time its report of
/// the change and the state crossed on the way.
const MOST: u32 = 8;

/// True for that refusal.
pub(super) fn is_stale_base(refused: Option<&(String, String)>) -> bool {
    refused.is_some_and(|(code, _)| code == RuleCode::StaleBase.as_str())
}

/// The link to one edge. It ends with its session.
#[derive(Debug, Clone)]
pub(super) struct Link {
    session: SessionId,
    /// Generation and digest that were sent and not answered.
    in_flight: Option<(u64, Digest)>,
    /// A generation that the edge refused as a whole.
    refused: Option<u64>,
    /// How often in a row the edge had moved on from what it was sent for.
    stale: u32,
    /// The generation that was confirmed.
    confirmed: Option<u64>,
}

/// What a report says of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipt {
    /// Nothing, or that it was taken or refused.
    Settled,
    /// The edge had moved on from the state that it was sent for, and may be asked again.
    Stale,
}

impl Link {
    /// A link on which nothing was sent.
    pub(super) const fn new(session: SessionId) -> Self {
        Self { session, in_flight: None, refused: None, stale: 0, confirmed: None }
    }

    /// Its session.
    pub(super) const fn session(&self) -> SessionId {
        self.session
    }

    /// True while nothing is in flight.
    pub(super) const fn is_answered(&self) -> bool {
        self.in_flight.is_none()
    }

    /// True if the last state that was answered was refused, and is not sent again.
    pub(super) const fn has_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// True unless the edge refused this generation.
    pub(super) fn is_acceptable(&self, generation: u64) -> bool {
        self.refused != Some(generation)
    }

    /// True if this generation may be sent now.
    pub(super) fn may_send(&self, generation: u64) -> bool {
        self.is_answered() && self.is_acceptable(generation)
    }

    /// A state was sent.
    pub(super) fn sent(&mut self, generation: u64, digest: Digest) {
        debug_assert!(self.may_send(generation), "one state is in flight at most");
        self.in_flight = Some((generation, digest));
    }

    /// Takes a report in. The answer may be lost or late: any report of this lineage that shows the generation
    /// accepted is one.
    pub(super) fn hear(&mut self, report: &Report, is_own_lineage: bool) -> Receipt {
        let is_answer =
            |generation: u64| report.answers >= generation || (is_own_lineage && report.generation >= generation);
        let Some((generation, _)) = self.in_flight.filter(|(generation, _)| is_answer(*generation)) else {
            return Receipt::Settled;
        };
        self.in_flight = None;
        let is_refused = report.refused.is_some() && report.generation < generation;
        let is_stale = is_refused && is_stale_base(report.refused.as_ref()) && self.stale < MOST;
        self.stale = if is_stale { self.stale + 1 } else { 0 };
        // Refused although it was newer: sending the same once more would be refused once more. An edge that had
        // only moved on is asked again, from where it says that it is.
        self.refused = (is_refused && !is_stale).then_some(generation);
        if is_stale { Receipt::Stale } else { Receipt::Settled }
    }

    /// Confirms a generation; false where something is in flight, or it was confirmed before.
    pub(super) fn confirm(&mut self, generation: u64) -> bool {
        let is_news = self.is_answered() && self.confirmed != Some(generation);
        if is_news {
            self.confirmed = Some(generation);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Link {
        let mut link = Link::new(1);
        link.sent(5, Digest::default());
        link
    }

    fn refusal(code: &str, answers: u64) -> Report {
        Report { generation: 4, answers, refused: Some((code.to_owned(), String::new())), ..Report::default() }
    }

    #[test]
    fn one_state_is_in_flight_until_it_is_answered() {
        let mut link = sent();
        assert!(!link.is_answered() && !link.may_send(6));
        assert_eq!(link.hear(&Report { generation: 4, ..Report::default() }, true), Receipt::Settled);
        assert!(!link.is_answered(), "an older report answers nothing");
        link.hear(&Report { generation: 5, ..Report::default() }, false);
        assert!(!link.is_answered(), "a generation of another lineage answers nothing");
        link.hear(&Report { generation: 5, ..Report::default() }, true);
        assert!(link.is_answered() && link.may_send(5) && link.may_send(6));
    }

    #[test]
    fn what_was_refused_is_not_sent_again_and_the_next_generation_is() {
        let mut link = sent();
        assert_eq!(link.hear(&refusal("fd_budget_exceeded", 5), true), Receipt::Settled);
        assert!(link.has_refused() && !link.may_send(5) && link.may_send(6));
        link.sent(6, Digest::default());
        link.hear(&Report { generation: 6, ..Report::default() }, true);
        assert!(!link.has_refused(), "a state that was taken ends the refusal");
    }

    #[test]
    fn an_edge_that_moved_on_is_asked_again_but_not_without_end() {
        let mut link = Link::new(1);
        for generation in 1..=u64::from(MOST) {
            link.sent(generation + 4, Digest::default());
            assert_eq!(link.hear(&refusal(RuleCode::StaleBase.as_str(), generation + 4), true), Receipt::Stale);
            assert!(link.may_send(generation + 4));
        }
        link.sent(100, Digest::default());
        assert_eq!(link.hear(&refusal(RuleCode::StaleBase.as_str(), 100), true), Receipt::Settled);
        assert!(!link.may_send(100));
    }

    #[test]
    fn a_generation_is_confirmed_once_and_not_while_another_is_in_flight() {
        let mut link = sent();
        assert!(!link.confirm(4), "its successor is under way");
        link.hear(&Report { generation: 5, ..Report::default() }, true);
        assert!(link.confirm(5) && !link.confirm(5));
    }
}
