//! Sessions of edges: hello, report, loss, and what to send. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use schema::diff::Rules;
use schema::name::{EdgeName, RuleName};
use schema::policy::Policy;

use super::link::{Link, Receipt};
use super::neighbours::Delivery;
use super::step::Step;
use super::{Effect, Fleet, Mode, Notice, SessionId, moves};
use crate::decide::assign::next_desired;
use crate::decide::generation;
use crate::decide::record::Record;
use crate::decide::view::{Basis, Confirmation, DesiredEdge, EdgeView, Hello, Report};

/// What an edge says when its session begins.
pub(super) struct Greeting {
    pub(super) hello: Hello,
    pub(super) report: Report,
}

impl Fleet {
    pub(super) fn hello(&mut self, session: SessionId, edge: &EdgeName, greeting: Greeting, step: &mut Step) {
        let Greeting { hello, report } = greeting;
        if self.links.contains_key(edge) {
            step.push(Effect::Refuse {
                session,
                code: "already_connected",
                message: format!("edge {edge} already has a session: a name belongs to a single edge"),
            });
            return;
        }
        self.links.insert(edge.clone(), Link::new(session));
        step.push(Effect::Welcome { session });
        self.edges.get_or_new(edge);
        self.send_deviations(edge, step);
        let is_foreign = report.generation > 0 && report.lineage != self.lineage;
        let has_rules = !report.rules.is_empty();
        let is_stranger = self.applied.is_some() && !self.is_named(edge);
        let view = self.edges.get_or_new(edge);
        view.is_stranger = is_stranger;
        let was_blind = view.report.is_none();
        view.connected = true;
        view.since = Some(step.now);
        if std::mem::take(&mut view.forgotten) {
            step.persist(Record::forgotten(edge, false));
        }
        view.hello = Some(hello);
        let will_follow =
            self.mode == Mode::Apply && self.followed.is_some() && self.frozen.is_none() && self.hold.is_none();
        if is_foreign && was_blind && has_rules && will_follow {
            // What was decided for an edge that nobody had seen is decided again, against what it runs: rails count.
            view.given_up = view.given_up.max(view.desired_generation());
            view.desired = None;
        }
        let before = step.effects.len();
        self.joined_host(edge);
        self.observe(edge, report, step);
        moves::without_log(&mut step.effects[before..]);
        self.end_as_reported(edge, step);
        step.emit(self.edge_notice(edge));
        self.look_for_return(edge, step);
        let may_send = self.reconsider(edge, step);
        if self.edges.get(edge).is_some_and(|view| view.desired.is_none()) {
            self.follow(step);
        }
        if may_send {
            self.send_if_needed(edge, step);
        }
        self.send_held_back(step);
    }

    pub(super) fn report(&mut self, session: SessionId, edge: &EdgeName, report: Report, step: &mut Step) {
        let Some(link) = self.links.get_mut(edge).filter(|link| link.session() == session) else { return };
        let reply = link.hear(&report, report.lineage == self.lineage);
        let changed = self.observe(edge, report, step);
        self.end_as_reported(edge, step);
        if reply == Receipt::Stale {
            self.base_was_stale(edge, step);
        }
        if changed {
            step.emit(self.edge_notice(edge));
        }
        self.look_for_return(edge, step);
        if self.reconsider(edge, step) {
            self.send_if_needed(edge, step);
        }
        self.send_held_back(step);
    }

    /// Decides the edge's set again under what its owner allows from now on.
    pub(super) fn policy(&mut self, session: SessionId, edge: &EdgeName, policy: Policy, step: &mut Step) {
        if self.session(edge) != Some(session) {
            return;
        }
        if let Some(hello) = self.edges.get_mut(edge).and_then(|view| view.hello.as_mut()) {
            hello.policy = Some(policy);
        }
        step.emit(self.edge_notice(edge));
        if self.reconsider(edge, step) {
            self.send_if_needed(edge, step);
        }
        self.send_held_back(step);
    }

    pub(super) fn gone(&mut self, session: SessionId, edge: &EdgeName, step: &mut Step) {
        if self.session(edge) != Some(session) {
            return;
        }
        self.links.remove(edge);
        if let Some(view) = self.edges.get_mut(edge) {
            view.connected = false;
            view.since = Some(step.now);
            view.last_seen = Some(step.now);
        }
        step.emit(self.edge_notice(edge));
        self.left_host(edge);
        self.drop_unnamed(edge);
        self.send_held_back(step);
    }

    /// Takes a report in; true if the edge's generation changed.
    fn observe(&mut self, edge: &EdgeName, mut report: Report, step: &mut Step) -> bool {
        let view = self.edges.get_or_new(edge);
        view.last_seen = Some(step.now);
        // An edge does not repeat what a rule was that it only drains; the report before said it.
        for (name, draining) in report.rules.iter_mut().filter(|(_, rule)| rule.told().is_none()) {
            draining.running = view.rule(name).and_then(|before| before.running.clone());
        }
        if let Some(desired) = &view.desired {
            report.share(&desired.rules);
        }
        let before = view.report.replace(report);
        let after = view.report.as_ref().expect("set on the line above");
        let none = Report::default();
        let before = before.as_ref().unwrap_or(&none);
        let accepted = (after.generation, after.desired_digest);
        let has_moved = before.generation != after.generation;
        let names: BTreeSet<&RuleName> = before.rules.keys().chain(after.rules.keys()).collect();
        for name in names {
            let (old, new) = (before.rules.get(name), after.rules.get(name));
            let is_same = match (old, new) {
                (Some(old), Some(new)) => (old.state, &old.code, &old.message) == (new.state, &new.code, &new.message),
                _ => false,
            };
            if !is_same {
                step.emit(Notice::Rule {
                    edge: edge.clone(),
                    rule: name.clone(),
                    state: new.map(|view| view.state),
                    code: new.map_or_else(String::new, |view| view.code.clone()),
                    message: new.map_or_else(String::new, |view| view.message.clone()),
                });
            }
            moves::notices(edge, name, old, new, step);
        }
        let is_news =
            |desired: &&mut DesiredEdge| !desired.acknowledged && (desired.generation, desired.digest) == accepted;
        if let Some(desired) = view.desired.as_mut().filter(is_news) {
            desired.acknowledged = true;
            let before = std::mem::take(&mut desired.before);
            // What it may return to is not gone for good.
            desired.leaving = if desired.confirm_within.is_some() { before } else { Rules::new() };
            self.unsaved.insert(edge.clone());
        }
        // Known to be good, it is kept wherever it is sent again.
        let is_kept = after.confirmation == Confirmation::None;
        let is_confirmed = |desired: &&mut DesiredEdge| {
            is_kept && desired.confirm_within.is_some() && (desired.generation, desired.digest) == accepted
        };
        if let Some(desired) = view.desired.as_mut().filter(is_confirmed) {
            desired.confirm_within = None;
            desired.leaving.clear();
            self.unsaved.insert(edge.clone());
        }
        has_moved
    }

    /// Writes down which edges accepted their state. Losing it costs a plan that says too much, so it waits for a tick.
    pub(super) fn save_acknowledgements(&mut self, step: &mut Step) {
        for edge in std::mem::take(&mut self.unsaved) {
            if let Some(desired) = self.edges.get(&edge).and_then(|view| view.desired.as_ref()) {
                step.persist(Record::edge(&edge, desired));
            }
        }
    }

    /// Decides the edge's set again where its capabilities or its own numbers ask for it; false where that has to wait,
    /// for the edge does not settle.
    pub(super) fn reconsider(&mut self, edge: &EdgeName, step: &mut Step) -> bool {
        self.note_rest(edge);
        let Some(next) = self.reconsidered(edge).filter(|_| self.mode != Mode::Off) else { return true };
        let is_new_set =
            |view: &EdgeView| view.desired.as_ref().is_none_or(|desired| desired.generation != next.generation);
        if self.edges.get(edge).is_some_and(is_new_set) {
            if !self.may_decide_again(edge, step) {
                return false;
            }
            self.decided_again(edge, step.now);
        }
        step.persist(Record::edge(edge, &next));
        self.edges.get_or_new(edge).desired = Some(next);
        true
    }

    /// What would be decided for an edge now, if that is something else than what was.
    fn reconsidered(&self, edge: &EdgeName) -> Option<DesiredEdge> {
        let view = self.edges.get(edge)?;
        let desired = view.desired.as_ref()?;
        let mut next = next_desired(view, &desired.wanted, &desired.disabled).unwrap_or_else(|| desired.clone());
        let report = view.report.as_ref();
        let observed = view.observed_generation();
        let is_behind = observed > next.generation;
        let is_two_contents =
            observed == next.generation && report.is_some_and(|report| report.desired_digest != next.digest);
        let is_refused = report.is_some_and(|report| report.refused.is_some());
        let is_foreign = report.is_some_and(|report| report.generation > 0 && report.lineage != self.lineage);
        if is_behind || is_two_contents || ((is_refused || is_foreign) && observed >= next.generation) {
            next.generation = generation::above(observed.max(next.generation));
            // What was accepted of it has another number.
            next.acknowledged = false;
            next.before = view.running();
        }
        (*desired != next).then_some(next)
    }

    /// Sends the newest desired state, unless it runs there already or something is in flight.
    pub(super) fn send_if_needed(&mut self, edge: &EdgeName, step: &mut Step) {
        let Some(view) = self.edges.get(edge) else { return };
        let is_settled = view.is_settled() && view.report.as_ref().is_some_and(|report| report.lineage == self.lineage);
        let is_applying = self.rollout.concerns(edge);
        if (self.mode == Mode::Off && !is_applying) || is_settled {
            return;
        }
        self.send(edge, step);
    }

    /// Sends the newest desired state, unless something is in flight: its answer sends the newest then.
    pub(super) fn send(&mut self, edge: &EdgeName, step: &mut Step) {
        let planned = self.rollout.run.as_ref().and_then(|run| run.basis_of(edge, self.edges.get(edge)?));
        self.send_from(edge, planned, step);
    }

    /// The same with what it was decided from; without, that is what the edge reported last.
    pub(super) fn send_from(&mut self, edge: &EdgeName, planned: Option<Basis>, step: &mut Step) {
        let desired = self.edges.get(edge).and_then(|view| view.desired.as_ref());
        let Some(generation) = desired.map(|desired| desired.generation) else { return };
        if !self.links.get(edge).is_some_and(|link| link.may_send(generation)) {
            return;
        }
        let Delivery::Now(yields) = self.turn(edge) else {
            self.held_back.insert(edge.clone());
            return;
        };
        let Some(view) = self.edges.get_mut(edge) else { return };
        let Some(desired) = &view.desired else { return };
        let Some(link) = self.links.get_mut(edge) else { return };
        link.sent(desired.generation, desired.digest);
        view.sent = view.sent.max(desired.generation);
        step.push(Effect::Send {
            session: link.session(),
            edge: edge.clone(),
            generation: desired.generation,
            digest: desired.digest,
            rules: desired.rules.values().map(|placed| Arc::clone(&placed.rule)).collect(),
            basis: planned.or_else(|| view.basis()),
            confirm_within: desired.confirm_within,
            quiet_window: self.rollout.quiet_window(edge),
            ends: desired.ends.clone(),
            yields,
        });
    }

    pub(super) fn edge_notice(&self, edge: &EdgeName) -> Notice {
        let view = self.edges.get(edge);
        Notice::Edge {
            edge: edge.clone(),
            connected: view.is_some_and(|view| view.connected),
            generation: view.map_or(0, super::super::view::EdgeView::observed_generation),
            desired_generation: view.map_or(0, super::super::view::EdgeView::desired_generation),
        }
    }
}
