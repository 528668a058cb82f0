//! What a plan or an order touches, as the limits of operators are asked about it. Pure.
//!
//! Keeps: all versions of a rule that the change is between count, with every port and owner: those that serve, those
//! that were decided, and those that the tree wants, whether their edge accepts them or not.

use std::sync::Arc;

use schema::name::{EdgeName, RuleName};
use schema::net::PortRange;
use schema::rule::Rule;
use schema::ruleset::RuleSet;

use crate::decide::edges::Edges;
use crate::decide::plan::{Action, RuleChange};
use crate::decide::view::EdgeView;

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    /// A rule on an edge.
    Rule {
        /// The edge.
        edge: EdgeName,
        /// The rule.
        rule: RuleName,
        /// Ports before and after.
        ports: Vec<PortRange>,
        /// Owners before and after; the empty one is that of a rule without an owner.
        owners: Vec<String>,
    },
    /// The settings of the tree, which hold for the whole fleet.
    Settings,
    /// Something else that concerns the whole fleet.
    Fleet(&'static str),
}

impl Touch {
    /// A rule in all of its versions.
    pub fn rule<'r>(edge: &EdgeName, rule: &RuleName, versions: impl IntoIterator<Item = &'r Arc<Rule>>) -> Self {
        let (mut ports, mut owners) = (Vec::new(), Vec::new());
        for version in versions {
            if !ports.contains(&version.listen.ports) {
                ports.push(version.listen.ports);
            }
            if !owners.contains(&version.owner) {
                owners.push(version.owner.clone());
            }
        }
        Self::Rule { edge: edge.clone(), rule: rule.clone(), ports, owners }
    }

    /// A rule as its edge knows it, with a version that is to come.
    pub fn known(edge: &EdgeName, rule: &RuleName, view: Option<&EdgeView>, coming: Option<&Arc<Rule>>) -> Self {
        Self::rule(edge, rule, view.into_iter().flat_map(|view| versions(view, rule)).chain(coming))
    }
}

/// All versions of a rule that may serve on an edge, or are to.
pub fn versions<'v>(view: &'v EdgeView, rule: &RuleName) -> Vec<&'v Arc<Rule>> {
    let decided = view.desired.iter().flat_map(|desired| [desired.wanted.get(rule), desired.rules.get(rule)]);
    let disabled = view.desired.iter().filter_map(|desired| desired.disabled.get(rule));
    let told = view.rule(rule).and_then(|told| told.told());
    let held = view.overrides.get(rule).map(|held| &held.rule);
    let all = view.serving(rule).into_iter().chain(told).chain(held);
    all.chain(decided.flatten().chain(disabled).map(|placed| &placed.rule)).collect()
}

/// What the changes of a plan touch. A rule that is only tried again, and one that the tree wants as it was applied, are
/// not changed by applying it.
pub fn of_plan(changes: &[RuleChange], ruleset: &RuleSet, edges: &Edges) -> Vec<Touch> {
    let of_change = |change: &RuleChange| {
        if change.action == Action::Retry {
            return None;
        }
        let view = edges.get(&change.edge);
        let wanted = |rule: &RuleName| ruleset.edges.get(&change.edge).and_then(|rules| rules.get(rule));
        let names = || std::iter::once(&change.rule).chain(&change.previous_rule);
        let decided = view.and_then(|view| view.desired.as_ref());
        let is_as_decided = |rule: &RuleName| {
            decided.is_some_and(|decided| {
                decided.wanted.get(rule).map(|placed| &placed.rule) == wanted(rule).map(|placed| &placed.rule)
            })
        };
        if names().all(is_as_decided) {
            return None;
        }
        let before = view.iter().flat_map(|view| names().flat_map(|rule| versions(view, rule))).collect::<Vec<_>>();
        let after = wanted(&change.rule).map(|placed| &placed.rule);
        Some(Touch::rule(&change.edge, &change.rule, before.into_iter().chain(after)))
    };
    changes.iter().filter_map(of_change).collect()
}
