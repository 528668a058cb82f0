//! How an apply ended: the verdict, then every rule that did not come about as planned, then the others. Pure.

use std::fmt::{self, Write};

use reconciler::decide::fleet::{ApplyResult, EdgeOutcome, EdgeResult, Outcome, RuleResult};
use reconciler::decide::plan::PlanDocument;
use schema::state::RuleState;

use super::style;
use super::words::count;
use crate::output::clean;

/// The result of an apply.
pub(crate) fn text(result: &ApplyResult, plan: &PlanDocument) -> String {
    let mut text = String::from("\n");
    write_result(&mut text, result, plan).expect("a string grows as needed");
    text
}

fn write_result(to: &mut String, result: &ApplyResult, plan: &PlanDocument) -> fmt::Result {
    for edge in &result.edges {
        write_edge(to, edge)?;
    }
    let edges = count(result.edges.len() as u64, "edge");
    match result.outcome {
        Outcome::Applied if plan.changes.is_empty() => {
            writeln!(to, "{} There was nothing to change; the revision is recorded.", style::added("Applied."))
        }
        Outcome::Applied => writeln!(to, "{} {edges} as planned.", style::added("Applied.")),
        Outcome::Partial => {
            writeln!(to, "{} Not everything came about on {edges}; the rest is applied.", style::error("Partial."))
        }
        Outcome::Superseded => {
            writeln!(to, "{} A newer tree was put in force before {edges} had answered.", style::warning("Superseded."))
        }
        Outcome::Running => writeln!(to, "The apply {} goes on.", clean(&result.id)),
    }
}

fn write_edge(to: &mut String, edge: &EdgeResult) -> fmt::Result {
    write!(to, "{}", style::strong(&edge.edge))?;
    match edge.outcome {
        EdgeOutcome::Done => writeln!(to)?,
        EdgeOutcome::Waiting => writeln!(to, " {}", style::warning("has not answered"))?,
        EdgeOutcome::Offline => writeln!(to, " {}", style::warning("is offline; it takes the state when it comes"))?,
        EdgeOutcome::Timeout => writeln!(to, " {}", style::error("did not report in time; what it runs is not known"))?,
        EdgeOutcome::Refused => {
            let reason = format!("refused: {}: {}", clean(&edge.code), clean(&edge.message));
            writeln!(to, " {}", style::error(reason))?;
        }
    }
    for rule in &edge.rules {
        writeln!(to, "  {} {}  {}", rule.action.sign(), rule.rule, outcome(rule))?;
    }
    Ok(())
}

fn outcome(rule: &RuleResult) -> String {
    let mut text = match rule.state {
        None => "gone".to_owned(),
        Some(state @ (RuleState::Failed | RuleState::Rejected)) => style::error(state).to_string(),
        Some(state @ RuleState::Active) => style::added(state).to_string(),
        Some(state) => style::changed(state).to_string(),
    };
    for part in [&rule.code, &rule.message] {
        if !part.is_empty() {
            write!(text, ": {}", clean(part)).expect("a string grows as needed");
        }
    }
    text
}
