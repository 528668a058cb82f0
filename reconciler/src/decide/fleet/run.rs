//! An apply that is under way: what its edges have said by now, and its end. Pure.
//!
//! Keeps: a timeout is unknown, never failed and never done; the edges' own words decide.

use std::time::Duration;

use jiff::Timestamp;
use schema::codes::RuleCode;
use schema::health::RuleHealth;
use schema::name::EdgeName;
use schema::state::RuleState;

use super::link::{Link, is_stale_base};
use super::rollout::{Lock, Run};
use super::step::Step;
use super::waves::Waves;
use super::{
    ApplyResult, EdgeOutcome, EdgeResult, Fleet, KEPT_RESULTS, Mode, Notice, Outcome, RuleResult, Verdict, confirming,
};
use crate::decide::ledger::Entry;
use crate::decide::plan::{Action, RuleChange};
use crate::decide::record::Record;
use crate::decide::target;
use crate::decide::view::{EdgeView, RuleView};

/// Edges up to which every step of an apply is told. A notice holds the whole result, so that telling every step of
/// a large one would cost the square of its edges.
const TOLD_AT_ONCE: usize = 100;
/// How often a larger one is told: as often as a person can read a counter.
const TOLD_EVERY: Duration = Duration::from_millis(250);

impl Fleet {
    /// The operator's apply that keeps others out.
    pub fn lock(&self, now: Timestamp) -> Option<Lock> {
        self.rollout.lock(now)
    }

    /// A tree that waited for an operator who went away waits no longer.
    pub(super) fn follow_after_lapse(&mut self, step: &mut Step) {
        let is_waiting = self.attempt.as_ref().is_some_and(|attempt| attempt.verdict == Verdict::Waiting);
        if self.mode == Mode::Apply && is_waiting && self.rollout.run.is_some() && self.lock(step.now).is_none() {
            self.follow(step);
        }
    }

    /// Ends a run that a newer one replaces.
    pub(super) fn supersede(&mut self, step: &mut Step) {
        if let Some(run) = self.rollout.run.take() {
            self.finish(run, Outcome::Superseded, step);
        }
    }

    /// Looks at the running apply in the light of what was reported by now; `about` is the edge that was heard, if
    /// one was.
    pub(super) fn advance_run(&mut self, about: Option<&EdgeName>, step: &mut Step) {
        let Some(mut run) = self.rollout.run.take() else { return };
        let is_late = step.now >= run.deadline;
        // What one edge says changes nothing of the others; the next ones of a wave begin below.
        let about = about.filter(|_| !is_late);
        let places = run.places_of(about);
        let mut has_ended = false;
        for edge in run.result.edges[places].iter_mut().filter(|edge| edge.outcome == EdgeOutcome::Waiting) {
            let was = edge.clone();
            // What was sent and not answered may still change what the last report says.
            let link = self.links.get(&edge.edge);
            let is_answered = link.is_none_or(Link::is_answered);
            let is_final = link.is_none_or(Link::has_refused);
            if let Some(view) = self.edges.get(&edge.edge).filter(|_| is_answered || is_late) {
                advance_edge(edge, view, run.wait_healthy, is_final, is_late);
            }
            run.is_untold |= *edge != was;
            has_ended |= edge.outcome != EdgeOutcome::Waiting;
        }
        if has_ended && run.waves.as_ref().is_some_and(Waves::is_under_way) {
            // A server that ends in the middle of a rollout knows afterwards what it had reached.
            self.save_acknowledgements(step);
        }
        self.confirm_good_edges(&run, about, step);
        let begun = self.advance_waves(&mut run, step);
        let is_waiting = run.result.edges.iter().any(|edge| edge.outcome == EdgeOutcome::Waiting)
            || run.waves.as_ref().is_some_and(Waves::is_under_way);
        if is_waiting {
            if run.is_untold && (run.result.edges.len() <= TOLD_AT_ONCE || step.now >= run.tell_from) {
                run.is_untold = false;
                run.tell_from = step.now.checked_add(TOLD_EVERY).unwrap_or(Timestamp::MAX);
                step.emit(Notice::Apply { result: Box::new(run.result.clone()) });
            }
            self.rollout.run = Some(run);
            for edge in begun {
                self.send(&edge, step);
            }
            return;
        }
        let outcome =
            if run.result.stopped.is_none() && run.result.edges.iter().all(|edge| went_well(edge, run.allow_offline)) {
                Outcome::Applied
            } else if run.result.edges.iter().any(|edge| edge.outcome == EdgeOutcome::Returned) {
                Outcome::Returned
            } else {
                Outcome::Partial
            };
        self.settle_confirmed(&run, step);
        // A stopped rollout changes what is to be said of the followed tree.
        let is_news = !run.is_automatic || run.result.stopped.is_some();
        self.finish(run, outcome, step);
        self.rollout.end_quiet();
        if is_news {
            self.follow(step);
        }
    }

    fn finish(&mut self, mut run: Run, outcome: Outcome, step: &mut Step) {
        run.result.outcome = outcome;
        run.result.finished_at = Some(step.now);
        run.result.paused = None;
        let result = run.result;
        let note = result.stopped.clone().unwrap_or_default();
        let edges = result.edges.iter().map(|edge| (edge.edge.clone(), edge.recorded())).collect();
        let entry = Entry { edges, note, ..run.entry.with_outcome(outcome.as_str(), step.now) }.chained(&mut self.head);
        step.persist(Record::ledger(&entry));
        step.emit(Notice::Apply { result: Box::new(result.clone()) });
        self.keep(result);
    }

    pub(super) fn keep(&mut self, result: ApplyResult) {
        self.results.push_front(result.into());
        self.results.truncate(KEPT_RESULTS);
    }
}

/// `is_final` says of a refusal that the edge is not asked again.
fn advance_edge(edge: &mut EdgeResult, view: &EdgeView, wait_healthy: bool, is_final: bool, is_late: bool) {
    let Some(report) = view.report.as_ref() else { return };
    let refused = report.refused.as_ref().filter(|_| report.generation < edge.generation);
    if let Some((code, message)) = refused.filter(|_| is_final || !is_stale_base(refused)) {
        edge.outcome = EdgeOutcome::Refused;
        edge.code.clone_from(code);
        edge.message.clone_from(message);
        return;
    }
    if view.connected && report.generation >= edge.generation {
        for rule in &mut edge.rules {
            update_rule(rule, view, wait_healthy);
        }
        let is_pending = |rule: &RuleResult| rule.state == Some(RuleState::Pending);
        let is_pending = edge.rules.iter().any(is_pending);
        let is_unhealthy = edge.rules.iter().any(RuleResult::is_unhealthy);
        let is_on_trial = report.generation == edge.generation && confirming::is_awaited(view);
        if !is_pending && !is_on_trial && (!is_unhealthy || is_late) {
            edge.outcome = EdgeOutcome::Done;
            edge.rules.iter_mut().filter(|rule| rule.is_unhealthy()).for_each(blame_targets);
            return;
        }
    }
    if is_late {
        edge.outcome = EdgeOutcome::Timeout;
        RuleCode::AckTimeout.as_str().clone_into(&mut edge.code);
        "no report arrived in time: the state of the edge is unknown".clone_into(&mut edge.message);
    }
}

pub(super) fn rule_result(view: &EdgeView, change: &RuleChange) -> RuleResult {
    let mut result = RuleResult {
        rule: change.rule.clone(),
        action: change.action,
        state: Some(RuleState::Pending),
        code: change.code.as_ref().map(ToString::to_string).unwrap_or_default(),
        message: change.message.clone().unwrap_or_default(),
        health: None,
        targets: Vec::new(),
    };
    if change.action == Action::Reject {
        result.state = Some(RuleState::Rejected);
    } else if !view.connected {
        RuleCode::ClientNotConnected.as_str().clone_into(&mut result.code);
    }
    result
}

/// Says of a rule that was not up in time which targets were not.
fn blame_targets(rule: &mut RuleResult) {
    "not_healthy".clone_into(&mut rule.code);
    let health = rule.health.map_or("unknown", RuleHealth::as_str);
    let targets: Vec<String> = rule.targets.iter().map(target::in_words).collect();
    rule.message = format!("the rule serves, but was {health} when the time was over: {}", targets.join("; "));
}

/// True for a change after which targets may have to prove themselves.
const fn is_waited_for(action: Action) -> bool {
    matches!(action, Action::Activate | Action::Rebind | Action::Update | Action::Retry)
}

fn update_health(result: &mut RuleResult, reported: &RuleView, wait_healthy: bool) {
    let told = reported.told().is_some_and(|rule| rule.health.is_some());
    let is_trying = reported.targets.iter().any(|target| target.attempts > 0);
    let is_concerned = wait_healthy && told && is_waited_for(result.action);
    result.health = is_concerned.then(|| reported.health.unwrap_or(RuleHealth::Unknown));
    let is_shown = is_trying || is_concerned;
    result.targets = if is_shown { reported.targets.clone() } else { Vec::new() };
}

fn update_rule(result: &mut RuleResult, view: &EdgeView, wait_healthy: bool) {
    if result.action == Action::Reject {
        return;
    }
    let reported = view.rule(&result.rule);
    match reported {
        None if result.action == Action::Remove => result.state = None,
        None => {}
        Some(reported) => {
            result.state = Some(reported.state);
            result.code.clone_from(&reported.code);
            result.message.clone_from(&reported.message);
            update_health(result, reported, wait_healthy);
        }
    }
}

fn went_well(edge: &EdgeResult, allow_offline: bool) -> bool {
    let rule_is_well = |rule: &RuleResult| match rule.state {
        None | Some(RuleState::Active | RuleState::Draining) => true,
        Some(RuleState::Pending) => edge.outcome == EdgeOutcome::Offline && allow_offline,
        Some(RuleState::Failed | RuleState::Rejected | RuleState::Disabled | RuleState::Unknown) => false,
    };
    let edge_is_well = match edge.outcome {
        EdgeOutcome::Done => true,
        EdgeOutcome::Offline => allow_offline,
        EdgeOutcome::Queued
        | EdgeOutcome::Waiting
        | EdgeOutcome::Timeout
        | EdgeOutcome::Refused
        | EdgeOutcome::Returned
        | EdgeOutcome::Skipped => false,
    };
    edge_is_well && edge.rules.iter().all(|rule| rule_is_well(rule) && !rule.is_unhealthy())
}
