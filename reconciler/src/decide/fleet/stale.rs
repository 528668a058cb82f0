//! An edge that moved on between a plan and its application: it refuses with `stale_base`. Pure.
//!
//! Keeps: what a person saw is not done to an edge that is another one by now; what nobody waits for is decided
//! again from what the edge runs, and no edge is asked without end.

use schema::name::EdgeName;

use super::before::Before;
use super::link::Link;
use super::step::Step;
use super::{EdgeOutcome, Fleet, Mode, confirming};
use crate::decide::view::Basis;

impl Fleet {
    /// What a plan was made from, of an edge that it touches: known only where nothing is on its way there.
    pub(super) fn planned_basis(&self, edge: &EdgeName) -> Option<(Basis, Before)> {
        let is_quiet = self.links.get(edge).is_some_and(Link::is_answered);
        let view = self.edges.get(edge).filter(|_| is_quiet)?;
        Some((view.basis()?, Before::of(view)))
    }

    /// An edge refused what was decided from another state than its own. Where a person waits for it, it has failed, and
    /// stays as it is; otherwise it is decided again from its report.
    pub(super) fn base_was_stale(&mut self, edge: &EdgeName, step: &mut Step) {
        let Some(view) = self.edges.get(edge) else { return };
        let refused = view.report.as_ref().and_then(|report| report.refused.clone());
        let Some(run) = self.rollout.run.as_mut().filter(|run| run.basis_of(edge, view).is_some()) else { return };
        let Some((_, decided)) = run.bases.remove(edge) else { return };
        // What was on trial and gave way meanwhile is not what it stays with.
        let before = confirming::returned_to(view).map_or(decided, Before::with);
        if let Some(result) = run.result.edge_mut(edge) {
            result.outcome = EdgeOutcome::Refused;
            (result.code, result.message) = refused.unwrap_or_default();
            run.is_untold = true;
        }
        // Following the tree, the server plans anew by itself.
        if self.mode != Mode::Apply {
            self.put_back(edge, &before, step);
        }
    }
}
