//! The fleet at a glance: is it in sync, what changed last and by whom, what needs a look. Pure.

use jiff::Timestamp;
use schema::state::RuleState;

use super::attention::{Attention, attention, is_other};
use super::head::{self, extent};
use super::words::{Badge, Moment, grouped, short_hash};
use crate::decide::fleet::{ApplyResult, EdgeOutcome, Freeze, Mode, Outcome};
use crate::decide::render::summary;
use crate::decide::status::RevisionStatus;
use crate::decide::summary::FleetSummary;

/// Who the ledger names where the server applied by itself.
const WATCH: &str = "watch";
/// Edges of an apply that are listed with what kept them from it.
const SHOWN_EDGES: usize = 5;

/// The view.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// In sync or not.
    pub verdict: Badge,
    /// Edges, rules, targets, connections.
    pub figures: Vec<Figure>,
    /// What needs a look, the worst first.
    pub attention: Vec<Attention>,
    /// What stands there instead.
    pub all_well: &'static str,
    /// What was applied last.
    pub revision: Option<InForce>,
    /// What the server does by itself.
    pub mode: String,
    /// What is followed, in sentences.
    pub followed: Vec<String>,
    /// The apply that runs, or that did not end well.
    pub apply: Option<Progress>,
    /// Whether applying is frozen.
    pub freeze: FreezeView,
    /// How much the operator may not see.
    pub hidden: u64,
    /// The same as a sentence.
    pub hidden_text: String,
}

/// A large number.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What is counted.
    pub name: &'static str,
    /// The number.
    pub value: String,
    /// Of how many; may be empty.
    pub of: String,
    /// What is not well among them.
    pub states: Vec<Badge>,
    /// The list behind it.
    pub link: Option<String>,
}

/// The revision in force.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The first digits of its digest.
    pub digest: String,
    /// The first line of its commit's message, or what there is instead.
    pub subject: String,
    /// The first digits of its commit.
    pub commit: String,
    /// The branch.
    pub reference: String,
    /// Who wrote it.
    pub author: String,
    /// When it was applied.
    pub at: Option<Moment>,
    /// By whom.
    pub by: String,
    /// By which apply.
    pub apply: String,
    /// The view of the apply.
    pub link: Option<String>,
}

/// An apply that runs, or that did not end well.
#[derive(Debug, Clone)]
pub struct Progress {
    /// `Apply a12`
    pub title: String,
    /// How it stands.
    pub state: Badge,
    /// `3 of 12 edges`
    pub extent: String,
    /// The same in percent.
    pub percent: u64,
    /// Who.
    pub by: String,
    /// When it began.
    pub since: Moment,
    /// Why it stopped or waits, and which edges refused.
    pub lines: Vec<String>,
    /// The view of the apply.
    pub link: Option<String>,
}

/// Whether applying is frozen, and the form to change that.
#[derive(Debug, Clone)]
pub struct FreezeView {
    /// Frozen or not.
    pub state: Badge,
    /// The freeze that stands.
    pub stands: Option<FreezeStands>,
    /// True if the operator may change it.
    pub may: bool,
    /// Where the form is sent to.
    pub action: &'static str,
    /// What its button says.
    pub button: &'static str,
}

/// The freeze that stands.
#[derive(Debug, Clone)]
pub struct FreezeStands {
    /// Why.
    pub why: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub since: Moment,
    /// Until when.
    pub until: Option<Moment>,
}

/// The view of a fleet. `may_freeze` is whether the operator could change a freeze.
pub fn view(summary: &FleetSummary, may_freeze: bool, now: Timestamp) -> FleetView {
    let attention = attention(summary, now);
    FleetView {
        verdict: head::line(summary).verdict,
        figures: figures(summary),
        attention,
        all_well: if summary.edges.all == 0 {
            "No edge has joined yet. `portunus edge-token create NAME` invites one."
        } else {
            "Nothing. Everything runs as applied, and no target is down."
        },
        revision: in_force(&summary.revision, now),
        mode: mode(summary),
        followed: followed(&summary.revision, now),
        apply: summary
            .apply
            .as_ref()
            .filter(|apply| is_worth_showing(apply, summary))
            .map(|apply| progress(apply, now)),
        freeze: freeze(summary.frozen.as_ref(), may_freeze, now),
        hidden: summary.hidden,
        hidden_text: super::history::hidden_in_words(summary.hidden),
    }
}

fn figures(summary: &FleetSummary) -> Vec<Figure> {
    let offline = summary.edges.all - summary.edges.connected.min(summary.edges.all);
    let totals = &summary.targets;
    let some = |number: u64, badge: fn(String) -> Badge, word: &str| {
        (number > 0).then(|| badge(format!("{} {word}", grouped(number))))
    };
    let figure = |name, value: u64, of: Option<u64>, states: Vec<Option<Badge>>, path: &str| Figure {
        name,
        value: grouped(value),
        of: of.map(grouped).unwrap_or_default(),
        states: states.into_iter().flatten().collect(),
        link: head::link(path),
    };
    let state = |state| summary.rules.states.get(&state).copied().unwrap_or_default();
    vec![
        figure(
            "Edges connected",
            summary.edges.connected,
            Some(summary.edges.all),
            vec![some(offline, Badge::down, "offline")],
            "/ui/edges",
        ),
        figure(
            "Rules",
            summary.rules.all,
            None,
            vec![
                some(summary.rules.down, Badge::down, "down"),
                some(state(RuleState::Failed) + state(RuleState::Rejected), Badge::down, "not serving as applied"),
                some(state(RuleState::Pending), Badge::info, "pending"),
                some(summary.rules.overrides, Badge::warn, "by override"),
            ],
            "/ui/rules",
        ),
        figure(
            "Targets up",
            totals.up,
            Some(totals.all - totals.unchecked.min(totals.all)),
            vec![
                some(totals.down, Badge::down, "down"),
                some(totals.paused, Badge::warn, "paused"),
                some(totals.disabled, Badge::off, "disabled"),
                some(totals.unknown.saturating_sub(totals.unchecked), Badge::off, "unknown"),
                some(totals.unchecked, Badge::off, "not checked"),
            ],
            "/ui/rules?health=down",
        ),
        figure(
            "Connections",
            summary.connections,
            None,
            vec![some(summary.draining, Badge::info, "draining")],
            "/ui/connections",
        ),
    ]
}

fn in_force(revision: &RevisionStatus, now: Timestamp) -> Option<InForce> {
    let digest = revision.digest?;
    let source = revision.applied.as_ref();
    let text = |found: Option<&String>| found.cloned().unwrap_or_default();
    let dirty = source.is_some_and(|source| source.dirty);
    let subject = source.and_then(|source| source.subject.clone());
    let nameless = if revision.commit.is_some() { "A commit without a subject" } else { "A tree without a commit" };
    let subject = subject.unwrap_or_else(|| nameless.to_owned());
    let by = match (revision.actor.as_deref(), revision.applied_by.as_deref()) {
        (Some(actor), Some(claimed)) if actor != claimed => format!("{actor} as {claimed}"),
        (Some(WATCH), _) => "the server".to_owned(),
        (actor, claimed) => actor.or(claimed).unwrap_or_default().to_owned(),
    };
    Some(InForce {
        digest: digest.short(),
        subject: if dirty { format!("{subject}, with changes that are not committed") } else { subject },
        commit: revision.commit.as_deref().map(short_hash).unwrap_or_default().to_owned(),
        reference: text(source.and_then(|source| source.reference.as_ref())),
        author: text(source.and_then(|source| source.author.as_ref())),
        at: revision.applied_at.map(|at| Moment::new(at, now)),
        by,
        apply: revision.apply_id.clone().unwrap_or_default(),
        link: revision.apply_id.as_ref().and_then(|id| head::link(&format!("/ui/applies/{id}"))),
    })
}

fn mode(summary: &FleetSummary) -> String {
    let Some(mode) = summary.mode else { return String::new() };
    let words = match mode {
        Mode::Off => "the server changes nothing on its own",
        Mode::Plan => "changes of the tree are planned and wait for an apply",
        Mode::Heal => "the applied state is kept in force",
        Mode::Apply => "every commit of the followed tree is applied",
    };
    format!("{}: {words}", mode.as_str())
}

fn followed(revision: &RevisionStatus, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(remote) = &revision.remote {
        let path = if remote.path.is_empty() { String::new() } else { format!(" in {}", remote.path) };
        let seen = match (&remote.commit, remote.fetched_at) {
            (Some(commit), Some(at)) => {
                format!("commit {} seen {}", short_hash(commit), super::words::relative(now, at))
            }
            _ => "not seen yet".to_owned(),
        };
        lines.push(format!("Follows {}{path} of {}, {seen}.", remote.reference, remote.url));
    }
    if let (Some(attempted), Some(at), true) = (&revision.attempted, revision.attempted_at, is_other(revision)) {
        let commit = attempted.commit.as_deref().map_or_else(
            || format!("the tree {}", attempted.digest.short()),
            |commit| format!("commit {}", short_hash(commit)),
        );
        lines.push(format!("Read last: {commit}, {}.", super::words::relative(now, at)));
    }
    lines
}

/// One that runs, or the last one where it reached only a part and something is missing still.
fn is_worth_showing(apply: &ApplyResult, summary: &FleetSummary) -> bool {
    let is_whole = apply.outcome == Outcome::Applied || apply.outcome == Outcome::Superseded;
    apply.outcome == Outcome::Running || (!is_whole && !summary.drift.is_empty())
}

fn progress(apply: &ApplyResult, now: Timestamp) -> Progress {
    let done = summary::done(apply) as u64;
    let state = match apply.outcome {
        Outcome::Running if apply.paused.is_some() => Badge::warn("paused"),
        Outcome::Running => Badge::info("running"),
        Outcome::Applied => Badge::up("applied"),
        other => Badge::warn(other.as_str()),
    };
    let mut lines: Vec<String> = apply.paused.iter().map(|why| format!("The rollout is paused: {why}")).collect();
    lines.extend(apply.stopped.iter().map(|why| format!("The rollout was stopped: {why}")));
    // Edges that were not reached are as many as the rollout left; the line above says why.
    let is_failed = |edge: &&crate::decide::fleet::EdgeResult| {
        !edge.message.is_empty()
            && !matches!(edge.outcome, EdgeOutcome::Done | EdgeOutcome::Queued | EdgeOutcome::Skipped)
    };
    let failed = apply.edges.iter().filter(is_failed);
    lines.extend(failed.take(SHOWN_EDGES).map(|edge| format!("{}: {}", edge.edge, edge.message)));
    Progress {
        title: format!("Apply {}", apply.id),
        state,
        extent: extent(apply),
        percent: (done * 100).checked_div(apply.edges.len() as u64).unwrap_or(100),
        by: apply.actor.clone(),
        since: Moment::new(apply.started_at, now),
        lines,
        link: head::link(&format!("/ui/applies/{}", apply.id)),
    }
}

fn freeze(frozen: Option<&Freeze>, may: bool, now: Timestamp) -> FreezeView {
    let stands = frozen.map(|freeze| FreezeStands {
        why: freeze.why.clone(),
        by: freeze.by.clone(),
        since: Moment::new(freeze.since, now),
        until: freeze.until.map(|until| Moment::new(until, now)),
    });
    let (state, action, button) = match &stands {
        Some(_) => (Badge::warn("frozen"), "/ui/unfreeze", "Unfreeze"),
        None => (Badge::off("not frozen"), "/ui/freeze", "Freeze"),
    };
    FreezeView { state, stands, may, action, button }
}
