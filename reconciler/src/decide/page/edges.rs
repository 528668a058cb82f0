//! The view `/ui/edges`: who forwards, since when, and how far each is behind. Pure.

use jiff::Timestamp;

use super::filter::{FilterForm, Pager};
use super::query::ViewQuery;
use super::rule_line::edge_href;
use super::rules::hidden_in_words;
use super::words::{Badge, Moment, grouped};
use crate::decide::status::EdgeStatus;
use crate::decide::status::summaries::EdgeSummary;

/// The path of the view.
pub const PATH: &str = "/ui/edges";

/// One edge as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeLine {
    /// Its name.
    pub name: String,
    /// Its view.
    pub href: String,
    /// Connected or not.
    pub state: Badge,
    /// Since when.
    pub since: Option<Moment>,
    /// When it was heard last, of one that is offline.
    pub last_seen: Option<Moment>,
    /// Rules that need a look; else how many there are.
    pub rules: Vec<Badge>,
    /// How many rules it has.
    pub rule_count: String,
    /// `5 of 6 up`
    pub targets: String,
    /// Live connections.
    pub connections: String,
    /// `12`, or `11 of 12` where it is behind.
    pub generation: String,
    /// True where it is behind.
    pub is_behind: bool,
    /// Its program.
    pub version: String,
    /// When its certificate ends.
    pub certificate: Option<Moment>,
    /// Its labels, as `KEY=VALUE`.
    pub labels: Vec<String>,
}

impl EdgeLine {
    /// One edge of the list.
    pub fn new(edge: &EdgeStatus, now: Timestamp) -> Self {
        let summary = edge.summary.unwrap_or_else(|| EdgeSummary::of(edge));
        let or_dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
        Self {
            name: edge.name.to_string(),
            href: edge_href(edge.name.as_str()),
            state: state(edge),
            since: edge.since.map(|at| Moment::new(at, now)),
            // One that is offline was seen last when it went, unless the server was away then.
            last_seen: edge
                .last_seen
                .filter(|at| !edge.connected && edge.since != Some(*at))
                .map(|at| Moment::new(at, now)),
            rules: rules_in_badges(&summary),
            rule_count: grouped(summary.rules),
            targets: targets_in_words(&summary),
            connections: grouped(summary.connections),
            generation: generation(edge),
            is_behind: edge.generation < edge.desired_generation,
            version: or_dash(&edge.version),
            certificate: edge.certificate_expires_at.map(|at| Moment::new(at, now)),
            labels: labels(edge),
        }
    }
}

/// True once the edge has joined. After a restart, a server knows of an edge that has not come back only that it has a
/// certificate.
pub(super) fn has_joined(edge: &EdgeStatus) -> bool {
    edge.last_seen.is_some() || edge.certificate_expires_at.is_some()
}

/// Connected, offline or revoked.
pub fn state(edge: &EdgeStatus) -> Badge {
    match (edge.revoked, edge.connected, has_joined(edge)) {
        (true, ..) => Badge::down("revoked"),
        (false, true, _) => Badge::up("connected"),
        (false, false, true) => Badge::down("offline"),
        (false, false, false) => Badge::off("never seen"),
    }
}

/// `12`, or `11 of 12` where the edge is behind.
pub fn generation(edge: &EdgeStatus) -> String {
    if edge.generation == edge.desired_generation {
        return edge.generation.to_string();
    }
    format!("{} of {}", edge.generation, edge.desired_generation)
}

/// The labels of an edge, each as `KEY=VALUE`.
pub fn labels(edge: &EdgeStatus) -> Vec<String> {
    edge.labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// What needs a look among the rules of an edge.
pub fn rules_in_badges(summary: &EdgeSummary) -> Vec<Badge> {
    let badge = |number: u64, badge: fn(String) -> Badge, word: &str| {
        (number > 0).then(|| badge(format!("{} {word}", grouped(number))))
    };
    [
        badge(summary.failed, Badge::down, "failed"),
        badge(summary.rejected, Badge::down, "rejected"),
        badge(summary.down, Badge::down, "down"),
        badge(summary.pending, Badge::info, "pending"),
        badge(summary.draining, Badge::info, "draining"),
        badge(summary.unknown, Badge::off, "unknown"),
        badge(summary.disabled, Badge::off, "disabled"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn targets_in_words(summary: &EdgeSummary) -> String {
    let known = summary.targets.all.saturating_sub(summary.targets.unchecked);
    if known == 0 { "–".to_owned() } else { format!("{} of {} up", grouped(summary.targets.up), grouped(known)) }
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgesView {
    /// What is asked for.
    pub filter: FilterForm,
    /// A page of edges.
    pub rows: Vec<EdgeLine>,
    /// The other pages.
    pub pager: Pager,
    /// How much the operator does not see; empty where it sees all.
    pub hidden: String,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
}

impl EdgesView {
    /// A page of edges: `total` match.
    pub fn new(query: &ViewQuery, edges: &[EdgeStatus], (total, hidden): (u64, u64), now: Timestamp) -> Self {
        let filter = FilterForm::new(PATH, query, &["limit", "offset"])
            .text(query, ("edge", "Edge", "fra-*"))
            .text(query, ("label", "Label", "region=fra"))
            .select(
                query,
                ("state", "State"),
                &[("", "any state"), ("connected", "connected"), ("offline", "offline"), ("revoked", "revoked")],
            )
            .select(query, ("limit", "Rows"), &[("", "100"), ("250", "250"), ("500", "500")]);
        let empty = match (edges.is_empty(), filter.is_used, total) {
            (false, ..) => "",
            (true, false, 0) => "No edge has joined yet. `portunus edge-token create NAME` invites one.",
            (true, true, 0) => "No edge matches. Remove a filter to see more.",
            (true, ..) => "The list ends before this page.",
        };
        Self {
            rows: edges.iter().map(|edge| EdgeLine::new(edge, now)).collect(),
            pager: Pager::new(PATH, query, (edges.len() as u64, total), "edge"),
            hidden: hidden_in_words(hidden),
            empty: empty.to_owned(),
            filter,
        }
    }
}
