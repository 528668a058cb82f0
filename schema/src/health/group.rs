//! The targets of one rule together: inputs and reloads in, events out. Pure, `now` is an argument.
//!
//! Keeps: a snapshot with all later events applied is the next snapshot; a reload of the same targets and check
//! changes nothing and says nothing.

use std::time::Duration;

use super::pool::{RuleHealth, Standing};
use super::rendezvous::TargetSeed;
use super::select::Selection;
use super::snapshot::{RuleEvent, Snapshot, TargetKey, TargetView};
use super::state::Operation;
use super::target::{Input, TargetHealth};
use super::terms::Terms;
use crate::health::HealthCheck;
use crate::rule::{Balance, LastResort, Rule, Target};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    key: TargetKey,
    seed: TargetSeed,
    target: Target,
    weight_override: Option<u8>,
    health: TargetHealth,
}

impl Member {
    fn new(target: &Target, terms: Terms, now: Duration) -> Self {
        let key = TargetKey::of(target);
        let mut health = TargetHealth::new(terms, now);
        if !target.enabled {
            health.apply(Input::Operation(Operation::Disable), now);
        }
        Self { seed: TargetSeed::new(key.as_str()), key, target: target.clone(), weight_override: None, health }
    }

    fn weight(&self) -> u8 {
        self.weight_override.unwrap_or(self.target.weight)
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
    members: Vec<Member>,
    selection: Selection,
}

impl TargetGroup {
    /// The targets of a rule that is new.
    pub fn new(rule: &Rule, now: Duration) -> Self {
        let terms = Terms::of(rule.health.as_ref());
        let members: Vec<Member> = rule.targets.iter().map(|target| Member::new(target, terms, now)).collect();
        let selection = selection(&members, rule.balance, rule.last_resort);
        let (balance, last_resort) = (rule.balance, rule.last_resort);
        Self { check: rule.health.clone(), balance, last_resort, members, selection }
    }

    /// What connections are dialled by until the next event.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// How the rule is.
    pub fn health(&self) -> RuleHealth {
        self.selection.pools().health()
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
            targets: self.members.iter().map(Member::view).collect(),
            active_pool: self.selection.pools().active(),
            weights: self.selection.weights(),
            health: self.health(),
        }
    }

    /// Takes in what happened to one target; nothing if the rule has no such target.
    pub fn apply(&mut self, key: &TargetKey, input: Input, now: Duration) -> Vec<RuleEvent> {
        let Some(member) = self.members.iter_mut().find(|member| member.key == *key) else { return Vec::new() };
        let Some(change) = member.health.apply(input, now) else { return Vec::new() };
        let event = RuleEvent::Changed { key: key.clone(), change };
        self.settle(vec![event])
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
        let selection = &self.selection;
        let mut members = self.members.iter_mut().enumerate();
        members.find_map(|(index, member)| {
            (selection.allows_trial(index) && member.health.take_trial(now)).then_some(index)
        })
    }

    /// Takes the rule's new version. Targets that stay keep verdict, counter, history and what operators said, unless
    /// the check has changed; the file's `enabled` counts when it changes, so that it undoes no operator's word.
    pub fn reload(&mut self, rule: &Rule, now: Duration) -> Vec<RuleEvent> {
        let terms = Terms::of(rule.health.as_ref());
        let is_same_check = self.check == rule.health;
        let before: Vec<TargetView> = self.members.iter().map(Member::view).collect();
        let mut old = std::mem::take(&mut self.members);
        let mut events = Vec::new();
        for target in &rule.targets {
            let key = TargetKey::of(target);
            let Some(index) = old.iter().position(|member| member.key == key) else {
                self.members.push(Member::new(target, terms, now));
                continue;
            };
            let mut member = old.remove(index);
            let mut changes = Vec::new();
            if !is_same_check {
                changes.extend(member.health.change_terms(terms, now));
            }
            if member.target.enabled != target.enabled {
                let operation = if target.enabled { Operation::Enable } else { Operation::Disable };
                changes.extend(member.health.apply(Input::Operation(operation), now));
            }
            events.extend(changes.into_iter().map(|change| RuleEvent::Changed { key: key.clone(), change }));
            member.target = target.clone();
            self.members.push(member);
        }
        for mut member in old {
            let change = member.health.apply(Input::Operation(Operation::Remove), now);
            events.extend(change.map(|change| RuleEvent::Changed { key: member.key, change }));
        }
        let after: Vec<TargetView> = self.members.iter().map(Member::view).collect();
        let is_same_membership = before.len() == after.len()
            && before.iter().zip(&after).all(|(before, after)| before.is_same_but_state(after));
        if !is_same_membership {
            events.push(membership(&self.members));
        }
        (self.balance, self.last_resort) = (rule.balance, rule.last_resort);
        self.check.clone_from(&rule.health);
        self.settle(events)
    }

    /// Judges the pools again, and adds what follows from the events.
    fn settle(&mut self, mut events: Vec<RuleEvent>) -> Vec<RuleEvent> {
        let before = std::mem::replace(&mut self.selection, selection(&self.members, self.balance, self.last_resort));
        let (weights, active_pool) = (self.selection.weights(), self.selection.pools().active());
        let is_other_membership = events.iter().any(|event| matches!(event, RuleEvent::Membership { .. }));
        if is_other_membership || weights != before.weights() || active_pool != before.pools().active() {
            events.push(RuleEvent::Weights { active_pool, weights });
        }
        let (from, to) = (before.pools().health(), self.health());
        if from != to {
            events.push(RuleEvent::Health { from, to });
        }
        events
    }
}

fn selection(members: &[Member], balance: Balance, last_resort: LastResort) -> Selection {
    let targets: Vec<_> = members.iter().map(|member| (member.standing(), member.seed)).collect();
    Selection::new(&targets, balance, last_resort)
}

fn membership(members: &[Member]) -> RuleEvent {
    RuleEvent::Membership { targets: members.iter().map(Member::view).collect() }
}
