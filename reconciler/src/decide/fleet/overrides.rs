//! Break-glass rules: added and removed by operators, ended by time or by the tree. Pure.
//!
//! Keeps: what an edge is sent and what is recorded name the same overrides; one that ended while the server was down
//! ends with its first step. Each that comes or goes is a line of the ledger.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::rule::Rule;
use serde::{Deserialize, Serialize};

use super::freezing::Deed;
use super::step::Step;
use super::{Fleet, Notice};
use crate::decide::assign::next_desired;
use crate::decide::break_glass::{Override, Overrides};
use crate::decide::ledger::{Entry, LedgerAction};
use crate::decide::new_override::InvalidOverride;
use crate::decide::record::Record;
use crate::decide::view::EdgeView;
use crate::decide::{new_override, overrides};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub enum OverrideRequest {
    /// A break-glass rule, in place of an earlier one of its name.
    Add {
        /// Where.
        edge: EdgeName,
        /// What it forwards.
        rule: Arc<Rule>,
        /// Why.
        why: String,
        /// For how long.
        ttl: Duration,
        /// Who.
        actor: String,
    },
    /// The end of one before its time.
    Remove {
        /// Where.
        edge: EdgeName,
        /// Which.
        rule: RuleName,
        /// Why it ends; may be empty.
        why: String,
        /// Who.
        actor: String,
    },
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideRefusal {
    /// It cannot be added.
    #[error(transparent)]
    Invalid(#[from] InvalidOverride),
    /// There is none to remove.
    #[error("edge {edge} has no override {rule}")]
    Unknown {
        /// Where.
        edge: EdgeName,
        /// Which.
        rule: RuleName,
    },
    /// The edge runs rules that this server never decided: adding one would remove the others.
    #[error("edge {0} runs rules that this server never applied: apply the tree first")]
    Undecided(EdgeName),
}

/// What became of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideStep {
    /// It is in place.
    Added,
    /// An operator ended it.
    Removed,
    /// Its time is over.
    Expired,
    /// The tree holds the rule now.
    TakenOver,
}

impl OverrideStep {
    /// As in the ledger.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Added => "rule_added",
            Self::Removed => "rule_removed",
            Self::Expired => "rule_expired",
            Self::TakenOver => "rule_taken_over",
        }
    }
}

impl Fleet {
    pub(super) fn request_override(
        &mut self,
        request: &OverrideRequest,
        step: &mut Step,
    ) -> Result<Override, OverrideRefusal> {
        let (edge, held, change) = match request {
            OverrideRequest::Add { edge, rule, why, ttl, actor } => {
                let known = self.edges.get(edge).filter(|view| view.hello.is_some() || view.desired.is_some());
                let view = known.ok_or_else(|| InvalidOverride::UnknownEdge(edge.clone()))?;
                if view.desired.is_none() && !view.running().is_empty() {
                    return Err(OverrideRefusal::Undecided(edge.clone()));
                }
                new_override::check(view, rule, why, *ttl)?;
                let until = step.now.checked_add(*ttl).unwrap_or(Timestamp::MAX);
                let (actor, why) = (actor.clone(), why.trim().to_owned());
                let held = Override { rule: rule.clone(), actor, why, since: step.now, until };
                (edge, held, OverrideStep::Added)
            }
            OverrideRequest::Remove { edge, rule, why, actor } => {
                let held = self.edges.get(edge).and_then(|view| view.overrides.get(rule));
                let unknown = || OverrideRefusal::Unknown { edge: edge.clone(), rule: rule.clone() };
                let held = held.ok_or_else(unknown)?.clone();
                let why = if why.trim().is_empty() { held.why } else { why.trim().to_owned() };
                let held = Override { actor: actor.clone(), why, ..held };
                (edge, held, OverrideStep::Removed)
            }
        };
        let view = self.edges.get_mut(edge).expect("found above");
        match change {
            OverrideStep::Added => _ = view.overrides.insert(held.rule.name.clone(), held.clone()),
            _ => _ = view.overrides.remove(&held.rule.name),
        }
        self.find_next_override_end();
        self.overrides_changed(edge, step);
        self.tell(edge, &held, change, step);
        Ok(held)
    }

    /// Ends the overrides whose time is over.
    pub(super) fn end_overrides(&mut self, step: &mut Step) {
        if self.next_override_end.is_none_or(|next| next > step.now) {
            return;
        }
        let over = |view: &Overrides| overrides::expired(view, step.now).cloned().collect::<Vec<_>>();
        let expired: Vec<(EdgeName, Vec<RuleName>)> = self
            .edges
            .iter()
            .map(|(edge, view)| (edge.clone(), over(&view.overrides)))
            .filter(|(_, rules)| !rules.is_empty())
            .collect();
        for (edge, rules) in expired {
            self.expire(&edge, &rules, step);
        }
    }

    /// Ends the overrides that an edge has ended by itself, which it does without its server. One that was renewed
    /// since has another end.
    pub(super) fn end_as_reported(&mut self, edge: &EdgeName, step: &mut Step) {
        let Some(view) = self.edges.get(edge) else { return };
        let Some(report) = view.report.as_ref().filter(|report| !report.ended.is_empty()) else { return };
        let is_over = |(rule, until): &(&RuleName, &Timestamp)| {
            view.overrides.get(*rule).is_some_and(|held| held.until.as_millisecond() == until.as_millisecond())
        };
        let ended: Vec<RuleName> = report.ended.iter().filter(is_over).map(|(rule, _)| rule.clone()).collect();
        if !ended.is_empty() {
            self.expire(edge, &ended, step);
        }
    }

    fn expire(&mut self, edge: &EdgeName, rules: &[RuleName], step: &mut Step) {
        let ended = self.drop_overrides(edge, rules);
        self.overrides_changed(edge, step);
        for held in &ended {
            self.tell(edge, held, OverrideStep::Expired, step);
        }
    }

    /// Forgets the overrides that the tree in force on an edge has taken over.
    pub(super) fn hand_overrides_over(&mut self, edge: &EdgeName, step: &mut Step) {
        let Some(view) = self.edges.get(edge) else { return };
        let Some(desired) = &view.desired else { return };
        let rules: Vec<RuleName> = overrides::taken_over(&view.overrides, &desired.wanted).cloned().collect();
        if rules.is_empty() {
            return;
        }
        let ended = self.drop_overrides(edge, &rules);
        step.persist(Record::overrides(edge, &self.edges[edge].overrides));
        // The set is the same, but from now on it has no end.
        self.send(edge, step);
        for held in &ended {
            self.tell(edge, held, OverrideStep::TakenOver, step);
        }
    }

    /// Notes when the next override ends; to be called where any came or went.
    pub(super) fn find_next_override_end(&mut self) {
        let all = self.edges.values().flat_map(|view| view.overrides.values());
        self.next_override_end = all.map(|held| held.until).min();
    }

    fn drop_overrides(&mut self, edge: &EdgeName, rules: &[RuleName]) -> Vec<Override> {
        let Some(view) = self.edges.get_mut(edge) else { return Vec::new() };
        let dropped = rules.iter().filter_map(|rule| view.overrides.remove(rule)).collect();
        self.find_next_override_end();
        dropped
    }

    /// Records the overrides of an edge, decides its set again and sends it: in every mode, for an operator asked.
    fn overrides_changed(&mut self, edge: &EdgeName, step: &mut Step) {
        let Some(view) = self.edges.get_mut(edge) else { return };
        step.persist(Record::overrides(edge, &view.overrides));
        let desired = view.desired.clone().unwrap_or_default();
        let Some(next) = next_desired(view, &desired.wanted, &desired.disabled) else { return };
        step.persist(Record::edge(edge, &next));
        view.desired = Some(next);
        self.send(edge, step);
    }

    /// The line of the ledger and the notice of an override that came or went.
    fn tell(&mut self, edge: &EdgeName, held: &Override, change: OverrideStep, step: &mut Step) {
        let actor = match change {
            OverrideStep::Added | OverrideStep::Removed => held.actor.as_str(),
            OverrideStep::Expired => "clock",
            OverrideStep::TakenOver => "tree",
        };
        let line = self.line(
            Deed { action: LedgerAction::Override, actor, why: held.why.clone(), outcome: change.outcome() },
            step.now,
        );
        // What the tree takes over is the same set, so its generation is the apply's.
        let generation = self.edges.get(edge).map(EdgeView::desired_generation);
        let generation = generation.filter(|_| change != OverrideStep::TakenOver);
        let line = Entry {
            note: format!("{edge}/{} on {}", held.rule.name, held.rule.listen),
            until: (change == OverrideStep::Added).then_some(held.until),
            generations: generation.map(|generation| (edge.clone(), generation)).into_iter().collect(),
            ..line
        };
        step.persist(Record::ledger(&line.chained(&mut self.head)));
        step.emit(Notice::Override {
            edge: edge.clone(),
            rule: held.rule.name.clone(),
            step: change,
            actor: held.actor.clone(),
            why: held.why.clone(),
            until: held.until,
        });
    }
}
