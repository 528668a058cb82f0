//! How an apply ended: the verdict, then every rule that did not come about as planned, then the others. Pure.

use std::fmt::{self, Write};

use reconciler::decide::fleet::{ApplyResult, EdgeOutcome, EdgeResult, Outcome, RuleResult};
use reconciler::decide::plan::PlanDocument;
use schema::state::RuleState;

use super::style;
use super::words::{count, joined};
use crate::output::clean;

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
    for edge in &result.edges {
        write_edge(to, edge)?;
    }
    let edges = count(result.edges.len() as u64, "edge");
    match result.outcome {
        Outcome::Applied if result.repeated => {
            writeln!(to, "Nothing to do: the tree is in force already, and nothing was sent or recorded.")
        }
        Outcome::Applied if had_no_changes => {
            writeln!(to, "{} There was nothing to change; the revision is recorded.", style::added("Applied."))
        }
        Outcome::Applied => writeln!(to, "{} {edges} as planned.", style::added("Applied.")),
        Outcome::Partial => {
            if let Some(stopped) = &result.stopped {
                writeln!(to, "{} {}.", style::error("The rollout was stopped:"), clean(stopped))?;
            }
            writeln!(to, "{} {}; the rest is applied.", style::error("Partial."), shortfall(result))?;
            let is_offline = |edge: &EdgeResult| edge.outcome == EdgeOutcome::Offline;
            if result.edges.iter().any(is_offline) {
                writeln!(to, "{}: --allow-offline makes offline edges no reason for exit 5", style::help("help"))?;
            }
            Ok(())
        }
        Outcome::Superseded => {
            writeln!(to, "{} A newer tree was put in force before {edges} had answered.", style::warning("Superseded."))
        }
        Outcome::Returned => {
            writeln!(to, "{} {}; see `portunus status`.", style::error("Returned."), shortfall(result))
        }
        Outcome::Interrupted => writeln!(
            to,
            "{} The server ended before {edges} had answered; what it decided goes on.",
            style::warning("Cut off.")
        ),
        Outcome::Running => {
            if let Some(paused) = &result.paused {
                writeln!(to, "{} {}.", style::warning("Paused:"), clean(paused))?;
            }
            writeln!(to, "The apply {} goes on.", clean(&result.id))
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
        (edges(EdgeOutcome::Returned), "edge", "not confirmed in time and back to the state before"),
        (edges(EdgeOutcome::Skipped), "edge", "not reached"),
    ];
    let parts: Vec<String> = all
        .into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, what, words)| format!("{} {words}", count(number, what)))
        .collect();
    if parts.is_empty() { "Not everything came about".to_owned() } else { parts.join(", ") }
}

fn write_edge(to: &mut String, edge: &EdgeResult) -> fmt::Result {
    write!(to, "{}", style::strong(&edge.edge))?;
    match edge.outcome {
        EdgeOutcome::Done if edge.message.is_empty() => writeln!(to)?,
        EdgeOutcome::Done => writeln!(to, " {}", style::warning(clean(&edge.message)))?,
        EdgeOutcome::Queued => writeln!(to, " {}", style::warning("waits for its wave"))?,
        EdgeOutcome::Skipped => writeln!(to, " {}", style::warning("was not reached and stays as it was"))?,
        EdgeOutcome::Waiting => writeln!(to, " {}", style::warning("has not answered"))?,
        EdgeOutcome::Offline if !edge.message.is_empty() => writeln!(to, " {}", style::warning(clean(&edge.message)))?,
        EdgeOutcome::Offline => writeln!(to, " {}", style::warning("is offline; it takes the state when it comes"))?,
        EdgeOutcome::Timeout => writeln!(to, " {}", style::error("did not report in time; what it runs is not known"))?,
        EdgeOutcome::Returned => writeln!(to, " {}", style::error(clean(&edge.message)))?,
        EdgeOutcome::Refused => {
            let reason = format!("refused: {}: {}", clean(&edge.code), clean(&edge.message));
            writeln!(to, " {}", style::error(reason))?;
        }
    }
    for rule in &edge.rules {
        let words =
            if edge.outcome == EdgeOutcome::Offline { String::new() } else { joined(&[&rule.code, &rule.message]) };
        let colon = if words.is_empty() { "" } else { ": " };
        writeln!(to, "  {} {}  {}{colon}{words}", rule.action.sign(), rule.rule, state(rule))?;
    }
    Ok(())
}

fn state(rule: &RuleResult) -> String {
    match rule.state {
        None => "gone".to_owned(),
        Some(state @ (RuleState::Failed | RuleState::Rejected)) => style::error(state).to_string(),
        Some(state @ RuleState::Active) => style::added(state).to_string(),
        Some(state) => style::changed(state).to_string(),
    }
}
