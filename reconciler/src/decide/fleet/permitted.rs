//! Whether the operator who asks may change what a request would change. Pure.
//!
//! Keeps: the limits are asked about what would change at that moment, in the step that changes it.

use std::collections::BTreeSet;

use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};

use super::{Fleet, OverrideRequest, Request, TreeRead};
use crate::decide::applied::Applied;
use crate::decide::edges::Edges;
use crate::decide::operators::{Denied, Mandate, Touch, touch};
use crate::decide::plan::{FileDocument, Plan};
use crate::decide::quota::QuotaOf;
use crate::decide::view::EdgeView;

/// The file with the settings of a tree.
const SETTINGS: &str = "portunus.toml";

/// Digest of the settings among these files; that of nothing where there are none.
pub(crate) fn settings_of(files: &[FileDocument]) -> Digest {
    let text = files.iter().find(|file| *file.path == *SETTINGS).map_or("", |file| file.text.as_ref());
    Digest::of(text.as_bytes())
}

impl TreeRead {
    /// Digest of its settings.
    pub fn settings(&self) -> Digest {
        settings_of(&self.files)
    }
}

/// What applying a tree by its plan touches, with the settings that are in force.
pub fn touches(plan: &Plan, tree: &TreeRead, edges: &Edges, in_force: Option<Digest>) -> Vec<Touch> {
    let ruleset = tree.ruleset.as_ref().expect("only valid trees are planned");
    let mut touches = touch::of_plan(&plan.changes, ruleset, edges);
    touches.extend((in_force != Some(tree.settings())).then_some(Touch::Settings));
    touches
}

/// The rules that a new beginning of a quota lets in again: of an owner all that it has on the edge.
pub fn touched_by_reset(edges: &Edges, edge: &EdgeName, of: &QuotaOf) -> Vec<Touch> {
    let view = edges.get(edge);
    let known = |rule: &RuleName| Touch::known(edge, rule, view, None);
    match of {
        QuotaOf::Rule(rule) => vec![known(rule)],
        QuotaOf::Owner(owner) => {
            let decided = view.and_then(|view| view.desired.as_ref()).into_iter();
            let decided = decided.flat_map(|desired| desired.wanted.values().chain(desired.rules.values()));
            let running = view.map(EdgeView::running).unwrap_or_default().into_values();
            let all = decided.map(|placed| placed.rule.clone()).chain(running);
            let names: BTreeSet<RuleName> =
                all.filter(|rule| rule.owner == *owner).map(|rule| rule.name.clone()).collect();
            names.iter().map(known).collect()
        }
    }
}

impl Fleet {
    /// Digest of the settings in force; `None` where it is not known.
    pub fn settings(&self) -> Option<Digest> {
        match &self.applied {
            Some(Applied { settings, .. }) => *settings,
            None => Some(settings_of(&[])),
        }
    }

    /// Whether the operator may have that.
    pub(super) fn permits(&self, authority: &Mandate, request: &Request) -> Result<(), Denied> {
        let touch = match request {
            Request::EndConnections(order) => return authority.may(Some(&self.touched_by_ending(order))),
            Request::QuotaReset { edge, of, .. } => {
                return authority.may(Some(&touched_by_reset(&self.edges, edge, of)));
            }
            Request::Override(OverrideRequest::Add { edge, rule, .. }) => {
                Touch::known(edge, &rule.name, self.edges.get(edge), Some(rule))
            }
            Request::Override(OverrideRequest::Remove { edge, rule, .. }) => {
                Touch::known(edge, rule, self.edges.get(edge), None)
            }
            Request::Target(order) => Touch::known(&order.edge, &order.rule, self.edges.get(&order.edge), None),
            Request::Forget { .. } => Touch::Fleet("an edge as a whole"),
        };
        authority.may(Some(&[touch]))
    }
}
