//! A plan as text: the verdict, what stands in its way, every change by edge and rule, then what differs already. Pure.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::num::NonZeroU32;

use crate::decide::plan::{
    Action, BaseEdge, Hint, PlanDocument, PlannedChange, PlannedWave, Source, Summary, Uncommitted, filter_note,
};
use schema::name::EdgeName;

use super::change::write_change;
use super::clean::clean;
use super::words::{count, listed, short_hash, time};
use super::{Length, drift, plan_lines, rails, style};

/// More listeners of one kind are counted.
const SHOWN_RANGES: usize = 8;

/// More edges of one wave are counted.
const SHOWN_EDGES: usize = 12;

/// The whole plan.
pub fn text(plan: &PlanDocument, length: Length) -> String {
    let mut text = String::with_capacity(256 + plan.changes.len() * 256);
    write_plan(&mut text, plan, length).expect("a string grows as needed");
    text
}

fn write_plan(to: &mut String, plan: &PlanDocument, length: Length) -> fmt::Result {
    writeln!(to, "{}", style::strong(verdict(plan)))?;
    if let Some(gap) = incomplete(plan) {
        writeln!(to, "{}", style::warning(gap))?;
    }
    write_blockers(to, plan)?;
    write_changes(to, plan, length)?;
    if !plan.changes.is_empty() && plan.summary.unchanged > 0 {
        writeln!(to, "\n{} unchanged.", count(plan.summary.unchanged, "rule"))?;
    }
    if let Some(proofs) = proofs(plan) {
        writeln!(to, "\n{proofs}")?;
    }
    if !plan.waves.is_empty() {
        writeln!(to, "\n{}", style::strong(rollout_heading(&plan.waves)))?;
        for wave in &plan.waves {
            writeln!(
                to,
                "  {:<8} {}",
                format!("wave {}", wave.wave),
                wave_words(wave, &listed(&wave.edges, SHOWN_EDGES))
            )?;
        }
    }
    drift::write(to, &plan.drift, length)?;
    write_hints(to, &plan.hints)?;
    if plan.source.commit.is_some() {
        let source = source(&plan.source);
        writeln!(to, "\n{}", style::faint(source))?;
    }
    Ok(())
}

/// More changes are one line each.
const SHOWN_IN_FULL: usize = 10;

fn write_changes(to: &mut String, plan: &PlanDocument, length: Length) -> fmt::Result {
    let (waiting, new): (Vec<_>, Vec<_>) =
        plan.changes.iter().partition(|change| length == Length::Brief && plan_lines::is_decided(plan, change));
    if new.len() > SHOWN_IN_FULL && length == Length::Brief {
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

/// `Rollout in 2 waves:`; where earlier waves have nothing to do, `Rollout with changes in wave 2 only:`
pub fn rollout_heading(waves: &[PlannedWave]) -> String {
    let numbers: Vec<String> = waves.iter().map(|wave| wave.wave.to_string()).collect();
    let is_whole = waves.iter().zip(1..).all(|(wave, number)| wave.wave == number);
    match numbers.as_slice() {
        _ if is_whole => format!("Rollout in {}:", count(numbers.len() as u64, "wave")),
        [one] => format!("Rollout with changes in wave {one} only:"),
        [first @ .., last] => format!("Rollout with changes in waves {} and {last} only:", first.join(", ")),
        [] => String::new(),
    }
}

/// Its edges, as they were listed, how they change and how it is watched.
pub fn wave_words(wave: &PlannedWave, edges: &str) -> String {
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
pub fn verdict(plan: &PlanDocument) -> String {
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
pub fn incomplete(plan: &PlanDocument) -> Option<String> {
    let changed: BTreeSet<&EdgeName> = plan.changes.iter().map(|change| &change.edge).collect();
    let is_offline = |edge: &&EdgeName| plan.base.edges.get(*edge).is_some_and(|base| !base.connected);
    let offline: Vec<&EdgeName> = changed.into_iter().filter(is_offline).collect();
    let is_told = !plan.complete && !offline.is_empty();
    let words = if offline.len() == 1 { "is" } else { "are" };
    is_told.then(|| format!("Incomplete: {} {words} offline.", listed(&offline, SHOWN_RANGES)))
}

/// `3 to activate`, `1 to remove`: how many changes of each kind.
pub fn figures(summary: &Summary) -> Vec<String> {
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
pub fn blockers(plan: &PlanDocument) -> Vec<String> {
    plan.rails.iter().filter(|rail| rail.tripped).map(rails::line).collect()
}

/// The rules that an apply would leave out: one line each.
pub fn rejections(plan: &PlanDocument) -> Vec<String> {
    let rejected = plan.changes.iter().filter(|change| change.action == Action::Reject);
    let line = |change: &PlannedChange| {
        let code = change.code.as_deref().unwrap_or_default();
        format!("{}/{}: {}: {}", change.edge, change.rule, clean(code), clean(change.message.as_deref().unwrap_or("")))
    };
    rejected.map(line).collect()
}

/// The heading of the rejections, which says whether the other changes would be applied.
pub fn rejected_heading(plan: &PlanDocument) -> &'static str {
    let has_rest = plan.summary.changes() > plan.summary.reject;
    if has_rest && !plan.is_railed() { "Rejected, the rest would be applied" } else { "Rejected" }
}

/// What does not stop a plan but an apply: a tree that is not committed; and which rails a flag has lifted.
pub fn remarks(plan: &PlanDocument) -> Vec<String> {
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
pub fn edge_mark(base: Option<&BaseEdge>) -> Option<String> {
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

/// How much of a plan its edges hold, and until when.
pub fn proofs(plan: &PlanDocument) -> Option<String> {
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
pub fn source(source: &Source) -> String {
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
    use super::*;

    fn heading(numbers: &[u32]) -> String {
        let wave = |number: &u32| PlannedWave {
            wave: *number,
            edge_labels: schema::name::Labels::default(),
            max_parallel: None,
            max_failed: 0,
            soak_secs: 0,
            edges: Vec::new(),
        };
        rollout_heading(&numbers.iter().map(wave).collect::<Vec<_>>())
    }

    #[test]
    fn waves_without_changes_are_not_counted_as_if_they_did_not_exist() {
        assert_eq!(heading(&[1, 2]), "Rollout in 2 waves:");
        assert_eq!(heading(&[1]), "Rollout in 1 wave:");
        assert_eq!(heading(&[2]), "Rollout with changes in wave 2 only:");
        assert_eq!(heading(&[1, 3]), "Rollout with changes in waves 1 and 3 only:");
        assert_eq!(heading(&[2, 3, 5]), "Rollout with changes in waves 2, 3 and 5 only:");
    }
}
