//! One session with the server, message by message: what comes in, what goes out. No sockets of its own.
//!
//! Keeps: every desired state is answered by a report of what runs; a generation is never lowered; the counters
//! of a rule are sent once more before it vanishes from the reports. Long because every message is answered in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schema::capability::{Capabilities, Limits};
use schema::counters::Figures;
use schema::ending::{Endings, Part};
use schema::name::{EdgeName, RuleName};
use schema::net::Listener;
use schema::networks::Lists;
use schema::policy::Policy;
use schema::proto::{self, edge_message, server_message};
use schema::wire;
use schema::wire::ending::{AGES_FEATURE, part_from_wire};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::act::listing::CONNECTIONS_FEATURE;
use crate::act::pending::PendingAnswers;
use crate::act::runtime::{ApplyTerms, RuntimeHandle, Stopped};
use crate::act::status::{RuleStatus, Status};
use crate::act::usage::USAGE_FEATURE;
use crate::act::workers::Ages;
use crate::act::{interfaces, port_range};
use crate::decide::admission::{self, Accepted, Admission, Base, Refused};
use crate::decide::desired::Desired;
use crate::decide::quotas::QuotaOf;

/// What an edge says about itself when it connects.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its name.
    pub name: EdgeName,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How much of it.
    pub limits: Limits,
    /// Listeners of its own, which no rule may take.
    pub own_listeners: Vec<Listener>,
}

/// What this edge understands of the protocol beyond its first version.
const FEATURES: [&str; 6] = ["confirm", "prove", AGES_FEATURE, "yield", CONNECTIONS_FEATURE, USAGE_FEATURE];

/// Between two reports that are made only because flows found no room: each names every rule of the edge.
const FLOWS_GAP: Duration = Duration::from_secs(10);

/// Whether the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterMessage {
    /// It does.
    Continue,
    /// Server and edge do not understand each other: a new session may.
    End,
}

/// The state of one session.
pub struct Session {
    offer: Arc<Offer>,
    runtime: RuntimeHandle,
    changes: watch::Receiver<Arc<Status>>,
    policies: watch::Receiver<Arc<Policy>>,
    quotas: watch::Receiver<Arc<Vec<proto::QuotaState>>>,
    /// As last reported.
    shown: Arc<Status>,
    /// Counters as last sent, and where connections were. Empty at first: the server is told all of them once.
    counted: BTreeMap<String, (Figures, proto::Live)>,
    /// Probes as last sent.
    probes: Vec<proto::CauseCount>,
    /// Connections without a rule, as they were said last.
    sni_missed: Vec<proto::CauseCount>,
    /// Flows found no room since the last report.
    has_refused_flows: bool,
    /// When the last one was made only for that.
    told_of_flows: Option<Instant>,
    /// What the server waits for.
    pending: PendingAnswers,
}

/// What list files hold: as the message says, or as what runs has it.
fn arrived(lists: Vec<proto::NetworkRecords>, status: &Status) -> Lists {
    let running = status.rules.iter().filter_map(|rule| rule.running.as_deref());
    let known = wire::entry::lists_of(running);
    wire::entry::lists_from_wire(lists, &known).unwrap_or_else(|error| {
        // Rules that need what is damaged are rejected.
        tracing::error!(%error, "a desired state holds a damaged list");
        known
    })
}

fn message(body: edge_message::Body) -> proto::EdgeMessage {
    proto::EdgeMessage { body: Some(body) }
}

impl Session {
    /// A session that has said nothing yet.
    pub fn new(offer: Arc<Offer>, runtime: RuntimeHandle) -> Self {
        let (mut changes, policies) = (runtime.subscribe(), runtime.policy().subscribe());
        let shown = changes.borrow_and_update().clone();
        let (counted, probes, sni_missed) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (has_refused_flows, told_of_flows) = (false, None);
        let mut quotas = runtime.quotas();
        if !quotas.borrow_and_update().is_empty() {
            quotas.mark_changed();
        }
        Self {
            offer,
            runtime,
            changes,
            policies,
            quotas,
            shown,
            counted,
            probes,
            sni_missed,
            has_refused_flows,
            told_of_flows,
            pending: PendingAnswers::default(),
        }
    }

    /// The first message.
    pub fn hello(&self) -> proto::EdgeMessage {
        message(edge_message::Body::Hello(proto::Hello {
            edge: self.offer.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: self.offer.capabilities.iter().map(|capability| capability.as_str().to_owned()).collect(),
            limits: Some(wire::limits_to_wire(&self.offer.limits)),
            own_listeners: self.offer.own_listeners.iter().map(wire::listener_to_wire).collect(),
            report: Some(self.shown.report(0, None)),
            features: FEATURES.map(str::to_owned).to_vec(),
            ephemeral_ports: wire::port_set_to_wire(&port_range::ephemeral_ports()),
            host: interfaces::host(),
            policy: Some(wire::policy::policy_to_wire(&self.runtime.policy().load())),
        }))
    }

    /// Takes one message after the welcome, and does what it says.
    pub async fn receive(
        &mut self,
        received: proto::ServerMessage,
    ) -> Result<(Vec<proto::EdgeMessage>, AfterMessage), Stopped> {
        match received.body {
            Some(server_message::Body::Desired(desired)) => self.receive_desired(desired).await,
            Some(server_message::Body::StatsRequest(request)) => {
                Ok((vec![self.stats(&request).await?], AfterMessage::Continue))
            }
            Some(server_message::Body::Overrides(overrides)) => {
                self.runtime.set_overrides(overrides).await?;
                Ok((Vec::new(), AfterMessage::Continue))
            }
            Some(server_message::Body::Confirm(confirm)) => {
                self.runtime.confirm(confirm.lineage, confirm.generation).await?;
                Ok((Vec::new(), AfterMessage::Continue))
            }
            Some(server_message::Body::ResetQuota(request)) => {
                let proto::ResetQuota { rule, owner, .. } = request;
                let of = if rule.is_empty() { QuotaOf::Owner(owner) } else { QuotaOf::Rule(rule) };
                let used = self.runtime.reset_quota(of).await?;
                let answer = proto::QuotaReset {
                    request_id: request.request_id,
                    is_known: used.is_some(),
                    used_bytes: used.unwrap_or_default(),
                };
                // First, so that the list has it once the reset is answered.
                let messages = vec![self.quotas(), message(edge_message::Body::QuotaReset(answer))];
                Ok((messages, AfterMessage::Continue))
            }
            Some(server_message::Body::Prove(request)) => Ok((self.prove(request), AfterMessage::Continue)),
            Some(server_message::Body::Check(request)) => Ok((self.check(request), AfterMessage::Continue)),
            Some(server_message::Body::Refusal(refusal)) => {
                tracing::warn!(code = refusal.code, reason = refusal.message, "the server ended the session");
                Ok((Vec::new(), AfterMessage::End))
            }
            Some(server_message::Body::Connections(request)) => {
                Ok((self.list_connections(request), AfterMessage::Continue))
            }
            Some(server_message::Body::Usage(request)) => {
                self.pending.uses(&self.runtime, request);
                Ok((Vec::new(), AfterMessage::Continue))
            }
            // A welcome is said once, before this; renewals are not part of a session; what is unknown belongs to a newer server.
            Some(server_message::Body::Welcome(_) | server_message::Body::Renew(_)) | None => {
                Ok((Vec::new(), AfterMessage::Continue))
            }
        }
    }

    async fn receive_desired(
        &mut self,
        desired: proto::DesiredState,
    ) -> Result<(Vec<proto::EdgeMessage>, AfterMessage), Stopped> {
        let generation = desired.generation;
        let status = self.runtime.status();
        let admission = match admission::admit(&status.accepted, &desired) {
            // The same rules, that end at another time: an override was renewed, or the tree took it over.
            Admission::Repeat if !status.ends_alike(&desired.ends) => Admission::Apply(status.accepted.clone()),
            admission => admission,
        };
        let (refused, flow) = match admission {
            Admission::Apply(accepted) => {
                let Offer { capabilities, limits, .. } = &*self.offer;
                tracing::info!(generation, rules = desired.rules.len(), "a desired state arrived");
                let within = Duration::from_millis(desired.confirm_within_ms);
                let terms = ApplyTerms {
                    base: desired.base.as_ref().and_then(Base::read),
                    confirm_within: Some(within).filter(|within| !within.is_zero()),
                    quiet_window: Duration::from_millis(desired.quiet_window_ms),
                    yields: desired.yields.iter().filter_map(|name| RuleName::new(name).ok()).collect(),
                };
                let now_ms = self.runtime.health().steady().now_ms();
                let ends = desired.ends;
                let lists = arrived(desired.lists, &status);
                let desired = Desired::read(accepted, desired.rules, Some(&lists), capabilities, limits)
                    .ending_from(ends, now_ms);
                let desired = desired.on_host(&interfaces::addresses());
                let refused = self.runtime.apply_on(desired, terms).await?;
                if let Some(refused) = &refused {
                    tracing::warn!(generation, code = %refused.code, reason = refused.message, "a desired state is \
                        refused");
                }
                (refused, AfterMessage::Continue)
            }
            Admission::Repeat => {
                // Nothing to change, but somebody asks again: what failed is tried now.
                self.runtime.retry().await?;
                (None, AfterMessage::Continue)
            }
            Admission::Refuse(refused) => {
                tracing::warn!(generation, code = %refused.code, reason = refused.message, "a desired state is \
                    refused");
                (Some(refused), AfterMessage::Continue)
            }
            Admission::ProtocolError(refused) => {
                tracing::error!(generation, code = %refused.code, reason = refused.message, "a desired state is \
                    refused");
                (Some(refused), AfterMessage::End)
            }
        };
        let mut messages = self.look();
        messages.push(self.report_of(generation, refused.as_ref()));
        Ok((messages, flow))
    }

    /// Waits for a change that no report has shown yet.
    pub async fn changed(&mut self) -> Result<(), Stopped> {
        self.changes.changed().await.map_err(|_| Stopped)
    }

    /// Waits for the next thing that the edge says of its own accord: a report of a change, or the end of a round of
    /// probes.
    pub async fn next(&mut self) -> Result<Vec<proto::EdgeMessage>, Stopped> {
        tokio::select! {
            Ok(()) = self.policies.changed() => {
                let policy = wire::policy::policy_to_wire(&self.policies.borrow_and_update());
                Ok(vec![message(edge_message::Body::Policy(policy))])
            }
            Ok(()) = self.quotas.changed() => {
                Ok(vec![self.quotas()])
            }
            changed = self.changes.changed() => {
                changed.map_err(|_| Stopped)?;
                Ok(self.report())
            }
            Some(answer) = self.pending.next() => Ok(answer?.into_iter().map(message).collect()),
        }
    }

    /// What was used of quotas.
    fn quotas(&mut self) -> proto::EdgeMessage {
        let quotas = self.quotas.borrow_and_update().to_vec();
        message(edge_message::Body::Quotas(proto::QuotaReport { quotas }))
    }

    /// Starts a round of probes; its end is a message of its own.
    fn check(&mut self, request: proto::CheckTargets) -> Vec<proto::EdgeMessage> {
        self.pending.check(&self.runtime, request).map(message).into_iter().collect()
    }

    fn prove(&mut self, mut request: proto::Prove) -> Vec<proto::EdgeMessage> {
        let Offer { capabilities, limits, .. } = &*self.offer;
        let desired =
            Desired::read(Accepted::default(), std::mem::take(&mut request.rules), None, capabilities, limits)
                .on_host(&interfaces::addresses());
        self.pending.prove(&self.runtime, desired, request).map(message).into_iter().collect()
    }

    fn list_connections(&mut self, request: proto::ConnectionsRequest) -> Vec<proto::EdgeMessage> {
        self.pending.list(&self.runtime, request).map(message).into_iter().collect()
    }

    /// A report of the edge's own accord.
    pub fn report(&mut self) -> Vec<proto::EdgeMessage> {
        let mut messages = self.look();
        self.has_refused_flows = false;
        messages.push(self.report_of(0, None));
        messages
    }

    fn report_of(&mut self, answers: u64, refused: Option<&Refused>) -> proto::EdgeMessage {
        let report = self.shown.report(answers, refused);
        for rule in &report.rules {
            if let (Some((_, told)), Some(live)) = (self.counted.get_mut(&rule.rule), &rule.live) {
                told.clone_from(live);
            }
        }
        message(edge_message::Body::Report(report))
    }

    /// Takes over the newest status; before that, the last counters of rules that are not in it any more.
    fn look(&mut self) -> Vec<proto::EdgeMessage> {
        let newest = self.changes.borrow_and_update().clone();
        let final_counters = self.moved_counters();
        self.counted.retain(|name, _| newest.rule(name).is_some());
        self.shown = newest;
        final_counters.into_iter().collect()
    }

    /// What has moved since it was last sent: counters, and with them a report where flows found no room.
    pub fn moved(&mut self) -> Vec<proto::EdgeMessage> {
        let mut messages: Vec<_> = self.moved_counters().into_iter().collect();
        let is_due = self.told_of_flows.is_none_or(|at| at.elapsed() >= FLOWS_GAP);
        if self.has_refused_flows && is_due {
            self.told_of_flows = Some(Instant::now());
            messages.extend(self.report());
        }
        messages
    }

    /// The counters that moved since they were last sent, if any.
    pub fn moved_counters(&mut self) -> Option<proto::EdgeMessage> {
        let mut moved = Vec::new();
        for rule in &self.shown.rules {
            let counters = rule.figures();
            let last = self.counted.get(&rule.name);
            let has_moved = last.map_or(counters != Figures::default(), |(last, _)| *last != counters);
            // What drains goes on without moving a counter, and comes back so.
            if !has_moved && last.is_none_or(|(_, live)| live.drains.is_empty()) && rule.drains.is_empty() {
                continue;
            }
            let live = rule.live();
            let is_elsewhere = last.is_none_or(|(_, last)| *last != live);
            if has_moved || is_elsewhere {
                let refused = last.map_or(0, |(last, _)| last.flows_dropped_overflow);
                self.has_refused_flows |= counters.flows_dropped_overflow > refused;
                self.counted.insert(rule.name.clone(), (counters, live.clone()));
                moved.push(proto::RuleStats {
                    rule: rule.name.clone(),
                    total: Some(counters.to_wire()),
                    live: is_elsewhere.then_some(live),
                    ..proto::RuleStats::default()
                });
            }
        }
        let (probes, sni_missed) = (self.runtime.health().probes(), self.runtime.connections().sni_missed());
        if moved.is_empty() && probes == self.probes && sni_missed == self.sni_missed {
            return None;
        }
        self.probes.clone_from(&probes);
        self.sni_missed.clone_from(&sni_missed);
        Some(message(edge_message::Body::Stats(proto::StatsReport { request_id: 0, rules: moved, probes, sni_missed })))
    }

    async fn stats(&self, request: &proto::StatsRequest) -> Result<proto::EdgeMessage, Stopped> {
        let status = self.runtime.status();
        let rule = Some(request.rule.clone()).filter(|rule| !rule.is_empty());
        let health = self.runtime.health();
        let newest = if request.per_target { health.newest(rule).await? } else { BTreeMap::new() };
        let asked = status.rules.iter().filter(|rule| request.rule.is_empty() || rule.name == request.rule);
        let stats = |rule: &RuleStatus| {
            let health = RuleName::new(&rule.name).ok().and_then(|name| newest.get(&name).cloned());
            let health = health.or_else(|| rule.health.clone());
            RuleStatus { health, ..rule.clone() }.stats(request.per_port, request.per_target)
        };
        let mut rules = Vec::new();
        for rule in asked {
            let ages = match rule.meter.clone().filter(|_| request.ages) {
                Some(meter) => self.runtime.connections().ages(meter, endings(&rule.name, &request.ending)).await,
                None => None,
            };
            let ages = ages.map(|Ages { oldest, median }| proto::Ages {
                oldest_ms: oldest.as_millis() as u64,
                median_ms: median.as_millis() as u64,
            });
            rules.push(proto::RuleStats { ages, ..stats(rule) });
        }
        let (request_id, probes) = (request.request_id, health.probes());
        let sni_missed = self.runtime.connections().sni_missed();
        Ok(message(edge_message::Body::Stats(proto::StatsReport { request_id, rules, probes, sni_missed })))
    }
}

/// What a rule is asked about; a part that cannot be read ends nothing.
fn endings(rule: &str, parts: &[proto::EndingPart]) -> Endings {
    let Ok(rule) = RuleName::new(rule) else { return Endings::default() };
    let parts: Vec<Part> = parts.iter().filter_map(|part| part_from_wire(&rule, part).ok()).collect();
    Endings::from(parts)
}
