//! Applying: compare-and-set against the plan, then put in force. Pure.
//!
//! Keeps: nothing is sent unless the plan still holds on every edge that it touches, and on no others; applying
//! twice sends nothing and bumps nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::ruleset::{RuleSet, rules_only};

use super::before::Before;
use super::beginning::{Reach, Start};
use super::confirming;
use super::cut_off::most_failed;
use super::decided::still_holds;
use super::permitted::touches;
use super::rollout::{Confirming, Run};
use super::step::Step;
use super::waves::{OnFailure, Waves};
use super::{Applied, ApplyRequest, ApplyResult, EdgeOutcome, Fleet, Lock, Notice, Outcome, Purpose, Refusal};
use crate::decide::plan::{Action, AllowFlag, Plan, PlanInput, RailVerdict, RuleChange, plan_without_drift};
use crate::decide::record::Record;
use crate::decide::succession::{Ancestry, Succession};
use crate::decide::view::{Basis, EdgeView};

impl Fleet {
    pub(super) fn apply(&mut self, request: &ApplyRequest, step: &mut Step) -> Result<ApplyResult, Refusal> {
        self.may_begin(request, step.now)?;
        let ruleset = request.tree.ruleset.as_ref().expect("the shell checked the tree before it asked");
        let is_continued = matches!(request.purpose, Purpose::Continue { .. });
        if is_continued {
            self.check_reached(most_failed(ruleset), step)?;
        }
        let seen = request.plan.as_ref().and_then(|plan| self.ancestry_seen(plan));
        let (fresh, moved) = plan_without_drift(&PlanInput {
            ruleset,
            source: &request.tree.source,
            edges: &self.edges,
            lineage: &self.lineage,
            rails: self.applied.as_ref().map(|applied| &applied.rails),
            succession: self.succession_of(request, seen.as_ref()),
            allowances: &request.allowances,
            diagnostics: &request.tree.diagnostics,
            now: step.now,
        });
        if let Some(authority) = &request.authority {
            let touches = touches(&fresh, &request.tree, &self.edges, self.settings());
            authority.may(Some(&touches))?;
        }
        accept(request, &fresh)?;
        if request.confirm_within.is_some() {
            self.can_confirm(&fresh)?;
        }
        let start = Start {
            tree: &request.tree,
            plan: request.plan.as_ref().unwrap_or(&fresh),
            moved: &moved,
            purpose: &request.purpose,
            actor: &request.actor,
            applied_by: request.applied_by.as_deref(),
            is_automatic: false,
            allow_offline: request.allow_offline,
            wait_healthy: request.wait_healthy,
            quiet_window: request.quiet_window,
            seal: request.seal,
            overridden: overridden(request, ruleset, &fresh),
            // An edge that reverts reports it when its time is over.
            timeout: request.timeout + request.confirm_within.unwrap_or_default(),
            confirm_within: request.confirm_within,
            is_brought_back: request.rollback,
        };
        Ok(self.put_in_force(&start, step))
    }

    /// Refuses what need not be planned: the fleet is frozen or locked, or the plan cannot be applied any more.
    fn may_begin(&self, request: &ApplyRequest, now: Timestamp) -> Result<(), Refusal> {
        if let Some(freeze) = &self.frozen {
            return Err(Refusal::Frozen { freeze: freeze.clone() });
        }
        if let Some(Lock { holder, since, until }) = self.lock(now) {
            return Err(Refusal::Locked { holder, since, until });
        }
        let stale = |reason: &str| Refusal::Stale { reason: reason.to_owned() };
        if request.seal.is_some_and(|seal| self.used_plans.contains(&seal)) {
            return Err(stale("the plan has already been applied; a plan can be used once"));
        }
        if request.plan.as_ref().is_some_and(|plan| plan.expires_at <= now) {
            return Err(stale("the plan has expired"));
        }
        let digest = request.tree.source.digest;
        if let Some(followed) = self.follows_other_than(digest).filter(|_| request.purpose == Purpose::Apply) {
            return Err(Refusal::NotFollowed { followed });
        }
        Ok(())
    }

    /// A rollback goes back by its nature; every other tree follows the one in force.
    fn succession_of<'a>(&'a self, request: &'a ApplyRequest, seen: Option<&'a Ancestry>) -> Succession<'a> {
        match request.purpose {
            Purpose::Rollback { .. } | Purpose::Continue { .. } => Succession::default(),
            Purpose::Apply | Purpose::Resume { .. } => self.succession(seen.or(request.tree.ancestry.as_ref())),
        }
    }

    /// What a plan says of its commit. It holds for as long as the plan does: another tree that was applied since
    /// changed none of the edges that the plan touches, so that nothing of it is undone.
    fn ancestry_seen(&self, plan: &Plan) -> Option<Ancestry> {
        let applied = self.applied.as_ref()?.last_commit()?.to_owned();
        Some(Ancestry { ancestor: applied, descends: plan.base.descends.unwrap_or(true) })
    }

    /// Makes the tree the desired state of every edge that the plan touches, and of every other edge that runs it
    /// already. Records first, then sends.
    pub(super) fn put_in_force(&mut self, start: &Start<'_>, step: &mut Step) -> ApplyResult {
        let tree = start.tree;
        let ruleset = tree.ruleset.as_ref().expect("only valid trees are put in force");
        let touched: BTreeSet<&EdgeName> = start.plan.changes.iter().map(|change| &change.edge).collect();
        let is_known = |name: &&&EdgeName| ruleset.edges.contains_key(**name) || self.edges.contains_key(**name);
        let in_waves = touched.iter().filter(is_known).map(|name| (*name).clone());
        // An edge answers after its changes, which may wait for so long.
        let timeout = start.timeout.saturating_add(start.quiet_window);
        let waves = Waves::of(ruleset, in_waves, self.on_failure(start), timeout);
        let left_out = self.left_out(start, &touched);
        let queued: BTreeSet<EdgeName> = waves.iter().flat_map(Waves::held_back).cloned().collect();
        let held_back: BTreeSet<EdgeName> = left_out.union(&queued).cloned().collect();
        let bases = self.bases(start, &touched);
        let generations = self.decide(start, &touched, &held_back, step);
        self.drop_deviations(&start.plan.changes, step);
        let is_news = self.is_news(start);
        let mut result = self.begin(start, &generations, step.now);
        for edge in result.edges.iter_mut().filter(|edge| held_back.contains(&edge.edge)) {
            edge.outcome = EdgeOutcome::Queued;
            if left_out.contains(&edge.edge) && !queued.contains(&edge.edge) {
                confirming::leave_out(edge);
            }
        }
        if let Some(seal) = start.seal {
            self.used_plans.insert(seal);
            step.persist(Record::used_plan(seal, step.now));
        }
        if result.edges.is_empty() && !is_news {
            return self.repeated(result, start, step.now);
        }
        let in_force = self.applied.clone().map(|applied| Box::new(Applied { before: None, ..applied }));
        let confirming = start.confirm_within.map(|within| Confirming { within, before: in_force });
        self.rollout.set_quiet(touched.iter().copied(), start.quiet_window);
        let entry = self.record_start(start, &result, Reach { generations, unreached: held_back.clone() }, step);
        let open = self.open(start, &held_back);
        self.supersede(step);
        self.rollout.run = Some(Run {
            deadline: step.now.checked_add(timeout).unwrap_or(Timestamp::MAX),
            lease: Run::lease_from(step.now),
            is_automatic: start.is_automatic,
            allow_offline: start.allow_offline,
            waves,
            bases,
            confirming,
            is_untold: false,
            tell_from: step.now,
            wait_healthy: start.wait_healthy,
            entry,
            result: result.clone(),
        });
        // Edges of one host ask the run which of them change.
        for (name, is_retried) in open {
            if is_retried && !start.is_automatic {
                self.send(&name, step);
            } else {
                self.send_if_needed_now(&name, step);
            }
        }
        step.emit(Notice::Apply { result: Box::new(result.clone()) });
        self.advance_run(None, step);
        self.apply_result(&result.id).cloned().unwrap_or(result)
    }

    /// Applying twice is applying once: nothing to send, nothing to bump, nothing to write down.
    fn repeated(&mut self, mut result: ApplyResult, start: &Start<'_>, now: Timestamp) -> ApplyResult {
        result.id = format!("{}-again", result.id);
        result.outcome = Outcome::Applied;
        result.repeated = true;
        result.finished_at = Some(now);
        if !start.is_automatic {
            self.keep(result.clone());
        }
        result
    }

    /// What a failed edge leads to.
    fn on_failure(&self, start: &Start<'_>) -> OnFailure {
        if start.is_brought_back { OnFailure::BringBack(self.applied.clone().map(Box::new)) } else { OnFailure::Stop }
    }

    /// What an operator's plan was made from.
    fn bases(&self, start: &Start<'_>, touched: &BTreeSet<&EdgeName>) -> BTreeMap<EdgeName, (Basis, Before)> {
        let bases = touched.iter().filter(|_| !start.is_automatic);
        bases.filter_map(|name| Some(((*name).clone(), self.planned_basis(name)?))).collect()
    }

    /// Decides the desired state of every edge that changes now; the generations that are new.
    fn decide(
        &mut self,
        start: &Start<'_>,
        touched: &BTreeSet<&EdgeName>,
        held_back: &BTreeSet<EdgeName>,
        step: &mut Step,
    ) -> BTreeMap<EdgeName, u64> {
        let ruleset = start.tree.ruleset.as_ref().expect("only valid trees are put in force");
        let mut generations = BTreeMap::new();
        let unknown = EdgeView::default();
        for (name, mut next) in self.decided_by(ruleset, start.moved, held_back) {
            let name = &name;
            let view = self.edges.get(name).unwrap_or(&unknown);
            let is_new_set = next.generation != view.desired_generation();
            // An edge that the plan does not touch is left alone, unless nothing that it runs would change: what is
            // on its way there is replaced, as long as it is what was on its way when the plan was made.
            let is_untouched = is_new_set && !touched.contains(name) && view.desired.is_some();
            let planned_from = start.plan.base.edges.get(name).map(|base| base.generation);
            let is_unmoved = planned_from == Some(view.desired_generation().max(view.observed_generation()));
            if is_untouched && !(is_unmoved && rules_only(&next.rules) == view.running()) {
                continue;
            }
            if view.desired.is_none() && next.wanted.is_empty() && view.running().is_empty() {
                continue;
            }
            if is_new_set {
                next.confirm_within = start.confirm_within;
                generations.insert(name.clone(), next.generation);
            }
            step.persist(Record::edge(name, &next));
            self.edges.get_or_new(name).desired = Some(next);
            // An operator asked for this state: it is not one of those that the edge gave a reason for.
            self.unsettled.remove(name);
            self.hand_overrides_over(name, step);
        }
        generations
    }

    /// The offline edges that the apply leaves out, because they could not confirm it.
    fn left_out(&self, start: &Start<'_>, touched: &BTreeSet<&EdgeName>) -> BTreeSet<EdgeName> {
        let is_away = |name: &EdgeName| self.edges.get(name).is_none_or(|view| !view.connected);
        match start.confirm_within {
            Some(_) => touched.iter().filter(|name| is_away(name)).map(|name| (*name).clone()).collect(),
            None => BTreeSet::new(),
        }
    }

    /// True if the apply changes what is in force, even where it changes no edge.
    fn is_news(&self, start: &Start<'_>) -> bool {
        !self.is_in_force(start.tree.source.digest)
            || self
                .applied
                .as_ref()
                .is_some_and(|applied| !applied.source.is_same(&start.tree.source) || applied.stopped.is_some())
            || self.hold.is_some()
            || matches!(start.purpose, Purpose::Rollback { .. } | Purpose::Continue { .. })
    }

    /// The edges to send to at once, and whether a rule of theirs is retried.
    fn open(&self, start: &Start<'_>, held_back: &BTreeSet<EdgeName>) -> Vec<(EdgeName, bool)> {
        let retries = start.plan.changes.iter().filter(|change| change.action == Action::Retry);
        let retried: BTreeSet<&EdgeName> = retries.map(|change| &change.edge).collect();
        let candidates = self.edges.iter().filter(|(name, _)| !held_back.contains(*name));
        let open = candidates.filter(|(name, view)| !view.is_settled() || retried.contains(name));
        open.map(|(name, _)| (name.clone(), retried.contains(name))).collect()
    }

    /// Sends what is not there yet; unlike the automatic way this holds in every mode, for an operator asked.
    fn send_if_needed_now(&mut self, edge: &EdgeName, step: &mut Step) {
        if self.edges.get(edge).is_some_and(|view| !view.is_settled()) {
            self.send(edge, step);
        }
    }
}

/// Refuses what the plan of now does not allow, or another plan than the person saw.
fn accept(request: &ApplyRequest, fresh: &Plan) -> Result<(), Refusal> {
    let reason = |change: &RuleChange| change.code.as_ref().map(ToString::to_string).unwrap_or_default();
    if let Some(refused) = request.plan.as_ref().and_then(Plan::first_refused) {
        let message = refused.proof.as_ref().map(|proof| proof.message.clone()).unwrap_or_default();
        return Err(Refusal::Rejected {
            reason: reason(refused),
            message: format!("{}/{}: {message}; plan again", refused.edge, refused.rule),
        });
    }
    if let Some(seen) = &request.plan {
        still_holds(seen, fresh).map_err(|reason| Refusal::Stale { reason })?;
    }
    let uncommitted = request.tree.source.uncommitted();
    let uncommitted = uncommitted.filter(|_| !request.allowances.dirty);
    // The rails were asked about the whole of a rollout when it began.
    if fresh.is_railed() && !matches!(request.purpose, Purpose::Continue { .. }) {
        let rails = fresh.rails.iter().filter(|rail| rail.tripped).cloned().map(RailVerdict::from).collect();
        return Err(Refusal::Rails { rails, uncommitted });
    }
    if let Some(why) = uncommitted {
        return Err(Refusal::Uncommitted { why });
    }
    let is_reject = |change: &RuleChange| change.action == Action::Reject;
    if let Some(first) = fresh.changes.first().filter(|_| fresh.changes.iter().all(is_reject)) {
        return Err(Refusal::Rejected {
            reason: reason(first),
            message: format!(
                "{}/{}: {}",
                first.edge,
                first.rule,
                first.message.as_deref().unwrap_or("the edge does not support it")
            ),
        });
    }
    Ok(())
}

/// The flags that the apply needed, for the ledger.
fn overridden(request: &ApplyRequest, ruleset: &RuleSet, fresh: &Plan) -> Vec<String> {
    let flags = fresh.rails.iter().filter_map(|rail| rail.allow);
    let mut overridden: BTreeSet<String> = flags.map(|flag| flag.to_string()).collect();
    if request.purpose == Purpose::Apply {
        // What was applied once needs no word the next time.
        let is_empty = ruleset.rule_count() == 0 && ruleset.disabled.is_empty();
        let is_uncommitted = request.tree.source.uncommitted().is_some();
        overridden.extend(is_uncommitted.then(|| "--allow-dirty".to_owned()));
        overridden.extend((is_empty && request.allowances.empty).then(|| AllowFlag::Empty.to_string()));
    }
    overridden.into_iter().collect()
}
