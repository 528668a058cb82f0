//! The newest counters of every rule, and the questions about them that edges have not answered. Pure state, owned by
//! the driver; bounded by rules and by the time that an asker waits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use tokio::sync::oneshot;

use super::operator::documents::{CountersDocument, PortStatsDocument, StatsDocument, TargetStatsDocument};
use crate::decide::fleet::SessionId;

/// How long an asker waits for an edge.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there are no counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountersError {
    /// The edge has no session.
    #[error("the edge is not connected")]
    NotConnected,
    /// It did not answer.
    #[error("the edge did not answer in time")]
    Timeout,
    /// It does not run the rule.
    #[error("the edge does not run the rule")]
    UnknownRule,
}

/// The newest counters by edge and rule.
pub type Rows = BTreeMap<EdgeName, BTreeMap<RuleName, CountersDocument>>;

type Reply = oneshot::Sender<Result<StatsDocument, CountersError>>;

#[derive(Debug)]
struct Pending {
    edge: EdgeName,
    session: SessionId,
    rule: String,
    per_port: bool,
    per_target: bool,
    reply: Reply,
}

/// Counters by edge and rule.
#[derive(Debug, Default)]
pub struct Counters {
    rules: Rows,
    pending: HashMap<u64, Pending>,
    next_request: u64,
}

impl Counters {
    /// All rows.
    pub fn rows(&self) -> &Rows {
        &self.rules
    }

    /// Notes a question and gives it its number. Questions whose asker went away are forgotten here.
    pub(super) fn expect(
        &mut self,
        edge: EdgeName,
        session: SessionId,
        mut request: proto::StatsRequest,
        reply: Reply,
    ) -> proto::StatsRequest {
        self.pending.retain(|_, pending| !pending.reply.is_closed());
        self.next_request += 1;
        request.request_id = self.next_request;
        let pending = Pending {
            edge,
            session,
            rule: request.rule.clone(),
            per_port: request.per_port,
            per_target: request.per_target,
            reply,
        };
        self.pending.insert(request.request_id, pending);
        request
    }

    /// Takes a report in: a periodic one, or the answer to a question.
    pub(super) fn take(&mut self, edge: EdgeName, session: SessionId, report: proto::StatsReport, now: Timestamp) {
        let known = self.rules.entry(edge.clone()).or_default();
        for stats in &report.rules {
            if let (Ok(rule), Some(total)) = (RuleName::new(&stats.rule), &stats.total) {
                known.insert(rule, counters(total));
            }
        }
        let is_from = |pending: &Pending| pending.edge == edge && pending.session == session;
        if !self.pending.get(&report.request_id).is_some_and(is_from) {
            return;
        }
        let pending = self.pending.remove(&report.request_id).expect("looked up on the line above");
        let answer = report
            .rules
            .into_iter()
            .find(|stats| stats.rule == pending.rule)
            .and_then(|stats| document(edge, &stats, &pending, now))
            .ok_or(CountersError::UnknownRule);
        // An asker that went away needs no answer.
        drop(pending.reply.send(answer));
    }

    /// Forgets rules that are gone, so that a later one of the same name begins at nothing.
    pub(super) fn retain(&mut self, edge: &EdgeName, is_there: impl Fn(&RuleName) -> bool) {
        if let Some(rules) = self.rules.get_mut(edge) {
            rules.retain(|rule, _| is_there(rule));
        }
    }

    /// Forgets what a session will not answer any more. Its rows stay: an edge that comes back counts on from them,
    /// and a counter that fell to nothing in between would look like traffic that never was.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        self.pending.retain(|_, pending| pending.session != session);
    }
}

fn document(edge: EdgeName, stats: &proto::RuleStats, pending: &Pending, at: Timestamp) -> Option<StatsDocument> {
    let ports = || {
        stats
            .ports
            .iter()
            .map(|port| PortStatsDocument {
                port: port.port as u16,
                counters: port.counters.as_ref().map(counters).unwrap_or_default(),
            })
            .collect()
    };
    let targets = || {
        stats
            .targets
            .iter()
            .map(|target| TargetStatsDocument {
                host: target.host.clone(),
                port: target.port as u16,
                state: target.state.clone(),
                counters: target.counters.as_ref().map(counters).unwrap_or_default(),
            })
            .collect()
    };
    Some(StatsDocument {
        edge,
        rule: RuleName::new(&stats.rule).ok()?,
        at,
        counters: stats.total.as_ref().map(counters).unwrap_or_default(),
        ports: pending.per_port.then(ports),
        targets: pending.per_target.then(targets),
    })
}

fn counters(message: &proto::Counters) -> CountersDocument {
    CountersDocument {
        bytes_in: message.bytes_in,
        bytes_out: message.bytes_out,
        active_connections: message.active_connections,
        connections_total: message.connections_total,
        connections_refused: message.connections_refused,
        dns_failures: message.dns_failures,
        connect_errors: message.connect_errors.iter().map(|cause| (cause.cause.clone(), cause.count)).collect(),
    }
}
