//! A plan as text: the verdict, what stands in its way, every change by edge and rule, then what differs already. Pure.
//!
//! Long because each part of a plan is one short function, and they are read in the order in which they are printed.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::num::NonZeroU32;

use reconciler::decide::plan::{
    Action, BaseEdge, Hint, Impact, ImpactKind, Losing, PlanDocument, PlannedChange, PlannedWave, ProofStatus, Source,
    Summary, Uncommitted, filter_note,
};
use schema::codes::RuleCode;
use schema::name::EdgeName;
use schema::ruleset::Origin;
use schema::spec::FieldChange;

use super::difference::{Difference, difference};
use super::words::{count, lasting, listed, short_hash, time};
use super::{drift, new_rule, plan_lines, rails, style};
use crate::output::{clean, is_wide};

/// More listeners of one kind are counted.
const SHOWN_RANGES: usize = 8;

/// More edges of one wave are counted.
const SHOWN_EDGES: usize = 12;

/// The whole plan.
pub(crate) fn text(plan: &PlanDocument) -> String {
    let mut text = String::with_capacity(256 + plan.changes.len() * 256);
    write_plan(&mut text, plan).expect("a string grows as needed");
    text
}

fn write_plan(to: &mut String, plan: &PlanDocument) -> fmt::Result {
    writeln!(to, "{}", style::strong(verdict(plan)))?;
    if let Some(gap) = incomplete(plan) {
        writeln!(to, "{}", style::warning(gap))?;
    }
    write_blockers(to, plan)?;
    write_changes(to, plan)?;
    if !plan.changes.is_empty() && plan.summary.unchanged > 0 {
        writeln!(to, "\n{} unchanged.", count(plan.summary.unchanged, "rule"))?;
    }
    if let Some(proofs) = proofs(plan) {
        writeln!(to, "\n{proofs}")?;
    }
    if !plan.waves.is_empty() {
        writeln!(to, "\n{}", style::strong(rollout_heading(plan)))?;
        for wave in &plan.waves {
            writeln!(
                to,
                "  {:<8} {}",
                format!("wave {}", wave.wave),
                wave_words(wave, &listed(&wave.edges, SHOWN_EDGES))
            )?;
        }
    }
    drift::write(to, &plan.drift)?;
    write_hints(to, &plan.hints)?;
    if plan.source.commit.is_some() {
        let source = source(&plan.source);
        writeln!(to, "\n{}", style::faint(source))?;
    }
    Ok(())
}

/// More changes are one line each.
const SHOWN_IN_FULL: usize = 10;

fn write_changes(to: &mut String, plan: &PlanDocument) -> fmt::Result {
    let (waiting, new): (Vec<_>, Vec<_>) =
        plan.changes.iter().partition(|change| !is_wide() && plan_lines::is_decided(plan, change));
    if new.len() > SHOWN_IN_FULL && !is_wide() {
        writeln!(to)?;
        for line in plan_lines::grouped(new.into_iter()) {
            writeln!(to, "  {line}")?;
        }
    } else {
        let mut edge = None;
        for change in new {
            if edge != Some(&change.edge) {
                edge = Some(&change.edge);
                write_edge(to, &change.edge, plan.base.edges.get(&change.edge))?;
            }
            write_change(to, change)?;
        }
    }
    if !waiting.is_empty() {
        writeln!(to)?;
        for line in plan_lines::waiting(plan) {
            writeln!(to, "{line}")?;
        }
        writeln!(to, "{}: -o wide shows each change in full", style::help("help"))?;
    }
    Ok(())
}

/// `Rollout in 2 waves:`
pub(crate) fn rollout_heading(plan: &PlanDocument) -> String {
    format!("Rollout in {}:", count(plan.waves.len() as u64, "wave"))
}

/// Its edges, as they were listed, how they change and how it is watched.
pub(crate) fn wave_words(wave: &PlannedWave, edges: &str) -> String {
    let at_once = wave.max_parallel.map_or(u32::MAX, NonZeroU32::get);
    let mut notes = Vec::new();
    if wave.edges.len() > 1 {
        notes.push(if at_once as usize >= wave.edges.len() {
            "all at once".to_owned()
        } else {
            format!("{at_once} at once")
        });
    }
    if wave.max_failed > 0 {
        notes.push(format!("{} may fail", wave.max_failed));
    }
    if wave.soak_secs > 0 {
        notes.push(format!("watched for {} s", wave.soak_secs));
    }
    if notes.is_empty() { edges.to_owned() } else { format!("{edges} ({})", notes.join(", ")) }
}

/// `Plan: 2 to activate, 1 to rebind on 3 edges.`
pub(crate) fn verdict(plan: &PlanDocument) -> String {
    let (summary, decided) = plan.without_decided();
    let parts = figures(&summary);
    let waiting = match decided {
        0 => String::new(),
        1 => " 1 earlier change waits for edges that are offline.".to_owned(),
        decided => format!(" {} wait for edges that are offline.", count(decided, "earlier change")),
    };
    if parts.is_empty() {
        return match summary.unchanged {
            0 => format!("No changes.{waiting}"),
            unchanged => format!("No changes. {} unchanged.{waiting}", count(unchanged, "rule")),
        };
    }
    format!("Plan: {} on {}.{waiting}", parts.join(", "), count(summary.edges, "edge"))
}

/// Which edges could not be asked, if the plan misses any.
pub(crate) fn incomplete(plan: &PlanDocument) -> Option<String> {
    let changed: BTreeSet<&EdgeName> = plan.changes.iter().map(|change| &change.edge).collect();
    let is_offline = |edge: &&EdgeName| plan.base.edges.get(*edge).is_some_and(|base| !base.connected);
    let offline: Vec<&EdgeName> = changed.into_iter().filter(is_offline).collect();
    let is_told = !plan.complete && !offline.is_empty();
    let words = if offline.len() == 1 { "is" } else { "are" };
    is_told.then(|| format!("Incomplete: {} {words} offline.", listed(&offline, SHOWN_RANGES)))
}

fn figures(summary: &Summary) -> Vec<String> {
    let all = [
        (Action::Activate, "to activate"),
        (Action::Rebind, "to rebind"),
        (Action::Update, "to update"),
        (Action::Move, "to move"),
        (Action::Remove, "to remove"),
        (Action::Retry, "to retry"),
        (Action::Reject, "rejected"),
    ];
    let figures = all.into_iter().map(|(action, words)| (summary.of(action), words));
    figures.filter(|(number, _)| *number > 0).map(|(number, words)| format!("{number} {words}")).collect()
}

/// Why an apply would be refused: one line each.
pub(crate) fn blockers(plan: &PlanDocument) -> Vec<String> {
    plan.rails.iter().filter(|rail| rail.tripped).map(rails::line).collect()
}

/// The rules that an apply would leave out: one line each.
pub(crate) fn rejections(plan: &PlanDocument) -> Vec<String> {
    let rejected = plan.changes.iter().filter(|change| change.action == Action::Reject);
    let line = |change: &PlannedChange| {
        let code = change.code.as_deref().unwrap_or_default();
        format!("{}/{}: {}: {}", change.edge, change.rule, clean(code), clean(change.message.as_deref().unwrap_or("")))
    };
    rejected.map(line).collect()
}

/// The heading of the rejections: what comes of the other changes.
pub(crate) fn rejected_heading(plan: &PlanDocument) -> &'static str {
    let has_rest = plan.summary.changes() > plan.summary.reject;
    if has_rest && !plan.is_railed() { "Rejected, the rest would be applied" } else { "Rejected" }
}

/// What does not stop a plan but an apply: a tree that is not committed; and which rails a flag has lifted.
pub(crate) fn remarks(plan: &PlanDocument) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(freeze) = &plan.frozen {
        let until = freeze.until.map_or_else(|| "until it is lifted".to_owned(), |until| format!("until {until:.0}"));
        let (by, why) = (clean(&freeze.by), clean(&freeze.why));
        remarks.push(format!("{by} froze the fleet at {:.0}, {until}: {why}; nothing can be applied", freeze.since));
    }
    let advice = if plan.dirty_allowed { "" } else { "; apply needs --allow-dirty" };
    match plan.source.uncommitted() {
        Some(Uncommitted::Dirty { paths, filtered }) => {
            let paths: Vec<_> = paths.iter().map(|path| clean(path)).collect();
            let note = clean(&filter_note(&filtered)).into_owned();
            remarks.push(format!("the tree differs from its commit ({}){advice}{note}", listed(&paths, 5)));
        }
        Some(why @ Uncommitted::NoCommit { .. }) => remarks.push(format!("{}{advice}", why.message())),
        None => {}
    }
    let lifted = plan.rails.iter().filter(|rail| rail.allow.is_some() && !rail.tripped);
    remarks.extend(lifted.map(|rail| format!("allowed: {}", rails::line(rail))));
    remarks
}

fn write_blockers(to: &mut String, plan: &PlanDocument) -> fmt::Result {
    let lists = [("Blocked", blockers(plan)), (rejected_heading(plan), rejections(plan))];
    for (heading, lines) in lists.iter().filter(|(_, lines)| !lines.is_empty()) {
        writeln!(to, "\n{}", style::error(format!("{heading}:")))?;
        for line in lines {
            writeln!(to, "  {} {line}", style::error("!"))?;
        }
    }
    let remarks = remarks(plan);
    if !remarks.is_empty() {
        writeln!(to)?;
        for line in &remarks {
            writeln!(to, "{}: {line}", style::warning("note"))?;
        }
    }
    Ok(())
}

/// How an edge that is not connected is marked.
pub(crate) fn edge_mark(base: Option<&BaseEdge>) -> Option<String> {
    match base {
        Some(base) if base.connected => None,
        Some(BaseEdge { observed_at: Some(at), .. }) => {
            Some(format!("offline, planned from its last known state, last seen {}", time(*at)))
        }
        Some(base) if base.generation > 0 => Some("offline, planned from the state that was sent last".to_owned()),
        _ => Some("offline, its state is unknown".to_owned()),
    }
}

fn write_edge(to: &mut String, name: &EdgeName, base: Option<&BaseEdge>) -> fmt::Result {
    write!(to, "\n{}", style::strong(name))?;
    match edge_mark(base) {
        Some(mark) => writeln!(to, " {}", style::warning(format!("({mark})"))),
        None => writeln!(to),
    }
}

/// One change with its ports, fields and place.
pub(crate) fn change(change: &PlannedChange) -> String {
    let mut text = String::new();
    write_change(&mut text, change).expect("a string grows as needed");
    text
}

fn write_change(to: &mut String, change: &PlannedChange) -> fmt::Result {
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
pub(crate) fn reason(change: &PlannedChange) -> Option<String> {
    let code = change.code.as_deref().filter(|code| *code != RuleCode::ClientNotConnected.as_str())?;
    Some(format!("{}: {}", clean(code), clean(change.message.as_deref().unwrap_or_default())))
}

/// `file:line`
pub(crate) fn place(origin: &Origin) -> String {
    format!("{}:{}", clean(&origin.file), origin.line)
}

fn write_ports(to: &mut String, verb: &str, ranges: &[String]) -> fmt::Result {
    if ranges.is_empty() {
        return Ok(());
    }
    let ranges: Vec<_> = ranges.iter().map(|range| clean(range)).collect();
    writeln!(to, "      {verb:<8} {}", listed(&ranges, SHOWN_RANGES))
}

pub(crate) fn write_field(to: &mut String, field: &FieldChange, is_new: bool) -> fmt::Result {
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
pub(crate) fn impact(change: &PlannedChange) -> Option<String> {
    let parts: Vec<String> = [of_live(change), uses(&change.impact)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `last connection 2026-01-02T08:00:00Z, in 24 h from 192.0.2.0/24 (12)`
fn uses(impact: &Impact) -> Option<String> {
    let last = format!("last connection {}", time(impact.last_connection_at?));
    let from: Vec<String> =
        impact.sources.iter().map(|source| format!("{} ({})", clean(&source.network), source.connections)).collect();
    Some(if from.is_empty() { last } else { format!("{last}, in 24 h from {}", from.join(", ")) })
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
pub(crate) fn proof(change: &PlannedChange) -> Option<String> {
    let proof = change.proof.as_ref()?;
    match proof.status {
        ProofStatus::Proven => Some("proven".to_owned()),
        ProofStatus::Modelled => Some(format!("modelled: {}", clean(&proof.message))),
        ProofStatus::Refused => None,
    }
}

/// How much of a plan its edges hold, and until when.
pub(crate) fn proofs(plan: &PlanDocument) -> Option<String> {
    let (proven, others) = plan.proof_counts()?;
    let rest = if others == 0 { String::new() } else { format!(", {others} not") };
    let held = plan.leases.values().map(|lease| lease.expires_at).min();
    let held = held.map_or_else(String::new, |until| format!("; their resources are held until {}", time(until)));
    Some(format!("{} proven{rest}{held}.", count(proven as u64, "change")))
}

/// What running rules say that the plan does nothing about.
fn write_hints(to: &mut String, hints: &[Hint]) -> fmt::Result {
    if hints.is_empty() {
        return Ok(());
    }
    writeln!(to)?;
    for hint in hints {
        writeln!(to, "{} {}/{}: {}", style::help("hint:"), hint.edge, hint.rule, clean(&hint.message))?;
    }
    Ok(())
}

/// Where the tree comes from: its commit, or that it has none.
pub(crate) fn source(source: &Source) -> String {
    let Some(commit) = source.commit.as_deref() else { return "no commit".to_owned() };
    let mut text = format!("commit {}", clean(short_hash(commit)));
    if let Some(reference) = &source.reference {
        write!(text, " on {}", clean(reference)).expect("a string grows as needed");
    }
    if let Some(subject) = &source.subject {
        write!(text, " \"{}\"", clean(subject)).expect("a string grows as needed");
    }
    if let Some(author) = &source.author {
        write!(text, " by {}", clean(author)).expect("a string grows as needed");
    }
    if source.dirty {
        text.push_str(", with changes that are not committed");
    }
    text
}

#[cfg(test)]
mod tests {
    use reconciler::decide::plan::Ports;
    use reconciler::decide::unused::ImpactSource;
    use schema::name::RuleName;

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
