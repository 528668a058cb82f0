//! All targets of all rules, one row each, and how many of them are in which state. Pure.
//!
//! The rows are made from the status document, so that the command line, the API and the metrics count alike.

use schema::health::TargetState;
use schema::name::{EdgeName, RuleName};
use schema::state::RuleState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::status::{EdgeStatus, RuleStatus};
use super::target::TargetView;

/// One target of one rule on one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRow {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// The owner of the rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// As its edge sees it. Its state is `unknown` while the edge is away, or has not reported the target.
    #[serde(flatten)]
    pub target: TargetView,
    /// The last known state of a target whose edge is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<TargetState>,
    /// True if the rule has a health check.
    #[serde(default)]
    pub checked: bool,
}

impl TargetRow {
    /// True if nothing checks the target and no connection was made to it: there is nothing to know yet.
    pub fn is_unchecked(&self) -> bool {
        let is_known_once = self.target.last.is_some() || self.last_state.is_some();
        self.target.state == TargetState::Unknown && !self.checked && !is_known_once
    }
}

/// How many targets are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetTotals {
    /// All of them.
    pub all: u64,
    /// Those that are up.
    pub up: u64,
    /// Those that are down.
    pub down: u64,
    /// Those without a verdict, and those of edges that are away.
    pub unknown: u64,
    /// Those that an operator paused.
    pub paused: u64,
    /// Those that the tree or an operator disabled.
    pub disabled: u64,
    /// Of the unknown ones, those that nothing checks and that no connection was made to.
    pub unchecked: u64,
}

impl TargetTotals {
    /// Counts rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a TargetRow>) -> Self {
        let mut totals = Self::default();
        for row in rows {
            let count = match row.target.state {
                TargetState::Up => &mut totals.up,
                TargetState::Down => &mut totals.down,
                TargetState::Unknown => &mut totals.unknown,
                TargetState::Paused => &mut totals.paused,
                TargetState::Disabled => &mut totals.disabled,
                TargetState::Removed => continue,
            };
            *count += 1;
            totals.all += 1;
            totals.unchecked += u64::from(row.is_unchecked());
        }
        totals
    }

    /// By state, as metrics show them.
    pub fn by_state(&self) -> [(TargetState, u64); 5] {
        [
            (TargetState::Up, self.up),
            (TargetState::Down, self.down),
            (TargetState::Unknown, self.unknown),
            (TargetState::Paused, self.paused),
            (TargetState::Disabled, self.disabled),
        ]
    }
}

/// The targets of all rules of some edges.
pub fn all_rows(edges: &[EdgeStatus]) -> Vec<TargetRow> {
    edges.iter().flat_map(|edge| edge.rules.iter().flat_map(|rule| rows(&edge.name, edge.connected, rule))).collect()
}

/// The targets of a rule: those that its edge reported, else those of its version. A rule that is disabled, rejected or
/// draining has none that new connections could reach.
pub fn rows(edge: &EdgeName, is_connected: bool, rule: &RuleStatus) -> Vec<TargetRow> {
    let is_deployed = match rule.last_known() {
        RuleState::Disabled | RuleState::Draining => false,
        RuleState::Rejected => !rule.targets.is_empty(),
        RuleState::Pending | RuleState::Active | RuleState::Failed | RuleState::Unknown => true,
    };
    if !is_deployed {
        return Vec::new();
    }
    let targets = if rule.targets.is_empty() {
        spec_targets(&rule.spec).into_iter().map(TargetView::unreported).collect()
    } else {
        rule.targets.clone()
    };
    let checked = is_checked(&rule.spec);
    let row = |mut target: TargetView| {
        let is_past = !is_connected && target.state != TargetState::Unknown;
        let last_state = is_past.then_some(target.state);
        if is_past {
            target.state = TargetState::Unknown;
        }
        TargetRow { edge: edge.clone(), rule: rule.rule.clone(), owner: owner(rule), target, last_state, checked }
    };
    targets.into_iter().map(row).collect()
}

/// The owner of a rule, empty where it has none.
pub fn owner(rule: &RuleStatus) -> String {
    rule.spec.get("owner").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// True if a rule has a health check.
pub fn is_checked(spec: &Map<String, Value>) -> bool {
    let kind = spec.get("health").map(|health| health.get("kind").and_then(Value::as_str));
    match kind {
        Some(kind) => kind != Some("none"),
        None => spec.contains_key("health_check_interval_secs"),
    }
}

/// The targets of a rule as `HOST:PORT` or `HOST:LO-HI`, from a spec as documents carry it.
pub fn spec_targets(spec: &Map<String, Value>) -> Vec<String> {
    if let Some(target) = spec.get("target").and_then(Value::as_str) {
        return vec![target.to_owned()];
    }
    let one = |target: &Value| {
        let host = target.get("host").and_then(Value::as_str).unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let ports = target.get("ports").and_then(Value::as_str).map(str::to_owned);
        let ports = ports.or_else(|| target.get("port").map(Value::to_string)).unwrap_or_default();
        format!("{host}:{ports}")
    };
    let all = spec.get("targets").and_then(Value::as_array);
    all.map(|targets| targets.iter().map(one).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(document: Value) -> RuleStatus {
        serde_json::from_value(document).expect("a rule")
    }

    fn edge() -> EdgeName {
        EdgeName::new("edge-01").expect("a name")
    }

    fn totals(is_connected: bool, document: Value) -> TargetTotals {
        TargetTotals::of(&rows(&edge(), is_connected, &rule(document)))
    }

    #[test]
    fn targets_are_counted_by_state_and_those_of_an_edge_that_is_away_are_unknown() {
        let spec = json!({"listen_port": 80, "targets": [{"host": "a", "port": 1}, {"host": "b", "port": 1}]});
        let targets = json!([{"target": "a:1", "state": "up"}, {"target": "b:1", "state": "down"}]);
        let web = json!({"rule": "web", "spec": spec, "targets": targets});
        let there = totals(true, web.clone());
        assert_eq!((there.all, there.up, there.down, there.unknown), (2, 1, 1, 0));
        let away = rows(&edge(), false, &rule(web));
        assert_eq!(away[1].last_state, Some(TargetState::Down));
        let away = TargetTotals::of(&away);
        assert_eq!((away.all, away.up, away.down, away.unknown, away.unchecked), (2, 0, 0, 2, 0));
    }

    #[test]
    fn what_is_not_reported_is_unknown_and_what_is_not_deployed_has_no_targets() {
        let spec = json!({"listen_port": 80, "target": "[::1]:1"});
        let plain = totals(true, json!({"rule": "web", "spec": spec}));
        assert_eq!((plain.all, plain.unknown, plain.unchecked), (1, 1, 1));
        let checked = json!({"listen_port": 80, "target": "[::1]:1", "health": {"kind": "tcp"}});
        let checked = totals(true, json!({"rule": "web", "spec": checked}));
        assert_eq!((checked.unknown, checked.unchecked), (1, 0));
        for state in ["disabled", "draining", "rejected"] {
            assert_eq!(totals(true, json!({"rule": "web", "state": state, "spec": spec})).all, 0, "{state}");
        }
    }

    #[test]
    fn targets_of_a_spec_are_named_as_edges_name_them() {
        let spec = json!({"targets": [{"host": "::1", "port": 9}, {"host": "a", "ports": "1-2"}]});
        assert_eq!(spec_targets(spec.as_object().expect("an object")), ["[::1]:9", "a:1-2"]);
    }
}
