//! What a switch means for each connection: who lives, who drains, who counts with another rule. Shared memory.
//!
//! Keeps: a connection whose listener still leads to its place lives, and counts with the owner of its listener.

use std::collections::HashMap;
use std::sync::Arc;

use schema::ending::{Endings, leads_to};
use schema::rule::Rule;

use super::super::targets::routing::{Route, Routing};
use super::drain::Drain;
use super::meter::{Meter, key};
use super::ticket::{Ticket, counters};
use crate::decide::dial;
use crate::decide::parting::{self, Fate};

/// A switch, as connections are told of it.
pub(crate) struct Switch {
    /// What it ends.
    pub(crate) endings: Endings,
    /// The drain of each part of that.
    pub(crate) drains: Vec<Arc<Drain>>,
    /// The rules whose new access lists end live connections.
    pub(crate) refusing: Vec<Refusing>,
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
        let owner = switch.routing.serving(&listener);
        let rule = owner.map(|owner| &*owner.rule);
        match parting::fate(&switch.endings, rule, listener, &self.target().host, port) {
            Fate::Lives => {
                if self.drain.as_ref().is_some_and(|drain| !drain.is_refusal) {
                    self.set_drain(None);
                }
                if let Some(owner) = owner {
                    self.follow(owner, adoptions);
                }
            }
            Fate::Drains(part) if self.drain.is_none() => self.set_drain(Some(switch.drains[part].clone())),
            Fate::Drains(_) | Fate::AsBefore => {}
        }
        self.admitted.keep_led_to(rule);
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
            let is_spared = switch
                .routing
                .serving(&listener)
                .is_some_and(|owner| admits(&owner.rule) && leads_to(&owner.rule, listener, host, port));
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
