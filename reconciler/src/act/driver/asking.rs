//! What the server asks edges: the driver's half, which sends a question on, and the half of the handle, which waits
//! for the answer. I/O by channels only.
//!
//! Keeps: an edge that does not answer holds nobody up for longer than that question's own limit, and one that goes
//! away while it is asked is an answer.

use std::time::Duration;

use schema::ending::Part;
use schema::name::{EdgeName, RuleName};
use schema::proto::{self, server_message};
use schema::wire::ending::part_to_wire;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Command, Driver, FleetHandle, Stopped};
use crate::act::checks::{self, CheckAnswer};
use crate::act::counters::{self, CountersError, Reading};
use crate::act::questions::{NoAnswer, Questions, Reply};
use crate::decide::fleet::{PROVE_FEATURE, SessionId};
use crate::decide::statistics::StatsDocument;
use crate::decide::{connections, unused};

/// How long an edge may take to look at all of its connections.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Questions of each kind that edges have not answered.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions {
    pub(super) readings: Questions<Reading>,
    pub(super) checks: Questions<proto::TargetsChecked>,
    pub(super) proofs: Questions<proto::Proven>,
    pub(super) lists: Questions<proto::ConnectionsReport>,
    pub(super) resets: Questions<proto::QuotaReset>,
    pub(super) uses: Questions<proto::UsageReport>,
}

impl OpenQuestions {
    /// Answers what a session can no longer answer.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        self.readings.session_ended(session);
        self.checks.session_ended(session);
        self.proofs.session_ended(session);
        self.lists.session_ended(session);
        self.resets.session_ended(session);
        self.uses.session_ended(session);
    }
}

impl Driver {
    /// Sends a question to an edge, or answers that it cannot be asked.
    pub(super) fn put<A>(
        &mut self,
        edge: &EdgeName,
        reply: Reply<A>,
        of_its_kind: impl FnOnce(&mut OpenQuestions) -> &mut Questions<A>,
        body: impl FnOnce(u64) -> server_message::Body,
    ) {
        let Some(session) = self.fleet.session(edge).filter(|session| self.sessions.contains_key(session)) else {
            // An asker that went away needs no answer.
            drop(reply.send(Err(NoAnswer::NotConnected)));
            return;
        };
        let number = of_its_kind(&mut self.asked).expect(session, reply);
        self.send(session, body(number));
    }

    /// The same for a plan, which only edges of a later version understand.
    pub(super) fn put_proof(&mut self, edge: &EdgeName, request: proto::Prove, reply: Reply<proto::Proven>) {
        if !self.is_able(edge, PROVE_FEATURE) {
            drop(reply.send(Err(NoAnswer::Unable)));
            return;
        }
        let body = |request_id| server_message::Body::Prove(proto::Prove { request_id, ..request });
        self.put(edge, reply, |asked| &mut asked.proofs, body);
    }

    /// The same for live connections.
    pub(super) fn put_list(
        &mut self,
        edge: &EdgeName,
        request: proto::ConnectionsRequest,
        reply: Reply<proto::ConnectionsReport>,
    ) {
        if !self.is_able(edge, connections::FEATURE) {
            drop(reply.send(Err(NoAnswer::Unable)));
            return;
        }
        let body = |request_id| server_message::Body::Connections(proto::ConnectionsRequest { request_id, ..request });
        self.put(edge, reply, |asked| &mut asked.lists, body);
    }

    /// The same for when rules were used.
    pub(super) fn put_usage(
        &mut self,
        edge: &EdgeName,
        request: proto::UsageRequest,
        reply: Reply<proto::UsageReport>,
    ) {
        if !self.is_able(edge, unused::FEATURE) {
            drop(reply.send(Err(NoAnswer::Unable)));
            return;
        }
        let body = |request_id| server_message::Body::Usage(proto::UsageRequest { request_id, ..request });
        self.put(edge, reply, |asked| &mut asked.uses, body);
    }

    /// False if an edge is connected and does not understand a question.
    fn is_able(&self, edge: &EdgeName, feature: &str) -> bool {
        let view = self.fleet.edges().get(edge).filter(|_| self.fleet.session(edge).is_some());
        let hello = view.and_then(|view| view.hello.as_ref());
        hello.is_none_or(|hello| hello.features.contains(feature))
    }
}

impl FleetHandle {
    /// Asks an edge for the counters of a rule, now.
    pub async fn stats(
        &self,
        edge: EdgeName,
        rule: &RuleName,
        per_port: bool,
        per_target: bool,
    ) -> Result<Result<StatsDocument, CountersError>, Stopped> {
        let request =
            proto::StatsRequest { rule: rule.to_string(), per_port, per_target, ..proto::StatsRequest::default() };
        self.read_counters(edge, request).await
    }

    /// The same with the ages of the live connections that these parts of a change end, and nothing by port or target.
    /// For edges whose hello has [`schema::wire::ending::AGES_FEATURE`].
    pub async fn ages(
        &self,
        edge: EdgeName,
        rule: &RuleName,
        parts: &[Part],
    ) -> Result<Result<StatsDocument, CountersError>, Stopped> {
        let ending = parts.iter().map(part_to_wire).collect();
        let request = proto::StatsRequest { rule: rule.to_string(), ages: true, ending, ..Default::default() };
        self.read_counters(edge, request).await
    }

    async fn read_counters(
        &self,
        edge: EdgeName,
        request: proto::StatsRequest,
    ) -> Result<Result<StatsDocument, CountersError>, Stopped> {
        let (of, asked) = (edge.clone(), request.clone());
        let answer = self.ask(counters::ANSWER_TIMEOUT, |reply| Command::Ask { edge, request, reply }).await?;
        Ok(answer.map_err(CountersError::from).and_then(|reading| counters::document(of, &asked, &reading)))
    }

    /// Has an edge list live connections, or end them.
    pub async fn connections(
        &self,
        edge: EdgeName,
        request: proto::ConnectionsRequest,
    ) -> Result<Result<proto::ConnectionsReport, NoAnswer>, Stopped> {
        self.ask(LIST_TIMEOUT, |reply| Command::List { edge, request, reply }).await
    }

    /// Asks an edge when its rules were used last, and by whom.
    pub async fn usage(
        &self,
        edge: EdgeName,
        request: proto::UsageRequest,
    ) -> Result<Result<proto::UsageReport, NoAnswer>, Stopped> {
        self.ask(LIST_TIMEOUT, |reply| Command::Usage { edge, request, reply }).await
    }

    /// Takes the answer of an edge about uses in.
    pub async fn used(&self, session: SessionId, answer: proto::UsageReport) -> Result<(), Stopped> {
        self.command(Command::Used { session, answer }).await
    }

    /// Has an edge probe the targets of a rule now, or one of them, and waits for the result.
    pub async fn check(
        &self,
        edge: EdgeName,
        rule: &RuleName,
        target: Option<String>,
        wait: Duration,
    ) -> Result<CheckAnswer, Stopped> {
        let target = target.unwrap_or_default();
        let request = proto::CheckTargets { request_id: 0, rule: rule.to_string(), target };
        let answer = self.ask(wait, |reply| Command::Check { edge, request, reply }).await?;
        Ok(answer.map_err(Into::into).and_then(checks::read))
    }

    /// Takes counters in that an edge reported.
    pub async fn counters(
        &self,
        edge: EdgeName,
        session: SessionId,
        report: proto::StatsReport,
    ) -> Result<(), Stopped> {
        self.command(Command::Counters { edge, session, report }).await
    }

    /// Takes the answer of an edge to a check in.
    pub async fn checked(&self, session: SessionId, answer: proto::TargetsChecked) -> Result<(), Stopped> {
        self.command(Command::Checked { session, answer }).await
    }

    /// Takes the answer of an edge to a plan in.
    pub async fn proven(&self, session: SessionId, answer: proto::Proven) -> Result<(), Stopped> {
        self.command(Command::Proven { session, answer }).await
    }

    /// Takes the answer of an edge about its connections in.
    pub async fn listed(&self, session: SessionId, answer: proto::ConnectionsReport) -> Result<(), Stopped> {
        self.command(Command::Listed { session, answer }).await
    }

    /// Puts a question, and waits for its answer as long as it may take.
    pub(in crate::act) async fn ask<A>(
        &self,
        wait: Duration,
        question: impl FnOnce(Reply<A>) -> Command,
    ) -> Result<Result<A, NoAnswer>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.command(question(reply)).await?;
        match timeout(wait, answer).await {
            Ok(answer) => answer.map_err(|_| Stopped),
            Err(_) => Ok(Err(NoAnswer::Timeout)),
        }
    }
}
