//! Whether the operator who asks may change what a request would change. Pure.
//!
//! Keeps: the limits are asked about what would change at that moment, in the step that changes it.

use schema::canonical::Digest;

use super::{Fleet, OverrideRequest, Request, TreeRead};
use crate::decide::applied::Applied;
use crate::decide::edges::Edges;
use crate::decide::operators::{Denied, Mandate, Touch, touch};
use crate::decide::plan::{FileDocument, Plan};

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
            Request::Override(OverrideRequest::Add { edge, rule, .. }) => {
                Touch::known(edge, &rule.name, self.edges.get(edge), Some(rule))
            }
            Request::Override(OverrideRequest::Remove { edge, rule, .. }) => {
                Touch::known(edge, rule, self.edges.get(edge), None)
            }
            Request::Target(order) => Touch::known(&order.edge, &order.rule, self.edges.get(&order.edge), None),
            Request::QuotaReset { edge, rule, .. } => Touch::known(edge, rule, self.edges.get(edge), None),
            Request::Forget { .. } => Touch::Fleet("an edge as a whole"),
        };
        authority.may(Some(&[touch]))
    }
}
