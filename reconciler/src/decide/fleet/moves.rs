//! What moved between two reports of an edge: states, weights and health, as notices. Pure.
//!
//! Keeps: a snapshot and the notices after it give the state, and there is at most one notice about weights per rule
//! and report, with the full list.

use schema::health::TargetState;
use schema::name::{EdgeName, RuleName};

use super::step::Step;
use super::{Effect, Notice, TargetWeight};
use crate::decide::target::TargetView;
use crate::decide::view::RuleView;

/// Appends the notices of one rule; `None` stands for a rule that was not there, or is not any more.
pub(super) fn notices(
    edge: &EdgeName,
    rule: &RuleName,
    before: Option<&RuleView>,
    after: Option<&RuleView>,
    step: &mut Step,
) {
    let targets = |view: Option<&RuleView>| view.map(|view| view.targets.clone()).unwrap_or_default();
    let (old, new) = (targets(before), targets(after));
    let find = |all: &[TargetView], name: &str| all.iter().find(|target| target.target == name).cloned();
    let mut tell = |target: &TargetView, from: Option<TargetState>, to: TargetState| {
        let last = target.last.as_ref();
        // The newest change says what caused it; a probe that ended since then says something else.
        let cause = target.history.first().filter(|change| change.to == to && Some(change.from) == from);
        step.emit(Notice::Target {
            edge: edge.clone(),
            rule: rule.clone(),
            target: target.target.clone(),
            from,
            to,
            code: cause
                .map(|cause| cause.code.clone())
                .or_else(|| last.map(|last| last.code.clone()))
                .unwrap_or_default(),
            detail: cause
                .map(|cause| cause.detail.clone())
                .or_else(|| last.map(|last| last.detail.clone()))
                .unwrap_or_default(),
            at: target.since,
        });
    };
    for target in &new {
        let from = find(&old, &target.target).map(|before| before.state);
        if from != Some(target.state) {
            tell(target, from, target.state);
        }
    }
    for target in old.iter().filter(|target| find(&new, &target.target).is_none()) {
        tell(target, Some(target.state), TargetState::Removed);
    }
    let (old, new) = (weights(&old), weights(&new));
    if old != new {
        let eligible = new.iter().filter(|one| one.effective_weight > 0).map(|one| one.target.clone()).collect();
        let (edge, rule) = (edge.clone(), rule.clone());
        step.emit(Notice::Weights { edge, rule, eligible, targets: new });
    }
    let balance = |view: Option<&RuleView>| view.and_then(|view| view.running.as_ref()).map(|rule| rule.balance);
    if let (Some(from), Some(to)) = (balance(before), balance(after))
        && from != to
    {
        step.emit(Notice::Balance {
            edge: edge.clone(),
            rule: rule.clone(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            sticky: to.is_sticky(),
        });
    }
    let (from, to) = (before.and_then(|view| view.health), after.and_then(|view| view.health));
    if from != to {
        step.emit(Notice::Health { edge: edge.clone(), rule: rule.clone(), from, to });
    }
}

/// Of an edge that has just connected, one line of the log says how its rules are; what failed has its own.
pub(super) fn without_log(effects: &mut [Effect]) {
    for effect in effects {
        let Effect::Emit(notice) = effect else { continue };
        let is_of_rule = match notice {
            Notice::Rule { code, .. } => code.is_empty(),
            Notice::Health { .. } | Notice::Target { .. } | Notice::Weights { .. } => true,
            _ => false,
        };
        if is_of_rule {
            *effect = Effect::EmitUnlogged(notice.clone());
        }
    }
}

fn weights(targets: &[TargetView]) -> Vec<TargetWeight> {
    let weight = |target: &TargetView| TargetWeight {
        target: target.target.clone(),
        state: target.state,
        weight: target.weight,
        effective_weight: target.effective_weight,
    };
    targets.iter().map(weight).collect()
}
