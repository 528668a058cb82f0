//! What the changes of a plan end on their edges, as the edges are asked about it. Pure.
//!
//! Keeps: what a plan says of the connections that it ends is about those alone; where that is not known, it says
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use schema::diff;
use schema::ending::{self, Part};
use schema::name::{EdgeName, RuleName};
use schema::ruleset::{EdgeRules, RuleSet, rules_only};
use schema::wire::ending::AGES_FEATURE;

use crate::decide::assign::assign;
use crate::decide::edges::Edges;
use crate::decide::view::EdgeView;

/// Parts that an edge is asked about at most: a range that a thousand rules take over falls into as many, and is not
/// looked at so closely.
const PARTS: usize = 256;

/// What ends of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// Its parts, where the edge answers for them alone.
    pub parts: Vec<Part>,
    /// True if no connection of the rule lives on, so that what is known of the rule is known of them.
    pub is_whole: bool,
}

/// What each of these rules, by its name before the change, loses under the tree.
pub fn ended(
    ruleset: &RuleSet,
    edges: &Edges,
    rules: &BTreeMap<EdgeName, BTreeSet<RuleName>>,
) -> BTreeMap<(EdgeName, RuleName), Ended> {
    let mut all = BTreeMap::new();
    for (name, rules) in rules {
        let Some(edge) = edges.get(name) else { continue };
        let (none, running) = (EdgeRules::new(), edge.running());
        let wanted = ruleset.edges.get(name).unwrap_or(&none);
        let endings = ending::ends(&diff::diff(&running, &rules_only(&assign(edge, wanted).rules)));
        for rule in rules {
            let parts: Vec<Part> = endings.of_rule(rule).cloned().collect();
            let parts = if answers(edge) && parts.len() <= PARTS { parts } else { Vec::new() };
            let is_whole = running.get(rule).is_some_and(|before| endings.end_all_of(before));
            all.insert((name.clone(), rule.clone()), Ended { parts, is_whole });
        }
    }
    all
}

/// True if an edge answers for the connections that end, and not for all of a rule.
fn answers(edge: &EdgeView) -> bool {
    edge.connected && edge.hello.as_ref().is_some_and(|hello| hello.features.contains(AGES_FEATURE))
}
