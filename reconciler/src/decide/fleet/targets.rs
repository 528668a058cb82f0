//! Overrides of targets in the fleet: orders, expiry, and what the tree takes away. Pure.
//!
//! Keeps: an override is recorded before its edge hears of it, and is sent whole after every welcome and every change;
//! none ends without a notice and a line in the ledger, also where it expired while the server was down.

use std::time::Duration;

use jiff::SignedDuration;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

use super::step::Step;
use super::{Effect, Fleet, Notice};
use crate::decide::deviations::{self, DeviationChange, Given, Order};
use crate::decide::ledger::{self, Entry};
use crate::decide::plan::{Action, RuleChange};
use crate::decide::record::Record;
use crate::decide::target_override::TargetOverride;

/// What an operator orders for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetOrder {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// The target, as the person wrote it.
    pub target: String,
    /// What.
    pub order: Order,
    /// Who.
    pub actor: String,
    /// Why, empty where nobody said.
    pub why: String,
    /// How long it is to last; `None`: until somebody ends it.
    pub ttl: Option<Duration>,
}

/// The result of an order for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetAnswer {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// The target, by its whole name.
    pub target: String,
    /// What was ordered.
    pub operation: String,
    /// False where everything was so already.
    pub changed: bool,
    /// False where the edge hears of it when it comes back.
    pub connected: bool,
    /// What is in force for the target now.
    pub overrides: Vec<TargetOverride>,
    /// In words.
    pub message: String,
}

/// Why an order for a target was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetRefusal {
    /// No such edge.
    #[error("there is no such edge")]
    UnknownEdge,
    /// The edge is not to run such a rule.
    #[error("the edge is not assigned such a rule")]
    UnknownRule,
    /// The rule has no such target.
    #[error("the rule has no such target; it has {}", known.join(", "))]
    UnknownTarget {
        /// Those that it has.
        known: Vec<String>,
    },
}

/// Who ends an override that nobody ended.
const SERVER: &str = "server";

/// What became of an override, by whom, and why.
struct DeviationTurn<'b> {
    change: DeviationChange,
    by: &'b str,
    why: &'b str,
}

impl Fleet {
    /// Carries out an operator's order.
    pub(super) fn order(&mut self, order: &TargetOrder, step: &mut Step) -> Result<TargetAnswer, TargetRefusal> {
        let view = self.edges.get_mut(&order.edge).ok_or(TargetRefusal::UnknownEdge)?;
        let known = deviations::targets_of(view, &order.rule).ok_or(TargetRefusal::UnknownRule)?;
        let Some(target) = deviations::find(view, &order.rule, &order.target).map(ToString::to_string) else {
            return Err(TargetRefusal::UnknownTarget { known });
        };
        let ttl = order.ttl.and_then(|ttl| SignedDuration::try_from(ttl).ok());
        let given = Given {
            rule: &order.rule,
            target: &target,
            order: order.order,
            actor: &order.actor,
            why: &order.why,
            until: ttl.and_then(|ttl| step.now.checked_add(ttl).ok()),
            now: step.now,
        };
        let effected = deviations::carry_out(view, &given);
        let is_changed = effected.set.is_some() || !effected.ended.is_empty();
        if is_changed {
            self.record_deviations(&order.edge, step);
            if effected.set.is_none() {
                for ended in &effected.ended {
                    let by = DeviationTurn { change: DeviationChange::Ended, by: &order.actor, why: &order.why };
                    self.turned(&order.edge, ended, &by, step);
                }
            }
            if let Some(set) = &effected.set {
                let by = DeviationTurn { change: DeviationChange::Set, by: &order.actor, why: &order.why };
                self.turned(&order.edge, set, &by, step);
            }
            self.send_deviations(&order.edge, step);
        }
        let view = &self.edges[&order.edge];
        let of_target = |each: &&TargetOverride| each.rule == order.rule && each.target == target;
        let in_force: Vec<TargetOverride> = view.deviations.iter().filter(of_target).cloned().collect();
        Ok(TargetAnswer {
            edge: order.edge.clone(),
            rule: order.rule.clone(),
            message: in_words(order.order, is_changed, view.connected, &in_force),
            target,
            operation: order.order.as_str().to_owned(),
            changed: is_changed,
            connected: view.connected,
            overrides: in_force,
        })
    }

    /// Ends what has expired by now.
    pub(super) fn expire_deviations(&mut self, step: &mut Step) {
        if self.next_expiry.is_none_or(|next| next > step.now) {
            return;
        }
        let now = step.now;
        self.end_deviations(DeviationChange::Expired, step, |_, each| each.has_expired(now));
    }

    /// Ends overrides of rules and targets that the tree does not have any more, and takes those of renamed rules
    /// along.
    pub(super) fn drop_deviations(&mut self, changes: &[RuleChange], step: &mut Step) {
        if !self.has_deviations {
            return;
        }
        for change in changes.iter().filter(|change| change.action == Action::Move) {
            self.take_along(change, step);
        }
        self.end_deviations(DeviationChange::Dropped, step, |view, each| {
            !deviations::is_known(view, &each.rule, &each.target)
        });
    }

    fn take_along(&mut self, change: &RuleChange, step: &mut Step) {
        let Some(view) = self.edges.get_mut(&change.edge) else { return };
        let is_old = |each: &&mut TargetOverride| Some(&each.rule) == change.previous_rule.as_ref();
        let mut is_moved = false;
        for each in view.deviations.iter_mut().filter(is_old) {
            each.rule = change.rule.clone();
            is_moved = true;
        }
        if is_moved {
            self.record_deviations(&change.edge, step);
            self.send_deviations(&change.edge, step);
        }
    }

    fn end_deviations(
        &mut self,
        turn: DeviationChange,
        step: &mut Step,
        is_over: impl Fn(&crate::decide::view::EdgeView, &TargetOverride) -> bool,
    ) {
        let mut all: Vec<(EdgeName, Vec<TargetOverride>)> = Vec::new();
        for (name, view) in &self.edges {
            let over: Vec<TargetOverride> =
                view.deviations.iter().filter(|each| is_over(view, each)).cloned().collect();
            if !over.is_empty() {
                all.push((name.clone(), over));
            }
        }
        for (edge, over) in all {
            if let Some(view) = self.edges.get_mut(&edge) {
                view.deviations.retain(|each| !over.contains(each));
            }
            self.record_deviations(&edge, step);
            for each in &over {
                self.turned(&edge, each, &DeviationTurn { change: turn, by: SERVER, why: "" }, step);
            }
            self.send_deviations(&edge, step);
        }
        self.find_next_expiry();
    }

    /// Looks when the next override ends by itself.
    pub(super) fn find_next_expiry(&mut self) {
        let all = || self.edges.values().flat_map(|view| &view.deviations);
        self.has_deviations = all().next().is_some();
        self.next_expiry = all().filter_map(|each| each.until).min();
    }

    fn record_deviations(&mut self, edge: &EdgeName, step: &mut Step) {
        step.persist(Record::deviations(edge, &self.edges[edge].deviations));
        self.find_next_expiry();
    }

    /// Tells an edge all of its overrides; what is not among them has ended.
    pub(super) fn send_deviations(&self, edge: &EdgeName, step: &mut Step) {
        if let (Some(session), Some(view)) = (self.session(edge), self.edges.get(edge)) {
            step.push(Effect::SendOverrides { session, edge: edge.clone(), overrides: view.deviations.clone() });
        }
    }

    /// The notice and the line in the ledger of an override that came or went.
    fn turned(&mut self, edge: &EdgeName, each: &TargetOverride, turn: &DeviationTurn<'_>, step: &mut Step) {
        let DeviationTurn { change: turn, by, why } = *turn;
        let (digest, commit) = self
            .applied
            .as_ref()
            .map(|applied| (applied.source.digest, applied.source.commit.clone()))
            .unwrap_or_default();
        let entry = Entry {
            at: step.now,
            action: ledger::LedgerAction::Override,
            digest,
            commit,
            actor: by.to_owned(),
            why: why.to_owned(),
            outcome: turn.outcome().to_owned(),
            note: format!("{edge}/{} {}", each.rule, each.in_words()),
            ..Entry::default()
        }
        .chained(&mut self.head);
        step.persist(Record::ledger(&entry));
        step.emit(Notice::TargetOverride { edge: edge.clone(), turn, by: by.to_owned(), deviation: each.clone() });
    }
}

fn in_words(order: Order, is_changed: bool, is_connected: bool, in_force: &[TargetOverride]) -> String {
    let state = match in_force {
        [] => "restored to the value of the tree".to_owned(),
        all => all.iter().map(TargetOverride::in_words).collect::<Vec<_>>().join("; "),
    };
    match (is_changed, is_connected) {
        (true, true) => state,
        (true, false) => format!("{state}; the edge is offline and receives the change when it reconnects"),
        (false, _) => match (order, in_force) {
            (Order::Resume | Order::Enable | Order::End, []) => {
                "there is nothing to end: no override is active".to_owned()
            }
            _ => format!("unchanged: {state}"),
        },
    }
}
