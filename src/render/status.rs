//! The status of a fleet as text: what is in force, whether it is held and why, edges, rules, drift. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use jiff::Timestamp;
use reconciler::decide::drift::{Drift, DriftKind, ROLLOUT_UNFINISHED, STOPPED_BEFORE};
use reconciler::decide::fleet::{Mode, Outcome, Verdict};
use reconciler::decide::remote::RemoteView;
use reconciler::decide::status::target_rows::all_rows;
use reconciler::decide::status::{EdgeStatus, RevisionStatus, StatusDocument};
use reconciler::decide::view::Confirmation;
use schema::state::RuleState;

use super::drift::place as drift_place;
use super::plan::source;
use super::table::Columns;
use super::targets;
use super::words::{ago, count, short_hash, time};
use super::{drift, rules, style, summary, target_list};
use crate::output::{clean, length};

/// More errors are counted; `validate` shows all, with carets.
const SHOWN_ERRORS: usize = 10;

/// The whole fleet, or what a selector left of it; rules are listed where there is one.
pub(crate) fn text(status: &StatusDocument, is_selected: bool, now: Timestamp) -> String {
    let mut text = String::new();
    write_status(&mut text, status, is_selected, now).expect("a string grows as needed");
    text
}

fn write_status(to: &mut String, status: &StatusDocument, is_selected: bool, now: Timestamp) -> fmt::Result {
    writeln!(to, "{}", summary::verdict(status))?;
    if let Some(provenance) = summary::provenance(status, now) {
        writeln!(to, "{provenance}")?;
    }
    if !is_selected {
        write_revision(to, status, now)?;
    }
    writeln!(to)?;
    if status.edges.is_empty() {
        writeln!(to, "There are no known edges yet.")?;
    } else {
        to.push_str(&edges(&status.edges, now));
    }
    if is_selected {
        for edge in &status.edges {
            write_edge(to, edge, now)?;
        }
    }
    // Of one rule its targets are shown above.
    if status.edges.iter().map(|edge| edge.rules.len()).sum::<usize>() > 1 {
        to.push_str(&target_list::down(&all_rows(&status.edges)));
    }
    drift::write(to, &status.drift, length())?;
    write_advice(to, &status.drift)
}

/// What is in force and what is followed: a status without its edges.
pub(crate) fn revision(status: &StatusDocument, now: Timestamp) -> String {
    let mut text = summary::provenance(status, now).unwrap_or_else(|| "Nothing has been applied yet".to_owned());
    text.push('\n');
    write_revision(&mut text, status, now).expect("a string grows as needed");
    text
}

fn write_revision(to: &mut String, status: &StatusDocument, now: Timestamp) -> fmt::Result {
    if let Some(mode) = status.mode {
        writeln!(to, "Mode {}", mode.as_str())?;
    }
    if let Some(line) = status.ledger_broken {
        let warning = style::warning("Ledger");
        writeln!(
            to,
            "{warning}: it was changed outside of the server from entry {line} on; run `portunus history \
            --verify`"
        )?;
    }
    if let Some(freeze) = &status.frozen {
        let until = freeze.until.map_or_else(|| "`portunus unfreeze`".to_owned(), time);
        let (by, why) = (clean(&freeze.by), clean(&freeze.why));
        writeln!(to, "{} by {by} since {}, until {until}: {why}", style::warning("Frozen"), time(freeze.since))?;
    }
    if let Some(lock) = &status.lock {
        writeln!(to, "{} is applying since {}", clean(&lock.holder), time(lock.since))?;
    }
    if let Some(paused) = status.apply.as_ref().and_then(|apply| apply.paused.as_ref()) {
        writeln!(to, "{}: the rollout is paused: {}", style::warning("Paused"), clean(paused))?;
    }
    write_cut_off(to, status)?;
    if let Some(remote) = &status.revision.remote {
        write_remote(to, remote, now)?;
    }
    for one in status.notifiers.iter().filter(|one| one.is_ailing()) {
        writeln!(to, "{} {}", style::warning("Notices to"), one.trouble(now))?;
    }
    write_held(to, &status.revision, now)
}

/// An apply that a restart of the server cut off, as long as anything of it is missing, and the one that goes on with
/// it.
fn write_cut_off(to: &mut String, status: &StatusDocument) -> fmt::Result {
    let Some(apply) = &status.apply else { return Ok(()) };
    let id = clean(&apply.id);
    if let Some(earlier) = apply.continues.as_ref().filter(|_| apply.outcome == Outcome::Running) {
        let earlier = clean(earlier);
        return writeln!(to, "{id} continues the rollout {earlier}, which a restart of the server interrupted");
    }
    if apply.outcome != Outcome::Interrupted || status.drift.is_empty() {
        return Ok(());
    }
    let rest = match status.mode {
        Some(Mode::Off) => "`portunus resume` sends what is missing",
        _ => "the server continues with the rest once the edges are back",
    };
    let cut_off = style::warning("Cut off");
    writeln!(to, "{cut_off}: a restart of the server cut the apply {id} off; what it decided is in force, and {rest}")
}

/// The followed remote: what it names, and when it was asked and answered last.
fn write_remote(to: &mut String, remote: &RemoteView, now: Timestamp) -> fmt::Result {
    let path = if remote.path.is_empty() { String::new() } else { format!(" in {}", clean(&remote.path)) };
    write!(to, "Follows {}{path} of {}", clean(&remote.reference), clean(&remote.url))?;
    match (&remote.commit, remote.fetched_at) {
        (Some(commit), Some(at)) => writeln!(to, ", commit {} seen {}", clean(short_hash(commit)), ago(at, now))?,
        _ => writeln!(to, ", not seen yet")?,
    }
    if let Some(error) = &remote.error {
        let at = remote.attempted_at.map_or_else(String::new, |at| format!(" {}", ago(at, now)));
        writeln!(to, "{}: last attempted{at}: {}", style::warning("Remote"), clean(error))?;
    }
    Ok(())
}

fn write_held(to: &mut String, revision: &RevisionStatus, now: Timestamp) -> fmt::Result {
    let attempted = revision.attempted.as_ref().map(|source| source.digest);
    if revision.held && revision.digest.is_none() && revision.verdict == Some(Verdict::Invalid) {
        writeln!(to, "{}: the followed tree has errors", style::warning("Held"))?;
    } else if revision.held {
        writeln!(to, "{}: {}", style::warning("Held"), clean(&revision.reason))?;
        if revision.hold.is_some() {
            writeln!(to, "  it stays until git moves or `portunus resume`")?;
        }
    } else if revision.verdict == Some(Verdict::Waiting) && attempted != revision.digest {
        writeln!(to, "{}: {}; `portunus apply` releases it", style::warning("Waiting"), clean(&revision.reason))?;
    }
    let attempted = revision.attempted.as_ref().filter(|attempted| revision.digest != Some(attempted.digest));
    if let (Some(source), Some(at)) = (attempted.map(source), revision.attempted_at) {
        writeln!(to, "Last attempted {source}, {}", ago(at, now))?;
    }
    if let Some(attempted) = revision.attempted.as_ref().filter(|_| revision.held) {
        for path in &attempted.dirty_paths {
            writeln!(to, "  {}", clean(path))?;
        }
    }
    if let Some(Verdict::Railed { rails }) = &revision.verdict {
        for rail in rails {
            writeln!(to, "  {}", super::rails::line(rail))?;
        }
    }
    for error in revision.errors.iter().take(SHOWN_ERRORS) {
        let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
        let column = error.column.map(|column| format!(":{column}")).unwrap_or_default();
        let place =
            if error.file.is_empty() { String::new() } else { format!("{}{line}{column}: ", clean(&error.file)) };
        writeln!(to, "  {place}{}: {}", clean(&error.code), clean(&error.message))?;
    }
    if revision.errors.len() > SHOWN_ERRORS {
        writeln!(to, "  and {} more; `portunus validate` shows all", revision.errors.len() - SHOWN_ERRORS)?;
    }
    Ok(())
}

fn edges(edges: &[EdgeStatus], now: Timestamp) -> String {
    let mut columns = Columns::new(&["EDGE", "CONNECTED", "GENERATION", "RULES", "LAST SEEN"]);
    for edge in edges {
        let generation = if edge.generation == edge.desired_generation {
            edge.generation.to_string()
        } else {
            format!("{} of {}", edge.generation, edge.desired_generation)
        };
        let generation = match edge.confirmation {
            Confirmation::None => generation,
            Confirmation::Awaited => format!("{generation}, on trial"),
            Confirmation::Missed => format!("{generation}, returned"),
        };
        columns.row(&[
            edge.name.to_string(),
            if edge.connected { "yes" } else { "no" }.to_owned(),
            generation,
            rules_by_state(edge),
            match (edge.connected, edge.last_seen) {
                (true, _) => "now".to_owned(),
                (false, Some(at)) => ago(at, now),
                (false, None) => "never".to_owned(),
            },
        ]);
    }
    columns.text("")
}

fn rules_by_state(edge: &EdgeStatus) -> String {
    let mut states: BTreeMap<RuleState, u32> = BTreeMap::new();
    for rule in &edge.rules {
        *states.entry(rule.state).or_default() += 1;
    }
    if states.is_empty() {
        return "none".to_owned();
    }
    states.into_iter().map(|(state, number)| format!("{number} {state}")).collect::<Vec<_>>().join(", ")
}

fn write_edge(to: &mut String, edge: &EdgeStatus, now: Timestamp) -> fmt::Result {
    writeln!(to)?;
    if !edge.version.is_empty() {
        writeln!(to, "version {}", clean(&edge.version))?;
    }
    if let Some(capabilities) = &edge.capabilities {
        writeln!(to, "capabilities {}", clean(&capabilities.join(", ")))?;
    }
    if let Some(policy) = edge.policy.as_ref().map(ToString::to_string).filter(|policy| !policy.is_empty()) {
        writeln!(to, "policy {policy}")?;
    }
    if !edge.rules.is_empty() {
        let rows = edge.rules.iter().map(|rule| (edge.name.as_str(), rule));
        write!(to, "\n{}", rules::table(rows, now))?;
    }
    // More than one rule's targets is a list that nobody reads: `status EDGE/RULE` shows those of one.
    if let [rule] = edge.rules.as_slice() {
        targets::write_rule(to, edge, rule, now)?;
    }
    Ok(())
}

fn write_advice(to: &mut String, drift: &[Drift]) -> fmt::Result {
    let mut told: Vec<(DriftKind, bool)> = Vec::new();
    for one in drift {
        let topic = (one.kind, one.code == ROLLOUT_UNFINISHED);
        if told.contains(&topic) {
            continue;
        }
        told.push(topic);
        writeln!(to, "{}: {}", style::help(one.kind.as_str()), advice(one))?;
    }
    Ok(())
}

/// As the beginning of a sentence that goes on.
fn remedy(code: &schema::codes::CodeDoc) -> &'static str {
    code.remedy.trim_end_matches('.')
}

/// What to do about one kind of drift.
fn advice(drift: &Drift) -> String {
    match drift.kind {
        DriftKind::StaleGeneration if drift.message.starts_with(STOPPED_BEFORE) => {
            "after a stopped rollout nothing is sent again by itself; `portunus apply` begins it again, and `portunus \
             rollback previous` returns to what was in force before"
                .to_owned()
        }
        DriftKind::StaleGeneration if drift.code == ROLLOUT_UNFINISHED => {
            "`portunus status --watch` shows how far the rollout is; `portunus resume` completes one that stands still"
                .to_owned()
        }
        DriftKind::Missing | DriftKind::Changed | DriftKind::StaleGeneration => {
            "the server sends it again by itself unless its mode is `off`; `portunus apply` sends it now to edges that are \
             connected"
                .to_owned()
        }
        DriftKind::Unsettled => format!(
            "make sure that only one server and one process control the edge; `portunus status {}` shows it, and \
             `portunus history` since when",
            drift.edge
        ),
        DriftKind::Extra => {
            "`portunus apply` removes it if a tree names its edge; to keep it, add it to the tree".to_owned()
        }
        DriftKind::Failed => match schema::codes::explain(&drift.code) {
            Some(code) => {
                format!("{}; `portunus status {}` shows it", remedy(&code), drift_place(drift))
            }
            None => format!("it is retried; `portunus status {}` shows it", drift_place(drift)),
        },
        DriftKind::Rejected => match schema::codes::explain(&drift.code) {
            Some(code) => format!("{}; `portunus explain {}` says more", remedy(&code), clean(&drift.code)),
            None => format!(
                "change the rule, or assign it to an edge that supports it; see `portunus status \
                {}`",
                drift.edge
            ),
        },
        DriftKind::EdgeOffline => {
            let place = &drift.edge;
            format!(
                "start the edge, or fix its connection to the server; `portunus status {place}` shows when it is \
                back"
            )
        }
        // A deviation of a target has a code, a break-glass rule has none.
        DriftKind::Override if drift.code.is_empty() => {
            let place = drift_place(drift);
            format!("`portunus override export` prints it for a commit, `portunus override remove {place}` ends it")
        }
        DriftKind::Override => format!(
            "`portunus status {0}` shows its targets; `portunus target resume`, `enable` or `weight` ends it",
            drift_place(drift)
        ),
    }
}

/// A line under a status that is shown again and again.
pub(crate) fn watched(now: Timestamp) -> String {
    format!("\n{}\n", style::faint(format!("as of {}; ends with Ctrl-C", time(now))))
}

/// `12 rules on 3 edges`
pub(crate) fn extent(status: &StatusDocument) -> String {
    let rules: usize = status.edges.iter().map(|edge| edge.rules.len()).sum();
    format!("{} on {}", count(rules as u64, "rule"), count(status.edges.len() as u64, "edge"))
}

#[cfg(test)]
mod tests {
    use schema::name::{EdgeName, RuleName};

    use super::*;

    #[test]
    fn every_kind_of_drift_comes_with_a_command() {
        for (kind, code) in DriftKind::ALL.iter().flat_map(|kind| [(*kind, ""), (*kind, "port_in_use")]) {
            let drift = Drift {
                edge: EdgeName::new("edge-01").expect("a name"),
                rule: RuleName::new("web").ok(),
                kind,
                code: code.to_owned(),
                message: String::new(),
                fields: Vec::new(),
            };
            assert!(advice(&drift).contains("`portunus "), "{}: {}", kind.as_str(), advice(&drift));
        }
    }
}
