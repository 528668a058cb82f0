//! Break-glass rules: what an operator put on an edge without git, until when and why. Pure.
//!
//! Keeps: an override takes no port from a rule of the tree, is never pruned before its time, and goes by itself. A
//! rule of the tree with its name and its listeners takes it over; any other that wants its name or its ports waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::capability::Rejection;
use schema::codes::RuleCode;
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Placed};
use serde::{Deserialize, Serialize};

use super::lockouts;
use super::view::EdgeView;

/// The longest life of an override: what is needed for longer belongs into the tree.
pub const MAX_TTL: Duration = Duration::from_hours(7 * 24);

/// One break-glass rule on one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What it forwards.
    pub rule: Arc<Rule>,
    /// Who put it there.
    pub actor: String,
    /// Why, in the words of that person.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Who put a break-glass rule there, why and for how long, as a status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideStatus {
    /// Who.
    pub actor: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl From<&Override> for OverrideStatus {
    fn from(held: &Override) -> Self {
        Self { actor: held.actor.clone(), why: held.why.clone(), since: held.since, until: held.until }
    }
}

/// The overrides of one edge, by rule.
pub type Overrides = BTreeMap<RuleName, Override>;

/// Why an override cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOverride {
    /// The tree has a rule of that name there.
    #[error("the tree already has a rule {0} on that edge: change it in the tree")]
    NameTaken(RuleName),
    /// The tree has a rule on those ports.
    #[error("{listen} belongs to {rule} of the tree: an override cannot take a port from the tree")]
    PortTaken {
        /// What was asked for.
        listen: String,
        /// Whose it is.
        rule: RuleName,
    },
    /// Another override has them.
    #[error("{listen} belongs to the override {rule}: remove that override first")]
    Overridden {
        /// What was asked for.
        listen: String,
        /// Whose it is.
        rule: RuleName,
    },
    /// It and another rule of the edge would forward to each other's listeners, or it to its own.
    #[error("{0}")]
    Lockout(String),
    /// The edge does not support the rule.
    #[error("the edge does not support it: {}", .0.message)]
    Rejected(Rejection),
    /// Nothing is known of the edge.
    #[error("edge {0} is unknown: it has never connected, and the tree does not name it")]
    UnknownEdge(EdgeName),
    /// Its life is nothing, or longer than anything that is not in the tree should be.
    #[error("an override lasts from one second to 7 days")]
    Lifetime,
    /// Without a reason nobody knows later whether it may go.
    #[error("give a reason: it is shown wherever the override is shown")]
    NoReason,
}

/// Whether an override may be added to an edge. The same name once more replaces the earlier override.
pub fn check(edge: &EdgeView, rule: &Rule, why: &str, ttl: Duration) -> Result<(), InvalidOverride> {
    if why.trim().is_empty() {
        return Err(InvalidOverride::NoReason);
    }
    if ttl < Duration::from_secs(1) || ttl > MAX_TTL {
        return Err(InvalidOverride::Lifetime);
    }
    let none = EdgeRules::new();
    let wanted = edge.desired.as_ref().map_or(&none, |desired| &desired.wanted);
    if wanted.contains_key(&rule.name) {
        return Err(InvalidOverride::NameTaken(rule.name.clone()));
    }
    let listen = || rule.listen.to_string();
    if let Some((name, _)) = wanted.iter().find(|(_, placed)| placed.rule.listen.conflicts_with(&rule.listen)) {
        return Err(InvalidOverride::PortTaken { listen: listen(), rule: name.clone() });
    }
    let others = edge.overrides.iter().filter(|(name, _)| **name != rule.name);
    if let Some((name, _)) = others.into_iter().find(|(_, other)| other.rule.listen.conflicts_with(&rule.listen)) {
        return Err(InvalidOverride::Overridden { listen: listen(), rule: name.clone() });
    }
    // What the tree wants, and what serves of it in an older version.
    let tree: Vec<&EdgeRules> = edge.desired.iter().flat_map(|desired| [&desired.wanted, &desired.rules]).collect();
    if let Some(message) = lockouts::of_new(rule, &tree, &edge.overrides) {
        return Err(InvalidOverride::Lockout(message));
    }
    match super::assign::refusal(edge, rule) {
        Some(rejection) => Err(InvalidOverride::Rejected(rejection)),
        None => Ok(()),
    }
}

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
        let blocks = |placed: &Placed| {
            placed.rule.name == held.rule.name || placed.rule.listen.conflicts_with(&held.rule.listen)
        };
        for (name, placed) in rules.iter().filter(|(_, placed)| blocks(placed)) {
            let message = format!(
                "{} is held by the override {} of {} until {:.0}: {}",
                if placed.rule.listen.conflicts_with(&held.rule.listen) {
                    held.rule.listen.to_string()
                } else {
                    "the name".to_owned()
                },
                held.rule.name,
                held.actor,
                held.until,
                held.why
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
