//! What a fleet starts from: what was recorded of it. Values.

use std::collections::BTreeSet;
use std::sync::Arc;

use schema::canonical::Digest;
use schema::name::EdgeName;
use schema::networks::{ListFile, Lists};
use schema::rule::Rule;

use super::applied::Applied;
use super::control::{Freeze, Hold};
use super::edges::Edges;
use super::ledger::{Entry, Head};
use super::view::DesiredEdge;

/// What a fleet starts from: what was recorded.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Edges with what was decided for them.
    pub edges: Edges,
    /// The tree in force.
    pub applied: Option<Applied>,
    /// The end of the ledger.
    pub head: Head,
    /// Its first line that does not fit the chain, if any.
    pub ledger_break: Option<u64>,
    /// Plan files that were used.
    pub used_plans: BTreeSet<Digest>,
    /// The apply that had begun and not ended when the server went.
    pub cut_off: Option<Entry>,
    /// The freeze that stood.
    pub frozen: Option<Freeze>,
    /// The rollback that was held.
    pub hold: Option<Hold>,
}

impl Restored {
    /// The digests of list files whose networks are not at hand: records hold rules without them.
    pub fn missing_lists(&self) -> BTreeSet<Digest> {
        let rules = self.edges.values().filter_map(|edge| edge.desired.as_ref()).flat_map(rules_of);
        let files = rules.flat_map(|rule| rule.access.iter().flat_map(|access| access.files()));
        files.filter(|file| file.list().is_none()).map(ListFile::digest).collect()
    }

    /// Gives the rules of all edges the networks of their list files, as far as they are among these.
    pub fn resolve_lists(&mut self, lists: &Lists) {
        let names: Vec<EdgeName> = self.edges.keys().cloned().collect();
        for name in &names {
            if let Some(desired) = self.edges.get_mut(name).and_then(|edge| edge.desired.as_mut()) {
                rules_of_mut(desired).for_each(|rule| resolve(rule, lists));
            }
        }
    }
}

fn resolve(rule: &mut Arc<Rule>, lists: &Lists) {
    if !rule.is_resolved() {
        *rule = Arc::new(Rule::clone(rule).resolved(lists));
    }
}

/// Every version of every rule that was decided for an edge.
fn rules_of(desired: &DesiredEdge) -> impl Iterator<Item = &Arc<Rule>> {
    let placed = [&desired.wanted, &desired.rules, &desired.disabled].into_iter().flat_map(|rules| rules.values());
    placed.map(|placed| &placed.rule).chain(desired.before.values()).chain(desired.leaving.values())
}

fn rules_of_mut(desired: &mut DesiredEdge) -> impl Iterator<Item = &mut Arc<Rule>> {
    let placed = [&mut desired.wanted, &mut desired.rules, &mut desired.disabled].into_iter();
    let placed = placed.flat_map(|rules| rules.values_mut()).map(|placed| &mut placed.rule);
    placed.chain(desired.before.values_mut()).chain(desired.leaving.values_mut())
}
