//! Plans that edges are asked to prove, and what they answer. State of the driver; bounded by the time that an asker waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use schema::ruleset::EdgeRules;
use schema::wire;
use tokio::sync::oneshot;

use super::driver::{Command, Driver, FleetHandle, Stopped};
use crate::decide::fleet::{PROVE_FEATURE, SessionId};
use crate::decide::plan::{EdgeProof, Lease, RuleProof};
use crate::decide::view::Basis;

/// Edges that are asked at once: each answers within its lookups of names.
const AT_ONCE: usize = 64;
/// Above the time that an edge gives its lookups.
const ANSWER: Duration = Duration::from_secs(10);

/// What an edge is asked about: what it would be sent, and what that is decided from.
pub type Asked = BTreeMap<EdgeName, (EdgeRules, Basis)>;

pub(super) type Reply = oneshot::Sender<Result<proto::Proven, String>>;

/// Questions without an answer, by number.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    pending: HashMap<u64, (SessionId, Reply)>,
    next_request: u64,
}

impl Proofs {
    fn expect(&mut self, session: SessionId, request: &mut proto::Prove, reply: Reply) {
        self.pending.retain(|_, (_, reply)| !reply.is_closed());
        self.next_request += 1;
        request.request_id = self.next_request;
        self.pending.insert(self.next_request, (session, reply));
    }

    /// Takes an answer in; one from another session than was asked is none.
    pub(super) fn take(&mut self, session: SessionId, answer: proto::Proven) {
        if self.pending.get(&answer.request_id).is_some_and(|(asked, _)| *asked == session)
            && let Some((_, reply)) = self.pending.remove(&answer.request_id)
        {
            // An asker that went away needs no answer.
            drop(reply.send(Ok(answer)));
        }
    }

    /// Answers what a session will not answer any more.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        let ended: Vec<u64> =
            self.pending.iter().filter(|(_, (asked, _))| *asked == session).map(|(id, _)| *id).collect();
        for (_, reply) in ended.into_iter().filter_map(|id| self.pending.remove(&id)) {
            drop(reply.send(Err("the edge went while it was asked".to_owned())));
        }
    }
}

impl Driver {
    /// Asks an edge, where it can be asked.
    pub(super) fn prove(&mut self, edge: &EdgeName, mut request: proto::Prove, reply: Reply) {
        let view = self.fleet.edges().get(edge);
        let can = view.and_then(|view| view.hello.as_ref()).is_some_and(|hello| hello.features.contains(PROVE_FEATURE));
        let Some(session) = self.fleet.session(edge) else {
            drop(reply.send(Err("the edge is not connected".to_owned())));
            return;
        };
        if !can {
            drop(reply.send(Err("the edge's version cannot prove a plan".to_owned())));
            return;
        }
        self.proofs.expect(session, &mut request, reply);
        self.send(session, proto::server_message::Body::Prove(request));
    }
}

impl FleetHandle {
    /// Has edges reserve what they would need, side by side, and waits for what they say.
    pub async fn prove(&self, asked: Asked, lease: Duration) -> Result<BTreeMap<EdgeName, EdgeProof>, Stopped> {
        let ask = |(edge, (rules, basis)): (EdgeName, (EdgeRules, Basis))| async move {
            let names: BTreeSet<RuleName> = rules.keys().cloned().collect();
            let request = proto::Prove {
                request_id: 0,
                rules: rules.values().map(|placed| wire::rule_to_wire(&placed.rule)).collect(),
                base: Some(proto::Base {
                    generation: basis.generation,
                    running_digest: basis.digest.as_bytes().to_vec(),
                }),
                lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            };
            let (reply, answer) = oneshot::channel();
            self.command(Command::Prove { edge: edge.clone(), request, reply }).await?;
            let answer = match tokio::time::timeout(ANSWER, answer).await {
                Ok(answer) => answer.map_err(|_| Stopped)?,
                Err(_) => Err(format!("the edge did not answer in {} s", ANSWER.as_secs())),
            };
            Ok((edge, answer.and_then(|answer| read(answer, &names))))
        };
        let answers: Vec<Result<(EdgeName, EdgeProof), Stopped>> =
            futures_util::stream::iter(asked).map(ask).buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().collect()
    }
}

/// Names that were not asked about are passed over.
fn read(answer: proto::Proven, asked: &BTreeSet<RuleName>) -> EdgeProof {
    if let Some(refusal) = answer.refused {
        return Err(format!("{}: {}", refusal.code, refusal.message));
    }
    let lasts = Duration::from_millis(answer.lease_ms);
    let expires_at = Timestamp::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
    let lease = (answer.lease > 0).then_some(Lease { id: answer.lease, expires_at });
    let rule = |proof: proto::RuleProof| {
        let name = RuleName::new(&proof.rule).ok().filter(|name| asked.contains(name))?;
        Some((name, RuleProof { proven: proof.proven, code: proof.code, message: proof.message }))
    };
    Ok((lease, answer.rules.into_iter().filter_map(rule).collect()))
}
