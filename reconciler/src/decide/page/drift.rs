//! What runs in another way than it was applied. Pure.

use super::filter::FilterForm;
use super::head::link;
use super::query::ViewQuery;
use super::words::{Badge, count};
use crate::decide::drift::{Drift, DriftKind, ROLLOUT_UNFINISHED};

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
    /// What is asked for.
    pub filter: FilterForm,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
}

/// `override`, `edge offline`
fn word(kind: DriftKind) -> String {
    kind.as_str().replace('_', " ")
}

/// `Override`, `Edge offline`
pub fn title(kind: DriftKind) -> String {
    let word = word(kind);
    word[..1].to_uppercase() + &word[1..]
}

/// Code and message. What an override is called stands in its message already.
pub fn message(one: &Drift) -> String {
    let code = Some(one.code.as_str()).filter(|_| one.kind != DriftKind::Override);
    let parts: Vec<&str> = code.into_iter().chain([one.message.as_str()]).filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

/// The path of the view.
pub const PATH: &str = "/ui/drift";
/// At most so many rows.
pub const SHOWN: usize = 200;

/// The list of what differs.
pub fn list(query: &ViewQuery, drift: &[Drift], total: u64, hidden: u64) -> DriftView {
    let kinds: Vec<(&str, String)> = DriftKind::ALL.iter().map(|kind| (kind.as_str(), word(*kind))).collect();
    let kinds: Vec<(&str, &str)> =
        [("", "any")].into_iter().chain(kinds.iter().map(|(value, label)| (*value, label.as_str()))).collect();
    let filter = FilterForm::new(PATH, query, &[])
        .select(query, ("kind", "Kind"), &kinds)
        .text(query, ("edge", "Edge", "fra-*"))
        .text(query, ("rule", "Rule", "web-*"))
        .text(query, ("owner", "Owner", "team-web"));
    let empty = if filter.is_used {
        "No difference matches. Remove a filter to see more."
    } else {
        "There is no drift: what runs is what was applied."
    };
    let rows: Vec<DriftRow> = drift.iter().take(SHOWN).map(row).collect();
    let is_cut = total > rows.len() as u64;
    let more = if is_cut {
        format!("The first {} of {}; narrow the list with a filter.", rows.len(), count(total, "difference"))
    } else {
        String::new()
    };
    let hidden = if hidden > 0 {
        format!("{} outside of your limits are not shown.", count(hidden, "difference"))
    } else {
        String::new()
    };
    DriftView { rows, more, hidden, filter, empty: empty.to_owned() }
}

fn row(one: &Drift) -> DriftRow {
    let (place, path) = match &one.rule {
        Some(rule) => (format!("{}/{rule}", one.edge), link(&format!("/ui/rules/{}/{rule}", one.edge))),
        None => (one.edge.to_string(), link(&format!("/ui/edges/{}", one.edge))),
    };
    let word = word(one.kind);
    let (kind, next) = match one.kind {
        DriftKind::Failed => (Badge::down(word), "The edge retries it."),
        DriftKind::Rejected => (Badge::down(word), "It is not retried until the rule or the edge changes."),
        DriftKind::EdgeOffline => (Badge::off(word), "The edge receives its state when it is back."),
        DriftKind::StaleGeneration if one.code == ROLLOUT_UNFINISHED => {
            (Badge::info(word), "The rollout reaches it; if it was stopped, applying again continues it.")
        }
        DriftKind::StaleGeneration => (Badge::info(word), "The edge has not confirmed its state yet."),
        DriftKind::Unsettled => (Badge::down(word), "The log of the edge shows more."),
        DriftKind::Override => (Badge::warn(word), "It ends when an operator ends it, or at its expiry if it has one."),
        DriftKind::Missing | DriftKind::Extra | DriftKind::Changed => {
            (Badge::warn(word), "The server restores it, unless its mode is off.")
        }
    };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "–".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = one.fields.iter().map(|field| (field.path.clone(), text(&field.before), text(&field.after)));
    DriftRow { kind, place, path, why: message(one), fields: fields.collect(), next }
}
