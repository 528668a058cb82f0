//! The targets of a rule as reports show them. Values, no I/O.
//!
//! Keeps: targets are in file order, and each is named as people write it.

use std::time::Duration;

use schema::health::{Outcome, RuleHealth, StateChange, TargetKey};
use schema::proto;

use super::clock::Clock;
use super::watched::Watched;

/// Failing ports of a target that are named; more of them are counted. What a person still reads.
const SHOWN_PORTS: usize = 256;

/// The targets of one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleView {
    /// How the rule is.
    pub health: RuleHealth,
    /// In file order.
    pub targets: Vec<proto::TargetReport>,
}

impl RuleView {
    /// As it is now.
    pub(super) fn of(watched: &Watched, clock: &Clock) -> Self {
        let group = &watched.group;
        let snapshot = group.snapshot();
        let reports = snapshot.targets.iter().zip(&snapshot.weights).zip(group.targets()).enumerate();
        let targets = reports.map(|(place, ((view, weight), (key, health)))| proto::TargetReport {
            target: key.to_string(),
            state: view.state.as_str().to_owned(),
            priority: view.priority.into(),
            weight: view.weight.into(),
            effective_weight: (*weight).into(),
            since_ms: clock.shown(health.since()),
            last: health.last_result().map(|(at, outcome)| result(at, outcome, clock)),
            history: health.history().iter().map(|change| changed(change, clock)).collect(),
            attempts: watched.waiting.attempts(key) as u32,
            failing_ports: group.failing_ports(place).map(u32::from).take(SHOWN_PORTS).collect(),
            failing_ports_total: group.failing_ports(place).count() as u32,
        });
        Self { health: snapshot.health, targets: targets.collect() }
    }

    /// One of its targets.
    pub fn target(&self, key: &str) -> Option<&proto::TargetReport> {
        self.targets.iter().find(|target| target.target == key)
    }

    /// Those that are meant: one, or all.
    pub(super) fn selected(&self, key: Option<&TargetKey>) -> Vec<proto::TargetReport> {
        let is_meant = |target: &&proto::TargetReport| key.is_none_or(|key| target.target == key.as_str());
        self.targets.iter().filter(is_meant).cloned().collect()
    }
}

fn result(at: Duration, outcome: &Outcome, clock: &Clock) -> proto::TargetResult {
    proto::TargetResult {
        code: outcome.code().as_str().to_owned(),
        detail: outcome.detail().to_owned(),
        at_ms: clock.shown(at),
    }
}

fn changed(change: &StateChange, clock: &Clock) -> proto::TargetChange {
    proto::TargetChange {
        from: change.from.as_str().to_owned(),
        to: change.to.as_str().to_owned(),
        at_ms: clock.shown(change.time),
        layer: change.layer().map_or_else(String::new, |layer| layer.as_str().to_owned()),
        code: change.word().to_owned(),
        detail: change.detail().to_owned(),
    }
}
