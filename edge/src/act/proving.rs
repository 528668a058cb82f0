//! What a server asks to be proven: names are looked up, then sockets are bound and held. I/O.
//!
//! Keeps: a name that does not resolve is not a reason to refuse a rule, for it may resolve later; it is not proven.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schema::canonical::Digest;
use schema::diff::Rules;
use schema::name::RuleName;
use schema::proto;
use schema::rule::{Host, Rule};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::act::names::Names;
use crate::act::runtime::{RuleProof, RuntimeHandle, Stopped};
use crate::decide::admission::Base;
use crate::decide::desired::Desired;
use crate::decide::transition::RuleFailure;

/// How long a plan waits for names: two attempts at a server that does not answer.
const LOOKUP: Duration = Duration::from_secs(5);

/// Answers one question of the server.
pub(crate) async fn prove(
    runtime: RuntimeHandle,
    desired: Desired,
    request: proto::Prove,
) -> Result<proto::Proven, Stopped> {
    let request_id = request.request_id;
    let running: Rules = runtime
        .status()
        .rules
        .iter()
        .filter_map(|rule| Some((RuleName::new(&rule.name).ok()?, rule.running.clone()?)))
        .collect();
    let changed = desired.rules.iter().filter_map(|(name, rule)| Some((name.clone(), rule.rule.clone()?)));
    let changed = changed.filter(|(name, rule)| running.get(name) != Some(rule)).collect();
    let unresolved = unresolved(runtime.names(), changed).await;
    // A question without one is about an edge that runs nothing.
    let base = request.base.as_ref().and_then(Base::read).unwrap_or(Base { generation: 0, running: Digest::default() });
    let proof = runtime.reserve(desired, base, Duration::from_millis(request.lease_ms)).await?;
    let proof = match proof {
        Ok(proof) => proof,
        Err(RuleFailure { code, message, .. }) => {
            let refused = Some(proto::Refusal { code: code.as_str().to_owned(), message });
            return Ok(proto::Proven { request_id, refused, ..proto::Proven::default() });
        }
    };
    let rule = |(name, verdict): (RuleName, RuleProof)| {
        let (proven, code, message) = match verdict {
            RuleProof::Refused(RuleFailure { code, message, .. }) => (false, code.as_str().to_owned(), message),
            RuleProof::Modelled(message) => (false, String::new(), message),
            RuleProof::Proven => match unresolved.get(&name) {
                Some(words) => (false, String::new(), words.clone()),
                None => (true, String::new(), String::new()),
            },
        };
        proto::RuleProof { rule: name.to_string(), proven, code, message }
    };
    Ok(proto::Proven {
        request_id,
        refused: None,
        lease: proof.lease,
        lease_ms: u64::try_from(proof.lasts.as_millis()).unwrap_or(u64::MAX),
        rules: proof.rules.into_iter().map(rule).collect(),
    })
}

/// Rules with a target whose name has no address now, and why.
async fn unresolved(names: &Names, rules: BTreeMap<RuleName, Arc<Rule>>) -> BTreeMap<RuleName, String> {
    let mut asked: BTreeMap<String, Vec<RuleName>> = BTreeMap::new();
    for (rule, version) in &rules {
        for target in &version.targets {
            if let Host::Name(name) = &target.host {
                asked.entry(name.to_string()).or_default().push(rule.clone());
            }
        }
    }
    let mut lookups = JoinSet::new();
    for name in asked.keys().cloned() {
        let names = names.clone();
        lookups.spawn(async move {
            let found = timeout(LOOKUP, names.resolve(name.as_str().into())).await;
            let words = match found {
                Ok(Ok(addresses)) if !addresses.is_empty() => None,
                Ok(Ok(_)) => Some("it has no address".to_owned()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {} s", LOOKUP.as_secs())),
            };
            (name, words)
        });
    }
    let mut unresolved = BTreeMap::new();
    while let Some(looked) = lookups.join_next().await {
        let (name, words) = match looked {
            Ok((name, Some(words))) => (name, words),
            Ok((_, None)) => continue,
            Err(error) => {
                tracing::error!(%error, "a name could not be looked up because of a bug");
                continue;
            }
        };
        for rule in asked.remove(&name).into_iter().flatten() {
            unresolved.insert(rule, format!("target {name} does not resolve: {words}"));
        }
    }
    unresolved
}
