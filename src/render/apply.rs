//! How an apply ended: what is not as planned, edges that are alike in one line, then the verdict. Pure.

use std::fmt::{self, Write};

use reconciler::decide::fleet::{ApplyResult, EdgeOutcome, EdgeResult, Outcome, RuleResult};
use reconciler::decide::plan::PlanDocument;
use schema::name::EdgeName;
use schema::state::RuleState;

use super::words::{count, joined, listed};
use super::{rule_words, style};
use crate::output::clean;

/// More edges in one line are counted.
const SHOWN_EDGES: usize = 8;

/// The result of an apply.
pub(crate) fn text(result: &ApplyResult, plan: &PlanDocument) -> String {
    let mut text = String::from("\n");
    write_result(&mut text, result, plan.changes.is_empty()).expect("a string grows as needed");
    text
}

/// The verdict on an apply that went well, where rules that it left alone were not up in time.
pub(crate) fn not_healthy(rules: usize) -> String {
    let rules = count(rules as u64, "rule");
    format!("{} {rules} not healthy in time; the tree is in force.\n", style::error("Partial."))
}

/// The result of an apply whose plan was not shown.
pub(crate) fn ended(result: &ApplyResult) -> String {
    let mut text = String::new();
    write_result(&mut text, result, result.edges.is_empty()).expect("a string grows as needed");
    text
}

fn write_result(to: &mut String, result: &ApplyResult, had_no_changes: bool) -> fmt::Result {
    write_edges(to, result)?;
    let edges = count(result.edges.len() as u64, "edge");
    match result.outcome {
        Outcome::Applied if result.repeated => {
            writeln!(to, "Nothing to do: the tree is already in force, and nothing was sent or recorded.")
        }
        Outcome::Applied if had_no_changes => {
            writeln!(to, "{} There was nothing to change; the revision is recorded.", style::added("Applied."))
        }
        Outcome::Applied => {
            let rules: usize = result.edges.iter().map(|edge| edge.rules.len()).sum();
            let offline = result.edges.iter().filter(|edge| edge.outcome == EdgeOutcome::Offline).count();
            let waiting = match offline {
                0 => String::new(),
                number => format!(", {} when they come back", count(number as u64, "edge")),
            };
            let changes = count(rules as u64, "change");
            writeln!(to, "{} {changes} on {edges} as planned{waiting}.", style::added("Applied."))
        }
        Outcome::Partial => {
            if let Some(stopped) = &result.stopped {
                writeln!(to, "{} {}.", style::error("The rollout was stopped:"), clean(stopped))?;
            }
            writeln!(to, "{} {}; the rest is applied.", style::error("Partial."), shortfall(result))?;
            let is_offline = |edge: &EdgeResult| edge.outcome == EdgeOutcome::Offline;
            if result.edges.iter().any(is_offline) {
                writeln!(to, "{}: with --allow-offline, offline edges do not cause exit code 5", style::help("help"))?;
            }
            Ok(())
        }
        Outcome::Superseded => {
            writeln!(to, "{} A newer tree was put in force before {edges} answered.", style::warning("Superseded."))
        }
        Outcome::Returned => {
            writeln!(to, "{} {}; see `portunus status`.", style::error("Returned."), shortfall(result))
        }
        Outcome::Interrupted => writeln!(
            to,
            "{} The server stopped before {edges} answered; everything that it decided continues.",
            style::warning("Cut off.")
        ),
        Outcome::Running => {
            if let Some(paused) = &result.paused {
                writeln!(to, "{} {}.", style::warning("Paused:"), clean(paused))?;
            }
            writeln!(to, "The apply {} continues.", clean(&result.id))
        }
    }
}

/// `1 rule failed, 2 edges offline`
fn shortfall(result: &ApplyResult) -> String {
    let rules = |state| {
        let rules = result.edges.iter().flat_map(|edge| &edge.rules);
        rules.filter(|rule| rule.state == Some(state)).count() as u64
    };
    let all_rules = result.edges.iter().flat_map(|edge| &edge.rules);
    let unhealthy = all_rules.filter(|rule| rule.is_unhealthy()).count() as u64;
    let edges = |outcome| result.edges.iter().filter(|edge| edge.outcome == outcome).count() as u64;
    let all = [
        (rules(RuleState::Failed), "rule", "failed"),
        (rules(RuleState::Rejected), "rule", "rejected"),
        (unhealthy, "rule", "not healthy in time"),
        (edges(EdgeOutcome::Offline), "edge", "offline"),
        (edges(EdgeOutcome::Timeout) + edges(EdgeOutcome::Waiting), "edge", "without an answer"),
        (edges(EdgeOutcome::Refused), "edge", "refused the state"),
        (edges(EdgeOutcome::Returned), "edge", "not confirmed in time and reverted to the previous state"),
        (edges(EdgeOutcome::Skipped), "edge", "not reached"),
    ];
    let parts: Vec<String> = all
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, what, words)| format!("{} {words}", count(number, what)))
        .collect();
    if parts.is_empty() { "Not as planned".to_owned() } else { parts.join(", ") }
}

/// What is not as planned: edges with the same end in one line, then the rules of those that answered.
fn write_edges(to: &mut String, result: &ApplyResult) -> fmt::Result {
    let mut alike: Vec<(End, Vec<&EdgeName>)> = Vec::new();
    for edge in &result.edges {
        let Some(end) = end(edge) else { continue };
        match alike.iter_mut().find(|(known, _)| *known == end) {
            Some((_, edges)) => edges.push(&edge.edge),
            None => alike.push((end, vec![&edge.edge])),
        }
    }
    for (end, edges) in alike {
        match edges.as_slice() {
            [edge] => writeln!(to, "{} {}", style::strong(edge), end.one)?,
            several => {
                let number = style::strong(count(several.len() as u64, "edge"));
                writeln!(to, "{number}{}: {}", end.several, listed(several, SHOWN_EDGES))?;
            }
        }
    }
    for edge in &result.edges {
        for rule in edge.rules.iter().filter(|rule| !is_as_planned(edge, rule)) {
            let words = match rule.state {
                Some(state) => rule_words::cause(state, &rule.code, &rule.message),
                None => joined(&[&rule.code, &rule.message]),
            };
            let colon = if words.is_empty() { "" } else { ": " };
            writeln!(to, "  {} {}/{}  {}{colon}{words}", rule.action.sign(), edge.edge, rule.rule, state(rule))?;
        }
    }
    Ok(())
}

/// Rules of an edge that has not answered say nothing that the edge does not.
fn is_as_planned(edge: &EdgeResult, rule: &RuleResult) -> bool {
    match edge.outcome {
        EdgeOutcome::Done | EdgeOutcome::Refused | EdgeOutcome::Returned => rule.is_as_planned(),
        EdgeOutcome::Queued
        | EdgeOutcome::Waiting
        | EdgeOutcome::Offline
        | EdgeOutcome::Timeout
        | EdgeOutcome::Skipped => rule.state != Some(RuleState::Rejected),
    }
}

/// How it ended on an edge, as one says it of one edge and of several.
#[derive(PartialEq, Eq)]
struct End {
    one: String,
    several: String,
}

/// How it ended on an edge, where that is not as planned.
fn end(edge: &EdgeResult) -> Option<End> {
    let message = clean(&edge.message);
    let warning = |one: &str, several: &str| End {
        one: style::warning(one).to_string(),
        several: format!(" {}", style::warning(several)),
    };
    let error =
        |words: &str| End { one: style::error(words).to_string(), several: format!(", each: {}", style::error(words)) };
    let reported =
        End { one: style::warning(&message).to_string(), several: format!(", each: {}", style::warning(&message)) };
    let end = match edge.outcome {
        EdgeOutcome::Done if message.is_empty() => return None,
        EdgeOutcome::Offline if message.is_empty() => warning(
            "is offline and takes the state when it comes back",
            "are offline and take the state when they come back",
        ),
        EdgeOutcome::Done | EdgeOutcome::Offline => reported,
        EdgeOutcome::Queued => warning("waits for its wave", "wait for their wave"),
        EdgeOutcome::Skipped => warning("was not reached and is unchanged", "were not reached and are unchanged"),
        EdgeOutcome::Waiting => warning("has not answered", "have not answered"),
        EdgeOutcome::Timeout => error("did not report in time; what runs there is not known"),
        EdgeOutcome::Returned => error(&message),
        EdgeOutcome::Refused => error(&format!("refused: {}: {message}", clean(&edge.code))),
    };
    Some(end)
}

fn state(rule: &RuleResult) -> String {
    match rule.state {
        None => "gone".to_owned(),
        Some(state @ (RuleState::Failed | RuleState::Rejected)) => style::error(state).to_string(),
        Some(state @ RuleState::Active) => style::added(state).to_string(),
        Some(state) => style::changed(state).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ended_text(edges: &[Value], outcome: &str) -> String {
        let digest = format!("sha256:{}", "0".repeat(64));
        let result = json!({"id": "a1", "plan_id": digest, "digest": digest, "commit": null, "actor": "operator",
            "outcome": outcome, "started_at": "2025-01-01T00:00:00Z", "finished_at": null, "edges": edges});
        let result: ApplyResult = serde_json::from_value(result).expect("a result");
        anstream::adapter::strip_str(&ended(&result)).to_string()
    }

    fn edge(number: u32, outcome: &str, rules: &Value) -> Value {
        json!({"edge": format!("edge-{number:02}"), "outcome": outcome, "generation": 2, "code": "", "message": "",
            "rules": rules})
    }

    fn rule(name: &str, state: &str, code: &str) -> Value {
        json!({"rule": name, "action": "update", "state": state, "code": code, "message": ""})
    }

    #[test]
    fn only_what_is_not_as_planned_is_printed_and_edges_that_are_alike_are_one_line() {
        let well = json!([rule("web", "active", ""), rule("dns", "active", "")]);
        let edges: Vec<Value> =
            (1..=50).map(|number| edge(number, if number > 5 { "offline" } else { "done" }, &well)).collect();
        let text = ended_text(&edges, "applied");
        let expected = "45 edges are offline and take the state when they come back: edge-06, edge-07, edge-08, \
                        edge-09, edge-10, edge-11, edge-12, edge-13 and 37 more\nApplied. 100 changes on 50 edges as \
                        planned, 45 edges when they come back.\n";
        assert_eq!(text, expected);
        let failed = json!([rule("web", "failed", "port_in_use"), rule("dns", "active", "")]);
        let text = ended_text(&[edge(1, "done", &well), edge(2, "done", &failed)], "partial");
        assert_eq!(
            text,
            "  ~ edge-02/web  failed: activation_failed: port_in_use\nPartial. 1 rule failed; the rest is applied.\n"
        );
        let all = ended_text(&[edge(1, "done", &well)], "applied");
        assert_eq!(all, "Applied. 2 changes on 1 edge as planned.\n");
    }
}
