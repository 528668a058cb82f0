//! What a switch means for each connection: who lives, who drains, who counts with another rule. Shared memory.
//!
//! Keeps: a drain knows how many of its connections live; whoever holds it is one of them, or owns its deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use schema::ending::Endings;
use schema::net::ListenRange;

use super::meter::key;
use super::routing::{Route, Routing};
use super::ticket::{Ticket, counters};
use crate::decide::dial;
use crate::decide::parting::{self, Fate};

/// Connections that have the same time left.
#[derive(Debug)]
pub struct Drain {
    /// Where they came in.
    pub listen: Vec<ListenRange>,
    /// When what is left of them is reset, in milliseconds since 1970.
    pub ends_at_ms: u64,
    live: AtomicU64,
}

impl Drain {
    /// One without connections.
    pub(crate) fn new(listen: Vec<ListenRange>, ends_at_ms: u64) -> Arc<Self> {
        Arc::new(Self { listen, ends_at_ms, live: AtomicU64::new(0) })
    }

    /// Connections that are left.
    pub fn live(&self) -> u64 {
        self.live.load(Relaxed)
    }

    pub(super) fn join(&self) {
        self.live.fetch_add(1, Relaxed);
    }

    pub(super) fn leave(&self) {
        self.live.fetch_sub(1, Relaxed);
    }
}

/// A switch, as connections are told of it.
pub(crate) struct Switch {
    /// What it ends.
    pub(crate) endings: Endings,
    /// The drain of each part of that.
    pub(crate) drains: Vec<Arc<Drain>>,
    /// Who serves from now on.
    pub(super) routing: Arc<Routing>,
}

/// Ways of connections that came in under one version and live on with another owner: made once for all of them.
#[derive(Default)]
pub(super) struct Adoptions(HashMap<(*const Route, *const Route), Arc<Route>>);

impl Adoptions {
    /// The terms of the version that a connection came in under, with the counters and the choice of who owns it now.
    pub(super) fn of(&mut self, before: &Arc<Route>, owner: &Arc<Route>) -> Arc<Route> {
        let key = (Arc::as_ptr(before), Arc::as_ptr(owner));
        let adopted = self.0.entry(key).or_insert_with(|| {
            let (meter, choice) = (owner.meter.clone(), owner.choice.clone());
            Arc::new(Route { rule: before.rule.clone(), meter, choice })
        });
        adopted.clone()
    }
}

impl Ticket {
    /// Learns that other rules serve from now on.
    pub(super) fn note(&mut self, switch: &Switch, adoptions: &mut Adoptions) {
        let (listener, port) = (self.listener(), self.target_port());
        let owner = switch.routing.serving(&listener);
        let rule = owner.map(|owner| &*owner.rule);
        match parting::fate(&switch.endings, rule, listener, &self.target().host, port) {
            Fate::Lives => {
                if self.drain.is_some() {
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
    pub(super) fn drains_with(&self, drain: &Arc<Drain>) -> bool {
        self.drain.as_ref().is_some_and(|own| Arc::ptr_eq(own, drain))
    }
}
