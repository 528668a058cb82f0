//! Edges of one host, which compete for its ports: who is sent a state first. Pure.
//!
//! Keeps: an edge that needs a port of another edge is sent its state once that edge has released the port, as long as that
//! edge is on its way to do so. Where edges wait for each other in a circle, the first of them by name gives its ports up
//! before it has the new ones. An edge that says nothing of its host, or is alone there, waits for nobody.

use std::collections::BTreeSet;

use schema::codes::RuleCode;
use schema::name::{EdgeName, RuleName};
use schema::state::RuleState;

use super::step::Step;
use super::{Fleet, Mode};
use crate::decide::view::EdgeView;

/// What an edge that can give its ports up first says of itself.
const FEATURE: &str = "yield";

/// When an edge is sent its state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Now; these of its rules release their ports first.
    Now(Vec<RuleName>),
    /// Once an edge of its host has answered.
    Later,
}

impl Fleet {
    /// An edge came with this host.
    pub(super) fn joined_host(&mut self, edge: &EdgeName) {
        self.left_host(edge);
        if let Some(host) = host_of(self.edges.get(edge)) {
            self.hosts.entry(host.to_owned()).or_default().insert(edge.clone());
        }
    }

    /// An edge has no session any more.
    pub(super) fn left_host(&mut self, edge: &EdgeName) {
        self.held_back.remove(edge);
        for names in self.hosts.values_mut() {
            names.remove(edge);
        }
        self.hosts.retain(|_, names| !names.is_empty());
    }

    /// Sends to those that waited for an edge which has answered or gone.
    pub(super) fn send_held_back(&mut self, step: &mut Step) {
        for edge in std::mem::take(&mut self.held_back) {
            self.send_if_needed(&edge, step);
        }
    }

    /// Whether the edge is sent its state now.
    pub(super) fn turn(&self, edge: &EdgeName) -> Delivery {
        if self.neighbours(edge).next().is_none() {
            return Delivery::Now(Vec::new());
        }
        let circle: BTreeSet<EdgeName> =
            self.reached_from(edge).into_iter().filter(|other| self.reached_from(other).contains(edge)).collect();
        let can_yield = |name: &&EdgeName| {
            let view = self.edges.get(*name);
            let knows_how = |view: &EdgeView| view.hello.as_ref().is_some_and(|hello| hello.features.contains(FEATURE));
            view.is_some_and(|view| knows_how(view) && self.is_changing(name, view))
        };
        match circle.iter().find(can_yield) {
            Some(name) if name == edge => Delivery::Now(self.wanted_of(edge)),
            // Nobody in the circle can be first: the edges say what came of it.
            None if !circle.is_empty() => Delivery::Now(Vec::new()),
            _ if self.blockers(edge, Self::is_changing).is_empty() => Delivery::Now(Vec::new()),
            _ => Delivery::Later,
        }
    }

    /// Everybody that the edge waits for, directly or not; the edge itself is among them where they wait in a circle.
    fn reached_from(&self, edge: &EdgeName) -> BTreeSet<EdgeName> {
        let would_change =
            |fleet: &Self, name: &EdgeName, view: &EdgeView| fleet.is_changing(name, view) || waits_for_port(view);
        let mut reached = BTreeSet::new();
        let mut next: Vec<EdgeName> = self.blockers(edge, would_change).into_iter().collect();
        while let Some(name) = next.pop() {
            if reached.insert(name.clone()) {
                next.extend(self.blockers(&name, would_change));
            }
        }
        reached
    }

    /// Connected edges of the same host.
    fn neighbours(&self, edge: &EdgeName) -> impl Iterator<Item = &EdgeName> {
        let names = host_of(self.edges.get(edge)).and_then(|host| self.hosts.get(host));
        names.into_iter().flatten().filter(move |name| *name != edge)
    }

    /// Neighbours that hold a port which the edge is to bind, and that are on their way to release it.
    fn blockers(
        &self,
        edge: &EdgeName,
        is_on_its_way: impl Fn(&Self, &EdgeName, &EdgeView) -> bool,
    ) -> BTreeSet<EdgeName> {
        let Some(view) = self.edges.get(edge) else { return BTreeSet::new() };
        let is_blocker = |name: &&EdgeName| {
            let other = self.edges.get(*name);
            other.is_some_and(|other| is_on_its_way(self, name, other) && releases_for(other, view).next().is_some())
        };
        self.neighbours(edge).filter(is_blocker).cloned().collect()
    }

    /// The rules of an edge whose ports its neighbours wait for.
    fn wanted_of(&self, edge: &EdgeName) -> Vec<RuleName> {
        let Some(view) = self.edges.get(edge) else { return Vec::new() };
        let waiting = self.neighbours(edge).filter_map(|name| self.edges.get(name));
        let names: BTreeSet<RuleName> = waiting.flat_map(|other| releases_for(view, other)).collect();
        names.into_iter().collect()
    }

    /// True for an edge that is to run another state than it does and has not refused that.
    fn is_changing(&self, name: &EdgeName, view: &EdgeView) -> bool {
        let Some(link) = self.links.get(name) else { return false };
        let is_sent = self.mode != Mode::Off || self.rollout.concerns(name);
        !link.is_answered() || (is_sent && !view.is_settled() && link.is_acceptable(view.desired_generation()))
    }
}

/// True for an edge whose new version of a rule waits for a port, while the old one serves.
fn waits_for_port(view: &EdgeView) -> bool {
    let rules = view.report.iter().flat_map(|report| report.rules.values());
    rules.into_iter().any(|rule| {
        rule.state == RuleState::Failed && rule.running.is_some() && rule.code == RuleCode::PortInUse.as_str()
    })
}

fn host_of(view: Option<&EdgeView>) -> Option<&str> {
    view?.hello.as_ref().map(|hello| hello.host.as_str()).filter(|host| !host.is_empty())
}

/// Rules that one edge runs and is to change, on ports that another one is to bind.
fn releases_for<'a>(owner: &'a EdgeView, taker: &'a EdgeView) -> impl Iterator<Item = RuleName> + 'a {
    let kept = || owner.desired.iter().flat_map(|desired| desired.rules.values());
    let taken = || taker.desired.iter().flat_map(|desired| desired.rules.values());
    let running = owner.running();
    running.into_iter().filter_map(move |(name, rule)| {
        let is_kept =
            |wanted: &schema::net::ListenRange| kept().any(|placed| placed.rule.listen.conflicts_with(wanted));
        let is_taken = taken().any(|placed| {
            let wanted = placed.rule.listen;
            wanted.conflicts_with(&rule.listen) && !is_kept(&wanted)
        });
        is_taken.then_some(name)
    })
}
