//! Applies: the recent ones as a list, and one with its waves and edges. Pure.

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::state::RuleState;

use super::filter::FilterForm;
use super::head::link;
use super::history::{changes_in_words, hidden_in_words, outcome_badge, who};
use super::plan::NamedFact;
use super::query::ViewQuery;
use super::words::{Badge, Moment, count, lasting, short_hash};
use crate::decide::fleet::{ApplyResult, EdgeOutcome, EdgeResult, Outcome};
use crate::decide::ledger::HistoryEntry;
use crate::decide::plan::PlannedWave;
use crate::decide::render::summary;

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRow {
    /// Its id.
    pub id: String,
    /// Where its page is.
    pub path: String,
    /// How it stands.
    pub outcome: Badge,
    /// When it began.
    pub at: Moment,
    /// How long it took; empty while it runs.
    pub took: String,
    /// The commit, shortened.
    pub commit: String,
    /// Its subject.
    pub subject: String,
    /// Who.
    pub who: String,
    /// `+1 ~2 -0`
    pub changes: String,
    /// How many edges had to change.
    pub edges: String,
}

/// The path of the view.
pub const PATH: &str = "/ui/applies";

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliesView {
    /// What is asked for.
    pub filter: FilterForm,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
    /// The newest first.
    pub rows: Vec<ApplyRow>,
    /// Where older ones are; empty on the last page.
    pub older: String,
    /// How many the operator may not see, in words.
    pub hidden: String,
}

/// At most so many entries on a page.
pub const PER_PAGE: usize = 50;
/// How an apply can stand.
const OUTCOMES: &[(&str, &str)] = &[
    ("", "any"),
    ("started", "running"),
    ("applied", "applied"),
    ("partial", "partial"),
    ("superseded", "superseded"),
    ("returned", "returned"),
    ("interrupted", "interrupted"),
];

/// The list of entries, newest first; one more than fits on a page says that there are older ones.
pub fn list(query: &ViewQuery, entries: &[HistoryEntry], hidden: u64, now: Timestamp) -> AppliesView {
    let filter = FilterForm::new(PATH, query, &["before"])
        .text(query, ("edge", "Edge", "fra-*"))
        .text(query, ("since", "Since", "2d"))
        .select(query, ("state", "Outcome"), OUTCOMES);
    let empty = if filter.is_used {
        "No apply matches. Remove a filter to see more."
    } else {
        "Nothing has been applied yet. The command portunus apply DIR puts a rule tree in force."
    };
    let shown = &entries[..entries.len().min(PER_PAGE)];
    let older = match shown.last() {
        Some(last) if entries.len() > PER_PAGE => query.with("before", &last.entry.id.to_string()).on(PATH),
        _ => String::new(),
    };
    let rows = shown.iter().map(|found| row(found, now)).collect();
    AppliesView { filter, empty: empty.to_owned(), rows, older, hidden: hidden_in_words(hidden) }
}

fn row(found: &HistoryEntry, now: Timestamp) -> ApplyRow {
    let entry = &found.entry;
    ApplyRow {
        id: entry.apply_id.clone(),
        path: format!("/ui/applies/{}", entry.apply_id),
        outcome: outcome_badge(found),
        at: Moment::new(entry.at, now),
        took: found.finished_at.map(|end| lasting(end.duration_since(entry.at))).unwrap_or_default(),
        commit: entry.commit.as_deref().map_or_else(|| "no commit".to_owned(), |commit| short_hash(commit).to_owned()),
        subject: found.subject.clone().unwrap_or_default(),
        who: who(&entry.actor, found.applied_by.as_deref()),
        changes: found.summary.as_ref().map(changes_in_words).unwrap_or_default(),
        edges: super::words::grouped(entry.generations.len().max(entry.edges.len()) as u64),
    }
}

/// One edge of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyEdge {
    /// Its name.
    pub edge: String,
    /// Where its page is, if there is one.
    pub path: Option<String>,
    /// How it went.
    pub state: Badge,
    /// The same in a sentence.
    pub words: String,
    /// The generation to reach.
    pub generation: u64,
    /// Rules that are not as planned.
    pub rules: Vec<ApplyRule>,
}

/// A rule that is not as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRule {
    /// Its name.
    pub rule: String,
    /// Where its page is, if there is one.
    pub path: Option<String>,
    /// What is so.
    pub state: Badge,
    /// Why.
    pub why: String,
}

/// A wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyWave {
    /// `Wave 1`, or `Edges` where there are none.
    pub title: String,
    /// `2 of 5 edges done`
    pub progress: String,
    /// How many are done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
    /// How it is carried out: how many at once, how long it is watched.
    pub terms: String,
    /// Its edges.
    pub edges: Vec<ApplyEdge>,
}

/// One apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyView {
    /// Its id.
    pub id: String,
    /// How it stands.
    pub outcome: Badge,
    /// The result in a sentence.
    pub verdict: String,
    /// True while it runs.
    pub is_running: bool,
    /// Why it was stopped or stands still; empty where it does not.
    pub stopped: String,
    /// Facts.
    pub facts: Vec<NamedFact>,
    /// Its waves, with the edges in the order in which they begin.
    pub waves: Vec<ApplyWave>,
    /// Where its plan is.
    pub entry: String,
}

/// The view of an apply; `found` is its entry, if the history has it already.
pub fn one(result: &ApplyResult, found: Option<&HistoryEntry>, waves: &[PlannedWave], now: Timestamp) -> ApplyView {
    let mut facts = vec![NamedFact::at("began", Moment::new(result.started_at, now))];
    facts.extend(result.finished_at.map(|end| NamedFact::at("ended", Moment::new(end, now))));
    let commit =
        result.commit.as_deref().map_or_else(|| "no commit".to_owned(), |commit| short_hash(commit).to_owned());
    facts.push(NamedFact::text("commit", commit));
    facts.extend(found.and_then(|found| found.subject.clone()).map(|subject| NamedFact::text("subject", subject)));
    facts.push(NamedFact::text("by", who(&result.actor, result.applied_by.as_deref())));
    facts.extend(
        found
            .and_then(|found| found.summary.as_ref())
            .map(|summary| NamedFact::text("changes", changes_in_words(summary))),
    );
    facts.extend(result.continues.clone().map(|id| NamedFact::text("continues", id)));
    let entry = found.map(|found| format!("/ui/history/{}", found.entry.id)).unwrap_or_default();
    let paused = result.paused.as_ref().map(|why| format!("Paused: {why}."));
    let stopped = result.stopped.as_ref().map(|why| format!("The rollout was stopped: {why}."));
    ApplyView {
        id: result.id.clone(),
        outcome: outcome(result.outcome),
        verdict: verdict(result),
        is_running: result.outcome == Outcome::Running,
        stopped: paused.or(stopped).unwrap_or_default(),
        facts,
        waves: in_waves(result, waves),
        entry,
    }
}

fn in_waves(result: &ApplyResult, waves: &[PlannedWave]) -> Vec<ApplyWave> {
    let mut left: Vec<&EdgeResult> = result.edges.iter().collect();
    let mut shown = Vec::new();
    for wave in waves {
        let (of_wave, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|edge| wave.edges.contains(&edge.edge));
        left = others;
        let place = |edge: &EdgeName| wave.edges.iter().position(|name| name == edge);
        let mut edges = of_wave;
        edges.sort_by_key(|edge| place(&edge.edge));
        if !edges.is_empty() {
            shown.push(wave_of(format!("Wave {}", wave.wave), terms(wave), &edges));
        }
    }
    if !left.is_empty() {
        let title = if shown.is_empty() { "Edges" } else { "Other edges" };
        shown.push(wave_of(title.to_owned(), String::new(), &left));
    }
    shown
}

fn wave_of(title: String, terms: String, edges: &[&EdgeResult]) -> ApplyWave {
    let done = edges.iter().filter(|edge| edge.outcome == EdgeOutcome::Done && summary::is_whole(edge)).count();
    ApplyWave {
        title,
        progress: format!("{done} of {} done", count(edges.len() as u64, "edge")),
        done,
        of: edges.len(),
        terms,
        edges: edges.iter().map(|edge| edge_of(edge)).collect(),
    }
}

fn terms(wave: &PlannedWave) -> String {
    let at_once = wave.max_parallel.filter(|most| (most.get() as usize) < wave.edges.len());
    let mut parts: Vec<String> = at_once.map(|most| format!("{most} at once")).into_iter().collect();
    parts.extend((wave.max_failed > 0).then(|| format!("{} may fail", wave.max_failed)));
    parts.extend((wave.soak_secs > 0).then(|| format!("watched for {} s", wave.soak_secs)));
    parts.join(", ")
}

fn edge_of(edge: &EdgeResult) -> ApplyEdge {
    let has_answered = matches!(edge.outcome, EdgeOutcome::Done | EdgeOutcome::Refused | EdgeOutcome::Returned);
    let is_odd = |rule: &&crate::decide::fleet::RuleResult| {
        if has_answered { !rule.is_as_planned() } else { rule.state == Some(RuleState::Rejected) }
    };
    let rules = edge.rules.iter().filter(is_odd).map(|rule| ApplyRule {
        rule: rule.rule.to_string(),
        path: link(&format!("/ui/rules/{}/{}", edge.edge, rule.rule)),
        state: rule.state.map_or_else(|| Badge::off("gone"), Badge::of_rule),
        why: joined(&rule.code, &rule.message),
    });
    let rules: Vec<ApplyRule> = rules.collect();
    let state = match edge.outcome {
        EdgeOutcome::Done if !rules.is_empty() => Badge::warn("done in part"),
        outcome => edge_badge(outcome),
    };
    ApplyEdge {
        edge: edge.edge.to_string(),
        path: link(&format!("/ui/edges/{}", edge.edge)),
        state,
        words: edge_in_words(edge, rules.len()),
        generation: edge.generation,
        rules,
    }
}

fn joined(code: &str, message: &str) -> String {
    let parts: Vec<&str> = [code, message].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

fn edge_badge(outcome: EdgeOutcome) -> Badge {
    let word = outcome.in_words();
    match outcome {
        EdgeOutcome::Done => Badge::up(word),
        EdgeOutcome::Waiting => Badge::info(word),
        EdgeOutcome::Queued | EdgeOutcome::Skipped | EdgeOutcome::Offline => Badge::off(word),
        EdgeOutcome::Returned => Badge::warn(word),
        EdgeOutcome::Timeout | EdgeOutcome::Refused => Badge::down(word),
    }
}

/// How it went on an edge, as `apply` prints it.
fn edge_in_words(edge: &EdgeResult, odd_rules: usize) -> String {
    match edge.outcome {
        EdgeOutcome::Offline | EdgeOutcome::Returned | EdgeOutcome::Done if !edge.message.is_empty() => {
            edge.message.clone()
        }
        EdgeOutcome::Queued => "waits for its wave".to_owned(),
        EdgeOutcome::Skipped => "not reached, unchanged".to_owned(),
        EdgeOutcome::Waiting => format!("generation {} is being sent", edge.generation),
        EdgeOutcome::Done if odd_rules > 0 => format!("answered, {} not as planned", count(odd_rules as u64, "rule")),
        EdgeOutcome::Done => "runs as planned".to_owned(),
        EdgeOutcome::Offline => "receives the state when it is back".to_owned(),
        EdgeOutcome::Timeout => "did not report in time; its state is unknown".to_owned(),
        EdgeOutcome::Returned => "reverted to its previous state".to_owned(),
        EdgeOutcome::Refused => format!("refused: {}", joined(&edge.code, &edge.message)),
    }
}

/// The mark of an outcome.
pub fn outcome(outcome: Outcome) -> Badge {
    match outcome {
        Outcome::Running => Badge::info("running"),
        Outcome::Applied => Badge::up("applied"),
        Outcome::Partial => Badge::warn("partial"),
        Outcome::Superseded => Badge::off("superseded"),
        Outcome::Returned => Badge::down("returned"),
        Outcome::Interrupted => Badge::warn("interrupted"),
    }
}

fn verdict(result: &ApplyResult) -> String {
    let edges = count(result.edges.len() as u64, "edge");
    let number = |outcome| result.edges.iter().filter(|edge| edge.outcome == outcome).count() as u64;
    match result.outcome {
        Outcome::Running => format!("{} of {edges} done.", summary::done(result)),
        Outcome::Applied if result.edges.is_empty() => "Nothing had to change; the revision was recorded.".to_owned(),
        Outcome::Applied => {
            let offline = number(EdgeOutcome::Offline);
            let reached = count(result.edges.len() as u64 - offline, "edge");
            match offline {
                0 => format!("Applied as planned on {edges}."),
                1 => format!("Applied as planned on {reached}; 1 offline edge receives it when it is back."),
                more => format!("Applied as planned on {reached}; {more} offline edges receive it when they are back."),
            }
        }
        Outcome::Partial => {
            let done = summary::done(result);
            format!("Applied in part: {done} of {edges} done. The others are listed below.")
        }
        Outcome::Superseded => format!("A newer tree was applied before {edges} answered."),
        Outcome::Returned => "It was not confirmed in time, and the edges reverted to their previous state.".to_owned(),
        Outcome::Interrupted => {
            "The server stopped before all edges answered. After its restart, the apply continues.".to_owned()
        }
    }
}
