//! What a tree decides anew, and whether a plan that was seen still says it. Pure.
//!
//! Keeps: an edge that is at rest is only looked at, so that it stays shared with the copy that undoes a step.

use std::collections::BTreeSet;

use schema::name::EdgeName;
use schema::ruleset::{EdgeRules, RuleSet};

use super::Fleet;
use crate::decide::assign::next_desired;
use crate::decide::plan::{Plan, RuleChange};
use crate::decide::view::{DesiredEdge, EdgeView};

impl Fleet {
    /// What the tree decides anew, in the order of names. The edges are only looked at: most of them stay as they are,
    /// and those are shared with the copy that undoes this step.
    pub(super) fn decided_by(
        &self,
        ruleset: &RuleSet,
        moved: &BTreeSet<EdgeName>,
        held_back: &BTreeSet<EdgeName>,
    ) -> Vec<(EdgeName, DesiredEdge)> {
        let (unknown, none) = (EdgeView::default(), EdgeRules::new());
        // What is disabled is decided as well, for status.
        let shown = self.edges.beside(&ruleset.disabled).filter(|(_, view, disabled)| {
            let before = view.and_then(|view| view.desired.as_ref()).map(|desired| &desired.disabled);
            before.unwrap_or(&none) != disabled.unwrap_or(&none)
        });
        let names: BTreeSet<&EdgeName> = shown.map(|(name, _, _)| name).chain(moved).collect();
        let decided = names.into_iter().filter(|name| !held_back.contains(*name)).filter_map(|name| {
            let view = self.edges.get(name).unwrap_or(&unknown);
            let [wanted, disabled] = [&ruleset.edges, &ruleset.disabled].map(|all| all.get(name).unwrap_or(&none));
            Some((name.clone(), next_desired(view, wanted, disabled)?))
        });
        decided.collect()
    }
}

/// Compares a plan that a person saw with the same plan made now, on the edges that it touches.
pub(super) fn still_holds(seen: &Plan, fresh: &Plan) -> Result<(), String> {
    if seen.base.lineage != fresh.base.lineage {
        return Err("the plan was made against another server, or this server has lost its state since then".to_owned());
    }
    let touched: BTreeSet<&EdgeName> = seen.changes.iter().map(|change| &change.edge).collect();
    for edge in &touched {
        let (before, now) = (seen.base.edges.get(*edge), fresh.base.edges.get(*edge));
        let is_same = before
            .zip(now)
            .is_some_and(|(before, now)| (before.generation, before.digest) == (now.generation, now.digest));
        if !is_same {
            return Err(format!("edge {edge} changed since the plan was made"));
        }
    }
    let [before, now] = [seen, fresh]
        .map(|plan| plan.changes.iter().filter(|change| touched.contains(&change.edge)).map(RuleChange::core));
    if before.eq(now) { Ok(()) } else { Err("the plan would be different now".to_owned()) }
}
