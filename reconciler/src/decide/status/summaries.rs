//! What the rules of an edge come to, for lists that leave the rules out. Pure.

use schema::health::RuleHealth;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::EdgeStatus;
use super::target_rows::rows;
use crate::decide::target_totals::TargetTotals;

/// How many rules of an edge are in which state, and how their targets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeSummary {
    /// All rules.
    pub rules: u64,
    /// Those that serve.
    pub active: u64,
    /// Those that the edge could not carry out.
    pub failed: u64,
    /// Those that the edge cannot carry out.
    pub rejected: u64,
    /// Those that the edge does not have yet.
    pub pending: u64,
    /// Those that were removed and still have connections.
    pub draining: u64,
    /// Those that the tree disables.
    pub disabled: u64,
    /// Those of an edge that is offline.
    pub unknown: u64,
    /// Those whose health is `down`.
    pub down: u64,
    /// Their live connections.
    pub connections: u64,
    /// Their targets by state.
    pub targets: TargetTotals,
}

impl EdgeSummary {
    /// Counts the rules of an edge.
    pub fn of(edge: &EdgeStatus) -> Self {
        let all: Vec<_> = edge.rules.iter().flat_map(|rule| rows(&edge.name, edge.connected, rule)).collect();
        let mut summary = Self { targets: TargetTotals::of(&all), ..Self::default() };
        for rule in &edge.rules {
            let count = match rule.state {
                RuleState::Active => &mut summary.active,
                RuleState::Failed => &mut summary.failed,
                RuleState::Rejected => &mut summary.rejected,
                RuleState::Pending => &mut summary.pending,
                RuleState::Draining => &mut summary.draining,
                RuleState::Disabled => &mut summary.disabled,
                RuleState::Unknown => &mut summary.unknown,
            };
            *count += 1;
            summary.rules += 1;
            summary.down += u64::from(rule.health == Some(RuleHealth::Down));
            summary.connections += rule.connections;
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_rule_is_counted_once_by_its_state() {
        let rule = |name: &str, state: &str, health: &str| {
            json!({"rule": name, "state": state, "health": health, "connections": 2,
                "spec": {"listen_port": 80, "target": "h:1"}, "targets": [{"target": "h:1", "state": health}]})
        };
        let rules = json!([rule("a", "active", "up"), rule("b", "active", "down"), rule("c", "failed", "unknown")]);
        let edge = json!({"name": "fra-1", "connected": true, "rules": rules});
        let summary = EdgeSummary::of(&serde_json::from_value(edge).expect("an edge"));
        assert_eq!((summary.rules, summary.active, summary.failed, summary.down), (3, 2, 1, 1));
        assert_eq!((summary.connections, summary.targets.all, summary.targets.down), (6, 3, 1));
    }
}
