//! The admission of a connection: which rule takes it, and which targets it tries. Shared memory, no I/O.
//!
//! Keeps: what is admitted counts as live until it is dropped or released, on every path.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use schema::ending::leads_to;
use schema::health::{DialOrder, Rotation};
use schema::net::{Listener, Protocol};
use schema::rule::{Balance, Rule, Target};

use super::super::limiting::clock;
use super::super::limiting::sources::Seat;
use super::super::targets::choice::{Choice, Chosen, Place};
use super::super::targets::routing::Route;
use super::meter::{Meter, Refusal};
use crate::decide::dial;

/// A connection that was taken in, wherever it is served.
pub(crate) struct Admitted {
    pub(crate) route: Arc<Route>,
    pub(crate) listener: Listener,
    /// The targets as they were when it came.
    pub(crate) chosen: Arc<Chosen>,
    /// What was published when that was looked at last.
    version: u32,
    /// Which of them it tries.
    pub(crate) order: DialOrder,
    /// How many of the order are behind it.
    pub(crate) step: u8,
    /// It counts as ended already.
    pub(crate) is_released: bool,
    pub(crate) id: u64,
    /// Its place among the connections of its source, where these are limited.
    _seat: Option<Box<Seat>>,
}

impl Admitted {
    /// Takes a connection in, unless the rule's gate or limits refuse it, the rule has as many as it may or no target takes
    /// any. Allocates nothing where nothing is limited. To be called by the worker that accepted it.
    pub(crate) fn new(route: &Arc<Route>, listener: Listener, client: IpAddr, worker: usize) -> Result<Self, Refusal> {
        let meter = &route.meter;
        if let Some(gate) = &route.gate {
            gate.pass(client, |reason| meter.observed(worker, listener.port, reason)).map_err(Refusal::Entry)?;
        }
        enter(route, listener.protocol)?;
        let seat = limited(route, listener.port, client, worker).inspect_err(|_| meter.leave())?;
        let version = route.choice.version();
        let (chosen, order) = pick(route, &route.choice, (client, listener.port), worker);
        if order.is_empty() {
            meter.leave();
            return Err(Refusal::NoServer);
        }
        let id = meter.admitted.fetch_add(1, Relaxed);
        let (route, step, is_released) = (route.clone(), 0, false);
        let admitted = Self { route, listener, chosen, version, order, step, is_released, id, _seat: seat };
        admitted.count_live(true);
        Ok(admitted)
    }

    /// Chooses anew where the target that serves has failed and another one would take it. False where it stays. A value
    /// that was looked at before costs one comparison.
    pub(crate) fn reconsider(&mut self, client: IpAddr, worker: usize) -> bool {
        let choice = self.route.choice.newest();
        let version = choice.version();
        if version == self.version {
            return false;
        }
        self.version = version;
        let port = self.listener.port;
        if !choice.chosen().has_better((&self.place().target.host, self.target_port()), port) {
            return false;
        }
        let (chosen, order) = pick(&self.route, choice, (client, port), worker);
        if order.is_empty() {
            return false;
        }
        self.count_live(false);
        (self.chosen, self.order, self.step) = (chosen, order, 0);
        self.count_live(true);
        true
    }

    /// Nobody else needs to know how many connections a target has on all workers at once.
    fn count_live(&self, begins: bool) {
        if self.route.rule.balance != Balance::LeastConnections {
            return;
        }
        let live = &self.place().live;
        if begins {
            live.fetch_add(1, Relaxed)
        } else {
            live.fetch_sub(1, Relaxed)
        };
    }

    /// True if one of the targets that it may try is to learn who connects.
    pub(crate) fn may_tell_client(&self) -> bool {
        self.chosen.places.iter().any(|place| place.target.proxy_protocol.is_some())
    }

    /// The port of its target that matches the one it came in at.
    pub(crate) fn target_port(&self) -> u16 {
        self.port_of(&self.place().target)
    }

    fn port_of(&self, target: &Target) -> u16 {
        dial::target_port(self.chosen.listen, target.ports, self.listener.port)
    }

    pub(crate) fn place_index(&self) -> usize {
        self.order.iter().nth(self.step.into()).expect("a step stays inside the order, which is not empty")
    }

    pub(crate) fn place(&self) -> &Place {
        &self.chosen.places[self.place_index()]
    }

    /// Moves on to a later target of the order. False where that takes no connections any more.
    pub(crate) fn approach(&mut self, step: u8) -> bool {
        let now = self.route.choice.chosen();
        let Some(next) = self.order.iter().nth(step.into()) else { return false };
        let target = &self.chosen.places[next].target;
        if !Arc::ptr_eq(&now, &self.chosen) && !now.takes(self.listener.port, &target.host, self.port_of(target)) {
            return false;
        }
        self.count_live(false);
        self.step = step;
        self.count_live(true);
        true
    }

    /// Leaves out of the rest of the order what its listener does not lead to any more.
    pub(crate) fn keep_led_to(&mut self, owner: Option<&Rule>) {
        let (listener, chosen) = (self.listener, &self.chosen);
        let port = |target: &Target| dial::target_port(chosen.listen, target.ports, listener.port);
        self.order.retain_behind(usize::from(self.step) + 1, |place| {
            let target = &chosen.places[place].target;
            owner.is_some_and(|owner| leads_to(owner, listener, &target.host, port(target)))
        });
    }

    /// Belongs to another rule from now on, or chooses by another value of its own.
    pub(crate) fn adopt(&mut self, route: Arc<Route>) {
        if !Arc::ptr_eq(&self.route.meter, &route.meter) {
            if !self.is_released {
                route.meter.join();
                self.meter().leave();
            }
            // It came before everything that its new rule counts from now on.
            self.id = 0;
        }
        // What is published there was never looked at.
        self.version = route.choice.version().wrapping_sub(1);
        self.route = route;
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.route.meter
    }

    /// From now on it counts as ended.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_released, true) {
            self.count_live(false);
            self.meter().leave();
        }
    }

    /// It counts as live again, unless the rule has as many as it may.
    pub(crate) fn come_back(&mut self) -> Result<(), Refusal> {
        if self.is_released {
            enter(&self.route, self.listener.protocol)?;
            self.is_released = false;
            self.count_live(true);
        }
        Ok(())
    }
}

/// Counts one more live connection of a rule, unless it has as many as it may.
fn enter(route: &Route, protocol: Protocol) -> Result<(), Refusal> {
    let max = route.rule.max_connections.map_or(u64::MAX, |max| u64::from(max.get()));
    let flows = match protocol {
        Protocol::Udp => route.rule.udp_max_flows.into(),
        Protocol::Tcp => u64::MAX,
    };
    let active = &route.meter.active;
    let taken = active.fetch_update(Relaxed, Relaxed, |active| (active < max.min(flows)).then_some(active + 1));
    taken.map(|_| ()).map_err(|_| if flows <= max { Refusal::Overflow } else { Refusal::Limit })
}

/// Asks the limits of the rule and its owner. A rule without any costs one look at a flag.
fn limited(route: &Route, port: u16, client: IpAddr, worker: usize) -> Result<Option<Box<Seat>>, Refusal> {
    let shard = &route.meter.shards[worker];
    if !shard.is_limited.load(Relaxed) {
        return Ok(None);
    }
    let limits = shard.limits.load();
    let Some(limits) = &*limits else { return Ok(None) };
    limits.admit(client, clock::now(), |reason| route.meter.observed(worker, port, reason)).map_err(Refusal::Entry)
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What a client tries of a rule's targets at a listen port.
fn pick(route: &Route, choice: &Choice, (client, port): (IpAddr, u16), worker: usize) -> (Arc<Chosen>, DialOrder) {
    match route.rule.balance {
        Balance::RoundRobin | Balance::LeastConnections => {
            route.meter.shards[worker].with_turn(|turn| choice.pick(client, port, turn))
        }
        Balance::Failover | Balance::SourceIp => choice.pick(client, port, &mut Rotation::default()),
    }
}
