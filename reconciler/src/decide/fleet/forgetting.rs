//! Edges that are gone for good. Pure.
//!
//! Keeps: names are known of edges that a tree, an operator or a live session names, and of no others; what an operator
//! has the server forget is written down, and trips no rail of the edges that are there.

use schema::name::{EdgeName, Labels};

use super::freezing::Deed;
use super::step::Step;
use super::{Effect, Fleet};
use crate::decide::ledger::{Entry, LedgerAction};
use crate::decide::record::Record;
use crate::decide::view::EdgeView;

/// Why an edge is not forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgetRefusal {
    /// There is no such edge.
    #[error("edge {0} does not exist")]
    Unknown(EdgeName),
    /// It is there.
    #[error("edge {0} is connected: stop it first, or it would be known again at once")]
    Connected(EdgeName),
}

impl Fleet {
    /// True for an edge that a tree names, that something was decided for, or that operators put something on.
    pub fn is_named(&self, edge: &EdgeName) -> bool {
        let followed = self.followed.as_ref().and_then(|tree| tree.ruleset.as_ref());
        let in_force = self.applied.as_ref().is_some_and(|applied| applied.named.contains(edge));
        let has_any = self
            .edges
            .get(edge)
            .is_some_and(|view| view.desired.is_some() || !view.overrides.is_empty() || !view.deviations.is_empty());
        in_force || has_any || followed.is_some_and(|tree| tree.names(edge))
    }

    /// Labels of an edge by the tree in force, else by the followed one.
    pub fn labels(&self, edge: &EdgeName) -> Labels {
        let followed = self.followed.as_ref().and_then(|tree| tree.ruleset.as_ref());
        let in_force = self.applied.as_ref().and_then(|applied| applied.labels.get(edge));
        in_force.or_else(|| followed.and_then(|tree| tree.inventory.get(edge))).cloned().unwrap_or_default()
    }

    /// True for an edge without rules that no tree names and operators put nothing on: that it is offline concerns nobody.
    pub(super) fn is_of_no_concern(&self, edge: &EdgeName) -> bool {
        let in_trees = self.applied.as_ref().is_some_and(|applied| applied.named.contains(edge))
            || self.followed.as_ref().and_then(|tree| tree.ruleset.as_ref()).is_some_and(|tree| tree.names(edge));
        !in_trees && self.edges.get(edge).is_none_or(EdgeView::is_bare)
    }

    /// Forgets an edge without a session that nothing names.
    pub(super) fn drop_unnamed(&mut self, edge: &EdgeName) {
        if !self.links.contains_key(edge) && !self.is_named(edge) {
            self.edges.remove(edge);
            self.unsettled.remove(edge);
        }
    }

    /// Forgets an edge that an operator knows to be gone for good, with all that was decided for it.
    pub(super) fn forget(&mut self, edge: &EdgeName, actor: &str, step: &mut Step) -> Result<(), ForgetRefusal> {
        let known = self.edges.get(edge).ok_or_else(|| ForgetRefusal::Unknown(edge.clone()))?;
        if self.links.contains_key(edge) {
            return Err(ForgetRefusal::Connected(edge.clone()));
        }
        let rules = known.running().len();
        self.edges.remove(edge);
        self.unsettled.remove(edge);
        self.unsaved.remove(edge);
        self.rollout.forget(edge);
        step.effects.extend(Record::of_edge(edge).map(Effect::Persist));
        let note = format!("{edge}: it ran {rules} rules");
        let line = Entry {
            note,
            ..self.line(Deed { action: LedgerAction::Edge, actor, why: String::new(), outcome: "forgotten" }, step.now)
        };
        step.persist(Record::ledger(&line.chained(&mut self.head)));
        step.emit(self.edge_notice(edge));
        if let Some(applied) = &mut self.applied
            && applied.unreached.remove(edge)
        {
            step.persist(Record::applied(applied));
        }
        if self.is_named(edge) {
            // A tree still wants rules there: they wait for it, and until it is heard they are nobody's loss.
            self.edges.get_or_new(edge).forgotten = true;
            step.persist(Record::forgotten(edge, true));
            self.follow(step);
        }
        Ok(())
    }
}
