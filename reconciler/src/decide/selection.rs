//! Which rows of a list are meant: the selectors of the command line, and the query of the API. Pure.
//!
//! Keeps: one type for both, so that a selector means the same everywhere; what matches nothing is an error.

use std::cmp::Reverse;

use globset::{GlobBuilder, GlobMatcher};
use schema::health::{RuleHealth, TargetState};
use schema::name::{Labels, RuleName};
use schema::net::PortRange;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drift::Drift;
use super::status::{EdgeStatus, RuleStatus};
use super::target_rows::{TargetRow, all_rows, owner};

/// The names of the query's parameters, as the flags of the command line are named.
pub const PARAMETERS: &[&str] = &["edge", "label", "rule", "owner", "state", "health", "port", "sort", "limit"];

/// What a person or a program asks for. An empty selection means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// A glob over names of edges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// Labels of edges, as `KEY=VALUE`, several with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A glob over names of rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// An owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A state: of rules, or in a list of targets, of targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The health of rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<RuleHealth>,
    /// A port that rules listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<Sort>,
    /// At most so many rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The order of a list. Equal rows stay in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// By edge, rule and target.
    Name,
    /// What does not serve first.
    State,
    /// What is down first.
    Health,
    /// Most live connections of the rule first.
    Connections,
}

/// Why a selection selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unselected {
    /// It cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// Nothing matches.
    #[error("nothing matches {0}")]
    Nothing(String),
}

/// A selection with its patterns read.
struct Matcher<'a> {
    wanted: &'a Selection,
    edge: Option<GlobMatcher>,
    rule: Option<GlobMatcher>,
    labels: Vec<(String, String)>,
}

impl Selection {
    /// True if everything is meant, in the usual order.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Leaves the edges, rules and drift that are meant.
    pub fn status(&self, edges: &mut Vec<EdgeStatus>, drift: &mut Vec<Drift>) -> Result<(), Unselected> {
        self.rules(edges)?;
        drift.retain(|one| {
            let edge = edges.iter().find(|edge| edge.name == one.edge);
            let has = |rule: &RuleName| edge.is_some_and(|edge| edge.rules.iter().any(|shown| shown.rule == *rule));
            edge.is_some() && one.rule.as_ref().is_none_or(|rule| !self.is_of_rules() || has(rule))
        });
        Ok(())
    }

    /// Leaves the edges and rules that are meant; an edge without such a rule goes where rules are asked for.
    pub fn rules(&self, edges: &mut Vec<EdgeStatus>) -> Result<(), Unselected> {
        if self.is_empty() {
            return Ok(());
        }
        let matcher = self.matcher()?;
        let state = self.state.as_deref().map(rule_state).transpose()?;
        edges.retain(|edge| matcher.is_edge(edge));
        for edge in edges.iter_mut() {
            edge.rules.retain(|rule| matcher.is_rule(rule) && state.is_none_or(|state| rule.state == state));
            sort_rules(&mut edge.rules, self.sort.unwrap_or(Sort::Name));
        }
        let mut left = self.limit.unwrap_or(usize::MAX);
        for edge in edges.iter_mut() {
            edge.rules.truncate(left);
            left -= edge.rules.len();
        }
        if self.is_of_rules() || self.limit.is_some() {
            edges.retain(|edge| !edge.rules.is_empty());
        }
        self.any(edges)
    }

    /// The targets that are meant, and all that were before the limit.
    pub fn targets(&self, mut edges: Vec<EdgeStatus>) -> Result<(Vec<TargetRow>, Vec<TargetRow>), Unselected> {
        let matcher = self.matcher()?;
        let state = self.state.as_deref().map(target_state).transpose()?;
        edges.retain(|edge| matcher.is_edge(edge));
        for edge in &mut edges {
            edge.rules.retain(|rule| matcher.is_rule(rule));
            if matches!(self.sort, Some(Sort::Connections | Sort::Health)) {
                sort_rules(&mut edge.rules, self.sort.unwrap_or(Sort::Name));
            }
        }
        let mut rows = all_rows(&edges);
        rows.retain(|row| state.is_none_or(|state| row.target.state == state));
        if self.sort == Some(Sort::State) {
            rows.sort_by_key(|row| target_rank(row.target.state));
        }
        if !self.is_empty() {
            self.any(&rows)?;
        }
        let all = rows.clone();
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        Ok((rows, all))
    }

    fn is_of_rules(&self) -> bool {
        let is_named = self.rule.is_some() || self.owner.is_some() || self.state.is_some();
        is_named || self.health.is_some() || self.port.is_some()
    }

    fn any<T>(&self, rows: &[T]) -> Result<(), Unselected> {
        if rows.is_empty() { Err(Unselected::Nothing(self.in_words())) } else { Ok(()) }
    }

    /// `--edge 'fra-*' --state failed`
    fn in_words(&self) -> String {
        let document = serde_json::to_value(self).unwrap_or_default();
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let words = document.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "sort"));
        words.map(|(name, value)| format!("--{name} {}", word(value))).collect::<Vec<_>>().join(" ")
    }

    fn matcher(&self) -> Result<Matcher<'_>, Unselected> {
        let label = |text: &str| {
            let pair = text.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
            pair.ok_or_else(|| Unselected::Invalid(format!("label `{text}`: expected KEY=VALUE")))
        };
        let labels = self.label.iter().flat_map(|all| all.split(',')).map(label).collect::<Result<_, _>>()?;
        if self.limit == Some(0) {
            return Err(Unselected::Invalid("limit: expected at least 1".to_owned()));
        }
        Ok(Matcher {
            wanted: self,
            edge: glob("edge", self.edge.as_deref())?,
            rule: glob("rule", self.rule.as_deref())?,
            labels,
        })
    }
}

impl Matcher<'_> {
    fn is_edge(&self, edge: &EdgeStatus) -> bool {
        let has = |(key, value): &(String, String)| has_label(&edge.labels, key, value);
        self.edge.as_ref().is_none_or(|glob| glob.is_match(edge.name.as_str())) && self.labels.iter().all(has)
    }

    fn is_rule(&self, rule: &RuleStatus) -> bool {
        let wanted = self.wanted;
        self.rule.as_ref().is_none_or(|glob| glob.is_match(rule.rule.as_str()))
            && wanted.owner.as_ref().is_none_or(|name| owner(rule) == *name)
            && wanted.health.is_none_or(|health| rule.health == Some(health))
            && wanted.port.is_none_or(|port| listens_on(rule, port))
    }
}

fn has_label(labels: &Labels, key: &str, value: &str) -> bool {
    labels.get(key).is_some_and(|own| own == value)
}

fn glob(name: &str, pattern: Option<&str>) -> Result<Option<GlobMatcher>, Unselected> {
    let Some(pattern) = pattern else { return Ok(None) };
    let read = GlobBuilder::new(pattern).build().map(|glob| Some(glob.compile_matcher()));
    read.map_err(|error| Unselected::Invalid(format!("{name} `{pattern}`: {}", error.kind())))
}

fn listens_on(rule: &RuleStatus, port: u16) -> bool {
    if let Some(ports) = rule.spec.get("listen_ports").and_then(Value::as_str) {
        return PortRange::parse(ports).is_some_and(|range| (range.first()..=range.last()).contains(&port));
    }
    rule.spec.get("listen_port").and_then(Value::as_u64) == Some(port.into())
}

fn rule_state(text: &str) -> Result<RuleState, Unselected> {
    let known = || RuleState::ALL.iter().copied().chain([RuleState::Unknown]);
    known().find(|state| state.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = known().map(RuleState::as_str).collect();
        Unselected::Invalid(format!("state `{text}`: expected one of {}", names.join(", ")))
    })
}

fn target_state(text: &str) -> Result<TargetState, Unselected> {
    TargetState::parse(text).ok_or_else(|| {
        let expected = "unknown, up, down, paused, disabled";
        Unselected::Invalid(format!("state `{text}`: expected one of {expected}"))
    })
}

fn sort_rules(rules: &mut [RuleStatus], order: Sort) {
    match order {
        Sort::Name => {}
        Sort::State => rules.sort_by_key(|rule| rule_rank(rule.state)),
        Sort::Health => rules.sort_by_key(|rule| health_rank(rule.health)),
        Sort::Connections => rules.sort_by_key(|rule| Reverse(rule.connections)),
    }
}

fn rule_rank(state: RuleState) -> u8 {
    match state {
        RuleState::Failed => 0,
        RuleState::Rejected => 1,
        RuleState::Unknown => 2,
        RuleState::Pending => 3,
        RuleState::Draining => 4,
        RuleState::Active => 5,
        RuleState::Disabled => 6,
    }
}

fn health_rank(health: Option<RuleHealth>) -> u8 {
    match health {
        Some(RuleHealth::Down) => 0,
        Some(RuleHealth::Unknown) => 1,
        Some(RuleHealth::Up) => 2,
        None => 3,
    }
}

fn target_rank(state: TargetState) -> u8 {
    match state {
        TargetState::Down => 0,
        TargetState::Unknown => 1,
        TargetState::Paused => 2,
        TargetState::Disabled => 3,
        TargetState::Up => 4,
        TargetState::Removed => 5,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edges() -> Vec<EdgeStatus> {
        let rule = |name: &str, port: &str, state: &str, health: &str| {
            let targets = json!([{"target": format!("{name}:1"), "state": health}]);
            json!({"rule": name, "state": state, "health": health, "targets": targets,
                "spec": {"listen_ports": port, "target": format!("{name}:1"), "owner": format!("team-{name}")}})
        };
        let (web, dns) = (rule("web", "80-89", "active", "up"), rule("dns", "53", "failed", "down"));
        let edge = |name: &str, region: &str, rules: Value| json!({"name": name, "connected": true, "labels": {"region": region}, "rules": rules});
        let fleet = json!([edge("fra-1", "fra", json!([web, dns])), edge("nyc-1", "nyc", json!([web]))]);
        serde_json::from_value(fleet).expect("edges")
    }

    fn found(selection: Value) -> Result<String, Unselected> {
        let selection: Selection = serde_json::from_value(selection).expect("a selection");
        let mut edges = edges();
        selection.rules(&mut edges)?;
        let names = edges.iter().flat_map(|edge| edge.rules.iter().map(|rule| format!("{}/{}", edge.name, rule.rule)));
        Ok(names.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_selector_leaves_what_it_names() {
        for (selection, expected) in [
            (json!({}), "fra-1/web fra-1/dns nyc-1/web"),
            (json!({"edge": "fra-*"}), "fra-1/web fra-1/dns"),
            (json!({"label": "region=nyc"}), "nyc-1/web"),
            (json!({"rule": "d?s"}), "fra-1/dns"),
            (json!({"owner": "team-web"}), "fra-1/web nyc-1/web"),
            (json!({"state": "failed"}), "fra-1/dns"),
            (json!({"health": "up", "edge": "nyc-1"}), "nyc-1/web"),
            (json!({"port": 85}), "fra-1/web nyc-1/web"),
            (json!({"sort": "state"}), "fra-1/dns fra-1/web nyc-1/web"),
            (json!({"limit": 1}), "fra-1/web"),
        ] {
            assert_eq!(found(selection.clone()).as_deref(), Ok(expected), "{selection}");
        }
    }

    #[test]
    fn what_matches_nothing_is_an_error_and_so_is_what_nobody_understands() {
        let nothing = found(json!({"edge": "ams-*", "state": "failed"})).expect_err("nothing");
        assert_eq!(nothing.to_string(), "nothing matches --edge ams-* --state failed");
        for wrong in [json!({"state": "upside"}), json!({"label": "region"}), json!({"edge": "["}), json!({"limit": 0})]
        {
            assert!(matches!(found(wrong.clone()), Err(Unselected::Invalid(_))), "{wrong}");
        }
        assert!(serde_json::from_value::<Selection>(json!({"egde": "a"})).is_err());
    }

    #[test]
    fn targets_are_selected_by_their_own_state_and_counted_before_the_limit() {
        let selection: Selection = serde_json::from_value(json!({"state": "up", "limit": 1})).expect("a selection");
        let (rows, all) = selection.targets(edges()).expect("targets");
        assert_eq!((rows.len(), all.len()), (1, 2));
    }

    #[test]
    fn drift_of_what_is_not_selected_is_not_shown() {
        let drift =
            json!([{"edge": "fra-1", "rule": "dns", "kind": "failed"}, {"edge": "nyc-1", "kind": "edge_offline"}]);
        let all: Vec<Drift> = serde_json::from_value(drift).expect("drift");
        let left = |selection: Value| {
            let selection: Selection = serde_json::from_value(selection).expect("a selection");
            let (mut edges, mut drift) = (edges(), all.clone());
            selection.status(&mut edges, &mut drift).expect("something");
            drift.len()
        };
        assert_eq!((left(json!({})), left(json!({"edge": "fra-1"})), left(json!({"rule": "web"}))), (2, 1, 1));
    }
}
