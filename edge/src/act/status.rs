//! What an edge says about itself: the state of every rule, as published by the runtime. Values, no I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use schema::canonical::Digest;
use schema::codes::RuleCode;
use schema::counters::Figures;
use schema::proto;
use schema::rule::{Rule, Target};
use schema::state::RuleState;
use schema::wire;

pub use crate::act::health::RuleView;
use crate::act::workers::{Drain, LastTimes, Meter, PlaceFigures, TargetKey};
use crate::decide::admission::{Accepted, Refused};

/// Places of one rule that a report names: more than the ports of a wide range. A plan takes the connections of the
/// others for ones that end.
const PLACES: usize = 4096;

/// One rule on the edge.
#[derive(Clone)]
pub struct RuleStatus {
    /// Its name, as received.
    pub name: String,
    /// What it does.
    pub state: RuleState,
    /// Why it does not serve as desired.
    pub code: Option<RuleCode>,
    /// The same for people.
    pub message: String,
    /// The version that serves.
    pub running: Option<Arc<Rule>>,
    /// The desired version where it is another one.
    pub wanted: Option<proto::RuleSpec>,
    /// Counters and live connections, where it ever served.
    pub meter: Option<Arc<Meter>>,
    /// Its targets, where it serves.
    pub health: Option<Arc<RuleView>>,
    /// What drains of its connections.
    pub drains: Vec<Arc<Drain>>,
}

impl PartialEq for RuleStatus {
    /// Counters are no part of the state.
    fn eq(&self, other: &Self) -> bool {
        let facts = |status: &Self| (status.state, status.code);
        facts(self) == facts(other)
            && self.name == other.name
            && self.message == other.message
            && self.running == other.running
            && self.wanted == other.wanted
            && self.health == other.health
            && self.drains.len() == other.drains.len()
            && self.drains.iter().zip(&other.drains).all(|(own, other)| Arc::ptr_eq(own, other))
    }
}

/// Whether what runs waits for a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confirmation {
    /// It does not.
    #[default]
    None,
    /// It is kept only if one comes in time.
    Awaited,
    /// None came for the accepted generation: what ran before runs again.
    Missed,
}

impl Confirmation {
    const fn to_wire(self) -> proto::Confirmation {
        match self {
            Self::None => proto::Confirmation::None,
            Self::Awaited => proto::Confirmation::Awaited,
            Self::Missed => proto::Confirmation::Missed,
        }
    }
}

/// Everything that a report says, and where its counters are.
#[derive(Clone, Default, PartialEq)]
pub struct Status {
    /// The generation of the last accepted desired state.
    pub accepted: Accepted,
    /// Digest of the rules that really run.
    pub running_digest: Digest,
    /// By name, draining ones included.
    pub rules: Vec<RuleStatus>,
    /// Open listening sockets.
    pub listeners: usize,
    /// Whether the accepted state waits for a confirmation.
    pub confirmation: Confirmation,
    /// The ends of its rules.
    pub ends: Vec<proto::RuleEnd>,
    /// Those of them that are over.
    pub ended: Vec<proto::RuleEnd>,
}

impl Status {
    /// True if the rules of the accepted state end as this message says.
    pub fn ends_alike(&self, ends: &[proto::RuleEnd]) -> bool {
        let named =
            |ends: &[proto::RuleEnd]| ends.iter().map(|end| (end.rule.clone(), end.until_ms)).collect::<BTreeSet<_>>();
        named(&self.ends) == named(ends)
    }

    /// The rule of that name.
    pub fn rule(&self, name: &str) -> Option<&RuleStatus> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The whole report. `answers` is the generation that it answers, 0 for none.
    pub fn report(&self, answers: u64, refused: Option<&Refused>) -> proto::Report {
        proto::Report {
            lineage: self.accepted.lineage.clone(),
            generation: self.accepted.generation,
            desired_digest: if self.accepted.generation == 0 {
                Vec::new()
            } else {
                self.accepted.digest.as_bytes().to_vec()
            },
            running_digest: self.running_digest.as_bytes().to_vec(),
            rules: self.rules.iter().map(RuleStatus::report).collect(),
            refused: refused.map(|refused| proto::Refusal {
                code: refused.code.as_str().to_owned(),
                message: refused.message.clone(),
            }),
            answers,
            confirmation: self.confirmation.to_wire().into(),
            ended: self.ended.clone(),
        }
    }
}

impl RuleStatus {
    fn report(&self) -> proto::RuleReport {
        let (flows_refused, flows_refused_at_ms) =
            self.meter.as_ref().map(|meter| meter.flows_refused()).unwrap_or_default();
        proto::RuleReport {
            rule: self.name.clone(),
            state: wire::state_to_wire(self.state).into(),
            code: self.code.map_or_else(String::new, |code| code.as_str().to_owned()),
            message: self.message.clone(),
            running: self.running.as_deref().map(wire::rule_to_wire),
            wanted: self.wanted.clone(),
            connections: self.meter.as_ref().map_or(0, |meter| meter.active()),
            health: self.health.as_ref().map_or_else(String::new, |view| view.health.as_str().to_owned()),
            targets: self.health.as_ref().map_or_else(Vec::new, |view| view.targets.clone()),
            flows_refused,
            flows_refused_at_ms,
            live: Some(self.live()),
        }
    }

    /// Where its live connections are.
    pub fn live(&self) -> proto::Live {
        let places = self.meter.as_ref().map(|meter| meter.per_place()).unwrap_or_default();
        let place = |((listen_port, host, port), connections): PlaceFigures| proto::PlaceCount {
            listen_port: listen_port.into(),
            host: host.to_string(),
            port: port.into(),
            connections,
        };
        let drain = |drain: &Arc<Drain>| proto::DrainCount {
            listen: drain.listen.iter().map(ToString::to_string).collect(),
            connections: drain.live(),
            ends_at_ms: drain.ends_at_ms,
        };
        let left_out = places.iter().skip(PLACES).map(|(_, connections)| connections).sum();
        proto::Live {
            left_out,
            places: places.into_iter().take(PLACES).map(place).collect(),
            drains: self.drains.iter().filter(|drain| drain.live() > 0).map(drain).collect(),
        }
    }

    /// Its counters.
    pub fn figures(&self) -> Figures {
        self.meter.as_deref().map(Meter::figures).unwrap_or_default()
    }

    /// Its counters as a message.
    pub fn stats(&self, per_port: bool, per_target: bool) -> proto::RuleStats {
        let meter = self.meter.as_deref();
        let ports = meter.filter(|_| per_port).map(|meter| {
            let port = |(port, figures): (u16, Figures)| proto::PortStats {
                port: port.into(),
                counters: Some(figures.to_wire()),
            };
            meter.per_port().into_iter().map(port).collect()
        });
        proto::RuleStats {
            rule: self.name.clone(),
            total: Some(self.figures().to_wire()),
            ports: ports.unwrap_or_default(),
            targets: if per_target { self.target_stats() } else { Vec::new() },
            ages: None,
            live: None,
        }
    }

    /// Every target of the version that serves, and those before it that had traffic.
    fn target_stats(&self) -> Vec<proto::TargetStats> {
        let mut counted = self.meter.as_ref().map(|meter| meter.per_target()).unwrap_or_default();
        let times = self.meter.as_ref().map(|meter| meter.last_times()).unwrap_or_default();
        let times_of = |key: &TargetKey| times.get(key).copied().unwrap_or_default();
        let targets = self.running.as_ref().map_or(&[][..], |rule| &rule.targets);
        let mut stats: Vec<proto::TargetStats> = targets
            .iter()
            .map(|target| {
                let key = (target.host.clone(), target.ports.first());
                let index = counted.iter().position(|(other, _)| *other == key);
                let figures = index.map_or_else(Figures::default, |index| counted.swap_remove(index).1);
                let report = self.health.as_ref().and_then(|view| view.target(&target.to_string())).cloned();
                let state = report.as_ref().map_or_else(|| target_state(target), |report| &report.state);
                proto::TargetStats { report: report.clone(), ..target_message(&key, state, &figures, times_of(&key)) }
            })
            .collect();
        counted.sort_by(|a, b| a.0.cmp(&b.0));
        stats.extend(counted.iter().map(|(key, figures)| target_message(key, "removed", figures, times_of(key))));
        stats
    }
}

/// Of a target that nobody watches.
fn target_state(target: &Target) -> &'static str {
    if target.enabled { "unknown" } else { "disabled" }
}

fn target_message((host, port): &TargetKey, state: &str, figures: &Figures, times: LastTimes) -> proto::TargetStats {
    proto::TargetStats {
        host: host.to_string(),
        port: (*port).into(),
        state: state.to_owned(),
        counters: Some(figures.to_wire()),
        last_success_ms: times.success_ms,
        last_failure_ms: times.failure_ms,
        ..proto::TargetStats::default()
    }
}
