//! Live connections that an operator ends: written down before their edges are asked. Pure.

use schema::name::{EdgeName, RuleName};

use super::Fleet;
use super::freezing::Deed;
use super::step::Step;
use crate::decide::connections::{self, RuleConnections};
use crate::decide::ledger::{Entry, LedgerAction};
use crate::decide::operators::Touch;
use crate::decide::record::Record;

/// What an operator ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsOrder {
    /// The rules, with the connections of each that are meant.
    pub rules: Vec<RuleConnections>,
    /// By which selectors.
    pub selectors: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub why: String,
}

impl Fleet {
    /// What it touches.
    pub(super) fn touched_by_ending(&self, order: &ConnectionsOrder) -> Vec<Touch> {
        let known = |edge: &EdgeName, rule: &RuleName| Touch::known(edge, rule, self.edges.get(edge), None);
        order.rules.iter().map(|row| known(&row.edge, &row.rule)).collect()
    }

    /// Writes it down.
    pub(super) fn note_ending(&mut self, order: &ConnectionsOrder, step: &mut Step) {
        let note = connections::note(&order.rules, &order.selectors);
        let line = self.line(
            Deed {
                action: LedgerAction::Connections,
                actor: &order.actor,
                why: order.why.clone(),
                outcome: "connections_ended",
            },
            step.now,
        );
        step.persist(Record::ledger(&Entry { note, ..line }.chained(&mut self.head)));
    }
}
