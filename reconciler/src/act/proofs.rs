//! Plans that edges are asked to prove, and what they answer. I/O by channels only; bounded by the time that an edge
//! has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use schema::ruleset::EdgeRules;
use schema::wire;

use super::driver::{Command, FleetHandle, Stopped};
use super::questions::NoAnswer;
use crate::decide::plan::{EdgeProof, Lease, RuleProof};
use crate::decide::view::Basis;

/// Edges that are asked at once: each answers within its lookups of names.
const AT_ONCE: usize = 64;
/// Above the time that an edge gives its lookups.
const ANSWER: Duration = Duration::from_secs(10);

/// What an edge is asked about: what it would be sent, and what that is decided from.
pub type ProofInputs = BTreeMap<EdgeName, (EdgeRules, Basis)>;

impl FleetHandle {
    /// Has edges reserve what they would need, side by side, and waits for what they say.
    pub async fn prove(&self, asked: ProofInputs, lease: Duration) -> Result<BTreeMap<EdgeName, EdgeProof>, Stopped> {
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
            let of = edge.clone();
            let answer = self.ask(ANSWER, |reply| Command::Prove { edge: of, request, reply }).await?;
            Ok((edge, answer.map_err(unproven).and_then(|answer| read(answer, &names))))
        };
        let answers: Vec<Result<(EdgeName, EdgeProof), Stopped>> =
            futures_util::stream::iter(asked).map(ask).buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().collect()
    }
}

/// Why nothing is proven, in words.
fn unproven(error: NoAnswer) -> String {
    match error {
        NoAnswer::Unable => "the version of the edge does not support proving a plan".to_owned(),
        NoAnswer::Timeout => format!("the edge did not answer in {} s", ANSWER.as_secs()),
        NoAnswer::NotConnected | NoAnswer::WentAway => error.to_string(),
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
