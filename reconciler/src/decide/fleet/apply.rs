//! Applying: compare-and-set against the plan, put in force, wait for the edges' own words. Pure.
//!
//! Keeps: nothing is sent unless the plan still holds on every edge that it touches, and on no others; applying
//! twice sends nothing and bumps nothing; a timeout is unknown, never failed and never done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};
use schema::ruleset::EdgeRules;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::{Applied, ApplyRequest, Effect, Fleet, KEPT_RESULTS, Mode, Notice, Refusal, TreeRead};
use crate::decide::assign::next_desired;
use crate::decide::ledger::Entry;
use crate::decide::plan::{Action, PlanDocument, PlanInput, PlannedChange, plan};
use crate::decide::record::Record;
use crate::decide::view::EdgeView;

/// How an apply ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Edges are still to report.
    Running,
    /// Everything serves as desired.
    Applied,
    /// A rule was rejected or failed, or an edge did not answer or is not there.
    Partial,
    /// A newer tree was put in force before the edges had answered.
    Superseded,
}

impl Outcome {
    /// As in JSON, metrics and the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Applied => "applied",
            Self::Partial => "partial",
            Self::Superseded => "superseded",
        }
    }
}

/// How it went on one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeOutcome {
    /// It has not answered yet.
    Waiting,
    /// It reported the generation or a newer one, or had nothing to do.
    Done,
    /// It was not connected at the start, or went; it takes the state when it comes.
    Offline,
    /// It did not answer in time: what it runs is unknown.
    Timeout,
    /// It refused the state as a whole.
    Refused,
}

/// How it went with one changed rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleName,
    /// What the plan said.
    pub action: Action,
    /// The state that the edge reported; `None` for a rule that is gone.
    pub state: Option<RuleState>,
    /// Why, if it does not serve.
    pub code: String,
    /// In words.
    pub message: String,
}

/// One edge of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeResult {
    /// The edge.
    pub edge: EdgeName,
    /// How it went.
    pub outcome: EdgeOutcome,
    /// The generation to reach.
    pub generation: u64,
    /// A code where it did not go well.
    pub code: String,
    /// In words.
    pub message: String,
    /// The changed rules.
    pub rules: Vec<RuleResult>,
}

/// The state of an apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyResult {
    /// Its id.
    pub id: String,
    /// The plan.
    pub plan_id: Digest,
    /// The tree.
    pub digest: Digest,
    /// Its commit.
    pub commit: Option<String>,
    /// Who.
    pub actor: String,
    /// How it stands.
    pub outcome: Outcome,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The touched edges.
    pub edges: Vec<EdgeResult>,
}

/// An apply that is not over.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) result: ApplyResult,
    pub(super) deadline: Timestamp,
    pub(super) is_automatic: bool,
    allow_offline: bool,
    entry: u64,
}

impl Run {
    pub(super) fn concerns(&self, edge: &EdgeName) -> bool {
        self.result.edges.iter().any(|result| result.edge == *edge)
    }
}

/// What [`Fleet::put_in_force`] needs.
pub(super) struct Start<'a> {
    pub(super) tree: &'a TreeRead,
    pub(super) plan: &'a PlanDocument,
    pub(super) actor: &'a str,
    pub(super) is_automatic: bool,
    pub(super) allow_offline: bool,
    pub(super) seal: Option<Digest>,
    pub(super) overridden: Vec<String>,
    pub(super) timeout: Duration,
}

impl Fleet {
    pub(super) fn apply(
        &mut self,
        request: &ApplyRequest,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<ApplyResult, Refusal> {
        if let Some(run) = self.run.as_ref().filter(|run| !run.is_automatic) {
            return Err(Refusal::Locked {
                holder: run.result.actor.clone(),
                since: run.result.started_at,
                until: run.deadline,
            });
        }
        let stale = |reason: &str| Refusal::Stale { reason: reason.to_owned() };
        if request.seal.is_some_and(|seal| self.used_plans.contains(&seal)) {
            return Err(stale("the plan was applied already; plans are used once"));
        }
        if request.plan.as_ref().is_some_and(|plan| plan.expires_at <= now) {
            return Err(stale("the plan has expired"));
        }
        let digest = request.tree.source.digest;
        let followed = self.attempt.as_ref().map(|attempt| attempt.source.digest);
        if self.mode == Mode::Apply && followed != Some(digest) {
            return Err(Refusal::NotFollowed { followed });
        }
        let ruleset = request.tree.ruleset.as_ref().expect("the shell checked the tree before it asked");
        let fresh = plan(&PlanInput {
            ruleset,
            source: &request.tree.source,
            edges: &self.edges,
            lineage: &self.lineage,
            rails: self.applied.as_ref().map(|applied| &applied.rails),
            allowances: &request.allowances,
            diagnostics: &request.tree.diagnostics,
            now,
        });
        if let Some(seen) = &request.plan {
            still_holds(seen, &fresh).map_err(|reason| Refusal::Stale { reason })?;
        }
        if request.tree.source.dirty && !request.allowances.dirty {
            return Err(Refusal::Dirty { paths: request.tree.source.dirty_paths.clone() });
        }
        if fresh.is_railed() {
            let rails = fresh.rails.into_iter().filter(|rail| rail.tripped).collect();
            return Err(Refusal::Rails { rails });
        }
        let is_reject = |change: &PlannedChange| change.action == Action::Reject;
        if let Some(first) = fresh.changes.first().filter(|_| fresh.changes.iter().all(is_reject)) {
            return Err(Refusal::Rejected {
                reason: first.code.clone().unwrap_or_default(),
                message: format!(
                    "{}/{}: {}",
                    first.edge,
                    first.rule,
                    first.message.as_deref().unwrap_or("the edge cannot do it")
                ),
            });
        }
        let overridden = fresh.rails.iter().filter_map(|rail| rail.allow.clone()).collect::<BTreeSet<_>>();
        let start = Start {
            tree: &request.tree,
            plan: request.plan.as_ref().unwrap_or(&fresh),
            actor: &request.actor,
            is_automatic: false,
            allow_offline: request.allow_offline,
            seal: request.seal,
            overridden: overridden.into_iter().collect(),
            timeout: request.timeout,
        };
        Ok(self.put_in_force(&start, now, effects))
    }

    /// Makes the tree the desired state of every edge that the plan touches, and of every other edge that runs it
    /// already. Records first, then sends.
    pub(super) fn put_in_force(&mut self, start: &Start<'_>, now: Timestamp, effects: &mut Vec<Effect>) -> ApplyResult {
        let tree = start.tree;
        let ruleset = tree.ruleset.as_ref().expect("only valid trees are put in force");
        let touched: BTreeSet<&EdgeName> = start.plan.changes.iter().map(|change| &change.edge).collect();
        let none = EdgeRules::new();
        let names: BTreeSet<EdgeName> = ruleset.edges.keys().chain(self.edges.keys()).cloned().collect();
        let mut generations = BTreeMap::new();
        for name in &names {
            let wanted = ruleset.edges.get(name).unwrap_or(&none);
            let disabled = ruleset.disabled.get(name).unwrap_or(&none);
            let view = self.edges.entry(name.clone()).or_default();
            let Some(next) = next_desired(view, wanted, disabled) else { continue };
            let is_new_set = next.generation != view.desired_generation();
            // An edge that the plan does not touch is left alone, unless nothing that it runs would change.
            if is_new_set && !touched.contains(name) && view.desired.is_some() {
                continue;
            }
            if view.desired.is_none() && next.rules.is_empty() && view.running().is_empty() {
                continue;
            }
            if is_new_set {
                generations.insert(name.clone(), next.generation);
            }
            effects.push(Effect::Persist(Record::edge(name, &next)));
            view.desired = Some(next);
        }
        let is_news = !self.is_in_force(tree.source.digest)
            || self.applied.as_ref().is_some_and(|applied| applied.source != tree.source);
        let mut result = self.begin(start, &generations, now);
        if let Some(seal) = start.seal {
            self.used_plans.insert(seal);
            effects.push(Effect::Persist(Record::used_plan(seal, now)));
        }
        if result.edges.is_empty() && !is_news {
            // Applying twice is applying once: nothing to send, nothing to bump, nothing to write down.
            result.id = format!("{}-again", result.id);
            result.outcome = Outcome::Applied;
            result.finished_at = Some(now);
            if !start.is_automatic {
                self.keep(result.clone());
            }
            return result;
        }
        self.record_start(start, &result, generations, now, effects);
        for name in names {
            let is_retried =
                start.plan.changes.iter().any(|change| change.edge == name && change.action == Action::Retry);
            if is_retried && !start.is_automatic {
                self.send(&name, effects);
            } else {
                self.send_if_needed_now(&name, effects);
            }
        }
        self.supersede(now, effects);
        self.run = Some(Run {
            deadline: now.checked_add(start.timeout).unwrap_or(Timestamp::MAX),
            is_automatic: start.is_automatic,
            allow_offline: start.allow_offline,
            entry: self.head.id,
            result: result.clone(),
        });
        effects.push(Effect::Emit(Notice::Apply { result: Box::new(result.clone()) }));
        self.advance_run(now, effects);
        self.apply_result(&result.id).cloned().unwrap_or(result)
    }

    /// Sends what is not there yet; unlike the automatic way this holds in every mode, for an operator asked.
    fn send_if_needed_now(&mut self, edge: &EdgeName, effects: &mut Vec<Effect>) {
        if self.edges.get(edge).is_some_and(|view| !view.is_settled()) {
            self.send(edge, effects);
        }
    }

    fn begin(&self, start: &Start<'_>, generations: &BTreeMap<EdgeName, u64>, now: Timestamp) -> ApplyResult {
        let mut edges: BTreeMap<EdgeName, Vec<&PlannedChange>> = BTreeMap::new();
        for change in &start.plan.changes {
            edges.entry(change.edge.clone()).or_default().push(change);
        }
        for edge in generations.keys() {
            edges.entry(edge.clone()).or_default();
        }
        let nothing = EdgeView::default();
        let edges = edges
            .into_iter()
            .map(|(name, changes)| {
                let view = self.edges.get(&name).unwrap_or(&nothing);
                EdgeResult {
                    outcome: if view.connected { EdgeOutcome::Waiting } else { EdgeOutcome::Offline },
                    generation: view.desired_generation(),
                    code: String::new(),
                    message: String::new(),
                    rules: changes.into_iter().map(|change| rule_result(view, change)).collect(),
                    edge: name,
                }
            })
            .collect();
        ApplyResult {
            id: format!("a{}", self.head.id + 1),
            plan_id: start.plan.plan_id,
            digest: start.tree.source.digest,
            commit: start.tree.source.commit.clone(),
            actor: start.actor.to_owned(),
            outcome: Outcome::Running,
            started_at: now,
            finished_at: None,
            edges,
        }
    }

    fn record_start(
        &mut self,
        start: &Start<'_>,
        result: &ApplyResult,
        generations: BTreeMap<EdgeName, u64>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let ruleset = start.tree.ruleset.as_ref().expect("only valid trees are put in force");
        let applied =
            Applied { source: start.tree.source.clone(), rails: ruleset.rails, at: now, apply_id: result.id.clone() };
        effects.push(Effect::Persist(Record::revision(&start.tree.source, &start.tree.files)));
        effects.push(Effect::Persist(Record::applied(&applied)));
        self.applied = Some(applied);
        let entry = Entry {
            id: 0,
            at: now,
            apply_id: result.id.clone(),
            of: None,
            plan_id: result.plan_id,
            digest: result.digest,
            commit: result.commit.clone(),
            author: start.tree.source.author.clone(),
            actor: start.actor.to_owned(),
            dirty: start.tree.source.dirty,
            outcome: "started".to_owned(),
            generations,
            overridden: start.overridden.clone(),
            previous_hash: Digest::default(),
            hash: Digest::default(),
        }
        .chained(&mut self.head);
        effects.push(Effect::Persist(Record::ledger(&entry)));
    }

    /// Ends a run that a newer one replaces.
    fn supersede(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(run) = self.run.take() {
            self.finish(run, Outcome::Superseded, now, effects);
        }
    }

    /// Looks at the running apply in the light of what was reported by now.
    pub(super) fn advance_run(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(mut run) = self.run.take() else { return };
        let before = run.result.clone();
        let is_late = now >= run.deadline;
        for edge in &mut run.result.edges {
            if let Some(view) = self.edges.get(&edge.edge) {
                advance_edge(edge, view, is_late);
            }
        }
        let is_waiting = run.result.edges.iter().any(|edge| edge.outcome == EdgeOutcome::Waiting);
        if is_waiting {
            if run.result != before {
                effects.push(Effect::Emit(Notice::Apply { result: Box::new(run.result.clone()) }));
            }
            self.run = Some(run);
            return;
        }
        let outcome = if run.result.edges.iter().all(|edge| went_well(edge, run.allow_offline)) {
            Outcome::Applied
        } else {
            Outcome::Partial
        };
        let was_operators = !run.is_automatic;
        self.finish(run, outcome, now, effects);
        if was_operators {
            self.follow(now, effects);
        }
    }

    fn finish(&mut self, mut run: Run, outcome: Outcome, now: Timestamp, effects: &mut Vec<Effect>) {
        run.result.outcome = outcome;
        run.result.finished_at = Some(now);
        let result = run.result;
        let entry = Entry {
            id: 0,
            at: now,
            apply_id: result.id.clone(),
            of: Some(run.entry),
            plan_id: result.plan_id,
            digest: result.digest,
            commit: result.commit.clone(),
            author: None,
            actor: result.actor.clone(),
            dirty: false,
            outcome: outcome.as_str().to_owned(),
            generations: result.edges.iter().map(|edge| (edge.edge.clone(), edge.generation)).collect(),
            overridden: Vec::new(),
            previous_hash: Digest::default(),
            hash: Digest::default(),
        }
        .chained(&mut self.head);
        effects.push(Effect::Persist(Record::ledger(&entry)));
        effects.push(Effect::Emit(Notice::Apply { result: Box::new(result.clone()) }));
        self.keep(result);
    }

    fn keep(&mut self, result: ApplyResult) {
        self.results.push_front(result);
        self.results.truncate(KEPT_RESULTS);
    }
}

fn advance_edge(edge: &mut EdgeResult, view: &EdgeView, is_late: bool) {
    if edge.outcome != EdgeOutcome::Waiting {
        return;
    }
    let Some(report) = view.report.as_ref() else { return };
    if let Some((code, message)) = report.refused.as_ref().filter(|_| report.generation < edge.generation) {
        edge.outcome = EdgeOutcome::Refused;
        edge.code.clone_from(code);
        edge.message.clone_from(message);
        return;
    }
    if view.connected && report.generation >= edge.generation {
        for rule in &mut edge.rules {
            update_rule(rule, view);
        }
        let is_pending = |rule: &RuleResult| rule.state == Some(RuleState::Pending);
        if !edge.rules.iter().any(is_pending) {
            edge.outcome = EdgeOutcome::Done;
            return;
        }
    }
    if is_late {
        edge.outcome = EdgeOutcome::Timeout;
        "ack_timeout".clone_into(&mut edge.code);
        "no report in time: what the edge runs is not known".clone_into(&mut edge.message);
    }
}

fn rule_result(view: &EdgeView, change: &PlannedChange) -> RuleResult {
    let mut result = RuleResult {
        rule: change.rule.clone(),
        action: change.action,
        state: Some(RuleState::Pending),
        code: change.code.clone().unwrap_or_default(),
        message: change.message.clone().unwrap_or_default(),
    };
    if change.action == Action::Reject {
        result.state = Some(RuleState::Rejected);
    } else if !view.connected {
        "client_not_connected".clone_into(&mut result.code);
    }
    result
}

fn update_rule(result: &mut RuleResult, view: &EdgeView) {
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
        }
    }
}

fn went_well(edge: &EdgeResult, allow_offline: bool) -> bool {
    let rule_is_well = |rule: &RuleResult| match rule.state {
        None | Some(RuleState::Active | RuleState::Draining) => true,
        Some(RuleState::Pending) => edge.outcome == EdgeOutcome::Offline && allow_offline,
        Some(RuleState::Failed | RuleState::Rejected | RuleState::Disabled) => false,
    };
    let edge_is_well = match edge.outcome {
        EdgeOutcome::Done => true,
        EdgeOutcome::Offline => allow_offline,
        EdgeOutcome::Waiting | EdgeOutcome::Timeout | EdgeOutcome::Refused => false,
    };
    edge_is_well && edge.rules.iter().all(rule_is_well)
}

/// Compares a plan that a person saw with the same plan made now, on the edges that it touches.
fn still_holds(seen: &PlanDocument, fresh: &PlanDocument) -> Result<(), String> {
    if seen.base.lineage != fresh.base.lineage {
        return Err("the server lost its state since the plan was made".to_owned());
    }
    let touched: BTreeSet<&EdgeName> = seen.changes.iter().map(|change| &change.edge).collect();
    for edge in &touched {
        let (before, now) = (seen.base.edges.get(*edge), fresh.base.edges.get(*edge));
        let is_same = before
            .zip(now)
            .is_some_and(|(before, now)| (before.generation, before.digest) == (now.generation, now.digest));
        if !is_same {
            return Err(format!("edge {edge} changed since the plan was made"));
        }
    }
    let core = |plan: &PlanDocument| -> Vec<(EdgeName, RuleName, Action, Vec<String>)> {
        plan.changes
            .iter()
            .filter(|change| touched.contains(&change.edge))
            .map(|change| (change.edge.clone(), change.rule.clone(), change.action, change.ports.bind.clone()))
            .collect()
    };
    if core(seen) == core(fresh) { Ok(()) } else { Err("the plan would be another one now".to_owned()) }
}
