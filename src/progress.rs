//! The progress of an apply on standard error: a bar on a terminal, a line per edge elsewhere. I/O.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reconciler::decide::fleet::{ApplyResult, EdgeOutcome, EdgeResult, Outcome};
use reconciler::decide::target;
use schema::name::{EdgeName, RuleName};
use schema::state::RuleState;

use crate::output::{clean, say};
use crate::render::words::{count, listed};

/// Edges that are named beside the bar.
const NAMED: usize = 3;

/// Of an apply with more edges, only what is not as planned is a line of its own.
const SHOWN_EDGES: usize = 10;
/// How often the others are counted.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

/// True for steps on the way to an end as planned.
fn is_as_planned(outcome: EdgeOutcome) -> bool {
    matches!(outcome, EdgeOutcome::Queued | EdgeOutcome::Waiting | EdgeOutcome::Done | EdgeOutcome::Offline)
}

/// Shows each state of an apply once.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    shown: BTreeMap<EdgeName, EdgeOutcome>,
    /// What was said last of each target that a rule waits for.
    said: BTreeMap<(EdgeName, RuleName, String), String>,
    /// When the edges were counted last.
    counted: Option<Instant>,
    /// Where the apply stands still for the time being.
    paused: Option<ApplyResult>,
}

impl Progress {
    /// For an apply that has begun.
    pub(crate) fn new(begun: &ApplyResult) -> Self {
        let bar = (io::stderr().is_terminal() && !begun.edges.is_empty()).then(|| {
            let bar = ProgressBar::new(begun.edges.len() as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} edges {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, shown: BTreeMap::new(), said: BTreeMap::new(), counted: None, paused: None }
    }

    /// The apply as it was shown last, if it stands still.
    pub(crate) fn into_paused(self) -> Option<ApplyResult> {
        self.paused
    }

    /// Shows what is new.
    pub(crate) fn show(&mut self, result: &ApplyResult) {
        self.show_pause(result);
        self.show_targets(result);
        let waiting: Vec<&EdgeName> =
            result.edges.iter().filter(|edge| edge.outcome == EdgeOutcome::Waiting).map(|edge| &edge.edge).collect();
        if let Some(bar) = &self.bar {
            bar.set_position((result.edges.len() - waiting.len()) as u64);
            if waiting.is_empty() {
                bar.finish_and_clear();
            } else {
                bar.set_message(format!("waiting for {}", listed(&waiting, NAMED)));
            }
            return;
        }
        self.show_count(result);
        for edge in &result.edges {
            if self.shown.insert(edge.edge.clone(), edge.outcome) == Some(edge.outcome) {
                continue;
            }
            if result.edges.len() > SHOWN_EDGES && is_as_planned(edge.outcome) {
                continue;
            }
            let words = match edge.outcome {
                EdgeOutcome::Queued => "waits for its wave".to_owned(),
                EdgeOutcome::Skipped => "left unchanged".to_owned(),
                EdgeOutcome::Waiting => format!("generation {} is being sent", edge.generation),
                EdgeOutcome::Done => done(edge),
                EdgeOutcome::Offline if !edge.message.is_empty() => clean(&edge.message).into_owned(),
                EdgeOutcome::Returned => clean(&edge.message).into_owned(),
                EdgeOutcome::Offline => "offline; it receives the state when it connects".to_owned(),
                EdgeOutcome::Timeout => "no report arrived in time; its state is unknown".to_owned(),
                EdgeOutcome::Refused => format!("refused: {}: {}", clean(&edge.code), clean(&edge.message)),
            };
            say(format!("{}: {words}", edge.edge));
        }
    }

    /// How far an apply of many edges is, instead of a line for each of them.
    fn show_count(&mut self, result: &ApplyResult) {
        let all = result.edges.len();
        if all <= SHOWN_EDGES || self.counted.is_some_and(|at| at.elapsed() < COUNTED_EVERY) {
            return;
        }
        let done = result.edges.iter().filter(|edge| edge.outcome == EdgeOutcome::Done).count();
        if done < all {
            say(format!("{done} of {all} edges done"));
        }
        self.counted = Some(Instant::now());
    }

    fn show_pause(&mut self, result: &ApplyResult) {
        let before = self.paused.take();
        let reason = result.paused.as_ref().map(|reason| format!("paused: {}", clean(reason)));
        let line = match (before.is_some(), reason) {
            (false, Some(reason)) => Some(reason),
            (true, None) if result.outcome == Outcome::Running => Some("goes on".to_owned()),
            _ => None,
        };
        match (&self.bar, line) {
            (Some(bar), Some(line)) => bar.suspend(|| say(line)),
            (None, Some(line)) => say(line),
            (_, None) => {}
        }
        self.paused = result.paused.is_some().then(|| result.clone());
    }

    /// A line for each attempt, and for each new state, of targets that rules wait for.
    fn show_targets(&mut self, result: &ApplyResult) {
        for (edge, rule) in result.edges.iter().flat_map(|edge| edge.rules.iter().map(move |rule| (edge, rule))) {
            for target in &rule.targets {
                let attempt =
                    if target.attempts > 0 { format!("attempt {}: ", target.attempts) } else { String::new() };
                let words = format!("{attempt}{}", target::in_words(target));
                let key = (edge.edge.clone(), rule.rule.clone(), target.target.clone());
                if self.said.get(&key) == Some(&words) {
                    continue;
                }
                let line = format!("{}/{}: {}", edge.edge, rule.rule, clean(&words));
                match &self.bar {
                    Some(bar) => bar.suspend(|| say(line)),
                    None => say(line),
                }
                self.said.insert(key, words);
            }
        }
    }
}

/// `done`, unless a rule did not come into force.
fn done(edge: &EdgeResult) -> String {
    let failed = edge.rules.iter().filter(|rule| matches!(rule.state, Some(RuleState::Failed | RuleState::Rejected)));
    match failed.count() as u64 {
        0 => "done".to_owned(),
        number => format!("answered, and did not take {}", count(number, "rule")),
    }
}
