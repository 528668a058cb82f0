//! Which edges of the list of edges are meant. Pure.

use schema::name::{EdgeName, Labels};
use serde::{Deserialize, Serialize};

use super::{Paged, Selection, Unselected};

/// The query parameters of the list of edges.
pub const EDGES: &[&str] = &["edge", "label", "state", "limit", "offset", "summary"];

/// The states of edges in their list.
const STATES: &[&str] = &["connected", "offline", "revoked"];

/// Which edges are meant, and how much of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeSelection {
    /// A glob over names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// Labels, as `KEY=VALUE`, several with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `connected`, `offline` or `revoked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many edges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// So many edges are passed over first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// Leaves the rules out, and says what they come to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub summary: bool,
}

/// What of an edge is compared.
#[derive(Debug, Clone, Copy)]
pub struct EdgeMarks<'a> {
    /// Its name.
    pub name: &'a EdgeName,
    /// Its labels.
    pub labels: &'a Labels,
    /// True if it has a session.
    pub connected: bool,
    /// True if it was revoked.
    pub revoked: bool,
}

impl EdgeMarks<'_> {
    /// Its state, as the list of edges has it.
    pub const fn state(self) -> &'static str {
        match (self.revoked, self.connected) {
            (true, _) => "revoked",
            (false, true) => "connected",
            (false, false) => "offline",
        }
    }
}

impl EdgeSelection {
    /// The page of the edges that are meant; nothing at all is an error where something was asked for.
    pub fn page<'a, T>(&self, edges: Vec<(EdgeMarks<'a>, T)>) -> Result<Paged<(EdgeMarks<'a>, T)>, Unselected> {
        if let Some(state) = self.state.as_deref().filter(|state| !STATES.contains(state)) {
            return Err(Unselected::Invalid(format!("state `{state}`: expected one of {}", STATES.join(", "))));
        }
        let places = Selection { edge: self.edge.clone(), label: self.label.clone(), ..Selection::default() };
        let matcher = Selection { limit: self.limit, ..places.clone() };
        let matcher = matcher.matcher()?;
        let is_meant = |(edge, _): &(EdgeMarks<'a>, T)| {
            matcher.is_edge(edge.name, edge.labels) && self.state.as_deref().is_none_or(|state| edge.state() == state)
        };
        let meant: Vec<_> = edges.into_iter().filter(is_meant).collect();
        let selects = Selection { state: self.state.clone(), ..places };
        if !selects.is_empty() {
            selects.any(&meant)?;
        }
        Ok(Paged::of(meant, self.offset, self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(selection: &EdgeSelection) -> Result<(Vec<u32>, u64), Unselected> {
        let names = ["ams-1", "fra-1", "fra-2"].map(|name| EdgeName::new(name).expect("a name"));
        let labels = Labels::new();
        let marks =
            |index: usize, connected, revoked| EdgeMarks { name: &names[index], labels: &labels, connected, revoked };
        let edges = vec![(marks(0, true, false), 0), (marks(1, false, false), 1), (marks(2, false, true), 2)];
        let page = selection.page(edges)?;
        Ok((page.rows.into_iter().map(|(_, number)| number).collect(), page.total))
    }

    #[test]
    fn edges_are_selected_by_name_and_state_and_read_page_by_page() {
        let of = |edge: Option<&str>, state: Option<&str>| EdgeSelection {
            edge: edge.map(str::to_owned),
            state: state.map(str::to_owned),
            ..EdgeSelection::default()
        };
        assert_eq!(found(&of(None, None)), Ok((vec![0, 1, 2], 3)));
        assert_eq!(found(&of(Some("fra-*"), None)), Ok((vec![1, 2], 2)));
        assert_eq!(found(&of(None, Some("offline"))), Ok((vec![1], 1)));
        assert_eq!(found(&of(None, Some("revoked"))), Ok((vec![2], 1)));
        let second = EdgeSelection { offset: Some(1), limit: Some(1), ..EdgeSelection::default() };
        assert_eq!(found(&second), Ok((vec![1], 3)));
        let nothing = found(&of(Some("nyc-*"), None)).expect_err("nothing");
        assert_eq!(nothing.to_string(), "nothing matches --edge nyc-*");
        assert!(matches!(found(&of(None, Some("asleep"))), Err(Unselected::Invalid(_))));
        assert!(matches!(found(&of(Some("["), None)), Err(Unselected::Invalid(_))));
    }
}
