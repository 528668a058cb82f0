//! A saved status as a fleet again, for plans without a server. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::canonical::Digest;
use schema::capability::{Capability, Limits};
use schema::diff::Rules;
use schema::name::{EdgeName, RuleName};
use schema::net::{Listener, PortRange, PortSet};
use schema::ruleset::{EdgeRules, Placed};
use schema::spec;
use schema::state::RuleState;
use serde_json::{Map, Value};

use super::{EdgeStatus, StatusDocument};
use crate::decide::break_glass::{Override, Overrides};
use crate::decide::edges::Edges;
use crate::decide::live::Live;
use crate::decide::view::{DesiredEdge, EdgeView, Hello, Report, RuleView};

/// Why a status file cannot be planned against.
#[derive(Debug, thiserror::Error)]
#[error("edge {edge}, rule {rule}: {reason}")]
pub struct InvalidStatus {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// What is wrong with its spec.
    pub reason: String,
}

/// The fleet of a saved status. What a file leaves out is taken as connected, able and idle.
pub fn edges_of(document: &StatusDocument) -> Result<Edges, InvalidStatus> {
    document.edges.iter().map(|edge| Ok((edge.name.clone(), edge_of(edge)?))).collect()
}

fn edge_of(edge: &EdgeStatus) -> Result<EdgeView, InvalidStatus> {
    let SavedRules { mut report, overrides, disabled } = rules_of(edge)?;
    let told = told(edge, &report);
    report.running_digest = schema::canonical::rules_digest(
        report
            .rules
            .values()
            .filter(|view| view.state != RuleState::Draining)
            .filter_map(|view| view.running.as_deref()),
    );
    // A file written by hand may leave the wanted generation out.
    let desired_generation = if edge.desired_generation == 0 { edge.generation } else { edge.desired_generation };
    let digest = schema::canonical::rules_digest(told.values().map(|placed| &*placed.rule));
    if edge.generation == desired_generation {
        report.desired_digest = digest;
    }
    let hello = hello_of(edge);
    let was_heard = edge.connected || edge.generation > 0 || !edge.rules.is_empty();
    Ok(EdgeView {
        desired: Some(DesiredEdge {
            generation: desired_generation,
            wanted: told
                .iter()
                .filter(|(name, _)| !overrides.contains_key(*name))
                .map(|(name, placed)| (name.clone(), placed.clone()))
                .collect(),
            rules: told,
            digest,
            rejected: BTreeMap::new(),
            disabled,
            acknowledged: false,
            before: Rules::new(),
            leaving: Rules::new(),
            confirm_within: None,
            ends: BTreeMap::new(),
        }),
        given_up: 0,
        sent: 0,
        connected: edge.connected,
        since: edge.since,
        last_seen: edge.last_seen,
        hello,
        report: was_heard.then_some(report),
        overrides,
        deviations: edge.target_overrides.clone(),
        is_stranger: false,
        forgotten: false,
    })
}

/// What an edge runs by its saved status.
struct SavedRules {
    report: Report,
    overrides: Overrides,
    disabled: EdgeRules,
}

fn rules_of(edge: &EdgeStatus) -> Result<SavedRules, InvalidStatus> {
    let mut overrides = Overrides::new();
    let mut report = Report { generation: edge.generation, desired_digest: Digest::default(), ..Report::default() };
    let mut disabled = EdgeRules::new();
    for rule in &edge.rules {
        let read = |spec: &Map<String, Value>| {
            let mut spec = spec.clone();
            spec.entry("name").or_insert_with(|| Value::String(rule.rule.to_string()));
            spec::from_json(&Value::Object(spec)).map(Arc::new).map_err(|reason| InvalidStatus {
                edge: edge.name.clone(),
                rule: rule.rule.clone(),
                reason,
            })
        };
        let shown = read(&rule.spec)?;
        let other = rule.wanted.as_ref().map(read).transpose()?;
        if let Some(held) = &rule.over {
            let (actor, why, since, until) = (held.actor.clone(), held.why.clone(), held.since, held.until);
            let held = Override { rule: other.clone().unwrap_or_else(|| shown.clone()), actor, why, since, until };
            overrides.insert(rule.rule.clone(), held);
        }
        let state = rule.last_known();
        if state == RuleState::Disabled {
            disabled.insert(rule.rule.clone(), Placed { rule: shown, origin: rule.origin.clone() });
            continue;
        }
        let is_serving = matches!(state, RuleState::Active | RuleState::Draining) || other.is_some();
        let view = RuleView {
            state,
            code: rule.code.clone(),
            message: rule.message.clone(),
            wanted: if is_serving { other } else { Some(shown.clone()) },
            running: is_serving.then_some(shown),
            connections: match state {
                RuleState::Draining => rule.connections,
                _ => rule.connections + rule.draining.iter().map(|drain| drain.connections).sum::<u64>(),
            },
            live: Some(Live::saved(rule.connections, &rule.places, &rule.draining)),
            health: rule.health,
            targets: rule.targets.clone(),
            flow_limit: rule.flow_limit,
        };
        report.rules.insert(rule.rule.clone(), view);
    }
    Ok(SavedRules { report, overrides, disabled })
}

/// The rules that the edge received last.
fn told(edge: &EdgeStatus, report: &Report) -> EdgeRules {
    let origins: BTreeMap<_, _> = edge.rules.iter().map(|rule| (&rule.rule, &rule.origin)).collect();
    report
        .rules
        .iter()
        .filter(|(_, view)| view.state != RuleState::Draining)
        .filter_map(|(name, view)| {
            let origin = origins.get(name).and_then(|origin| (*origin).clone());
            Some((name.clone(), Placed { rule: view.told()?.clone(), origin }))
        })
        .collect()
}

fn hello_of(edge: &EdgeStatus) -> Option<Hello> {
    let is_described = edge.capabilities.is_some()
        || edge.limits != Limits::default()
        || edge.policy.is_some()
        || !(edge.own_listeners.is_empty() && edge.ephemeral_ports.is_empty() && edge.host.is_empty());
    is_described.then(|| Hello {
        version: edge.version.clone(),
        capabilities: match &edge.capabilities {
            Some(names) => names.iter().filter_map(|name| Capability::parse(name)).collect(),
            None => Capability::ALL.iter().copied().collect(),
        },
        limits: edge.limits,
        own_listeners: edge.own_listeners.iter().filter_map(|text| Listener::parse(text)).collect(),
        ephemeral_ports: PortSet::from_ranges(edge.ephemeral_ports.iter().filter_map(|text| PortRange::parse(text))),
        host: edge.host.clone(),
        policy: edge.policy.clone(),
        ..Hello::default()
    })
}
