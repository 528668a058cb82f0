//! Which rows of a list are meant: the selectors of the command line, and the query of the API. Pure.
//!
//! Keeps: one type for both, so that a selector means the same everywhere; what matches nothing is an error. Long because
//! a selection and the lists of rules and targets are one subject; events and history have files of their own.

mod edges;
mod events;
mod history;
mod paging;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;
use schema::health::{RuleHealth, TargetState};
use schema::name::{EdgeName, Labels, RuleName};
use schema::net::PortRange;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::drift::Drift;
use super::fleet::Fleet;
use super::status::target_rows::{self, owner};
use super::status::{self, EdgeStatus, RuleStatus};
use super::target_totals::TargetRow;
pub use edges::{EDGES, EdgeMarks, EdgeSelection};
pub(crate) use events::check_state;
pub use events::wants;
pub use history::entries;
pub use paging::Paged;

/// The query parameters of a status, as the flags of the command line are named.
pub const LIST: &[&str] = &["edge", "label", "rule", "owner", "state", "health", "port", "sort", "limit"];
/// Those of the lists of rules and targets, which can be read page by page.
pub const RULES: &[&str] = &["edge", "label", "rule", "owner", "state", "health", "port", "sort", "limit", "offset"];
/// Those of the drift.
pub const DRIFT: &[&str] = &["edge", "label", "rule", "owner", "state", "health", "port", "limit", "kind"];
/// Those of the quotas.
pub const QUOTAS: &[&str] = &["edge", "label", "rule", "owner", "port", "sort", "limit", "offset"];
/// Those of the counters.
pub const STATS: &[&str] =
    &["edge", "label", "rule", "owner", "state", "health", "port", "sort", "limit", "offset", "per_port", "per_target"];
/// Those of the events: their order is that of time.
pub const EVENTS: &[&str] =
    &["edge", "label", "rule", "owner", "state", "health", "port", "limit", "since", "edges", "rules", "targets"];
/// Those of the history: an entry has no health.
pub const HISTORY: &[&str] =
    &["edge", "label", "rule", "owner", "state", "port", "sort", "limit", "since", "action", "before"];

/// What a person or a program asks for. An empty selection means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// A state: of rules; in a list of targets, of targets; in the history, the outcome of an entry.
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
    /// So many rows are passed over first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// Since when, as [`since`] reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
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
    /// The oldest first; of connections only.
    Age,
    /// Most bytes in both directions first; of counters and connections only.
    Bytes,
    /// Most bytes a second first; of counters only.
    Rate,
    /// Most of the quota used first; of quotas only.
    Used,
    /// The first entry of the history first.
    Oldest,
    /// The last one first.
    Newest,
}

impl Sort {
    /// The orders of lists of rules.
    pub const OF_RULES: &[Self] = &[Self::Name, Self::State, Self::Health, Self::Connections];
    /// Those of counters.
    pub const OF_STATS: &[Self] = &[Self::Name, Self::State, Self::Health, Self::Connections, Self::Bytes, Self::Rate];
    /// Those of connections.
    pub const OF_CONNECTIONS: &[Self] = &[Self::Name, Self::Age, Self::Bytes];
    /// Those of quotas.
    pub const OF_QUOTAS: &[Self] = &[Self::Name, Self::Used];
    /// Those of the history.
    pub const OF_HISTORY: &[Self] = &[Self::Oldest, Self::Newest];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Health => "health",
            Self::Connections => "connections",
            Self::Age => "age",
            Self::Bytes => "bytes",
            Self::Rate => "rate",
            Self::Used => "used",
            Self::Oldest => "oldest",
            Self::Newest => "newest",
        }
    }
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

/// The longest time that can be looked back.
const LONGEST_SECS: u64 = 100 * 365 * 24 * 3600;

/// A time of the past: a number with the unit s, m, h or d is so long ago, anything else is a time as RFC 3339 has it.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, Unselected> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let unit = |letter: char| match letter {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        _ => None,
    };
    let (number, factor) = match text.chars().last().and_then(unit) {
        Some(factor) => (&text[..text.len() - 1], factor),
        None => (text, 1),
    };
    let digits = Some(number).filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let secs = digits.and_then(|number| number.parse::<u64>().ok()?.checked_mul(factor));
    let ago = secs.filter(|secs| *secs <= LONGEST_SECS).map(Duration::from_secs);
    ago.and_then(|ago| now.checked_sub(ago).ok()).ok_or_else(|| {
        let expected = "expected how long ago, such as 90s, 10m, 12h or 2d, or a time such as 2026-01-02T08:00:00Z";
        Unselected::Invalid(format!("since `{text}`: {expected}"))
    })
}

/// A rule of an edge.
#[derive(Debug, Clone)]
pub struct Row {
    /// The edge.
    pub edge: EdgeName,
    /// True if it has a session.
    pub connected: bool,
    /// The rule.
    pub status: RuleStatus,
}

/// A selection with its patterns read.
pub(super) struct Matcher<'a> {
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

    /// Leaves the edges and rules that are meant, sorted and limited over all edges; an edge without such a rule goes
    /// where rules are asked for.
    pub fn rules(&self, edges: &mut Vec<EdgeStatus>) -> Result<(), Unselected> {
        if self.is_empty() {
            return Ok(());
        }
        let mut left = self.matching(std::mem::take(edges))?;
        let rows = self.sorted(left.iter_mut().flat_map(rows_of).collect())?;
        // An edge comes where its first rule does.
        let mut order: Vec<EdgeName> = Vec::new();
        let mut by_edge: BTreeMap<EdgeName, Vec<RuleStatus>> = BTreeMap::new();
        for row in rows {
            if !by_edge.contains_key(&row.edge) {
                order.push(row.edge.clone());
            }
            by_edge.entry(row.edge).or_default().push(row.status);
        }
        for edge in &mut left {
            edge.rules = by_edge.remove(&edge.name).unwrap_or_default();
        }
        if self.is_of_rules() || self.limit.is_some() {
            left.retain(|edge| !edge.rules.is_empty());
        }
        if self.sort.is_some_and(|sort| sort != Sort::Name) {
            left.sort_by_key(|edge| order.iter().position(|name| *name == edge.name).unwrap_or(usize::MAX));
        }
        *edges = left;
        self.any(edges)
    }

    /// The rules that are meant, sorted over all edges: a page of them.
    pub fn rows(&self, edges: Vec<EdgeStatus>) -> Result<Paged<Row>, Unselected> {
        let rows = self.unlimited_rows(edges, Sort::OF_RULES)?;
        self.page(rows)
    }

    /// The rules that are meant, in one of these orders or a further one that the caller brings them into.
    pub fn unlimited_rows(&self, edges: Vec<EdgeStatus>, orders: &[Sort]) -> Result<Vec<Row>, Unselected> {
        self.check(orders)?;
        let mut left = self.matching(edges)?;
        let mut rows: Vec<Row> = left.iter_mut().flat_map(rows_of).collect();
        sort_rows(&mut rows, self.sort.unwrap_or(Sort::Name));
        Ok(rows)
    }

    /// As many rows as are asked for. None at all is an error where something was asked for.
    pub fn limited<T>(&self, rows: Vec<T>) -> Result<Vec<T>, Unselected> {
        self.page(rows).map(|page| page.rows)
    }

    /// The targets that are meant, and all that were before the limit.
    pub fn targets(&self, edges: Vec<EdgeStatus>) -> Result<(Vec<TargetRow>, Vec<TargetRow>), Unselected> {
        let state = self.state.as_deref().map(target_state).transpose()?;
        // A state is that of a target here, not that of its rule.
        let of_rules = Self { state: None, ..self.clone() };
        let sort = self.sort.filter(|sort| *sort != Sort::State);
        let found = Self { sort, ..of_rules }.unlimited_rows(edges, Sort::OF_RULES)?;
        self.check(Sort::OF_RULES)?;
        let of_row = |row: &Row| target_rows::rows(&row.edge, row.connected, &row.status);
        let mut rows: Vec<TargetRow> = found.iter().flat_map(of_row).collect();
        rows.retain(|row| state.is_none_or(|state| row.target.state == state));
        if self.sort == Some(Sort::State) {
            rows.sort_by_key(|row| target_rank(row.target.state));
        }
        let all = rows.clone();
        Ok((self.limited(rows)?, all))
    }

    /// The edges of a fleet that are meant, each with all of its rules: what this list is made of, without writing
    /// down the other edges.
    pub fn edges(&self, fleet: &Fleet, now: Timestamp) -> Result<Vec<EdgeStatus>, Unselected> {
        let matcher = self.matcher()?;
        Ok(status::edges_where(fleet, now, |name, labels| matcher.is_edge(name, labels)))
    }

    /// Edges that are meant, each with its rules that are.
    fn matching(&self, mut edges: Vec<EdgeStatus>) -> Result<Vec<EdgeStatus>, Unselected> {
        let matcher = self.matcher()?;
        let state = self.state.as_deref().map(rule_state).transpose()?;
        edges.retain(|edge| matcher.is_edge(&edge.name, &edge.labels));
        for edge in &mut edges {
            edge.rules.retain(|rule| matcher.is_rule(rule) && state.is_none_or(|state| rule.state == state));
        }
        Ok(edges)
    }

    fn sorted(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, Unselected> {
        self.check(Sort::OF_RULES)?;
        sort_rows(&mut rows, self.sort.unwrap_or(Sort::Name));
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// Refuses an order that the list does not have.
    pub(super) fn check(&self, orders: &[Sort]) -> Result<(), Unselected> {
        let Some(sort) = self.sort.filter(|sort| !orders.contains(sort)) else { return Ok(()) };
        let known: Vec<&str> = orders.iter().map(|order| order.as_str()).collect();
        Err(Unselected::Invalid(format!("sort `{}`: expected one of {}", sort.as_str(), known.join(", "))))
    }

    /// Since when things are meant.
    pub fn from(&self, now: Timestamp) -> Result<Option<Timestamp>, Unselected> {
        self.since.as_deref().map(|text| since(text, now)).transpose()
    }

    /// True if edges or rules are named.
    pub fn names_places(&self) -> bool {
        self.edge.is_some() || self.label.is_some() || self.names_rules()
    }

    /// True if rules are named.
    pub fn names_rules(&self) -> bool {
        self.rule.is_some() || self.owner.is_some() || self.port.is_some()
    }

    /// The same without what changes with time: which edges and rules can match at all.
    #[must_use]
    pub fn places(&self) -> Self {
        let Self { edge, label, rule, owner, port, .. } = self.clone();
        Self { edge, label, rule, owner, port, ..Self::default() }
    }

    /// True if rules are chosen, by their places or by what they do.
    pub fn is_of_rules(&self) -> bool {
        self.names_rules() || self.state.is_some() || self.health.is_some()
    }

    pub(super) fn any<T>(&self, rows: &[T]) -> Result<(), Unselected> {
        if rows.is_empty() { Err(Unselected::Nothing(self.in_words())) } else { Ok(()) }
    }

    /// `--edge 'fra-*' --state failed`
    pub fn in_words(&self) -> String {
        let document = serde_json::to_value(self).unwrap_or_default();
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let all = document.as_object().into_iter().flatten();
        let words = all.filter(|(name, _)| !matches!(name.as_str(), "sort" | "limit" | "offset"));
        let words: Vec<String> = words.map(|(name, value)| format!("--{name} {}", word(value))).collect();
        if words.is_empty() { "the selection: there is nothing to list".to_owned() } else { words.join(" ") }
    }

    pub(super) fn matcher(&self) -> Result<Matcher<'_>, Unselected> {
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

fn rows_of(edge: &mut EdgeStatus) -> Vec<Row> {
    let (name, connected) = (edge.name.clone(), edge.connected);
    std::mem::take(&mut edge.rules).into_iter().map(|status| Row { edge: name.clone(), connected, status }).collect()
}

impl Matcher<'_> {
    pub(super) fn is_edge(&self, edge: &EdgeName, labels: &Labels) -> bool {
        let has = |(key, value): &(String, String)| has_label(labels, key, value);
        self.edge.as_ref().is_none_or(|glob| glob.is_match(edge.as_str())) && self.labels.iter().all(has)
    }

    pub(super) fn is_named(&self, rule: &RuleName) -> bool {
        self.rule.as_ref().is_none_or(|glob| glob.is_match(rule.as_str()))
    }

    pub(super) fn is_rule(&self, rule: &RuleStatus) -> bool {
        self.is_place(rule) && self.wanted.health.is_none_or(|health| rule.health == Some(health))
    }

    /// True if name, owner and port match, whatever the state of the rule.
    pub(super) fn is_place(&self, rule: &RuleStatus) -> bool {
        let wanted = self.wanted;
        self.is_named(&rule.rule)
            && wanted.owner.as_ref().is_none_or(|name| owner(rule) == *name)
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

fn sort_rows(rows: &mut [Row], order: Sort) {
    match order {
        Sort::State => rows.sort_by_key(|row| rule_rank(row.status.state)),
        Sort::Health => rows.sort_by_key(|row| health_rank(row.status.health)),
        Sort::Connections => rows.sort_by_key(|row| Reverse(row.status.connections)),
        Sort::Name | Sort::Age | Sort::Bytes | Sort::Rate | Sort::Used | Sort::Oldest | Sort::Newest => {}
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
    }

    #[test]
    fn lists_are_sorted_and_limited_over_all_edges() {
        let rule = |name: &str, connections: u64| json!({"rule": name, "connections": connections, "spec": {}});
        let edge = |name: &str, rules: Value| json!({"name": name, "connected": true, "rules": rules});
        let fleet = json!([edge("a", json!([rule("r1", 5), rule("r2", 9)])), edge("b", json!([rule("r1", 7)]))]);
        let edges: Vec<EdgeStatus> = serde_json::from_value(fleet).expect("edges");
        let selection: Selection =
            serde_json::from_value(json!({"sort": "connections", "limit": 2})).expect("a selection");
        let rows = selection.rows(edges.clone()).expect("rows");
        let names: Vec<String> = rows.rows.iter().map(|row| format!("{}/{}", row.edge, row.status.rule)).collect();
        assert_eq!(names, ["a/r2", "b/r1"]);
        let mut nested = edges;
        selection.rules(&mut nested).expect("rules");
        assert_eq!(nested.iter().map(|edge| edge.rules.len()).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_time_is_how_long_ago_or_a_moment() {
        let now: Timestamp = "2026-01-02T08:00:00Z".parse().expect("a time");
        let at = |text: &str| since(text, now).map(|at| at.to_string());
        assert_eq!(at("10m").as_deref(), Ok("2026-01-02T07:50:00Z"));
        assert_eq!(at("90").as_deref(), Ok("2026-01-02T07:58:30Z"));
        assert_eq!(at("1d").as_deref(), Ok("2026-01-01T08:00:00Z"));
        assert_eq!(at("2026-01-01T00:00:00Z").as_deref(), Ok("2026-01-01T00:00:00Z"));
        for wrong in ["", "m", "yesterday", "-1h", "1.5h", "99999999999999d", "ä"] {
            assert!(matches!(at(wrong), Err(Unselected::Invalid(_))), "{wrong}");
        }
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
