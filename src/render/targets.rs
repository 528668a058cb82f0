//! The targets of a rule as text: what they are, since when, what they carry, and what they were. Pure.

use std::fmt::{self, Write};

use jiff::Timestamp;
use reconciler::decide::status::target_rows::is_checked;
use reconciler::decide::status::{EdgeStatus, RuleStatus};
use reconciler::decide::target::{TargetChange, TargetView};
use reconciler::decide::target_override::TargetOverride;

use reconciler::decide::view::FlowLimit;
use schema::health::TargetState;
use schema::rule::DEFAULT_UDP_MAX_FLOWS;
use schema::state::RuleState;

use super::style;
use super::table::Columns;
use super::words::{ago, joined};
use crate::output::clean;

/// A row per target.
pub(crate) fn table(targets: &[TargetView], now: Timestamp) -> String {
    rows(targets, Shown { are_checked: true, is_away: false }, now)
}

/// What the states of a rule's targets are worth.
#[derive(Clone, Copy)]
struct Shown {
    /// Something checks them.
    are_checked: bool,
    /// Their edge is offline: the states are the last known ones.
    is_away: bool,
}

/// The same; where nothing checks them, a target that no connection has met has no state to speak of.
fn rows(targets: &[TargetView], shown: Shown, now: Timestamp) -> String {
    let mut columns = Columns::new(&["TARGET", "STATE", "SINCE", "#POOL", "#WEIGHT", "LAST RESULT"]);
    for target in targets {
        columns.row(&[
            target.target.clone(),
            state(target, shown),
            target.since.map(|at| ago(at, now)).unwrap_or_default(),
            target.priority.to_string(),
            weight(target),
            last(target, now),
        ]);
    }
    columns.text("")
}

/// `up`; `–` where nothing is known and nothing will tell; of an edge that is offline, `unknown (up)`.
fn state(target: &TargetView, shown: Shown) -> String {
    if target.state == TargetState::Unknown && target.last.is_none() && !shown.are_checked {
        "–".to_owned()
    } else if shown.is_away && target.state != TargetState::Unknown {
        format!("unknown ({})", target.state_in_words())
    } else {
        target.state_in_words()
    }
}

fn weight(target: &TargetView) -> String {
    if target.effective_weight == target.weight {
        target.weight.to_string()
    } else {
        format!("{} of {}", target.effective_weight, target.weight)
    }
}

fn last(target: &TargetView, now: Timestamp) -> String {
    let Some(last) = &target.last else { return "none yet".to_owned() };
    let when = last.at.map(|at| format!(", {}", ago(at, now))).unwrap_or_default();
    let attempts = if target.attempts > 0 { format!(" (attempt {})", target.attempts) } else { String::new() };
    format!("{}{when}{attempts}", joined(&[&last.code, &last.detail]))
}

/// Everything that is known of the targets of a rule.
pub(crate) fn write_rule(to: &mut String, edge: &EdgeStatus, rule: &RuleStatus, now: Timestamp) -> fmt::Result {
    if let Some(health) = rule.health {
        // Where nothing checks and nothing was met, there is no health to speak of.
        let word =
            Some(super::rule_words::health(rule)).filter(|word| word == "–").unwrap_or_else(|| health.to_string());
        writeln!(to, "\n{} {word}{}", style::strong("Health"), failing_ports(&rule.targets))?;
    }
    if !rule.balance.is_empty() {
        writeln!(to, "{} {}", style::strong("Balance"), balance(&rule.balance, rule.sticky))?;
    }
    if !rule.targets.is_empty() {
        let shown = Shown { are_checked: is_checked(&rule.spec), is_away: rule.state == RuleState::Unknown };
        write!(to, "\n{}", rows(&rule.targets, shown, now))?;
    }
    if let Some(limit) = &rule.flow_limit {
        writeln!(to, "{}: {}", style::warning("flow limit"), flow_limit(limit, rule, now))?;
    }
    for each in edge.target_overrides.iter().filter(|each| each.rule == rule.rule) {
        writeln!(to, "{}: {}", style::warning("override"), clean(&each.in_words()))?;
    }
    for target in rule.targets.iter().filter(|target| !target.history.is_empty()) {
        writeln!(to, "\nHistory of {}", clean(&target.target))?;
        for change in &target.history {
            writeln!(to, "  {}", self::change(change, now))?;
        }
    }
    Ok(())
}

/// `source-ip (sticky: …)`
pub(crate) fn balance(word: &str, is_sticky: bool) -> String {
    let sticky = if is_sticky { " (sticky: a client keeps its target while that is eligible)" } else { "" };
    format!("{}{sticky}", clean(word))
}

/// `1203 new UDP flows were refused, the last one 12s ago: udp_max_flows = 1024 was reached`
fn flow_limit(limit: &FlowLimit, rule: &RuleStatus, now: Timestamp) -> String {
    let max = rule.spec.get("udp_max_flows").and_then(serde_json::Value::as_u64);
    let max = max.unwrap_or_else(|| DEFAULT_UDP_MAX_FLOWS.into());
    let flows = if limit.refused == 1 { "flow was" } else { "flows were" };
    let last = limit.last_at.map(|at| format!(", the last one {}", ago(at, now))).unwrap_or_default();
    format!("{} new UDP {flows} refused{last}: udp_max_flows = {max} was reached", limit.refused)
}

/// ` (2 of 100 ports failing: 30005, 30017)`, with the targets where there are several.
fn failing_ports(targets: &[TargetView]) -> String {
    let some = targets.iter().filter(|target| !target.failing_ports.is_empty());
    let words: Vec<String> = some
        .map(|target| match targets {
            [_] => target.ports_in_words(),
            _ => format!("{}: {}", clean(&target.target), target.ports_in_words()),
        })
        .collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join("; ")) }
}

/// `3m ago  up → down  L4CON: refused`
pub(crate) fn change(change: &TargetChange, now: Timestamp) -> String {
    let when = change.at.map(|at| ago(at, now)).unwrap_or_default();
    let cause = joined(&[&change.code, &change.detail]);
    format!("{when}  {} → {}  {cause}", change.from, change.to).trim_end().to_owned()
}

/// What an event says of an override.
pub(crate) fn deviation(each: &TargetOverride) -> String {
    clean(&each.in_words()).into_owned()
}

#[cfg(test)]
mod tests {
    use reconciler::decide::target::TargetResult;
    use schema::health::TargetState;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("in range")
    }

    #[test]
    fn a_row_says_what_a_target_is_and_carries() {
        let target = TargetView {
            target: "10.0.0.1:80".to_owned(),
            state: TargetState::Down,
            priority: 0,
            weight: 100,
            effective_weight: 0,
            since: Some(at(0)),
            last: Some(TargetResult { code: "L4CON".to_owned(), detail: "refused".to_owned(), at: Some(at(58)) }),
            history: Vec::new(),
            attempts: 2,
            failing_ports: Vec::new(),
            failing_ports_total: 0,
        };
        let expected = "TARGET       STATE  SINCE    POOL    WEIGHT  LAST RESULT\n\
                        10.0.0.1:80  down   60s ago     0  0 of 100  L4CON: refused, 2s ago (attempt 2)\n";
        assert_eq!(table(&[target], at(60)), expected);
    }

    #[test]
    fn a_port_that_fails_alone_is_named_beside_the_state() {
        let target = |port: u16| TargetView {
            target: format!("10.0.0.{port}:30000-30099"),
            state: TargetState::Up,
            priority: 0,
            weight: 100,
            effective_weight: 100,
            since: None,
            last: None,
            history: Vec::new(),
            attempts: 0,
            failing_ports: vec![30005, 30017],
            failing_ports_total: 2,
        };
        assert_eq!(failing_ports(&[target(1)]), " (2 of 100 ports failing: 30005, 30017)");
        let both = failing_ports(&[target(1), target(2)]);
        assert!(both.contains("10.0.0.2:30000-30099: 2 of 100 ports failing: 30005, 30017"), "{both}");
        assert!(table(&[target(1)], at(60)).contains("up (2 of 100 ports failing: 30005, 30017)"));
        let unmet = TargetView { state: TargetState::Unknown, failing_ports_total: 0, ..target(1) };
        let shown = |are_checked, is_away| Shown { are_checked, is_away };
        assert!(rows(std::slice::from_ref(&unmet), shown(false, false), at(60)).contains("30000-30099  –"), "no check");
        assert!(rows(&[unmet], shown(true, false), at(60)).contains("unknown"), "its check has not answered yet");
        let plain = TargetView { failing_ports: Vec::new(), failing_ports_total: 0, ..target(1) };
        assert!(rows(&[plain], shown(true, true), at(60)).contains("unknown (up)"), "its edge is offline");
    }

    #[test]
    fn history_says_what_caused_a_change_if_anything_did() {
        let mut one = TargetChange {
            from: TargetState::Up,
            to: TargetState::Paused,
            at: Some(at(0)),
            layer: String::new(),
            code: String::new(),
            detail: String::new(),
        };
        assert_eq!(change(&one, at(60)), "60s ago  up → paused");
        (one.to, one.code) = (TargetState::Down, "L7STS".to_owned());
        assert_eq!(change(&one, at(60)), "60s ago  up → down  L7STS");
    }
}
