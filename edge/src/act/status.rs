//! What an edge says about itself: the state of every rule, as published by the runtime. Values, no I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use schema::canonical::Digest;
use schema::codes::RuleCode;
use schema::proto;
use schema::rule::{Rule, Target};
use schema::state::RuleState;
use schema::wire;

pub use crate::act::health::RuleView;
use crate::act::workers::{Drain, Figures, Meter, PlaceFigures};
use crate::decide::admission::{Accepted, Refused};
use crate::decide::breaks::Break;
use crate::decide::datagrams::Lost;
use crate::decide::dial::{Cause, Outcome};

/// Places of one rule that a report names: more than the ports of a wide range. A plan takes the connections of the others
/// for ones that end.
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
    /// The desired state that was accepted last.
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

    /// Its counters as a message.
    pub fn stats(&self, per_port: bool, per_target: bool) -> proto::RuleStats {
        let meter = self.meter.as_deref();
        let ports = meter.filter(|_| per_port).map(|meter| {
            let port = |(port, figures): (u16, Figures)| proto::PortStats {
                port: port.into(),
                counters: Some(counters(&figures)),
            };
            meter.per_port().into_iter().map(port).collect()
        });
        proto::RuleStats {
            rule: self.name.clone(),
            total: Some(counters(&meter.map(Meter::figures).unwrap_or_default())),
            ports: ports.unwrap_or_default(),
            targets: if per_target { self.target_stats() } else { Vec::new() },
            ages: None,
            live: None,
        }
    }

    /// Every target of the version that serves, and those before it that had traffic.
    fn target_stats(&self) -> Vec<proto::TargetStats> {
        let mut counted = self.meter.as_ref().map(|meter| meter.per_target()).unwrap_or_default();
        let targets = self.running.as_ref().map_or(&[][..], |rule| &rule.targets);
        let mut stats: Vec<proto::TargetStats> = targets
            .iter()
            .map(|target| {
                let key = (target.host.clone(), target.ports.first());
                let index = counted.iter().position(|(other, _)| *other == key);
                let figures = index.map_or_else(Figures::default, |index| counted.swap_remove(index).1);
                let report = self.health.as_ref().and_then(|view| view.target(&target.to_string())).cloned();
                let state = report.as_ref().map_or_else(|| target_state(target), |report| &report.state);
                proto::TargetStats {
                    report: report.clone(),
                    ..target_message(&key.0.to_string(), key.1, state, &figures)
                }
            })
            .collect();
        counted.sort_by(|a, b| a.0.cmp(&b.0));
        stats.extend(
            counted.iter().map(|((host, port), figures)| target_message(&host.to_string(), *port, "removed", figures)),
        );
        stats
    }
}

/// Of a target that nobody watches.
fn target_state(target: &Target) -> &'static str {
    if target.enabled { "unknown" } else { "disabled" }
}

fn target_message(host: &str, port: u16, state: &str, figures: &Figures) -> proto::TargetStats {
    proto::TargetStats {
        host: host.to_owned(),
        port: port.into(),
        state: state.to_owned(),
        counters: Some(counters(figures)),
        last_success_ms: figures.last_success_ms,
        last_failure_ms: figures.last_failure_ms,
        ..proto::TargetStats::default()
    }
}

fn counters(figures: &Figures) -> proto::Counters {
    let named =
        |(cause, count): (&'static str, u64)| (count > 0).then(|| proto::CauseCount { cause: cause.to_owned(), count });
    let causes = Cause::ALL.map(Cause::as_str).into_iter().zip(figures.connect_errors);
    let broken = Break::ALL.map(Break::as_str).into_iter().zip(figures.broken);
    let outcomes = Outcome::ALL.map(Outcome::as_str).into_iter().zip(figures.outcomes);
    let dropped = Lost::ALL.map(Lost::as_str).into_iter().zip(figures.datagrams_dropped);
    proto::Counters {
        bytes_in: figures.bytes_in,
        bytes_out: figures.bytes_out,
        active_connections: figures.active_connections,
        connections_total: figures.connections_total,
        connections_refused: figures.connections_refused,
        dns_failures: figures.dns_failures,
        connect_errors: causes.filter_map(named).collect(),
        broken: broken.filter_map(named).collect(),
        target_failovers: figures.target_failovers,
        lb: outcomes.filter_map(named).collect(),
        udp_datagrams_in: figures.udp_datagrams_in,
        udp_datagrams_out: figures.udp_datagrams_out,
        active_flows: figures.active_flows,
        flows_dropped_overflow: figures.flows_dropped_overflow,
        datagrams_dropped: dropped.filter_map(named).collect(),
    }
}
