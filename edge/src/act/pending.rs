//! What a server waits for and a session answers later: rounds of probes, proofs of plans, lists of connections. Tasks.
//!
//! Keeps: each kind has a bound of its own; one question more is refused as `busy` at once.

use schema::proto::edge_message::Body;
use schema::proto::{self, Refusal};
use tokio::task::{JoinError, JoinSet};

use super::listing;
use super::proving;
use super::runtime::{RuntimeHandle, Stopped};
use crate::decide::desired::Desired;

/// Rounds of probes that a server may wait for at once; each ends within the longest timeout of a check.
const ROUNDS: usize = 64;
/// Plans that are proven at once: a person waits for each.
const PROOFS: usize = 8;
/// Lists of connections that are made at once: each looks at every connection of the edge.
const LISTS: usize = 4;

/// Answers under way; they end with the session.
#[derive(Default)]
pub(crate) struct PendingAnswers {
    rounds: JoinSet<Result<proto::TargetsChecked, Stopped>>,
    proofs: JoinSet<Result<proto::Proven, Stopped>>,
    lists: JoinSet<proto::ConnectionsReport>,
    uses: JoinSet<Result<proto::UsageReport, Stopped>>,
}

fn busy(what: String) -> Refusal {
    Refusal { code: "busy".to_owned(), message: what }
}

/// The answer that a task made; nothing where it panicked.
fn made<T>(ended: Result<T, JoinError>, what: &str) -> Option<T> {
    ended.inspect_err(|error| tracing::error!(%error, "{what} because of a bug")).ok()
}

impl PendingAnswers {
    /// The next answer; `None` where there is nothing to wait for.
    pub(crate) async fn next(&mut self) -> Option<Result<Option<Body>, Stopped>> {
        tokio::select! {
            Some(ended) = self.rounds.join_next() => {
                Some(made(ended, "a round of probes failed").transpose().map(|answer| answer.map(Body::Checked)))
            }
            Some(ended) = self.proofs.join_next() => {
                Some(made(ended, "a plan could not be proven").transpose().map(|answer| answer.map(Body::Proven)))
            }
            Some(ended) = self.lists.join_next() => {
                Some(Ok(made(ended, "connections could not be listed").map(Body::Connections)))
            }
            Some(ended) = self.uses.join_next() => {
                Some(made(ended, "uses could not be read").transpose().map(|answer| answer.map(Body::Usage)))
            }
            else => None,
        }
    }

    /// Starts a round of probes.
    pub(crate) fn check(&mut self, runtime: &RuntimeHandle, request: proto::CheckTargets) -> Option<Body> {
        if self.rounds.len() >= ROUNDS {
            let refused = Some(busy(format!("{ROUNDS} rounds of probes are already in progress")));
            let request_id = request.request_id;
            return Some(Body::Checked(proto::TargetsChecked { request_id, refused, targets: Vec::new() }));
        }
        let health = runtime.health().clone();
        self.rounds.spawn(async move { health.check(request).await });
        None
    }

    /// Starts to prove a plan.
    pub(crate) fn prove(&mut self, runtime: &RuntimeHandle, desired: Desired, request: proto::Prove) -> Option<Body> {
        if self.proofs.len() >= PROOFS {
            let refused = Some(busy(format!("{PROOFS} plans are already being proven")));
            let proven = proto::Proven { request_id: request.request_id, refused, ..proto::Proven::default() };
            return Some(Body::Proven(proven));
        }
        self.proofs.spawn(proving::prove(runtime.clone(), desired, request));
        None
    }

    /// Starts to read when rules were used. A server asks one question at a time; one more waits for its time to end.
    pub(crate) fn uses(&mut self, runtime: &RuntimeHandle, request: proto::UsageRequest) {
        if self.uses.len() < LISTS {
            let usage = runtime.usage().clone();
            self.uses.spawn(async move { usage.report(request).await });
        }
    }

    /// Starts to list connections, or to end them.
    pub(crate) fn list(&mut self, runtime: &RuntimeHandle, request: proto::ConnectionsRequest) -> Option<Body> {
        if self.lists.len() >= LISTS {
            let refused = Some(busy(format!("{LISTS} lists of connections are already being made")));
            let request_id = request.request_id;
            let report = proto::ConnectionsReport { request_id, refused, ..proto::ConnectionsReport::default() };
            return Some(Body::Connections(report));
        }
        self.lists.spawn(listing::answer(runtime.clone(), request));
        None
    }
}
