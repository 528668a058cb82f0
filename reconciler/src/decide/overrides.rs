//! Break-glass rules: what an operator put on an edge without git, until when and why. Pure.
//!
//! Keeps: an override takes no port from a rule of the tree, is never pruned before its time, and goes by itself. A
//! rule of the tree with its name and its listeners takes it over; any other that wants its name or its ports waits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::capability::Rejection;
use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::ruleset::{EdgeRules, Placed};
use schema::shared_port;

use super::break_glass::{Override, Overrides};
use super::lockouts;

/// True if a rule of the tree takes the override over: same name, same listeners.
fn is_taken_over(held: &Override, wanted: &EdgeRules) -> bool {
    wanted.get(&held.rule.name).is_some_and(|placed| placed.rule.listen == held.rule.listen)
}

/// The overrides that a tree takes over: they are over once it is in force.
pub fn taken_over<'a>(overrides: &'a Overrides, wanted: &'a EdgeRules) -> impl Iterator<Item = &'a RuleName> {
    overrides.iter().filter(|(_, held)| is_taken_over(held, wanted)).map(|(name, _)| name)
}

/// Those whose time is over.
pub fn expired(overrides: &Overrides, now: Timestamp) -> impl Iterator<Item = &RuleName> {
    overrides.iter().filter(move |(_, held)| held.until <= now).map(|(name, _)| name)
}

/// Puts the overrides beside the rules of the tree. A rule of the tree that wants the name or the ports of one, or that
/// would forward to one or be forwarded to by one, is rejected until that is over; a version of it that serves goes on.
pub(super) fn join(overrides: &Overrides, rules: &EdgeRules, rejected: &mut BTreeMap<RuleName, Rejection>) {
    let held: Vec<&Override> = overrides.values().filter(|held| !is_taken_over(held, rules)).collect();
    for held in &held {
        let claim = |placed: &Placed| {
            let clash = shared_port::clash(&placed.rule, &held.rule).map(|clash| clash.claim(held.rule.listen));
            clash.or_else(|| (placed.rule.name == held.rule.name).then(|| "the name".to_owned()))
        };
        for (name, claim) in rules.iter().filter_map(|(name, placed)| Some((name, claim(placed)?))) {
            let message = format!(
                "{claim} is held by the override {} of {} until {:.0}: {}",
                held.rule.name, held.actor, held.until, held.why
            );
            rejected.entry(name.clone()).or_insert(Rejection { code: RuleCode::PortInUse, message });
        }
    }
    for (rule, message) in lockouts::of_tree_rules(rules, held.into_iter()) {
        rejected.entry(rule.name.clone()).or_insert(Rejection { code: RuleCode::SelfLockout, message });
    }
}

/// When the rules of the overrides that are not taken over end.
pub(super) fn ends(overrides: &Overrides, wanted: &EdgeRules) -> BTreeMap<RuleName, Timestamp> {
    let held = overrides.iter().filter(|(_, held)| !is_taken_over(held, wanted));
    held.map(|(name, held)| (name.clone(), held.until)).collect()
}

/// The rules of the overrides that are not taken over, as they are sent.
pub(super) fn placed<'a>(
    overrides: &'a Overrides,
    wanted: &'a EdgeRules,
) -> impl Iterator<Item = (RuleName, Placed)> + 'a {
    let held = overrides.iter().filter(|(_, held)| !is_taken_over(held, wanted));
    held.map(|(name, held)| (name.clone(), Placed { rule: held.rule.clone(), origin: None }))
}
