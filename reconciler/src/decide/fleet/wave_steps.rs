//! Rollout: the edges of an apply change wave by wave, and a wave that fails stops those behind it. Pure.
//!
//! Keeps: an edge that its wave has not reached is neither decided nor sent; a wave begins after the one before went
//! well, soaked and left no rule worse off; what a stopped rollout did not reach stays as it was.

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::ruleset::EdgeRules;
use schema::state::RuleState;

use super::before::Before;
use super::rollout::Run;
use super::step::Step;
use super::waves::{OnFailure, Waves};
use super::{EdgeOutcome, EdgeResult, Fleet, StoppedRollout, confirming};
use crate::decide::assign::next_desired;
use crate::decide::drift::{self, Drift, DriftKind};
use crate::decide::plan::{Action, companions};
use crate::decide::record::Record;

/// True if an edge counts against its wave. A rejection that the plan named is not news.
fn has_failed(edge: &EdgeResult, allow_offline: bool) -> bool {
    match edge.outcome {
        EdgeOutcome::Waiting | EdgeOutcome::Queued | EdgeOutcome::Skipped => false,
        EdgeOutcome::Timeout | EdgeOutcome::Refused | EdgeOutcome::Returned => true,
        EdgeOutcome::Offline => !allow_offline,
        EdgeOutcome::Done => edge.rules.iter().any(|rule| {
            rule.action != Action::Reject && matches!(rule.state, Some(RuleState::Failed | RuleState::Rejected))
        }),
    }
}

impl Fleet {
    /// Begins what may begin by now, and says which edges those are: they are sent their states once all are decided.
    /// Stops what has to stop.
    pub(super) fn advance_waves(&mut self, run: &mut Run, step: &mut Step) -> Vec<EdgeName> {
        let mut begun = Vec::new();
        let Some(mut waves) = run.waves.take() else { return begun };
        while waves.current < waves.parts.len() {
            if let Some(reason) = self.failure_of(run, &waves) {
                self.stop_waves(run, &mut waves, &reason, step);
                break;
            }
            let part = &mut waves.parts[waves.current];
            let is_waiting =
                |edge: &&EdgeName| run.result.edge(edge).is_some_and(|one| one.outcome == EdgeOutcome::Waiting);
            let waiting = part.begun.iter().filter(is_waiting).count();
            // A freeze keeps the edges that were not reached as they are; the rollout goes on when it ends.
            if self.frozen.is_some() && !part.queued.is_empty() {
                break;
            }
            if waiting < part.max_parallel.get() as usize
                && let Some(edge) = part.queued.pop_front()
            {
                let companions = companions(&edge, &part.queued, &waves.ruleset, &self.edges);
                part.queued.retain(|other| !companions.contains(other));
                let together: Vec<EdgeName> = std::iter::once(edge).chain(companions).collect();
                part.begun.extend_from_slice(&together);
                for edge in &together {
                    self.begin_edge(run, &mut waves, edge, step);
                }
                begun.extend(together);
                continue;
            }
            if waiting > 0 {
                break;
            }
            let until = *waves.soak_until.get_or_insert(step.now.checked_add(part.soak).unwrap_or(Timestamp::MAX));
            if step.now < until {
                break;
            }
            waves.soak_until = None;
            waves.current += 1;
        }
        let paused = self.frozen.as_ref().filter(|_| waves.queued() > 0).map(|freeze| {
            let (by, why, queued) = (&freeze.by, &freeze.why, waves.queued());
            let edges = if queued == 1 { "1 edge waits".to_owned() } else { format!("{queued} edges wait") };
            format!("{edges} until the fleet is unfrozen; {by} froze it: {why}")
        });
        run.is_untold |= paused != run.result.paused;
        run.result.paused = paused;
        run.waves = Some(waves);
        begun
    }

    /// Why the current wave has failed, if it has.
    fn failure_of(&self, run: &Run, waves: &Waves) -> Option<String> {
        let part = &waves.parts[waves.current];
        let mut failed: Vec<String> = Vec::new();
        for edge in &part.begun {
            let Some(result) = run.result.edge(edge) else { continue };
            if has_failed(result, run.allow_offline) {
                failed.push(edge.to_string());
            } else if result.outcome == EdgeOutcome::Done
                && let (Some(before), Some(view)) = (waves.before.get(edge), self.edges.get(edge))
                && let Some(rule) = before.worse_off(view).next()
            {
                failed.push(format!("{edge} ({rule} served before and no longer does)"));
            }
        }
        (failed.len() > part.max_failed as usize).then(|| {
            let has_waves = !waves.ruleset.rollout.waves.is_empty();
            let of = if has_waves { format!("wave {}", part.number) } else { "the apply".to_owned() };
            format!("{of} failed on {}", failed.join(", "))
        })
    }

    fn begin_edge(&mut self, run: &mut Run, waves: &mut Waves, edge: &EdgeName, step: &mut Step) {
        let view = self.edges.get_or_new(edge);
        if run.confirming.is_some() && !view.connected {
            if let Some(result) = run.result.edge_mut(edge) {
                confirming::leave_out(result);
            }
            run.is_untold = true;
            return;
        }
        waves.before.insert(edge.clone(), Before::of(view));
        if let Some(applied) = &mut self.applied
            && applied.unreached.remove(edge)
        {
            step.persist(Record::applied(applied));
        }
        let none = EdgeRules::new();
        let wanted = waves.ruleset.edges.get(edge).unwrap_or(&none);
        let disabled = waves.ruleset.disabled.get(edge).unwrap_or(&none);
        if let Some(mut next) = next_desired(view, wanted, disabled) {
            if next.generation != view.desired_generation() {
                next.confirm_within = run.confirming.as_ref().map(|confirming| confirming.within);
                run.entry.generations.insert(edge.clone(), next.generation);
            }
            step.persist(Record::edge(edge, &next));
            view.desired = Some(next);
        }
        let (generation, connected) = (view.desired_generation(), view.connected);
        self.hand_overrides_over(edge, step);
        run.deadline = step.now.checked_add(waves.timeout).unwrap_or(Timestamp::MAX);
        run.is_untold = true;
        if let Some(result) = run.result.edge_mut(edge) {
            result.generation = generation;
            result.outcome = if connected { EdgeOutcome::Waiting } else { EdgeOutcome::Offline };
        }
    }

    /// Leaves what was not reached as it is, and brings the rest back where that was asked for.
    fn stop_waves(&mut self, run: &mut Run, waves: &mut Waves, reason: &str, step: &mut Step) {
        for part in &mut waves.parts[waves.current..] {
            for edge in part.queued.drain(..) {
                if let Some(result) = run.result.edge_mut(&edge) {
                    result.outcome = EdgeOutcome::Skipped;
                    "wave_failed".clone_into(&mut result.code);
                    reason.clone_into(&mut result.message);
                }
            }
        }
        waves.current = waves.parts.len();
        waves.soak_until = None;
        run.result.stopped = Some(reason.to_owned());
        run.is_untold = true;
        // What reverts has waited long enough.
        self.rollout.end_quiet();
        let digest = waves.ruleset.digest;
        let mut applied = self.applied.clone();
        if let OnFailure::BringBack(back_to) = std::mem::replace(&mut waves.on_failure, OnFailure::Stop) {
            for (edge, before) in &waves.before {
                let generation = self.bring_back(edge, before, step);
                run.entry.brought_back.insert(edge.clone());
                if let Some(result) = run.result.edge_mut(edge) {
                    if let Some(generation) = generation.filter(|_| result.outcome != EdgeOutcome::Offline) {
                        result.generation = generation;
                        result.outcome = EdgeOutcome::Waiting;
                    }
                    result.message = format!("reverted to its previous state: {reason}");
                }
            }
            run.deadline = step.now.checked_add(waves.timeout).unwrap_or(Timestamp::MAX);
            applied = back_to.map(|before| *before).or(applied);
        }
        if let Some(applied) = &mut applied {
            applied.stopped = Some(StoppedRollout { digest, reason: reason.to_owned() });
            step.persist(Record::applied(applied));
        }
        self.applied = applied;
    }

    /// All drift: that of the edges, and edges that the rollout has not reached.
    pub fn drift(&self) -> Vec<Drift> {
        let mut all = drift::drift(&self.edges);
        all.retain(|one| one.kind != DriftKind::EdgeOffline || !self.is_of_no_concern(&one.edge));
        all.extend(self.unsettled_drift());
        // Stable: what is of one edge stays in its order.
        all.sort_by(|one, other| one.edge.cmp(&other.edge));
        let Some(applied) = self.applied.as_ref().filter(|applied| !applied.unreached.is_empty()) else { return all };
        let why = match (&applied.stopped, &self.rollout.run) {
            (Some(stopped), _) => format!("{}: {}", drift::STOPPED_BEFORE, stopped.reason),
            (None, Some(_)) => "the rollout has not reached it yet".to_owned(),
            (None, None) if self.to_continue().is_some() => {
                let has_rollback = applied.rollout.as_ref().is_some_and(|terms| terms.rollback);
                let without = if has_rollback { ", without `--rollback fleet`" } else { "" };
                format!(
                    "a restart of the server interrupted the rollout before this edge; it continues once the edges are \
                     back{without}"
                )
            }
            (None, None) => "the rollout did not reach it; `portunus apply` or `resume` continues it".to_owned(),
        };
        all.extend(applied.unreached.iter().map(|edge| drift::unreached(edge, why.clone())));
        // Stable: what is of one edge stays in its order.
        all.sort_by(|one, other| one.edge.cmp(&other.edge));
        all
    }

    /// The new generation, if there is anything to revert.
    fn bring_back(&mut self, edge: &EdgeName, before: &Before, step: &mut Step) -> Option<u64> {
        let generation = self.put_back(edge, before, step)?;
        self.send(edge, step);
        Some(generation)
    }

    /// Decides again what was decided before, under a generation of its own; that one, if it is another state.
    pub(super) fn put_back(&mut self, edge: &EdgeName, before: &Before, step: &mut Step) -> Option<u64> {
        let view = self.edges.get_mut(edge)?;
        let next = next_desired(view, &before.wanted, &before.disabled)?;
        let generation = next.generation;
        step.persist(Record::edge(edge, &next));
        view.desired = Some(next);
        Some(generation)
    }
}
