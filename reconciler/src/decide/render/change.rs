//! One change of a plan as text: its ports, its fields, its place, and what it means for live connections. Pure.

use std::fmt::{self, Write};

use schema::codes::RuleCode;
use schema::ruleset::Origin;
use schema::spec::FieldChange;

use super::clean::clean;
use super::difference::{Difference, difference};
use super::words::{count, lasting, listed, time};
use super::{new_rule, style};
use crate::decide::plan::{Action, Impact, ImpactKind, Losing, PlannedChange, ProofStatus};

/// More listeners of one kind are counted.
const SHOWN_RANGES: usize = 8;

/// One change with its ports, fields and place.
pub fn change(change: &PlannedChange) -> String {
    let mut text = String::new();
    write_change(&mut text, change).expect("a string grows as needed");
    text
}

/// Writes one change.
pub(super) fn write_change(to: &mut String, change: &PlannedChange) -> fmt::Result {
    let sign = change.action.sign();
    let line = match &change.previous_rule {
        Some(previous) => format!("{sign} {} (was {previous})", change.rule),
        None => format!("{sign} {}", change.rule),
    };
    match change.action {
        Action::Activate => write!(to, "  {}", style::added(line))?,
        Action::Remove => write!(to, "  {}", style::removed(line))?,
        Action::Reject => write!(to, "  {}", style::error(line))?,
        Action::Rebind | Action::Update | Action::Move | Action::Retry => write!(to, "  {}", style::changed(line))?,
    }
    write!(to, "  {}", change.action.as_str())?;
    if let Some(origin) = &change.origin {
        write!(to, "  {}", style::faint(place(origin)))?;
    }
    writeln!(to)?;
    if let Some(reason) = reason(change) {
        writeln!(to, "      {reason}")?;
    }
    write_ports(to, "bind", &change.ports.bind)?;
    write_ports(to, "keep", &change.ports.keep)?;
    write_ports(to, "release", &change.ports.release)?;
    if let Some(listener) = new_rule::listener(change) {
        writeln!(to, "      {:<8} {}", "listen", clean(&listener))?;
    }
    if let Some(targets) = new_rule::targets(change) {
        writeln!(to, "      {:<8} {}", "to", clean(&targets))?;
    }
    let is_new = new_rule::is_new(change);
    for field in new_rule::shown_fields(change) {
        write_field(to, field, is_new)?;
    }
    if let Some(impact) = impact(change) {
        writeln!(to, "      {:<8} {impact}", "impact")?;
    }
    if let Some(proof) = proof(change) {
        writeln!(to, "      {:<8} {proof}", "proof")?;
    }
    Ok(())
}

/// Code and message of a change, unless its edge is marked already.
pub fn reason(change: &PlannedChange) -> Option<String> {
    let code = change.code.as_deref().filter(|code| *code != RuleCode::ClientNotConnected.as_str())?;
    Some(format!("{}: {}", clean(code), clean(change.message.as_deref().unwrap_or_default())))
}

/// `file:line`
pub fn place(origin: &Origin) -> String {
    format!("{}:{}", clean(&origin.file), origin.line)
}

fn write_ports(to: &mut String, verb: &str, ranges: &[String]) -> fmt::Result {
    if ranges.is_empty() {
        return Ok(());
    }
    let ranges: Vec<_> = ranges.iter().map(|range| clean(range)).collect();
    writeln!(to, "      {verb:<8} {}", listed(&ranges, SHOWN_RANGES))
}

/// Writes one field as it was and as it becomes.
pub fn write_field(to: &mut String, field: &FieldChange, is_new: bool) -> fmt::Result {
    let path = clean(&field.path);
    match difference(&field.before, &field.after) {
        Difference::Line(_, after) if is_new => writeln!(to, "      {path}: {after}"),
        Difference::Line(before, after) => writeln!(to, "      {path}: {before} → {after}"),
        Difference::Lines(lines) => {
            writeln!(to, "      {path}:")?;
            for (sign, line) in lines {
                match sign {
                    '-' => writeln!(to, "        {}", style::removed(format!("- {line}")))?,
                    '+' => writeln!(to, "        {}", style::added(format!("+ {line}")))?,
                    _ => writeln!(to, "          {line}")?,
                }
            }
            Ok(())
        }
    }
}

/// What a change means for live connections, if anything, and who used what it takes away.
pub fn impact(change: &PlannedChange) -> Option<String> {
    let parts: Vec<String> = [of_live(change), uses(&change.impact)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `last connection 2026-01-02T08:00:00Z, in 24 h from 192.0.2.0/24 (12)`
fn uses(impact: &Impact) -> Option<String> {
    let last = format!("last connection {}", time(impact.last_connection_at?));
    let from: Vec<String> =
        impact.sources.iter().map(|source| format!("{} ({})", clean(&source.network), source.connections)).collect();
    let is_of_refused = impact.refused.is_some() || impact.losing == Some(Losing::Access);
    let whose = if is_of_refused { "refused sources of the last 24 h" } else { "in 24 h from" };
    Some(if from.is_empty() { last } else { format!("{last}, {whose} {}", from.join(", ")) })
}

fn of_live(change: &PlannedChange) -> Option<String> {
    let impact = &change.impact;
    let live = || {
        let mut parts = Vec::new();
        if impact.connections > 0 {
            parts.push(format!("{} at most", count(impact.connections, "live connection")));
        }
        if let Some(refused) = impact.refused.filter(|_| impact.losing != Some(Losing::Access)) {
            parts.push(format!("the new lists refuse {}", count(refused, "live connection")));
        }
        if let (Some(oldest), Some(median)) = (impact.oldest_secs, impact.median_secs) {
            parts.push(format!("oldest {}, median {}", lasting(oldest), lasting(median)));
        }
        if let Some(rate) = impact.connections_per_sec.filter(|rate| *rate > 0.0) {
            parts.push(format!("{rate} new a second"));
        }
        parts.extend(draining(impact));
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
    };
    match impact.kind {
        ImpactKind::None => draining(impact),
        ImpactKind::NewConnections => Some(format!("new connections only{}", live())),
        ImpactKind::Drain => {
            let whose = match impact.losing {
                Some(Losing::Listeners) => "released listeners",
                Some(Losing::Both) => "released listeners and of targets that are removed",
                Some(Losing::Access) => "sources that the new lists refuse",
                Some(Losing::Targets) | None => "targets that are removed",
            };
            Some(format!("connections of {whose} drain, then are reset{}", live()))
        }
        ImpactKind::Gap => Some(format!("closed for a moment{}", live())),
    }
}

/// Connections of the rule that an earlier change ends.
fn draining(impact: &Impact) -> Option<String> {
    let secs = impact.draining_secs.unwrap_or_default();
    let verb = if impact.draining == 1 { "drains" } else { "drain" };
    let connections = count(impact.draining, "connection");
    (impact.draining > 0).then(|| format!("{connections} {verb} already, reset in {secs} s at the latest"))
}

/// How sure a change is, where its edge was asked and has not refused it: that is said above.
pub fn proof(change: &PlannedChange) -> Option<String> {
    let proof = change.proof.as_ref()?;
    match proof.status {
        ProofStatus::Proven => Some("proven".to_owned()),
        ProofStatus::Modelled => Some(format!("modelled: {}", clean(&proof.message))),
        ProofStatus::Refused => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::decide::plan::Ports;
    use crate::decide::unused::ImpactSource;
    use schema::name::{EdgeName, RuleName};

    use super::*;

    #[test]
    fn what_a_change_hits_is_counted_with_its_age_and_its_rate() {
        let words = |action, release: &[&str], impact| {
            super::impact(&PlannedChange {
                edge: EdgeName::new("edge-01").expect("a name"),
                rule: RuleName::new("web").expect("a name"),
                previous_rule: None,
                action,
                code: None,
                message: None,
                ports: Ports { release: release.iter().map(ToString::to_string).collect(), ..Ports::default() },
                fields: Vec::new(),
                impact,
                origin: None,
                proof: None,
            })
        };
        let losing = |losing, count| Impact { losing: Some(losing), ..Impact::new(ImpactKind::Drain, count) };
        let busy = Impact {
            oldest_secs: Some(7200),
            median_secs: Some(40),
            connections_per_sec: Some(12.5),
            losing: Some(Losing::Listeners),
            ..Impact::new(ImpactKind::Drain, 3)
        };
        assert_eq!(
            words(Action::Remove, &["*:8443"], busy).expect("an impact"),
            "connections of released listeners drain, then are reset (3 live connections at most; oldest 2h, median \
             40s; 12.5 new a second)"
        );
        assert_eq!(
            words(Action::Update, &[], losing(Losing::Targets, 1)).expect("an impact"),
            "connections of targets that are removed drain, then are reset (1 live connection at most)"
        );
        assert_eq!(
            words(Action::Rebind, &["*:8443"], losing(Losing::Both, 0)).expect("an impact"),
            "connections of released listeners and of targets that are removed drain, then are reset"
        );
        let used = Impact {
            last_connection_at: Some("2026-01-02T08:00:00Z".parse().expect("a time")),
            sources: vec![ImpactSource { network: "192.0.2.0/24".to_owned(), connections: 12, last_seen: None }],
            ..Impact::new(ImpactKind::None, 0)
        };
        assert_eq!(
            words(Action::Remove, &["*:8443"], used).expect("a use"),
            "last connection 2026-01-02T08:00:00Z, in 24 h from 192.0.2.0/24 (12)"
        );
        let unhurried = Impact { connections_per_sec: Some(0.0), ..Impact::new(ImpactKind::NewConnections, 0) };
        assert_eq!(words(Action::Update, &[], unhurried).expect("an impact"), "new connections only");
    }
}
