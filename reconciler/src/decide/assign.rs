//! Which rules an edge is sent: what the tree wants there, less what the edge cannot do. Pure.
//!
//! Keeps: a rejection never removes a rule that serves. Planner and fleet both call [`assign`], so what is applied
//! is what was planned.

use std::collections::BTreeMap;

use schema::canonical::{self, Digest};
use schema::capability::{Rejection, rejection};
use schema::codes::RuleCode;
use schema::diff::{self, Rules};
use schema::name::RuleName;
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Placed, rules_only};
use schema::shared_port;
use schema::state::RuleState;

use super::generation;
use super::overrides;
use super::view::{DesiredEdge, EdgeView, Hello, RuleView};

/// What an edge is sent, and what of the tree is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The set to send.
    pub rules: EdgeRules,
    /// Digest of the set.
    pub digest: Digest,
    /// The rules that the edge cannot take in the version of the tree.
    pub rejected: BTreeMap<RuleName, Rejection>,
}

/// True if the edge runs what the tree wants there, all of it and nothing else, and deciding again would give the same.
///
/// Of a large fleet nearly every edge is at rest when the tree moves, and this costs a comparison where deciding costs
/// copies and a digest: planning and applying take their time for the edges that a change concerns.
pub fn is_at_rest(edge: &EdgeView, wanted: &EdgeRules) -> bool {
    let (Some(desired), Some(report)) = (&edge.desired, &edge.report) else { return false };
    let serves = |((name, view), (of, placed)): ((&RuleName, &RuleView), (&RuleName, &Placed))| {
        name == of
            && view.state == RuleState::Active
            && view.wanted.is_none()
            && view.running.as_ref() == Some(&placed.rule)
            && refusal(edge, &placed.rule).is_none()
    };
    desired.generation > 0
        && desired.wanted == *wanted
        // Nearly always the same rules in memory, and then that is all that is compared.
        && desired.rules == desired.wanted
        && desired.rejected.is_empty()
        && edge.overrides.is_empty()
        && report.rules.len() == wanted.len()
        && report.rules.iter().zip(wanted).all(serves)
}

/// Decides the set of an edge. An edge that was never heard is assumed to be able to do everything.
pub fn assign(edge: &EdgeView, wanted: &EdgeRules) -> Assignment {
    #[cfg(test)]
    tests::count();
    let running = edge.running();
    let target = rules_only(wanted);
    let mut rejected: BTreeMap<RuleName, Rejection> =
        target.iter().filter_map(|(name, rule)| Some((name.clone(), refusal(edge, rule)?))).collect();
    overrides::join(&edge.overrides, wanted, &mut rejected);
    let mut beyond = BTreeMap::new();
    if let Some(hello) = &edge.hello {
        over_budget(hello, &running, &target, &mut rejected);
        beyond = beyond_policy(hello, &running, &target, &rejected);
        rejected.extend(beyond.clone());
    }
    let mut rules = wanted.clone();
    if !rejected.is_empty() {
        // What was decided before counts as serving too: an edge that lost its rules gets them back.
        let mut serving = edge.desired.as_ref().map_or_else(Rules::new, |desired| rules_only(&desired.rules));
        serving.extend(running);
        // The one case in which a rejection ends what serves.
        serving.retain(|name, rule| !beyond.contains_key(name) && forbidden(edge, rule).is_none());
        keep_serving(edge, &serving, &target, &rejected, &mut rules);
    }
    // Last, in place of whatever was kept under such a name or on such a port.
    for (name, placed) in overrides::placed(&edge.overrides, wanted) {
        rules.retain(|_, other| shared_port::clash(&other.rule, &placed.rule).is_none());
        rules.insert(name, placed);
    }
    let digest = canonical::rules_digest(rules.values().map(|placed| &*placed.rule));
    Assignment { rules, digest, rejected }
}

/// Why the edge cannot take the rule: by its hello, or because it said so of this very version.
pub(super) fn refusal(edge: &EdgeView, rule: &Rule) -> Option<Rejection> {
    if let Some(rejection) = refused_by_edge(edge, rule) {
        return Some(rejection);
    }
    let hello = edge.hello.as_ref()?;
    if let Some(rejection) = rejection(rule, &hello.capabilities, &hello.limits) {
        return Some(rejection);
    }
    if let Some(rejection) = forbidden(edge, rule) {
        return Some(rejection);
    }
    if let Some(own) = hello.own_listeners.iter().find(|own| {
        rule.listen.ports.contains(own.port)
            && own.protocol == rule.listen.protocol
            && own.address.overlaps(rule.listen.address)
    }) {
        return Some(Rejection {
            code: RuleCode::SelfLockout,
            message: format!("{own} is a listener of the edge itself"),
        });
    }
    None
}

/// Why the policy of the edge's owner forbids a rule, if it does.
fn forbidden(edge: &EdgeView, rule: &Rule) -> Option<Rejection> {
    edge.hello.as_ref()?.policy.as_ref()?.forbids(rule)
}

/// The rules that are more than the policy of the edge's owner allows.
fn beyond_policy(
    hello: &Hello,
    running: &Rules,
    target: &Rules,
    rejected: &BTreeMap<RuleName, Rejection>,
) -> BTreeMap<RuleName, Rejection> {
    let Some(policy) = &hello.policy else { return BTreeMap::new() };
    let may_stay = |name: &RuleName| running.get(name).is_some_and(|rule| policy.forbids(rule).is_none());
    let names: Vec<&RuleName> = target.keys().filter(|name| !rejected.contains_key(*name) || may_stay(name)).collect();
    let beyond = policy.beyond(names.into_iter(), |name| running.contains_key(name));
    beyond.into_iter().filter(|(name, _)| !rejected.contains_key(name)).collect()
}

/// The edge's own word about this very version.
fn refused_by_edge(edge: &EdgeView, rule: &Rule) -> Option<Rejection> {
    let view = edge.rule(&rule.name).filter(|view| view.state == RuleState::Rejected)?;
    let is_this_version = view.told().is_some_and(|told| **told == *rule);
    let code = RuleCode::parse(&view.code).unwrap_or(RuleCode::InvalidRule);
    // The policy itself is known, and may have changed since.
    let is_known =
        code == RuleCode::ForbiddenByPolicy && edge.hello.as_ref().is_some_and(|hello| hello.policy.is_some());
    if is_this_version && !is_known {
        return Some(Rejection { code, message: view.message.clone() });
    }
    None
}

/// Rejects new and widened rules, in name order, from the one on that would not fit.
fn over_budget(hello: &Hello, running: &Rules, target: &Rules, rejected: &mut BTreeMap<RuleName, Rejection>) {
    let width = |rule: &Rule| u64::from(rule.listen.ports.width());
    let descriptors = hello.limits.file_descriptors;
    let most_rules = u64::from(hello.limits.rules);
    let is_kept = |name: &RuleName, rule: &Rule| running.get(name).is_some_and(|now| width(rule) <= width(now));
    let taken = |counted: fn(&Rule) -> u64| -> u64 {
        target.iter().filter(|(name, rule)| is_kept(name, rule)).map(|(_, rule)| counted(rule)).sum()
    };
    let mut used = taken(|rule| u64::from(rule.listen.ports.width()));
    let mut rules = taken(|_| 1);
    for (name, rule) in target {
        if is_kept(name, rule) || rejected.contains_key(name) {
            continue;
        }
        let does_not_fit =
            (descriptors > 0 && used + width(rule) > descriptors) || (most_rules > 0 && rules + 1 > most_rules);
        if does_not_fit {
            let message = if descriptors > 0 && used + width(rule) > descriptors {
                format!(
                    "the rule needs {} descriptor(s), other rules use {used}, and the edge has {descriptors} for \
                     listeners",
                    width(rule)
                )
            } else {
                format!("the edge supports {most_rules} rules and has {rules}")
            };
            rejected.insert(name.clone(), Rejection { code: RuleCode::FdBudgetExceeded, message });
        } else {
            used += width(rule);
            rules += 1;
        }
    }
}

/// Puts the serving version in the place of each rejected one, as far as no accepted rule takes its listeners.
fn keep_serving(
    edge: &EdgeView,
    running: &Rules,
    target: &Rules,
    rejected: &BTreeMap<RuleName, Rejection>,
    rules: &mut EdgeRules,
) {
    let changes = diff::diff(running, target);
    // A rule that the edge itself rejected is sent on: the edge decides, and keeps its previous version. What its policy
    // forbids is decided here, so that the set does not depend on which of two messages of the edge comes first.
    let by_edge = |name: &RuleName| {
        rejected.get(name).is_some_and(|rejection| rejection.code != RuleCode::ForbiddenByPolicy)
            && edge.rule(name).is_some_and(|view| view.state == RuleState::Rejected)
    };
    for name in rejected.keys().filter(|name| !by_edge(name)) {
        rules.remove(name);
    }
    for change in &changes.changes {
        let Some(before) = change.before.as_ref().filter(|_| rejected.contains_key(&change.rule)) else { continue };
        if by_edge(&change.rule) {
            continue;
        }
        let is_taken = rules.values().any(|placed| shared_port::clash(&placed.rule, before).is_some());
        if !is_taken {
            let origin = edge.placed(&before.name).and_then(|placed| placed.origin.clone());
            rules.insert(before.name.clone(), Placed { rule: before.clone(), origin });
        }
    }
    // A rejected rule that already runs unchanged (the edge lost a capability) goes on.
    for name in rejected.keys() {
        if rules.contains_key(name) {
            continue;
        }
        if let Some(rule) = running.get(name).filter(|rule| target.get(name) == Some(*rule)) {
            let origin = edge.placed(name).and_then(|placed| placed.origin.clone());
            rules.insert(name.clone(), Placed { rule: rule.clone(), origin });
        }
    }
}

/// The next desired state of an edge, or `None` if nothing about it changes, its generation included.
pub fn next_desired(edge: &EdgeView, wanted: &EdgeRules, disabled: &EdgeRules) -> Option<DesiredEdge> {
    let current = edge.desired.as_ref();
    if current.is_some_and(|desired| desired.disabled == *disabled) && is_at_rest(edge, wanted) {
        return None;
    }
    let assignment = assign(edge, wanted);
    let ends = overrides::ends(&edge.overrides, wanted);
    let is_same_set = current.is_some_and(|desired| desired.digest == assignment.digest && desired.generation > 0);
    let generation = if is_same_set {
        edge.desired_generation()
    } else {
        // Above everything that any server ever sent this edge, so that a new lineage is never stale.
        generation::above(edge.desired_generation().max(edge.observed_generation()).max(edge.given_up))
    };
    let kept = current.filter(|_| is_same_set);
    let next = DesiredEdge {
        acknowledged: kept.is_some_and(|desired| desired.acknowledged),
        before: kept.map_or_else(|| edge.running(), |desired| desired.before.clone()),
        leaving: kept.map_or_else(|| edge.leaving(), |desired| desired.leaving.clone()),
        generation,
        wanted: wanted.clone(),
        rules: assignment.rules,
        digest: assignment.digest,
        rejected: assignment.rejected,
        disabled: disabled.clone(),
        confirm_within: kept.and_then(|desired| desired.confirm_within),
        ends,
    };
    (current != Some(&next)).then_some(next)
}

#[cfg(test)]
pub(crate) mod tests;
