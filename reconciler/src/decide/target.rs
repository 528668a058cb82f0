//! The targets of a rule as its edge reports them. Pure.
//!
//! Verdicts belong to the edge that made them: the server shows them and never decides by them what to send.

use jiff::Timestamp;
use schema::health::{RuleHealth, TargetState};
use schema::proto;
use serde::{Deserialize, Serialize};

use super::words;

/// Failing ports that a line names; JSON has more of them.
const LISTED_PORTS: usize = 16;

/// One target as its edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// `HOST:PORT` or `HOST:LO-HI`: its identity in the rule.
    pub target: String,
    /// Its state.
    pub state: TargetState,
    /// The number of its pool; lower is preferred.
    #[serde(default)]
    pub priority: u32,
    /// As the rule or an override has it.
    #[serde(default)]
    pub weight: u32,
    /// What it carries now: 0 unless it is eligible and in the active pool.
    #[serde(default)]
    pub effective_weight: u32,
    /// Since when it is in this state.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The result of its last probe or connection, `None` before the first.
    #[serde(default)]
    pub last: Option<TargetResult>,
    /// Newest first, at most five.
    #[serde(default)]
    pub history: Vec<TargetChange>,
    /// Attempts so far while a new version of its rule waits for it.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub attempts: u32,
    /// Ports of a target of several that connections failed, in order; the lowest ones where there are very many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing_ports: Vec<u16>,
    /// How many there are in all.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub failing_ports_total: u32,
}

impl TargetView {
    /// A target that no edge has reported.
    pub(super) fn unreported(target: String) -> Self {
        Self { target, ..proto::TargetReport::default().into() }
    }

    /// `up`, or `up (2 of 100 ports failing: 30005, 30017)` where some of its ports fail alone.
    pub fn state_in_words(&self) -> String {
        let ports = self.ports_in_words();
        if ports.is_empty() { self.state.to_string() } else { format!("{} ({ports})", self.state) }
    }

    /// `2 of 100 ports failing: 30005, 30017`; empty where none fails alone.
    pub fn ports_in_words(&self) -> String {
        if self.failing_ports.is_empty() {
            return String::new();
        }
        let listed: Vec<String> = self.failing_ports.iter().take(LISTED_PORTS).map(u16::to_string).collect();
        let total = self.failing_ports_total.max(self.failing_ports.len() as u32);
        let more = total as usize - listed.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{total} of {} ports failing: {}{more}", self.width(), listed.join(", "))
    }

    /// How many ports it has, by its name.
    fn width(&self) -> u32 {
        let ports = self.target.rsplit(':').next().unwrap_or_default();
        let range = ports.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            Some(last.checked_sub(first)? + 1)
        });
        range.unwrap_or(1)
    }
}

/// What a probe or a connection found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetResult {
    /// `L4OK` to `L7STS`.
    pub code: String,
    /// In words.
    #[serde(default)]
    pub detail: String,
    /// When.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetChange {
    /// Before.
    pub from: TargetState,
    /// After.
    pub to: TargetState,
    /// When.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// `L4`, `L6` or `L7`; empty where an operator or the tree caused it.
    #[serde(default)]
    pub layer: String,
    /// The result that caused it, if one did.
    #[serde(default)]
    pub code: String,
    /// In words.
    #[serde(default)]
    pub detail: String,
}

/// Milliseconds since 1970; 0 says that there is no such time.
pub fn time_from_wire(milliseconds: u64) -> Option<Timestamp> {
    let milliseconds = i64::try_from(milliseconds).ok().filter(|milliseconds| *milliseconds > 0)?;
    Timestamp::from_millisecond(milliseconds).ok()
}

/// A state of a newer edge is one that this server knows nothing about.
fn state_from_wire(text: &str) -> TargetState {
    TargetState::parse(text).unwrap_or(TargetState::Unknown)
}

/// The health of a rule; `None` where it does not serve.
pub fn health_from_wire(text: &str) -> Option<RuleHealth> {
    [RuleHealth::Unknown, RuleHealth::Up, RuleHealth::Down].into_iter().find(|health| health.as_str() == text)
}

impl From<proto::TargetReport> for TargetView {
    fn from(report: proto::TargetReport) -> Self {
        Self {
            target: report.target,
            state: state_from_wire(&report.state),
            priority: report.priority,
            weight: report.weight,
            effective_weight: report.effective_weight,
            since: time_from_wire(report.since_ms),
            last: report.last.filter(|last| !last.code.is_empty()).map(|last| TargetResult {
                code: words::result(&last.code),
                detail: last.detail,
                at: time_from_wire(last.at_ms),
            }),
            history: report
                .history
                .into_iter()
                .map(|change| TargetChange {
                    from: state_from_wire(&change.from),
                    to: state_from_wire(&change.to),
                    at: time_from_wire(change.at_ms),
                    layer: words::layer(&change.layer),
                    code: words::result(&change.code),
                    detail: change.detail,
                })
                .collect(),
            attempts: report.attempts,
            failing_ports: report.failing_ports.into_iter().filter_map(|port| port.try_into().ok()).collect(),
            failing_ports_total: report.failing_ports_total,
        }
    }
}

/// `127.0.0.1:80 is down: L4CON: refused`
pub fn in_words(target: &TargetView) -> String {
    let last = target.last.as_ref().map_or_else(String::new, |last| {
        let detail = if last.detail.is_empty() { String::new() } else { format!(": {}", last.detail) };
        format!(": {}{detail}", last.code)
    });
    let has_passed = target.last.as_ref().is_some_and(|last| last.code.ends_with("OK"));
    let until = if has_passed && target.state == TargetState::Down { " until more probes pass" } else { "" };
    format!("{} is {}{until}{last}", target.target, target.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(failing_ports: Vec<u32>, failing_ports_total: u32) -> TargetView {
        let (target, state) = ("10.0.0.1:30000-30099".to_owned(), "up".to_owned());
        proto::TargetReport { target, state, failing_ports, failing_ports_total, ..proto::TargetReport::default() }
            .into()
    }

    #[test]
    fn failing_ports_are_named_and_very_many_are_counted() {
        assert_eq!(target(Vec::new(), 0).state_in_words(), "up");
        let two = target(vec![30005, 30017], 2);
        assert_eq!(two.state_in_words(), "up (2 of 100 ports failing: 30005, 30017)");
        let many = target((30000..30090).collect(), 90).ports_in_words();
        assert!(many.starts_with("90 of 100 ports failing: 30000, ") && many.ends_with(" and 74 more"), "{many}");
    }

    #[test]
    fn an_edge_that_names_no_failing_ports_adds_no_field() {
        let json = serde_json::to_value(target(Vec::new(), 0)).expect("JSON");
        assert!(json.get("failing_ports").is_none());
        let json = serde_json::to_value(target(vec![30005], 1)).expect("JSON");
        assert_eq!(json["failing_ports"], serde_json::json!([30005]));
    }
}
