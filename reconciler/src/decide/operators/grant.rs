//! The limits of an operator: edges, ports and owners. Pure.
//!
//! Keeps: a limit that cannot be read is refused when the operator is created, so that none is ever ignored.

use std::collections::BTreeSet;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use schema::name::EdgeName;
use schema::net::{PortRange, PortSet};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Values of one limit: a person types them.
const MOST_VALUES: usize = 100;
/// The longest glob or owner.
const LONGEST_VALUE: usize = 200;

/// What an operator is limited to. An empty list does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// Globs over names of edges.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "values")]
    pub edges: Vec<String>,
    /// Ports and ranges of ports, such as `8000-8999`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "values")]
    pub ports: Vec<String>,
    /// Owners of rules.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "values")]
    pub owners: Vec<String>,
}

/// A list that is there and empty looks as if it allowed nothing, and would not limit anything.
fn values<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let values = Vec::deserialize(deserializer)?;
    if values.is_empty() {
        return Err(D::Error::custom("an empty list limits nothing: leave it out, or name what is allowed"));
    }
    Ok(values)
}

/// Why a limit cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    /// Not a glob.
    #[error("edges `{0}`: expected the name of an edge or a glob such as `fra-*`")]
    Edges(String),
    /// Not ports.
    #[error("ports `{0}`: expected a port or a range such as 8000-8999")]
    Ports(String),
    /// Not an owner.
    #[error("owner `{0}`: expected a name on one line")]
    Owner(String),
    /// More than anybody types.
    #[error("a limit may have at most {MOST_VALUES} values")]
    TooMany,
}

impl Grant {
    /// True if the operator may change everything that its role allows.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses values that limit nothing because they cannot be read.
    pub fn check(&self) -> Result<(), InvalidGrant> {
        if [&self.edges, &self.ports, &self.owners].iter().any(|values| values.len() > MOST_VALUES) {
            return Err(InvalidGrant::TooMany);
        }
        if let Some(wrong) = self.edges.iter().find(|text| text.len() > LONGEST_VALUE || glob(text).is_none()) {
            return Err(InvalidGrant::Edges(shown(wrong)));
        }
        if let Some(wrong) = self.ports.iter().find(|text| ports(text).is_none()) {
            return Err(InvalidGrant::Ports(shown(wrong)));
        }
        let is_owner =
            |text: &str| !text.trim().is_empty() && text.len() <= LONGEST_VALUE && !text.chars().any(char::is_control);
        match self.owners.iter().find(|text| !is_owner(text)) {
            Some(wrong) => Err(InvalidGrant::Owner(shown(wrong))),
            None => Ok(()),
        }
    }

    /// The limits in words; empty where there are none.
    pub fn in_words(&self) -> String {
        let part =
            |name: &str, values: &[String]| (!values.is_empty()).then(|| format!("{name} {}", values.join(", ")));
        let parts = [part("edges", &self.edges), part("ports", &self.ports), part("owners", &self.owners)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST_VALUE).collect()
}

fn glob(text: &str) -> Option<Glob> {
    if text.is_empty() {
        return None;
    }
    GlobBuilder::new(text).build().ok()
}

fn ports(text: &str) -> Option<PortRange> {
    PortRange::parse(text)
}

/// A grant as it is asked about; what cannot be read of it is outside.
#[derive(Debug, Clone, Default)]
pub struct GrantMatcher {
    edges: Option<GlobSet>,
    ports: Option<PortSet>,
    owners: Option<BTreeSet<String>>,
}

impl From<&Grant> for GrantMatcher {
    fn from(grant: &Grant) -> Self {
        let edges = || {
            let mut set = GlobSetBuilder::new();
            grant.edges.iter().filter_map(|text| glob(text)).for_each(|glob| _ = set.add(glob));
            set.build().unwrap_or_default()
        };
        Self {
            edges: (!grant.edges.is_empty()).then(edges),
            ports: (!grant.ports.is_empty())
                .then(|| PortSet::from_ranges(grant.ports.iter().filter_map(|text| ports(text)))),
            owners: (!grant.owners.is_empty()).then(|| grant.owners.iter().cloned().collect()),
        }
    }
}

impl GrantMatcher {
    /// True if there are none.
    pub fn is_none(&self) -> bool {
        self.edges.is_none() && self.is_of_edges_only()
    }

    /// True if every rule of an edge inside is inside.
    pub fn is_of_edges_only(&self) -> bool {
        self.ports.is_none() && self.owners.is_none()
    }

    /// True if the edge is inside.
    pub fn has_edge(&self, edge: &EdgeName) -> bool {
        self.edges.as_ref().is_none_or(|globs| globs.is_match(edge.as_str()))
    }

    /// True if all of these ports are inside.
    pub fn has_ports(&self, range: PortRange) -> bool {
        self.ports.as_ref().is_none_or(|set| set.split(range).1.is_empty())
    }

    /// True if rules of that owner are inside; the empty owner is that of a rule without one.
    pub fn has_owner(&self, owner: &str) -> bool {
        self.owners.as_ref().is_none_or(|owners| owners.contains(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(edges: &[&str], ports: &[&str], owners: &[&str]) -> Grant {
        let all = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Grant { edges: all(edges), ports: all(ports), owners: all(owners) }
    }

    #[test]
    fn a_range_is_inside_only_as_a_whole_and_may_span_two_that_touch() {
        let grant = limited(&[], &["8000-8099", "8100-8199", "443"], &[]);
        let limits = GrantMatcher::from(&grant);
        let has = |text: &str| limits.has_ports(PortRange::parse(text).expect("a range"));
        assert!(has("8000") && has("8050-8150") && has("443"));
        assert!(!has("7999-8000") && !has("8199-8200") && !has("442"));
    }

    #[test]
    fn edges_are_globs_and_a_rule_without_owner_is_outside_a_limit_of_owners() {
        let grant = limited(&["fra-*", "ber-1"], &[], &["team-web"]);
        let limits = GrantMatcher::from(&grant);
        let has = |name: &str| limits.has_edge(&EdgeName::new(name).expect("a name"));
        assert!(has("fra-1") && has("ber-1") && !has("ber-12") && !has("xfra-1"));
        assert!(limits.has_owner("team-web") && !limits.has_owner("") && !limits.has_owner("team"));
        assert!(GrantMatcher::from(&Grant::default()).has_owner("") && Grant::default().is_unlimited());
    }

    #[test]
    fn an_empty_list_is_refused_and_never_taken_for_no_limit() {
        for list in ["edges", "ports", "owners"] {
            let read = serde_json::from_value::<Grant>(serde_json::json!({ list: [] }));
            assert!(read.is_err_and(|error| error.to_string().contains("limits nothing")), "{list}");
        }
        let none: Grant = serde_json::from_str("{}").expect("without limits");
        assert_eq!(serde_json::to_string(&none).expect("JSON"), "{}");
        assert!(none.is_unlimited());
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_refused() {
        for wrong in ["", "[", "a{b"] {
            assert!(matches!(limited(&[wrong], &[], &[]).check(), Err(InvalidGrant::Edges(_))), "{wrong}");
        }
        for wrong in ["", "0", "9-8", "65536", "http"] {
            assert!(matches!(limited(&[], &[wrong], &[]).check(), Err(InvalidGrant::Ports(_))), "{wrong}");
        }
        for wrong in ["", " ", "a\nb"] {
            assert!(matches!(limited(&[], &[], &[wrong]).check(), Err(InvalidGrant::Owner(_))), "{wrong}");
        }
        assert_eq!(limited(&["*"], &["1-65535"], &["team"]).check(), Ok(()));
    }
}
