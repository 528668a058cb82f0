//! One rule that is watched: its verdicts, and the choice that its connections are made by. Shared memory, no I/O.
//!
//! Keeps: what is published follows the verdicts at once; while a new version waits for all of its targets, those of
//! the version before go on serving; no more than one trial is on offer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use schema::health::{
    Admin, ChangeCause, HealthCheck, Input, Outcome, ResultCode, Retry, RuleEvent, RuleHealth, Selection, Selections,
    TargetGroup, TargetKey, TargetState,
};
use schema::rule::{Balance, Rule};
use tokio::sync::mpsc;

use crate::act::workers::{self, Choice, Chosen, Feedback, Place, PortTrial};
use crate::decide::overrides::Overrides;
use crate::decide::waiting::{AttemptAtAwaited, AwaitedTargets};

/// What connections are chosen by.
#[derive(PartialEq)]
struct Published {
    selections: Selections,
    /// Offsets of ports at which a target's trial is on offer.
    trials: Vec<(u16, usize)>,
}

/// One rule.
pub(super) struct Watched {
    pub(super) rule: Arc<Rule>,
    pub(super) group: TargetGroup,
    pub(super) choice: Arc<Choice>,
    pub(super) waiting: AwaitedTargets,
    places: Vec<Place>,
    /// What was published last, unless the version before serves on.
    published: Option<Published>,
    /// The targets of the version before, while they serve on.
    held: Vec<workers::TargetKey>,
    offered: Option<TargetKey>,
    /// Who carried the weight last; none yet for this version's targets.
    leader: Option<usize>,
    /// Others carry it since it was asked last.
    has_failed_over: bool,
}

impl Watched {
    /// A rule that is new.
    pub(super) fn new(id: u64, rule: Arc<Rule>, now: Duration, feedback: mpsc::Sender<Feedback>) -> Self {
        let group = TargetGroup::new(&rule, now);
        let places: Vec<Place> = rule.targets.iter().cloned().map(Place::new).collect();
        let selections = group.selections().clone();
        let leader = leader(selections.rest(), rule.balance);
        let published = Published { selections: selections.clone(), trials: Vec::new() };
        let chosen =
            Chosen { places: places.clone().into(), listen: rule.listen.ports, selections, trials: Box::default() };
        let mut waiting = AwaitedTargets::new(retry(&rule));
        waiting.extend(awaited(&rule, |_| true), None);
        Self {
            choice: Arc::new(Choice::new(id, chosen, feedback)),
            rule,
            group,
            waiting,
            places,
            published: Some(published),
            held: Vec::new(),
            offered: None,
            leader,
            has_failed_over: false,
        }
    }

    /// Takes the rule's next version. Its choice stays the same unless it listens elsewhere: connections that came in
    /// by the old way go on by the old choice.
    pub(super) fn reload(
        &mut self,
        id: u64,
        rule: Arc<Rule>,
        now: Duration,
        feedback: mpsc::Sender<Feedback>,
    ) -> Vec<RuleEvent> {
        let former = std::mem::replace(&mut self.rule, rule);
        let events = self.group.reload(&self.rule, now);
        let is_new = |key: &TargetKey| !former.targets.iter().any(|target| TargetKey::of(target) == *key);
        let rule = self.rule.clone();
        self.waiting
            .retain(|key| rule.health.is_some() && rule.targets.iter().any(|target| TargetKey::of(target) == *key));
        self.waiting.set_retry(retry(&self.rule));
        let judging = |rule: &Rule| rule.health.as_ref().map(HealthCheck::judging);
        let is_other_check = judging(&former) != judging(&self.rule);
        self.waiting.extend(awaited(&self.rule, |key| is_other_check || is_new(key)), None);
        self.await_resumed(&events, now);
        let before = std::mem::take(&mut self.places);
        self.places = self.rule.targets.iter().map(|target| place(target, &before)).collect();
        if former.listen != self.rule.listen {
            self.held.clear();
            let next = self.next();
            let choice = Arc::new(Choice::new(id, self.chosen(&next), feedback));
            self.choice.replaced_by(choice.clone());
            (self.choice, self.published, self.offered) = (choice, Some(next), None);
        } else if former.targets != self.rule.targets {
            let are_all_new = self.rule.targets.iter().all(|target| is_new(&TargetKey::of(target)));
            if are_all_new && self.held.is_empty() && !self.is_ready() {
                self.held = former.targets.iter().map(meter_key).collect();
            }
            self.published = None;
            self.leader = None;
        }
        events
    }

    /// Takes in what a connection met at one port of a target.
    pub(super) fn met(&mut self, key: &TargetKey, port: u16, outcome: Outcome, now: Duration) -> Vec<RuleEvent> {
        self.group.met(key, port, outcome, now)
    }

    /// Takes in that time has passed; true if ports are shown otherwise than before.
    pub(super) fn turn(&mut self, now: Duration) -> (bool, Vec<RuleEvent>) {
        self.group.turn(now)
    }

    /// Takes in a probe's result; true beside the events if it was an attempt at a target that is awaited. While there
    /// are more tries, one that fails is not a verdict.
    pub(super) fn probed(&mut self, key: &TargetKey, outcome: Outcome, now: Duration) -> (Vec<RuleEvent>, bool) {
        let attempt = self.waiting.attempted(key, outcome.is_pass(), now);
        let is_open = self.group.target(key).is_some_and(|target| target.state() == TargetState::Unknown);
        let input = if attempt == AttemptAtAwaited::OneOfMore && is_open {
            Input::Tried(outcome)
        } else {
            Input::Active(outcome)
        };
        (self.group.apply(key, input, now), attempt != AttemptAtAwaited::None)
    }

    /// Waits for targets that were taken back into use: they are asked at once.
    fn await_resumed(&mut self, events: &[RuleEvent], now: Duration) {
        if self.rule.health.is_none() {
            return;
        }
        for event in events {
            let RuleEvent::Changed { key, change } = event else { continue };
            if change.to == TargetState::Unknown && matches!(change.cause, ChangeCause::Operation(_)) {
                self.waiting.extend([key.clone()], Some(now));
            }
        }
    }

    /// Notes that a probe has found out nothing about a target: the next one has its usual turn, and nothing else changes.
    pub(super) fn missed(&mut self, key: &TargetKey, now: Duration) {
        self.group.apply(key, Input::Missed, now);
        self.waiting.missed(key, now);
    }

    /// What was found out last about a target.
    pub(super) fn last_code(&self, key: &TargetKey) -> Option<ResultCode> {
        Some(self.group.target(key)?.last_result()?.1.code())
    }

    /// Brings every target where orders and tree want it.
    pub(super) fn obey(&mut self, overrides: &Overrides, now: Duration) -> Vec<RuleEvent> {
        let mut events = Vec::new();
        let rule = self.rule.clone();
        for target in &rule.targets {
            let key = TargetKey::of(target);
            let orders = overrides.of(rule.name.as_str(), key.as_str());
            let Some(admin) = self.group.target(&key).map(schema::health::TargetHealth::admin) else { continue };
            for step in orders.steps(admin, target.enabled) {
                events.extend(self.group.apply(&key, Input::Operation(*step), now));
            }
            events.extend(self.group.override_weight(&key, orders.weight));
        }
        self.await_resumed(&events, now);
        let group = &self.group;
        self.waiting.retain(|key| group.target(key).is_some_and(|target| target.admin() == Admin::Enabled));
        events
    }

    /// True if new targets can take over, or will not be waited for any longer.
    fn is_ready(&self) -> bool {
        self.waiting.is_over() || self.group.health() == RuleHealth::Up
    }

    /// True once after others have begun to carry the weight: a failover, or the way back.
    pub(super) fn take_failover(&mut self) -> bool {
        std::mem::take(&mut self.has_failed_over)
    }

    /// Publishes what follows from what happened. Returns the targets of the version before, once they serve no
    /// longer.
    pub(super) fn settle(&mut self, now: Duration) -> Vec<workers::TargetKey> {
        for (index, place) in self.places.iter().enumerate() {
            place.awaits_success.store(self.group.awaited(index), Relaxed);
        }
        if !self.held.is_empty() && !self.is_ready() {
            return Vec::new();
        }
        let next = self.next();
        if self.published.as_ref() != Some(&next) {
            let leader = leader(self.group.selection(), self.rule.balance);
            // Where nobody leads, who did last is remembered: it may come back as if nothing had been.
            let before = if leader.is_some() { std::mem::replace(&mut self.leader, leader) } else { None };
            self.has_failed_over |= before.is_some_and(|before| leader != Some(before));
            let former = self.published.as_ref().map(|published| &published.selections);
            self.has_failed_over |=
                former.is_some_and(|former| has_moved_ports(former, &next.selections, self.rule.balance));
            self.choice.publish(self.chosen(&next));
            self.published = Some(next);
            self.offer_again();
        }
        if self.offered.is_none()
            && let Some(index) = self.group.take_trial(now)
        {
            self.offered = Some(self.places[index].key.clone());
            self.choice.offer_trial(index);
        }
        let mut gone = std::mem::take(&mut self.held);
        gone.retain(|key| !self.rule.targets.iter().any(|target| meter_key(target) == *key));
        gone
    }

    /// What is to be published.
    fn next(&self) -> Published {
        let selections = self.group.selections().clone();
        let offsets = selections.ports().iter().map(|(offset, _)| *offset);
        let trials = offsets.filter_map(|offset| Some((offset, self.group.port_trial(offset)?))).collect();
        Published { selections, trials }
    }

    fn chosen(&self, next: &Published) -> Chosen {
        let trials = next.trials.iter().map(|(offset, place)| PortTrial::new(*offset, *place)).collect();
        let (places, selections) = (self.places.clone().into(), next.selections.clone());
        Chosen { places, listen: self.rule.listen.ports, selections, trials }
    }

    /// A trial that was on offer, of a target that still needs one.
    fn offer_again(&mut self) {
        let place = self.offered.as_ref().and_then(|key| self.group.place(key));
        match place.filter(|place| self.group.selection().allows_trial(*place)) {
            Some(place) => self.choice.offer_trial(place),
            None => self.offered = None,
        }
    }

    /// Notes that a connection to this port has begun a trial.
    pub(super) fn trial_begun(&mut self, key: &TargetKey, port: u16, now: Duration) {
        self.group.port_trial_begun(key, port, now);
        if self.offered.as_ref() == Some(key) {
            self.offered = None;
        }
        // A client was long in coming: the next trial is counted from now on.
        if self.group.target(key).is_some_and(|target| target.is_trial_due(now)) {
            self.group.take_trial(now);
        }
    }

    /// When to settle again though nothing happens: a trial is due.
    pub(super) fn next_trial(&self) -> Option<Duration> {
        let of_ports = self.group.next_turn();
        if self.offered.is_some() {
            return of_ports;
        }
        let selection = self.group.selection();
        let targets = self.group.targets().enumerate().filter(|(index, _)| selection.allows_trial(*index));
        targets.filter_map(|(_, (_, health))| health.next_trial()).chain(of_ports).min()
    }
}

fn retry(rule: &Rule) -> Retry {
    rule.health.as_ref().map_or_else(Retry::default, |check| check.retry)
}

/// New targets of a rule with a check: connections can wait for them.
fn awaited<'a>(rule: &'a Rule, is_new: impl Fn(&TargetKey) -> bool + 'a) -> impl Iterator<Item = TargetKey> + 'a {
    let targets = rule.targets.iter().filter(|target| rule.health.is_some() && target.enabled);
    targets.map(TargetKey::of).filter(move |key| is_new(key))
}

/// Who gets the connections: the first target where one gets all of them, else the pool that shares them.
fn leader(selection: &Selection, balance: Balance) -> Option<usize> {
    let active = selection.pools().active()?;
    let takes =
        |place: &usize| selection.pools().is_eligible(*place) && selection.standings()[*place].priority == active;
    match balance {
        Balance::Failover => (0..selection.standings().len()).find(takes),
        Balance::SourceIp | Balance::RoundRobin | Balance::LeastConnections => Some(active.into()),
    }
}

/// True if another target gets the connections of some port that failed there, or recovered.
fn has_moved_ports(before: &Selections, after: &Selections, balance: Balance) -> bool {
    let ports = before.ports().iter().chain(after.ports()).map(|(offset, _)| *offset);
    let mut changed = ports.filter(|offset| before.failing_at(*offset) != after.failing_at(*offset));
    changed.any(|offset| {
        let (before, after) = (leader(before.at(offset), balance), leader(after.at(offset), balance));
        before.is_some() && after.is_some() && before != after
    })
}

pub(super) fn meter_key(target: &schema::rule::Target) -> workers::TargetKey {
    (target.host.clone(), target.ports.first())
}

/// A target's place, with what is counted there already.
fn place(target: &schema::rule::Target, before: &[Place]) -> Place {
    let key = TargetKey::of(target);
    match before.iter().find(|place| place.key == key) {
        Some(place) => Place { target: target.clone(), ..place.clone() },
        None => Place::new(target.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::health::{Rotation, TRIAL_AFTER};
    use schema::net::PortRange;
    use schema::testing::rule_with;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn failed() -> Outcome {
        Outcome::new(ResultCode::L4Con, "refused")
    }

    #[test]
    fn a_failed_target_is_offered_for_a_trial_until_a_connection_takes_it() {
        let rule = rule_with("web", 80, 80, |parts| {
            let mut second = parts.targets[0].clone();
            (second.ports, second.priority) = (PortRange::single(82).unwrap(), 1);
            parts.targets.push(second);
        });
        let (feedback, mut told) = mpsc::channel(8);
        let mut watched = Watched::new(1, rule.clone(), secs(0), feedback);
        let (key, port) = (TargetKey::of(&rule.targets[0]), rule.targets[0].ports.first());
        for _ in 0..3 {
            watched.met(&key, port, failed(), secs(1));
        }
        watched.settle(secs(1));
        let client = "192.0.2.1".parse().unwrap();
        let pick = |watched: &Watched| watched.choice.pick(client, 80, &mut Rotation::default()).1.first();
        assert_eq!((pick(&watched), watched.next_trial()), (Some(1), Some(secs(1) + TRIAL_AFTER)));
        watched.settle(secs(31));
        assert_eq!(watched.next_trial(), None, "one at a time");
        // Another event publishes again; the trial stays on offer.
        watched.met(&TargetKey::of(&rule.targets[1]), 82, Outcome::new(ResultCode::L4Ok, ""), secs(40));
        watched.settle(secs(40));
        assert_eq!(pick(&watched), Some(0));
        assert_eq!(told.try_recv().unwrap().target, key);
        watched.trial_begun(&key, port, secs(90));
        watched.settle(secs(90));
        assert_eq!((pick(&watched), watched.next_trial()), (Some(1), Some(secs(120))));
    }
}
