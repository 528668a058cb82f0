//! All targets of all rules, one row each. Pure.
//!
//! The rows are made from the status document, so that the command line, the API and the metrics count alike.

use schema::health::TargetState;
use schema::name::EdgeName;
use schema::state::RuleState;
use serde_json::{Map, Value};

use super::{EdgeStatus, RuleStatus};
use crate::decide::target::TargetView;
use crate::decide::target_totals::TargetRow;

/// Of a rule that is wanted no more, was sent once and never reported.
pub(super) const UNCONFIRMED: &str = "the rule may still serve: the edge has not confirmed its removal";

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
    use crate::decide::target_totals::TargetTotals;

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
