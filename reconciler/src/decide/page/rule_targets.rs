//! The targets of a rule as its view shows them: verdicts with their reasons, and what each target carries. Pure.

use jiff::Timestamp;
use schema::health::TargetState;
use schema::state::RuleState;

use super::rule_figures::Traffic;
use super::words::{Badge, Moment};
use crate::decide::statistics::{StatsDocument, TargetStatsDocument};
use crate::decide::status::RuleStatus;
use crate::decide::status::target_rows::spec_targets;
use crate::decide::target::{TargetChange, TargetView};
use crate::decide::target_override::{Deviation, TargetOverride};

/// What a probe or a connection found, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLine {
    /// `L7STS/HTTP 503`
    pub text: String,
    /// When.
    pub at: Option<Moment>,
}

/// One change of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeLine {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: Badge,
    /// When.
    pub at: Option<Moment>,
    /// Why.
    pub reason: String,
}

/// What an operator may do with a target as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetAction {
    /// As the API names it.
    pub operation: &'static str,
    /// As a button has it.
    pub label: &'static str,
    /// What it does.
    pub effect: &'static str,
    /// True for what ends live connections.
    pub is_harsh: bool,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetLine {
    /// `HOST:PORT` or `HOST:LO-HI`.
    pub target: String,
    /// Its place in the rule, from 1: names its elements.
    pub number: usize,
    /// Its state.
    pub state: Badge,
    /// Since when.
    pub since: Option<Moment>,
    /// Its pool.
    pub priority: u32,
    /// Its weight, and what it carries now where that differs.
    pub weight: String,
    /// The number alone, for a form.
    pub weight_now: u32,
    /// The last success, of a probe or a connection.
    pub success: Option<ResultLine>,
    /// The last failure.
    pub failure: Option<ResultLine>,
    /// Changes, the newest first.
    pub history: Vec<ChangeLine>,
    /// Ports that fail alone; empty where none does.
    pub failing_ports: String,
    /// What an operator ordered; empty where nothing.
    pub ordered: String,
    /// When that ends.
    pub ordered_until: Option<Moment>,
    /// What it carries.
    pub traffic: Option<Traffic>,
    /// What can be done with it.
    pub actions: Vec<TargetAction>,
}

impl TargetLine {
    /// The targets of a rule, in the order of the rule: as the counters have them, else as they were reported last.
    pub fn all(
        rule: &RuleStatus,
        stats: Option<&StatsDocument>,
        overrides: &[TargetOverride],
        now: Timestamp,
    ) -> Vec<Self> {
        let reported = if rule.targets.is_empty() {
            spec_targets(&rule.spec).into_iter().map(TargetView::unreported).collect()
        } else {
            rule.targets.clone()
        };
        let is_known = rule.state != RuleState::Unknown;
        let of_stats = |target: &str| {
            let targets = stats.and_then(|stats| stats.targets.as_ref()).into_iter().flatten();
            let mut targets =
                targets.filter(|counted| counted.report.as_ref().is_some_and(|seen| seen.target == target));
            targets.next()
        };
        let line = |(index, target): (usize, &TargetView)| {
            let ordered: Vec<&TargetOverride> =
                overrides.iter().filter(|each| each.rule == rule.rule && each.target == target.target).collect();
            Self::new((index + 1, target), of_stats(&target.target), (&ordered, is_known), now)
        };
        reported.iter().enumerate().map(line).collect()
    }

    fn new(
        (number, target): (usize, &TargetView),
        counted: Option<&TargetStatsDocument>,
        (ordered, is_known): (&[&TargetOverride], bool),
        now: Timestamp,
    ) -> Self {
        let state = if is_known { Badge::of_target(target.state) } else { Badge::off("unknown") };
        let weight = match target.effective_weight {
            carried if carried == target.weight => target.weight.to_string(),
            carried => format!("{} (now {carried})", target.weight),
        };
        Self {
            target: target.target.clone(),
            number,
            state,
            since: target.since.map(|at| Moment::new(at, now)),
            priority: target.priority,
            weight,
            weight_now: target.weight,
            success: newest(target, counted.and_then(|counted| counted.last_success), true, now),
            failure: newest(target, counted.and_then(|counted| counted.last_failure), false, now),
            history: target.history.iter().map(|change| ChangeLine::new(change, now)).collect(),
            failing_ports: target.ports_in_words(),
            ordered: ordered.iter().map(|each| in_words(each)).collect::<Vec<_>>().join("; "),
            ordered_until: ordered.iter().filter_map(|each| each.until).min().map(|at| Moment::new(at, now)),
            traffic: counted.map(|counted| Traffic::new(&counted.counters, counted.rates.as_ref())),
            actions: actions(target.state, ordered),
        }
    }
}

fn in_words(each: &TargetOverride) -> String {
    let why = if each.why.is_empty() { String::new() } else { format!(": {}", each.why) };
    format!("{} by {}{why}", each.deviation.in_words(), each.actor)
}

/// What can be ordered: an override of the same kind is ended, every other one can be made.
fn actions(state: TargetState, ordered: &[&TargetOverride]) -> Vec<TargetAction> {
    let has = |deviation: Deviation| ordered.iter().any(|each| each.deviation == deviation);
    let (paused, disabled) = (has(Deviation::Pause), has(Deviation::Disable));
    let mut all = Vec::new();
    if paused || state == TargetState::Paused {
        let effect = "new connections go to the target again";
        all.push(TargetAction { operation: "resume", label: "Resume", effect, is_harsh: false });
    } else {
        let effect = "no new connections; live ones stay";
        all.push(TargetAction { operation: "pause", label: "Pause", effect, is_harsh: false });
    }
    if disabled {
        let effect = "ends the override";
        all.push(TargetAction { operation: "enable", label: "Enable", effect, is_harsh: false });
    } else {
        let effect = "no connections; live ones are reset";
        all.push(TargetAction { operation: "disable", label: "Disable", effect, is_harsh: true });
    }
    all
}

/// `L7STS/HTTP 503`, or the code alone.
fn result(code: &str, detail: &str) -> String {
    if detail.is_empty() { code.to_owned() } else { format!("{code}: {detail}") }
}

/// The newest success or failure that is known: the last result, the changes that results caused, and connections.
fn newest(target: &TargetView, connection: Option<Timestamp>, is_success: bool, now: Timestamp) -> Option<ResultLine> {
    let is_meant = |code: &str| code.starts_with('L') && code.ends_with("OK") == is_success;
    let last = target.last.iter().filter(|last| is_meant(&last.code));
    let last = last.map(|last| (last.at, result(&last.code, &last.detail)));
    let changes = target.history.iter().filter(|change| is_meant(&change.code));
    let changes = changes.map(|change| (change.at, result(&change.code, &change.detail)));
    let word = if is_success { "connection" } else { "connection failed" };
    let connection = connection.map(|at| (Some(at), word.to_owned()));
    // Of equal times the first is meant, which says the most.
    let all = last.chain(changes).chain(connection);
    let (at, text) = all.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    Some(ResultLine { text, at: at.map(|at| Moment::new(at, now)) })
}

impl ChangeLine {
    fn new(change: &TargetChange, now: Timestamp) -> Self {
        Self {
            from: change.from.to_string(),
            to: Badge::of_target(change.to),
            at: change.at.map(|at| Moment::new(at, now)),
            reason: result(&change.code, &change.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-02T08:00:00Z";

    fn target(document: Value) -> TargetView {
        serde_json::from_value(document).expect("a target")
    }

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    #[test]
    fn the_newest_success_and_failure_are_found_wherever_they_are() {
        let failing = target(json!({"target": "h:1", "state": "down",
            "last": {"code": "L7STS", "detail": "HTTP 503", "at": "2026-01-02T07:59:50Z"},
            "history": [
                {"from": "up", "to": "down", "at": "2026-01-02T07:50:00Z", "layer": "L7", "code": "L7STS", "detail": "HTTP 500"},
                {"from": "unknown", "to": "up", "at": "2026-01-02T07:00:00Z", "layer": "L7", "code": "L7OK", "detail": "HTTP 200"}]}));
        let text = |is_success, connection: Option<&str>| {
            let connection = connection.map(|at| at.parse().expect("a time"));
            let line = newest(&failing, connection, is_success, now()).expect("a result");
            (line.text, line.at.expect("a time").relative)
        };
        assert_eq!(text(false, None), ("L7STS: HTTP 503".to_owned(), "10 s ago".to_owned()));
        assert_eq!(text(true, None), ("L7OK: HTTP 200".to_owned(), "60 min ago".to_owned()));
        assert_eq!(text(true, Some("2026-01-02T07:40:00Z")), ("connection".to_owned(), "20 min ago".to_owned()));
        let fresh = target(json!({"target": "h:1", "state": "unknown"}));
        assert_eq!(newest(&fresh, None, true, now()), None);
    }

    #[test]
    fn what_was_ordered_can_be_ended_and_nothing_can_be_ordered_twice() {
        let ordered = |operation: &str| -> TargetOverride {
            serde_json::from_value(json!({"rule": "web", "target": "h:1", "operation": operation, "actor": "ada",
                "why": "upgrade", "since": NOW}))
            .expect("an override")
        };
        let names = |state, ordered: &[&TargetOverride]| {
            actions(state, ordered).iter().map(|action| action.operation).collect::<Vec<_>>()
        };
        assert_eq!(names(TargetState::Up, &[]), ["pause", "disable"]);
        assert_eq!(names(TargetState::Paused, &[&ordered("pause")]), ["resume", "disable"]);
        assert_eq!(names(TargetState::Disabled, &[&ordered("disable")]), ["pause", "enable"]);
        assert_eq!(in_words(&ordered("pause")), "paused by ada: upgrade");
    }
}
