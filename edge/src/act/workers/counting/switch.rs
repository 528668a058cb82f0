//! What a switch means for each connection: who lives, who drains, who counts with another rule. Shared memory.
//!
//! Keeps: a connection whose listener still leads to its place lives, and counts with the owner of its listener.

use std::collections::HashMap;
use std::sync::Arc;

use schema::ending::{Endings, leads_to};
use schema::rule::Rule;

use super::super::targets::routing::{PortPlan, Route, Routing};
use super::drain::Drain;
use super::meter::{Meter, key};
use super::ticket::{Ticket, counters};
use crate::decide::dial;
use crate::decide::parting::{self, Fate, Owners};

/// A switch, as connections are told of it.
pub(crate) struct Switch {
    /// What it ends.
    pub(crate) endings: Endings,
    /// The drain of each part of that.
    pub(crate) drains: Vec<Arc<Drain>>,
    /// The rules whose new access lists end live connections.
    pub(crate) refusing: Vec<Refusing>,
    /// The rules that served before it, by their counters, which outlive a version and a name.
    pub(crate) before: RulesByMeter,
    /// Who serves from now on.
    pub(crate) routing: Arc<Routing>,
}

/// A rule whose new access lists end the live connections that they refuse.
pub(crate) struct Refusing {
    pub(crate) meter: Arc<Meter>,
    /// The new version.
    pub(crate) rule: Arc<Rule>,
    pub(crate) drain: Arc<Drain>,
}

/// Rules by the address of their counters, with what keeps these where they are.
#[derive(Default)]
pub(crate) struct RulesByMeter(HashMap<usize, (Arc<Meter>, Arc<Rule>)>);

impl RulesByMeter {
    fn get(&self, meter: &Arc<Meter>) -> Option<&Arc<Rule>> {
        self.0.get(&Arc::as_ptr(meter).addr()).map(|(_, rule)| rule)
    }
}

impl FromIterator<(Arc<Meter>, Arc<Rule>)> for RulesByMeter {
    fn from_iter<T: IntoIterator<Item = (Arc<Meter>, Arc<Rule>)>>(rules: T) -> Self {
        Self(rules.into_iter().map(|(meter, rule)| (Arc::as_ptr(&meter).addr(), (meter, rule))).collect())
    }
}

/// Ways of connections that came in under one version and live on with another owner: made once for all of them.
#[derive(Default)]
pub(crate) struct Adoptions(HashMap<(*const Route, *const Route), Arc<Route>>);

impl Adoptions {
    /// The terms of the version that a connection came in under, with the counters and the choice of who owns it now.
    pub(crate) fn of(&mut self, before: &Arc<Route>, owner: &Arc<Route>) -> Arc<Route> {
        let key = (Arc::as_ptr(before), Arc::as_ptr(owner));
        let adopted = self.0.entry(key).or_insert_with(|| {
            let (meter, choice, gate) = (owner.meter.clone(), owner.choice.clone(), owner.gate.clone());
            Arc::new(Route { rule: before.rule.clone(), meter, choice, gate })
        });
        adopted.clone()
    }
}

impl Ticket {
    /// Learns that other rules serve from now on.
    pub(crate) fn note(&mut self, switch: &Switch, adoptions: &mut Adoptions) {
        let (listener, port) = (self.listener(), self.target_port());
        let routes = switch.routing.serving(&listener).map_or(&[][..], PortPlan::routes);
        let serving: Vec<&Rule> = routes.iter().map(|route| &*route.rule).collect();
        let own = routes.iter().position(|route| Arc::ptr_eq(&route.meter, &self.route().meter));
        let before = switch.before.get(&self.route().meter).unwrap_or(&self.route().rule).clone();
        let owners = Owners { serving: &serving, own, before: &before };
        let fate = parting::fate(&switch.endings, owners, listener, &self.target().host, port);
        match fate {
            Fate::Lives(owner) => {
                if self.drain.as_ref().is_some_and(|drain| !drain.is_refusal) {
                    self.set_drain(None);
                }
                self.follow(&routes[owner], adoptions);
            }
            Fate::Drains(part) if self.drain.is_none() => self.set_drain(Some(switch.drains[part].clone())),
            Fate::Drains(_) | Fate::AsBefore => {}
        }
        self.admitted.keep_led_to(owners.owner(fate));
    }

    /// Learns what access lists say of its source from now on.
    pub(crate) fn note_access(&mut self, switch: &Switch) {
        let source = self.source().ip();
        let admits = |rule: &Rule| rule.access.as_deref().is_none_or(|access| access.admits(source));
        if let Some(drain) = &self.drain {
            if !drain.is_refusal {
                return;
            }
            let (listener, port) = (self.listener(), self.target_port());
            let host = &self.target().host;
            let routes = switch.routing.serving(&listener).map_or(&[][..], PortPlan::routes);
            let own = routes.iter().find(|route| Arc::ptr_eq(&route.meter, &self.route().meter));
            let is_spared = own.is_some_and(|own| admits(&own.rule) && leads_to(&own.rule, listener, host, port));
            if is_spared {
                self.set_drain(None);
            }
            return;
        }
        let refusing = switch.refusing.iter().find(|refusing| Arc::ptr_eq(&refusing.meter, &self.route().meter));
        if let Some(refusing) = refusing.filter(|refusing| !admits(&refusing.rule)) {
            self.set_drain(Some(refusing.drain.clone()));
        }
    }

    /// Counts with the owner of its listener from now on.
    fn follow(&mut self, owner: &Arc<Route>, adoptions: &mut Adoptions) {
        let route = self.route();
        if Arc::ptr_eq(&route.meter, &owner.meter) && Arc::ptr_eq(&route.choice, &owner.choice) {
            return;
        }
        let adopted = adoptions.of(route, owner);
        let (listener, port) = (self.listener(), self.target_port());
        let host = &self.target().host;
        let row = owner.rule.targets.iter().find(|row| {
            row.host == *host && dial::target_port(owner.rule.listen.ports, row.ports, listener.port) == port
        });
        let row = key(row.unwrap_or_else(|| self.target()));
        self.ends();
        self.admitted.adopt(adopted);
        (self.port, self.place) = counters(&self.admitted, self.worker.into(), &row);
        self.begins();
    }

    /// True if it drains with these.
    pub(crate) fn drains_with(&self, drain: &Arc<Drain>) -> bool {
        self.drain.as_ref().is_some_and(|own| Arc::ptr_eq(own, drain))
    }
}
