//! Quotas as edges report them, and what operators have edges do with them. I/O by channels only.
//!
//! Keeps: a quota that is nearly used up, used up or available again is a notice, once.

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::proto;
use schema::proto::server_message::Body;

use super::{Command, Driver, FleetHandle, Stopped};
use crate::act::counters;
use crate::act::questions::{NoAnswer, Reply};
use crate::decide::fleet::{Effect, Notice, SessionId};
use crate::decide::quota::{QuotaOf, Quotas};
use crate::decide::status::rule_state;

/// What concerns quotas.
pub(in crate::act) enum QuotaCommand {
    /// An edge says what was used.
    Report { edge: EdgeName, session: SessionId, quotas: Quotas },
    /// An operator begins a period anew.
    Reset { edge: EdgeName, request: proto::ResetQuota, reply: Reply<proto::QuotaReset> },
    /// The edge has done so.
    Done { session: SessionId, answer: proto::QuotaReset },
}

impl Driver {
    /// Carries a command out.
    pub(super) async fn take_quota(&mut self, command: QuotaCommand) {
        match command {
            QuotaCommand::Report { edge, session, quotas } => self.take_quotas(&edge, session, quotas).await,
            QuotaCommand::Reset { edge, request, reply } => {
                let body = |request_id| Body::ResetQuota(proto::ResetQuota { request_id, ..request });
                self.put(&edge, reply, |asked| &mut asked.resets, body);
            }
            QuotaCommand::Done { session, answer } => self.asked.resets.answer(session, answer.request_id, answer),
        }
    }

    async fn take_quotas(&mut self, edge: &EdgeName, session: SessionId, quotas: Quotas) {
        if self.fleet.session(edge) != Some(session) {
            return;
        }
        let mut effects = Vec::new();
        for (of, view) in self.counters.take_quotas(edge, quotas) {
            let (rule, owner) = match of {
                QuotaOf::Owner(owner) => (None, owner),
                QuotaOf::Rule(rule) => {
                    let status = self.fleet.edges().get(edge).and_then(|edge| rule_state(edge, &rule));
                    let owner = status.and_then(|status| status.rule.map(|rule| rule.owner.clone()));
                    (Some(rule), owner.unwrap_or_default())
                }
            };
            let (edge, state) = (edge.clone(), view.level());
            let notice =
                Notice::Quota { edge, rule, owner, state, used: view.used, limit: view.limit, ends: view.ends };
            effects.push(Effect::Emit(notice));
        }
        if effects.is_empty() {
            return;
        }
        let effects = self.with_letters(effects, None, Timestamp::now());
        self.backlog.extend(effects);
        self.catch_up().await;
    }
}

impl FleetHandle {
    /// Takes in what an edge says about its quotas.
    pub async fn quotas(&self, edge: EdgeName, session: SessionId, quotas: Quotas) -> Result<(), Stopped> {
        self.command(Command::Quota(QuotaCommand::Report { edge, session, quotas })).await
    }

    /// Takes the answer of an edge to a reset in.
    pub async fn quota_reset(&self, session: SessionId, answer: proto::QuotaReset) -> Result<(), Stopped> {
        self.command(Command::Quota(QuotaCommand::Done { session, answer })).await
    }

    /// Has an edge begin the period of a quota anew. What was used in it; nothing where the edge has no such quota.
    pub async fn reset_quota(&self, edge: EdgeName, of: &QuotaOf) -> Result<Result<Option<u64>, NoAnswer>, Stopped> {
        let (rule, owner) = match of {
            QuotaOf::Rule(rule) => (rule.to_string(), String::new()),
            QuotaOf::Owner(owner) => (String::new(), owner.clone()),
        };
        let request = proto::ResetQuota { request_id: 0, rule, owner };
        let reset = |reply| Command::Quota(QuotaCommand::Reset { edge, request, reply });
        let answer = self.ask(counters::ANSWER_TIMEOUT, reset).await?;
        Ok(answer.map(|answer| answer.is_known.then_some(answer.used_bytes)))
    }
}
