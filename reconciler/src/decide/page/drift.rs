//! What runs in another way than it was applied. Pure.

use super::head::link;
use super::words::{Badge, count};
use crate::decide::drift::{Drift, DriftKind};

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftRow {
    /// The kind.
    pub kind: Badge,
    /// `EDGE/RULE` or `EDGE`
    pub place: String,
    /// Where its page is, if there is one.
    pub path: Option<String>,
    /// Code and message.
    pub why: String,
    /// Fields with their values: applied, and running.
    pub fields: Vec<(String, String, String)>,
    /// What happens next.
    pub next: &'static str,
}

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftView {
    /// By edge and rule.
    pub rows: Vec<DriftRow>,
    /// How many there are in all, where the list does not hold them all; else empty.
    pub more: String,
    /// How many the operator may not see, in words.
    pub hidden: String,
    /// The edges that are asked for, as a glob.
    pub edge: String,
}

/// At most so many rows.
pub const SHOWN: usize = 200;

/// The list of what differs.
pub fn list(drift: &[Drift], total: u64, hidden: u64, edge: &str) -> DriftView {
    let rows: Vec<DriftRow> = drift.iter().take(SHOWN).map(row).collect();
    let is_cut = total > rows.len() as u64;
    let more = if is_cut {
        format!("The first {} of {}; narrow the list by edge.", rows.len(), count(total, "difference"))
    } else {
        String::new()
    };
    let hidden = if hidden > 0 {
        format!("{} outside of your limits not shown.", count(hidden, "difference"))
    } else {
        String::new()
    };
    DriftView { rows, more, hidden, edge: edge.to_owned() }
}

fn row(one: &Drift) -> DriftRow {
    let parts: Vec<&str> =
        [one.code.as_str(), one.message.as_str()].into_iter().filter(|part| !part.is_empty()).collect();
    let (place, path) = match &one.rule {
        Some(rule) => (format!("{}/{rule}", one.edge), link(&format!("/ui/rules/{}/{rule}", one.edge))),
        None => (one.edge.to_string(), link(&format!("/ui/edges/{}", one.edge))),
    };
    let word = one.kind.as_str().replace('_', " ");
    let (kind, next) = match one.kind {
        DriftKind::Failed => (Badge::down(word), "It is tried again by itself."),
        DriftKind::Rejected => (Badge::down(word), "Change the rule, or the edge; it is not tried again before."),
        DriftKind::EdgeOffline => (Badge::off(word), "The edge takes its state when it comes back."),
        DriftKind::StaleGeneration => (Badge::info(word), "The edge has not answered yet."),
        DriftKind::Unsettled => (Badge::down(word), "Look at the log of the edge."),
        DriftKind::Override => (Badge::warn(word), "It ends by itself, or when an operator ends it."),
        DriftKind::Missing | DriftKind::Extra | DriftKind::Changed => {
            (Badge::warn(word), "The next apply puts it right.")
        }
    };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "–".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = one.fields.iter().map(|field| (field.path.clone(), text(&field.before), text(&field.after)));
    DriftRow { kind, place, path, why: parts.join(": "), fields: fields.collect(), next }
}
