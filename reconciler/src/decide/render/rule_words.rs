//! What a row says of a rule: its state, its health, where it listens, and why it is as it is. Pure.

use jiff::Timestamp;
use schema::health::{RuleHealth, TargetState};
use schema::state::RuleState;
use serde_json::{Map, Value};

use super::clean::clean;
use super::words::{ago, joined, time};
use crate::decide::status::RuleStatus;
use crate::decide::status::target_rows::is_checked;

/// `active`; `draining 5 (12 s)`; of an edge that is offline `unknown (active 3m ago)`.
pub fn state(rule: &RuleStatus, now: Timestamp) -> String {
    match (rule.state, rule.last_state) {
        (RuleState::Unknown, Some(last)) => match rule.last_state_at {
            Some(at) => format!("unknown ({last} {})", ago(at, now)),
            None => format!("unknown ({last}, edge never seen)"),
        },
        (RuleState::Draining, _) => draining(rule.connections, rule.draining.iter().map(|drain| drain.secs_left).max()),
        (state, _) => state.to_string(),
    }
}

/// `draining 5 (12 s)`
pub fn draining(connections: u64, secs_left: Option<u64>) -> String {
    let left = secs_left.map(|secs| format!(" ({secs} s)")).unwrap_or_default();
    format!("draining {connections}{left}")
}

/// `up 2/3`: how many of the targets are up. `–` where nothing checks and no connection was made.
pub fn health(rule: &RuleStatus) -> String {
    let Some(health) = rule.health else { return String::new() };
    let has_no_verdict = |last: bool, state: TargetState| state == TargetState::Unknown && !last;
    let is_unmet = rule.targets.iter().all(|target| has_no_verdict(target.last.is_some(), target.state));
    if health == RuleHealth::Unknown && is_unmet && !is_checked(&rule.spec) {
        return "–".to_owned();
    }
    if rule.state == RuleState::Unknown {
        return RuleHealth::Unknown.to_string();
    }
    let up = rule.targets.iter().filter(|target| target.state == TargetState::Up).count();
    match rule.targets.len() {
        0 => health.to_string(),
        all => format!("{health} {up}/{all}"),
    }
}

/// How long connections may drain.
pub fn time_left(secs: u64) -> String {
    format!("reset in {secs} s at the latest")
}

/// Code and message of a state, as far as there are any: a failed activation is named as one.
pub fn cause(state: RuleState, code: &str, message: &str) -> String {
    match (state, code.is_empty(), message.is_empty()) {
        (RuleState::Failed, false, false) => format!("activation_failed: {} ({})", clean(code), clean(message)),
        (RuleState::Failed, false, true) => format!("activation_failed: {}", clean(code)),
        _ => joined(&[code, message]),
    }
}

/// Why it is as it is: the code of its edge, or who put it there without a commit.
pub fn reason(rule: &RuleStatus) -> String {
    let left = rule.draining.iter().map(|drain| drain.secs_left).max().filter(|_| rule.state == RuleState::Draining);
    let left = left.map(time_left).unwrap_or_default();
    let told = joined(&[&cause(rule.last_known(), &rule.code, &rule.message), &left]);
    match &rule.over {
        Some(held) => {
            let over = format!("override of {} until {}: {}", clean(&held.actor), time(held.until), clean(&held.why));
            if told.is_empty() { over } else { format!("{told}; {over}") }
        }
        None => told,
    }
}

/// `*:8443`, from a spec as documents carry it.
pub fn listens(spec: &Map<String, Value>) -> String {
    let text = |key: &str| spec.get(key).and_then(Value::as_str);
    let address = match text("listen_address") {
        None => "*".to_owned(),
        Some(address) if address.contains(':') => format!("[{address}]"),
        Some(address) => address.to_owned(),
    };
    let ports = text("listen_ports").map(str::to_owned).or_else(|| spec.get("listen_port").map(Value::to_string));
    let suffix = if text("protocol") == Some("udp") { "/udp" } else { "" };
    format!("{address}:{}{suffix}", ports.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(document: Value) -> RuleStatus {
        serde_json::from_value(document).expect("a rule")
    }

    #[test]
    fn listeners_are_written_as_in_a_plan() {
        let spec = |value: Value| value.as_object().cloned().unwrap_or_default();
        assert_eq!(listens(&spec(json!({"listen_port": 80}))), "*:80");
        let udp = json!({"listen_address": "::", "listen_ports": "1-9", "protocol": "udp"});
        assert_eq!(listens(&spec(udp)), "[::]:1-9/udp");
    }

    #[test]
    fn health_counts_the_targets_that_are_up_and_says_nothing_where_nothing_is_known() {
        let target = |state: &str| json!({"target": format!("{state}:1"), "state": state});
        let of = |health: &str, states: &[&str]| {
            let targets: Vec<Value> = states.iter().map(|state| target(state)).collect();
            self::health(&rule(json!({"rule": "web", "spec": {}, "health": health, "targets": targets})))
        };
        assert_eq!(of("up", &["up", "up", "down"]), "up 2/3");
        assert_eq!(of("down", &["down"]), "down 0/1");
        assert_eq!(of("unknown", &["unknown"]), "–");
        let checked = json!({"rule": "web", "spec": {"health": {"kind": "tcp"}}, "health": "unknown",
            "targets": [target("unknown")]});
        assert_eq!(self::health(&rule(checked)), "unknown 0/1", "a check will tell");
        let away = |last: Value| {
            let mut target = target("unknown");
            target["last"] = last;
            let document =
                json!({"rule": "web", "spec": {}, "state": "unknown", "health": "unknown", "targets": [target]});
            self::health(&rule(document))
        };
        assert_eq!(away(Value::Null), "–", "nothing checks it, wherever its edge is");
        assert_eq!(away(json!({"code": "L4OK"})), "unknown", "what was met may have changed since");
    }

    #[test]
    fn a_state_says_what_drains_and_since_when_nothing_is_known() {
        let now: Timestamp = "2025-01-01T00:03:00Z".parse().expect("a time");
        let away = json!({"rule": "web", "spec": {}, "state": "unknown", "last_state": "active",
            "last_state_at": "2025-01-01T00:00:00Z"});
        assert_eq!(state(&rule(away), now), "unknown (active 3m ago)");
        let drain = json!({"state": "draining", "ports": ["*:80"], "connections": 5, "secs_left": 12,
            "ends_at": "2025-01-01T00:03:12Z"});
        let gone = json!({"rule": "web", "spec": {}, "state": "draining", "connections": 5, "draining": [drain]});
        assert_eq!(state(&rule(gone), now), "draining 5 (12 s)");
    }

    #[test]
    fn a_failed_activation_is_named_as_one() {
        let text = cause(RuleState::Failed, "port_in_use", "port 30005 already bound");
        assert_eq!(text, "activation_failed: port_in_use (port 30005 already bound)");
        assert_eq!(cause(RuleState::Rejected, "privileged_port", "port 80"), "privileged_port: port 80");
    }
}
