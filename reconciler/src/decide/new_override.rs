//! Whether an operator may put a break-glass rule on an edge. Pure.
//!
//! Keeps: an override takes no port from a rule of the tree or from another override, and has a reason and an end. It may
//! share a port by server name, as rules of the tree may.

use std::time::Duration;

use schema::capability::Rejection;
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use schema::ruleset::EdgeRules;
use schema::shared_port;

use super::lockouts;
use super::view::EdgeView;

/// The longest life of an override: what is needed for longer belongs into the tree.
pub const MAX_TTL: Duration = Duration::from_hours(7 * 24);

/// Why an override cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOverride {
    /// The tree has a rule of that name there.
    #[error("the tree already has a rule {0} on that edge: change it in the tree")]
    NameTaken(RuleName),
    /// The tree has a rule on those ports.
    #[error("{claim} belongs to {rule} of the tree: an override cannot take a port from the tree")]
    PortTaken {
        /// What was asked for.
        claim: String,
        /// Whose it is.
        rule: RuleName,
    },
    /// Another override has them.
    #[error("{claim} belongs to the override {rule}: remove that override first")]
    Overridden {
        /// What was asked for.
        claim: String,
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
    let claimed = |other: &Rule| Some(shared_port::clash(other, rule)?.claim(rule.listen));
    let of_tree = wanted.iter().find_map(|(name, placed)| Some((name, claimed(&placed.rule)?)));
    if let Some((name, claim)) = of_tree {
        return Err(InvalidOverride::PortTaken { claim, rule: name.clone() });
    }
    let mut others = edge.overrides.iter().filter(|(name, _)| **name != rule.name);
    if let Some((name, claim)) = others.find_map(|(name, other)| Some((name, claimed(&other.rule)?))) {
        return Err(InvalidOverride::Overridden { claim, rule: name.clone() });
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
