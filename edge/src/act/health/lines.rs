//! What health says in the log: verdicts that take something out of use or bring it back. I/O.
//!
//! Keeps: a process that starts says nothing of targets that are as they should be; first verdicts are told at `debug`.

use schema::health::{RuleHealth, StateChange, TargetKey, TargetState};
use schema::name::RuleName;

/// A target has another state.
pub(super) fn target(rule: &RuleName, target: &TargetKey, change: &StateChange) {
    let (from, to, code, detail) = (change.from, change.to, change.word(), change.detail());
    if from == TargetState::Unknown && matches!(to, TargetState::Unknown | TargetState::Up) {
        tracing::debug!(%rule, %target, %from, %to, code, detail, "a target changed");
    } else {
        tracing::info!(%rule, %target, %from, %to, code, detail, "a target changed");
    }
}

/// A rule has another health.
pub(super) fn health(rule: &RuleName, from: RuleHealth, to: RuleHealth) {
    if [from, to].contains(&RuleHealth::Down) {
        tracing::info!(%rule, %from, %to, "the health of a rule changed");
    } else {
        tracing::debug!(%rule, %from, %to, "the health of a rule changed");
    }
}
