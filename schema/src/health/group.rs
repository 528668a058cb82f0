//! The targets of one rule together: inputs and reloads in, events out. Pure, `now` is an argument.
//!
//! Keeps: a snapshot with all later events applied is the next snapshot; a reload of the same targets and check
//! changes nothing and says nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::by_port::{Selections, TargetSet};
use super::history::StateChange;
use super::pool::{RuleHealth, Standing};
use super::ports::{PortVerdicts, port_bit};
use super::rendezvous::TargetSeed;
use super::result::Outcome;
use super::select::Selection;
use super::snapshot::{RuleEvent, Snapshot, TargetKey, TargetView};
use super::state::{Operation, TargetState};
use super::target::{Input, TargetHealth};
use super::terms::Terms;
use crate::health::HealthCheck;
use crate::rule::{Balance, LastResort, Rule, Target};

#[derive(Debug, Clone, PartialEq, Eq)]
struct GroupMember {
    key: TargetKey,
    seed: TargetSeed,
    target: Target,
    weight_override: Option<u8>,
    health: TargetHealth,
    /// Of a target of several ports; one of a single port is judged as a whole.
    ports: PortVerdicts,
}

impl GroupMember {
    fn new(target: &Target, terms: Terms, now: Duration) -> Self {
        let key = TargetKey::of(target);
        let mut health = TargetHealth::new(terms, now);
        if !target.enabled {
            health.apply(Input::Operation(Operation::Disable), now);
        }
        let (seed, ports) = (TargetSeed::new(key.as_str()), PortVerdicts::default());
        Self { seed, key, target: target.clone(), weight_override: None, health, ports }
    }

    fn weight(&self) -> u8 {
        self.weight_override.unwrap_or(self.target.weight)
    }

    /// Takes in what happened to the target as a whole. What was known of its single ports ends with a verdict that
    /// begins or ends with the whole target being down, and with the target being out of use.
    fn apply(&mut self, input: Input, now: Duration) -> Option<StateChange> {
        let change = self.health.apply(input, now);
        let is_down = |change: &StateChange| change.from == TargetState::Down || change.to == TargetState::Down;
        if !self.health.hears_ports() || change.as_ref().is_some_and(is_down) {
            self.ports.clear();
        }
        change
    }

    fn are_all_failing(&self) -> bool {
        self.ports.count() as u64 == u64::from(self.target.ports.width())
    }

    fn view(&self) -> TargetView {
        TargetView {
            key: self.key.clone(),
            priority: self.target.priority,
            weight: self.weight(),
            state: self.health.state(),
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            priority: self.target.priority,
            weight: self.weight(),
            state: self.health.state(),
            is_checked: self.health.terms().pace.is_some(),
        }
    }
}

/// The targets of one rule with their health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetGroup {
    check: Option<HealthCheck>,
    balance: Balance,
    last_resort: LastResort,
    members: Vec<GroupMember>,
    /// How many ports each target has.
    width: u32,
    selections: Selections,
    rule_health: RuleHealth,
}

impl TargetGroup {
    /// The targets of a rule that is new.
    pub fn new(rule: &Rule, now: Duration) -> Self {
        let terms = Terms::of(rule.health.as_ref());
        let members: Vec<GroupMember> =
            rule.targets.iter().map(|target| GroupMember::new(target, terms, now)).collect();
        let selections = selections(&members, rule.balance, rule.last_resort);
        let (balance, last_resort, width) = (rule.balance, rule.last_resort, rule.listen.ports.width());
        let rule_health = selections.health(width);
        Self { check: rule.health.clone(), balance, last_resort, members, width, selections, rule_health }
    }

    /// What connections are dialled by until the next event, at ports that no target fails at alone.
    pub fn selection(&self) -> &Selection {
        self.selections.rest()
    }

    /// What connections are dialled by until the next event, port by port.
    pub fn selections(&self) -> &Selections {
        &self.selections
    }

    /// How the rule is.
    pub fn health(&self) -> RuleHealth {
        self.rule_health
    }

    /// The place of a target in the rule, for [`Self::selection`] and back.
    pub fn place(&self, key: &TargetKey) -> Option<usize> {
        self.members.iter().position(|member| member.key == *key)
    }

    /// The health of each target, in file order.
    pub fn targets(&self) -> impl Iterator<Item = (&TargetKey, &TargetHealth)> {
        self.members.iter().map(|member| (&member.key, &member.health))
    }

    /// The health of one target.
    pub fn target(&self, key: &TargetKey) -> Option<&TargetHealth> {
        self.members.iter().find(|member| member.key == *key).map(|member| &member.health)
    }

    /// Everything that events change.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            targets: self.members.iter().map(GroupMember::view).collect(),
            active_pool: self.selection().pools().active(),
            weights: self.selection().weights(),
            health: self.health(),
        }
    }

    /// Takes in what happened to one target; nothing if the rule has no such target.
    pub fn apply(&mut self, key: &TargetKey, input: Input, now: Duration) -> Vec<RuleEvent> {
        let Some(member) = self.members.iter_mut().find(|member| member.key == *key) else { return Vec::new() };
        let Some(change) = member.apply(input, now) else { return Vec::new() };
        let event = RuleEvent::Changed { key: key.clone(), change };
        self.settle(vec![event])
    }

    /// Takes in what a connection met at one port of a target: of a target of several ports it says nothing about the
    /// others.
    pub fn met(&mut self, key: &TargetKey, port: u16, outcome: Outcome, now: Duration) -> Vec<RuleEvent> {
        let Some(member) = self.members.iter_mut().find(|member| member.key == *key) else { return Vec::new() };
        if member.target.ports.is_single() {
            return self.apply(key, Input::Passive(outcome), now);
        }
        if !member.health.hears_ports() || !member.target.ports.contains(port) {
            return Vec::new();
        }
        let is_known = member.ports.is_failing(port);
        let change = member.ports.met(port, outcome.is_pass(), now);
        let mut events = Vec::new();
        events.extend(change.map(|change| RuleEvent::Port {
            key: key.clone(),
            port,
            change,
            outcome: outcome.clone(),
        }));
        let input = Input::Port { outcome, are_all_failing: member.are_all_failing(), is_known };
        let whole = member.health.apply(input, now);
        events.extend(whole.map(|change| RuleEvent::Changed { key: key.clone(), change }));
        if events.is_empty() { events } else { self.settle(events) }
    }

    /// Takes in that time has passed, for single ports: trials come due, and what nobody asked for is forgotten. True
    /// if something is to be published, with the events that follow.
    pub fn turn(&mut self, now: Duration) -> (bool, Vec<RuleEvent>) {
        let turn = |member: &mut GroupMember| member.ports.turn(now, member.health.is_down_by_connections());
        let has_changed = self.members.iter_mut().fold(false, |any, member| turn(member) | any);
        (has_changed, if has_changed { self.settle(Vec::new()) } else { Vec::new() })
    }

    /// When to call [`Self::turn`].
    pub fn next_turn(&self) -> Option<Duration> {
        self.members.iter().filter_map(|member| member.ports.next()).min()
    }

    /// Notes that a connection to a port of a target of several has begun as its trial.
    pub fn port_trial_begun(&mut self, key: &TargetKey, port: u16, now: Duration) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == *key) {
            member.ports.trial_begun(port, now);
        }
    }

    /// The target whose trial the next connection at this offset of the range is, if one is due there.
    pub fn port_trial(&self, offset: u16) -> Option<usize> {
        let wants = |member: &GroupMember| member.ports.wants_trial(member.target.ports.first() + offset);
        let places = self.members.iter().enumerate().filter(|(_, member)| wants(member)).map(|(place, _)| place);
        places.into_iter().find(|place| self.selections.at(offset).allows_trial(*place))
    }

    /// The ports of a target at which a success would change something, as [`port_bit`]s.
    pub fn awaited(&self, place: usize) -> u64 {
        let Some(member) = self.members.get(place) else { return 0 };
        match (member.target.ports.is_single(), &member.health) {
            (true, health) if health.awaits_success() => port_bit(member.target.ports.first()),
            (false, health) if health.awaits_first() => u64::MAX,
            _ => member.ports.awaited(),
        }
    }

    /// The ports at which connections failed a target, and of how many.
    pub fn failing_ports(&self, place: usize) -> impl Iterator<Item = u16> + '_ {
        self.members.get(place).into_iter().flat_map(|member| member.ports.failing())
    }

    /// Sets or ends the deviation of a target's weight from the rule.
    pub fn override_weight(&mut self, key: &TargetKey, weight: Option<u8>) -> Vec<RuleEvent> {
        let Some(member) = self.members.iter_mut().find(|member| member.key == *key) else { return Vec::new() };
        let before = member.view();
        member.weight_override = weight;
        let after = member.view();
        let events = if before == after { Vec::new() } else { vec![membership(&self.members)] };
        self.settle(events)
    }

    /// The failed target whose trial the next connection is, if one is due; it is taken by asking.
    pub fn take_trial(&mut self, now: Duration) -> Option<usize> {
        let selection = self.selections.rest();
        let mut members = self.members.iter_mut().enumerate();
        members.find_map(|(index, member)| {
            (selection.allows_trial(index) && member.health.take_trial(now)).then_some(index)
        })
    }

    /// Takes the rule's new version. Targets that stay keep verdict, counter, history and what operators said, unless
    /// the check has changed; the file's `enabled` counts when it changes, so that it undoes no operator's word.
    pub fn reload(&mut self, rule: &Rule, now: Duration) -> Vec<RuleEvent> {
        let terms = Terms::of(rule.health.as_ref());
        let judging = |check: &Option<HealthCheck>| check.as_ref().map(HealthCheck::judging);
        let is_same_check = judging(&self.check) == judging(&rule.health);
        let before: Vec<TargetView> = self.members.iter().map(GroupMember::view).collect();
        let mut old = std::mem::take(&mut self.members);
        let mut events = Vec::new();
        for target in &rule.targets {
            let key = TargetKey::of(target);
            let Some(index) = old.iter().position(|member| member.key == key) else {
                let mut member = GroupMember::new(target, terms, now);
                // Another part of the same range: what connections met is kept by place.
                let former = old.iter().find(|other| other.target.host == target.host && is_same_check);
                if let Some(former) = former.filter(|_| !target.ports.is_single() && target.enabled) {
                    member.ports = former.ports.of_ports(|port| target.ports.contains(port));
                }
                self.members.push(member);
                continue;
            };
            let mut member = old.remove(index);
            let mut changes = Vec::new();
            if is_same_check {
                member.health.keep_history(terms.history);
            } else {
                changes.extend(member.health.change_terms(terms, now));
                member.ports.clear();
            }
            if member.target.enabled != target.enabled {
                let operation = if target.enabled { Operation::Enable } else { Operation::Disable };
                changes.extend(member.apply(Input::Operation(operation), now));
            }
            events.extend(changes.into_iter().map(|change| RuleEvent::Changed { key: key.clone(), change }));
            member.target = target.clone();
            self.members.push(member);
        }
        for mut member in old {
            let change = member.health.apply(Input::Operation(Operation::Remove), now);
            events.extend(change.map(|change| RuleEvent::Changed { key: member.key, change }));
        }
        let after: Vec<TargetView> = self.members.iter().map(GroupMember::view).collect();
        let is_same_membership = before.len() == after.len()
            && before.iter().zip(&after).all(|(before, after)| before.is_same_but_state(after));
        if !is_same_membership {
            events.push(membership(&self.members));
        }
        (self.balance, self.last_resort, self.width) = (rule.balance, rule.last_resort, rule.listen.ports.width());
        self.check.clone_from(&rule.health);
        self.settle(events)
    }

    /// Judges the pools again, and adds what follows from the events.
    fn settle(&mut self, mut events: Vec<RuleEvent>) -> Vec<RuleEvent> {
        let after = selections(&self.members, self.balance, self.last_resort);
        let before = std::mem::replace(&mut self.selections, after);
        let (before, after) = (before.rest(), self.selections.rest());
        let (weights, active_pool) = (after.weights(), after.pools().active());
        let is_other_membership = events.iter().any(|event| matches!(event, RuleEvent::Membership { .. }));
        if is_other_membership || weights != before.weights() || active_pool != before.pools().active() {
            events.push(RuleEvent::Weights { active_pool, weights });
        }
        let to = self.selections.health(self.width);
        let from = std::mem::replace(&mut self.rule_health, to);
        if from != to {
            events.push(RuleEvent::Health { from, to });
        }
        events
    }
}

fn selections(members: &[GroupMember], balance: Balance, last_resort: LastResort) -> Selections {
    let targets: Vec<_> = members.iter().map(|member| (member.standing(), member.seed)).collect();
    let mut ports = BTreeMap::<u16, TargetSet>::new();
    for (place, member) in members.iter().enumerate() {
        for port in member.ports.failing() {
            *ports.entry(port - member.target.ports.first()).or_default() |= 1 << place;
        }
    }
    Selections::new(&targets, balance, last_resort, ports.into_iter().collect())
}

fn membership(members: &[GroupMember]) -> RuleEvent {
    RuleEvent::Membership { targets: members.iter().map(GroupMember::view).collect() }
}
