//! Everything that is known of one row, as lines. Pure.

use jiff::Timestamp;
use reconciler::act::operator::documents::RuleRow;
use reconciler::decide::connections::ConnectionRow;
use reconciler::decide::status::EdgeStatus;
use reconciler::decide::status::target_rows::{owner, spec_targets};
use reconciler::decide::target::TargetView;
use reconciler::decide::target_totals::TargetRow;

use super::marks;
use super::rows::Rows;
use super::table::{Cell, Tone};
use crate::render::words::{ago, bytes, count, joined, lasting, time};
use crate::render::{change, rule_words, target_list, targets};

/// What the rules of an edge come to.
pub(crate) struct Sums {
    pub(crate) rules: u64,
    pub(crate) connections: u64,
    /// `2 failed, 1 down`
    pub(crate) trouble: String,
}

/// Counts the rules of an edge.
pub(crate) fn sums(edge: &EdgeStatus) -> Sums {
    let summary = edge.summary.unwrap_or_default();
    let trouble = [
        (summary.failed, "failed"),
        (summary.rejected, "rejected"),
        (summary.down, "down"),
        (summary.pending, "pending"),
        (summary.draining, "draining"),
    ];
    let trouble = trouble.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}"));
    Sums { rules: summary.rules, connections: summary.connections, trouble: trouble.collect::<Vec<_>>().join(", ") }
}

/// The title and the lines of a row.
pub(crate) fn of(rows: &Rows, index: usize, now: Timestamp) -> Option<(String, Vec<Cell>)> {
    Some(match rows {
        Rows::Edges(rows) => edge(rows.get(index)?, now),
        Rows::Rules(rows, _) => rule(rows.get(index)?, now),
        Rows::Targets(rows) => target(rows.get(index)?, now),
        Rows::Connections(rows) => connection(rows.get(index)?, now),
        Rows::Events(rows) => {
            let event = rows.get(index)?;
            (format!("event {}", event.id), vec![fact("Time", &time(event.at)), Cell::new(&event.words, event.tone)])
        }
        Rows::Lines(_) => return None,
    })
}

/// `Owner     team-a`
fn fact(name: &str, value: &str) -> Cell {
    Cell::plain(&format!("{name:<12} {value}"))
}

/// The same where there is something to say.
fn facts(lines: &mut Vec<Cell>, facts: &[(&str, String)]) {
    lines.extend(facts.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| fact(name, value)));
}

fn edge(edge: &EdgeStatus, now: Timestamp) -> (String, Vec<Cell>) {
    let (mark, word, tone) = marks::of_edge(edge.connected, edge.revoked, edge.generation != edge.desired_generation);
    let since = edge.since.map(|at| format!(", {} ({})", ago(at, now), time(at))).unwrap_or_default();
    let mut lines = vec![Cell::new(&format!("{:<12} {mark} {word}{since}", "State"), tone)];
    let sums = sums(edge);
    let trouble = if sums.trouble.is_empty() { String::new() } else { format!(": {}", sums.trouble) };
    let labels: Vec<String> = edge.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let when = |at: Option<Timestamp>| at.map(|at| format!("{} ({})", time(at), ago(at, now))).unwrap_or_default();
    let ends = edge.certificate_expires_at.map(time).unwrap_or_default();
    facts(
        &mut lines,
        &[
            ("Generation", format!("{}, wanted {}", edge.generation, edge.desired_generation)),
            ("Rules", format!("{}{trouble}", count(sums.rules, "rule"))),
            ("Connections", sums.connections.to_string()),
            ("Last seen", when(edge.last_seen)),
            ("Address", edge.address.clone()),
            ("Version", edge.version.clone()),
            ("Certificate", if ends.is_empty() { ends } else { format!("ends {ends}") }),
            ("Labels", labels.join(", ")),
            ("Capabilities", edge.capabilities.as_ref().map(|all| all.join(", ")).unwrap_or_default()),
            ("Policy", edge.policy.as_ref().map(ToString::to_string).unwrap_or_default()),
        ],
    );
    (edge.name.to_string(), lines)
}

fn rule(row: &RuleRow, now: Timestamp) -> (String, Vec<Cell>) {
    let status = &row.status;
    let (mark, tone) = marks::of_rule(status.state);
    let mut lines = vec![Cell::new(&format!("{:<12} {mark} {}", "State", rule_words::state(status, now)), tone)];
    let reason = rule_words::reason(status);
    if !reason.is_empty() {
        lines.push(Cell::new(&format!("{:<12} {reason}", "Reason"), Tone::Warn));
    }
    let health = marks::of_health(&rule_words::health(status));
    lines.push(Cell::new(&format!("{:<12} {}", "Health", health.text), health.tone));
    facts(
        &mut lines,
        &[
            ("Listens", rule_words::listens(&status.spec)),
            ("Targets", spec_targets(&status.spec).join(", ")),
            ("Balance", targets::balance(&status.balance, status.sticky)),
            ("Owner", owner(status)),
            ("Connections", status.connections.to_string()),
            ("From", status.origin.as_ref().map(change::place).unwrap_or_default()),
        ],
    );
    for drain in &status.draining {
        let (ports, left) = (drain.ports.join(", "), drain.secs_left);
        let words = format!("{:<12} {} of {ports}, reset in {left} s at the latest", "Draining", drain.connections);
        lines.push(Cell::new(&words, Tone::Warn));
    }
    for target in &status.targets {
        lines.push(Cell::default());
        lines.extend(of_target(target, &target.state_in_words(), now));
    }
    (format!("{}/{}", row.edge, status.rule), lines)
}

fn target(row: &TargetRow, now: Timestamp) -> (String, Vec<Cell>) {
    let mut lines = of_target(&row.target, &target_list::state(row), now);
    if !row.owner.is_empty() {
        lines.push(fact("Owner", &row.owner));
    }
    (format!("{} of {}/{}", row.target.target, row.edge, row.rule), lines)
}

/// A target with its last result and its changes.
fn of_target(target: &TargetView, state: &str, now: Timestamp) -> Vec<Cell> {
    let (mark, tone) = marks::of_target(target.state);
    let since = target.since.map(|at| format!(" since {} ({})", time(at), ago(at, now))).unwrap_or_default();
    let mut lines = vec![Cell::new(&format!("{:<12} {mark} {state}{since}", target.target), tone)];
    let last = target.last.as_ref().map(|last| {
        let at = last.at.map(|at| format!(", {}", ago(at, now))).unwrap_or_default();
        format!("{}{at}", joined(&[&last.code, &last.detail]))
    });
    let weight = format!("{} of {}, pool {}", target.effective_weight, target.weight, target.priority);
    facts(&mut lines, &[("Last result", last.unwrap_or_else(|| "none yet".to_owned())), ("Weight", weight)]);
    for change in &target.history {
        let change = targets::change(change, now);
        lines.push(Cell::new(&format!("{:<12} {change}", ""), Tone::Faint));
    }
    lines
}

fn connection(row: &ConnectionRow, now: Timestamp) -> (String, Vec<Cell>) {
    let mut lines = Vec::new();
    facts(
        &mut lines,
        &[
            ("Rule", format!("{}/{}", row.edge, row.rule)),
            ("Source", row.source.clone()),
            ("Listener", format!("{} ({})", row.listener, row.protocol)),
            ("Target", row.target.clone()),
            ("Since", format!("{} ({})", time(row.since), ago(row.since, now))),
            ("In", bytes(row.bytes_in)),
            ("Out", bytes(row.bytes_out)),
            ("Idle", lasting(row.idle_secs)),
            ("Draining", if row.draining { "yes: it ends with its drain".to_owned() } else { String::new() }),
            ("To end it", format!("portunus connections end --id {} --why TEXT", row.id)),
        ],
    );
    (format!("connection {}", row.id), lines)
}
