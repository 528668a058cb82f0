//! The admission of a connection, and its place in the counters. Shared memory, no I/O.
//!
//! Keeps: a connection is counted as active from its admission until its ticket is dropped, on every path; at every
//! moment it belongs to one target: the one that it is dialling or that serves it, and to the rule that owns its listener
//! for as long as that leads to its place.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use schema::counters::{ByteDirection, ChoiceKind, Lost};
use schema::net::{Listener, Protocol};
use schema::rule::{Host, Target};

use super::super::limiting::clock;
use super::super::limiting::limits::RuleLimits;
use super::super::limiting::throttle::IN;
use super::super::targets::choice::{ConnectionOutcome, Place};
use super::super::targets::routing::Route;
use super::super::timers::Tick;
use super::admitted::Admitted;
use super::drain::Drain;
use super::meant::{Concerned, Overdue};
use super::meter::{PlaceTally, PortTally, Refusal, Shard, TargetKey, key, tally_of};
use super::shortages::Shortages;
use super::source::Source;
use super::tally::{Tally, wall_clock};
use crate::act::interfaces;
use crate::decide::breaks::Break;
use crate::decide::dialling::{DialFailure, DialTerms, Dialling, Heard, Lane};
use crate::decide::faults::ConnectCause;

/// One connection as its worker counts it.
pub(crate) struct Ticket {
    pub(crate) admitted: Admitted,
    /// When it came, in ticks of its worker; enough for two years.
    born: u32,
    pub(crate) worker: u16,
    /// Where it comes from.
    source: Source,
    /// The target that it is at serves it.
    is_served: bool,
    /// Bytes from the client to the target, and back.
    moved: [Cell<u64>; 2],
    pub(crate) port: Arc<PortTally>,
    pub(crate) place: Arc<PlaceTally>,
    /// Its listener does not lead to its place any more.
    pub(crate) drain: Option<Arc<Drain>>,
}

impl Ticket {
    /// Starts to count a connection that this worker serves.
    pub(crate) fn new(admitted: Admitted, source: Source, worker: usize, now: Tick) -> Self {
        let (port, place) = counters(&admitted, worker, &key(&admitted.place().target));
        let (born, worker) = (now as u32, worker as u16);
        let moved = [const { Cell::new(0) }; 2];
        let ticket = Self { admitted, born, worker, source, is_served: false, moved, port, place, drain: None };
        ticket.begins();
        ticket.shard().used(&ticket.port, source.ip());
        for tally in [&ticket.shard().total, &ticket.port.tally] {
            tally.counts.connections_total.add(1);
        }
        ticket
    }

    fn shard(&self) -> &Shard {
        &self.admitted.meter().shards[usize::from(self.worker)]
    }

    /// Counts it as live, unless it was released.
    pub(crate) fn begins(&self) {
        if self.is_released() {
            return;
        }
        let is_flow = self.is_flow();
        self.tallies().iter().for_each(|tally| tally.begins(is_flow));
        match &self.drain {
            Some(drain) => drain.join(),
            None => self.place.live.add(1),
        }
    }

    /// Counts it as live no more.
    pub(crate) fn ends(&self) {
        if self.is_released() {
            return;
        }
        let is_flow = self.is_flow();
        self.tallies().iter().for_each(|tally| tally.ends(is_flow));
        match &self.drain {
            Some(drain) => drain.leave(),
            None => self.place.live.sub(1),
        }
    }

    /// It drains no more, or from now on.
    pub(crate) fn set_drain(&mut self, drain: Option<Arc<Drain>>) {
        self.ends();
        self.drain = drain;
        self.begins();
    }

    /// Goes on to a later target of the order. False where that takes no connections any more.
    pub(crate) fn approach(&mut self, step: u8) -> bool {
        let goes_on = self.admitted.approach(step);
        if goes_on {
            self.count_target();
        }
        goes_on
    }

    /// Leaves a target that has failed, where another one would take it: what a flow does with its next datagram. One
    /// that drains has no other: its listener is no longer led by who chose for it.
    pub(crate) fn reconsider(&mut self, client: IpAddr) -> bool {
        let moves = self.drain.is_none() && self.admitted.reconsider(client, self.worker.into());
        if moves {
            self.count_target();
        }
        moves
    }

    /// From now on it belongs to the target that it is at, which is one that its listener leads to.
    fn count_target(&mut self) {
        self.ends();
        (self.port, self.place) = counters(&self.admitted, self.worker.into(), &key(&self.admitted.place().target));
        self.drain = None;
        self.begins();
    }

    /// The target that it is at has answered, and serves it.
    pub(crate) fn served(&mut self) {
        self.opened();
        self.answered();
    }

    /// The target that it is at has answered.
    pub(crate) fn answered(&self) {
        self.place.target.last_success_ms.set(wall_clock());
        self.route().choice.tell(self.place(), self.target_port(), ConnectionOutcome::Answer);
    }

    /// The target that it is at serves it.
    pub(crate) fn opened(&mut self) {
        self.is_served = true;
        self.place.target.counts.connections_total.add(1);
        let carries_weight =
            self.admitted.chosen.selection(self.listener().port).pools().is_eligible(self.admitted.place_index());
        self.came_to(match self.admitted.step {
            _ if !carries_weight => ChoiceKind::Untracked,
            0 => ChoiceKind::First,
            _ => ChoiceKind::Next,
        });
    }

    /// It ends without a target.
    pub(crate) fn unserved(&self) {
        self.came_to(ChoiceKind::NoServer);
    }

    /// Tells health that the target that it is at has failed.
    pub(crate) fn failed(&self, failure: DialFailure) {
        self.place.target.last_failure_ms.set(wall_clock());
        let met = match failure {
            DialFailure::Connect(cause) => ConnectionOutcome::Failure(cause),
            DialFailure::Name => ConnectionOutcome::NoAddress,
        };
        self.route().choice.tell(self.place(), self.target_port(), met);
    }

    fn came_to(&self, kind: ChoiceKind) {
        self.tallies().iter().for_each(|tally| tally.counts.lb.of(kind).add(1));
    }

    /// A dialling of its targets from the one that it is at.
    pub(crate) fn dialling(&self, now: Tick) -> Dialling {
        let terms = DialTerms {
            targets: self.admitted.order.len(),
            first: self.admitted.step,
            each: self.route().rule.connect_timeout,
            is_flow: self.is_flow(),
        };
        Dialling::new(terms, now)
    }

    /// Where the target that it is at is found.
    pub(crate) fn whereabouts(&self) -> Heard {
        match &self.target().host {
            Host::Scoped(scoped) => match interfaces::socket_address(scoped, self.target_port()) {
                Some(address) => Heard::Address(address),
                None => Heard::Failed(Lane::First, ConnectCause::Unreachable),
            },
            Host::Ip(ip) => Heard::Address(SocketAddr::new(*ip, self.target_port())),
            Host::Name(_) => Heard::Name,
        }
    }

    /// Where it came in.
    pub(crate) fn listener(&self) -> Listener {
        self.admitted.listener
    }

    /// Its rule as of its start.
    pub(crate) fn route(&self) -> &Arc<Route> {
        &self.admitted.route
    }

    /// Where it goes.
    pub(crate) fn target(&self) -> &Target {
        &self.place().target
    }

    /// The port of its target that matches the one it came in at.
    pub(crate) fn target_port(&self) -> u16 {
        self.admitted.target_port()
    }

    fn place(&self) -> &Place {
        self.admitted.place()
    }

    /// How many ticks ago it came, if it is one of those that are meant. What drains already, another change ends.
    pub(crate) fn age_in(&self, meant: &Concerned, now: Tick) -> Option<u32> {
        let is_live = Arc::ptr_eq(&self.route().meter, &meant.meter) && !self.is_released() && self.drain.is_none();
        let (listener, host, port) = (self.listener(), &self.target().host, self.target_port());
        let ends = |rule| meant.endings.find(rule, listener, host, port).is_some();
        let is_meant = is_live && meant.endings.rules().any(ends);
        is_meant.then(|| self.age(now))
    }

    /// How many ticks ago it came.
    pub(crate) fn age(&self, now: Tick) -> u32 {
        (now as u32).wrapping_sub(self.born)
    }

    /// Where it comes from.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// Bytes from the client to the target, and back.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (self.moved[0].get(), self.moved[1].get())
    }

    /// True if it is one of those that are meant.
    pub(crate) fn is_in(&self, meant: &Overdue) -> bool {
        Arc::ptr_eq(&self.route().meter, &meant.meter)
            && self.admitted.id < meant.before
            && meant.contains(self.listener(), self.target(), self.target_port())
    }

    /// Counts it as ended, though its flow still passes on what comes. False if it was counted so before.
    pub(crate) fn release(&mut self) -> bool {
        let was_live = !self.is_released();
        if was_live {
            self.ends();
            self.admitted.leave();
        }
        was_live
    }

    /// Counts it as live again, unless its rule has as many as it may.
    pub(crate) fn come_back(&mut self) -> Result<(), Refusal> {
        if self.is_released() {
            self.admitted.come_back()?;
            self.begins();
        }
        Ok(())
    }

    /// True between [`Self::release`] and [`Self::come_back`].
    pub(crate) fn is_released(&self) -> bool {
        self.admitted.is_released
    }

    fn tallies(&self) -> [&Tally; 3] {
        [&self.shard().total, &self.port.tally, &self.place.target]
    }

    /// Counts bytes from the client to the target.
    pub(crate) fn moved_in(&self, bytes: usize) {
        self.moved[0].set(self.moved[0].get() + bytes as u64);
        self.tallies().iter().for_each(|tally| tally.counts.bytes_in.add(bytes as u64));
    }

    /// Counts bytes from the target to the client.
    pub(crate) fn moved_out(&self, bytes: usize) {
        self.moved[1].set(self.moved[1].get() + bytes as u64);
        self.tallies().iter().for_each(|tally| tally.counts.bytes_out.add(bytes as u64));
    }

    /// Counts datagrams from the client to the target.
    pub(crate) fn passed_in(&self, datagrams: u64, bytes: usize) {
        for tally in self.tallies() {
            tally.counts.udp_datagrams_in.add(datagrams);
            tally.counts.bytes_in.add(bytes as u64);
        }
        self.moved[0].set(self.moved[0].get() + bytes as u64);
    }

    /// Counts datagrams from the target to the client.
    pub(crate) fn passed_out(&self, datagrams: u64, bytes: usize) {
        for tally in self.tallies() {
            tally.counts.udp_datagrams_out.add(datagrams);
            tally.counts.bytes_out.add(bytes as u64);
        }
        self.moved[1].set(self.moved[1].get() + bytes as u64);
    }

    /// Counts datagrams that were not passed on.
    pub(crate) fn lost(&self, why: Lost, datagrams: u64) {
        if datagrams > 0 {
            self.tallies().iter().for_each(|tally| tally.counts.datagrams_dropped.of(why).add(datagrams));
        }
    }

    /// True if its rule or owner has limits.
    pub(crate) fn is_limited(&self) -> bool {
        self.shard().is_limited.load(Relaxed)
    }

    /// What limits it.
    pub(crate) fn limits(&self) -> impl Deref<Target = Option<Arc<RuleLimits>>> {
        self.shard().limits.load()
    }

    /// Counts for how long a direction waited for its limits, in nanoseconds.
    pub(crate) fn throttled(&self, direction: usize, nanos: u64) {
        if nanos > 0 {
            let direction = if direction == IN { ByteDirection::In } else { ByteDirection::Out };
            self.tallies().iter().for_each(|tally| tally.counts.throttled_micros.of(direction).add(nanos / 1000));
        }
    }

    /// Lets datagrams of a direction pass, or counts that its limits do not.
    pub(crate) fn passes(&self, direction: usize, datagrams: u64, bytes: usize) -> bool {
        let passes = self.is_limited().then(|| self.limits().as_ref()?.pass(direction, bytes as u64, clock::now()));
        match passes {
            // No limit, or one that was taken away at this moment.
            None => true,
            Some(Some(late)) => {
                self.throttled(direction, late);
                true
            }
            Some(None) => {
                self.lost(Lost::Rate, datagrams);
                false
            }
        }
    }

    fn is_flow(&self) -> bool {
        self.listener().protocol == Protocol::Udp
    }

    /// Counts that it is broken, and by whom.
    pub(crate) fn broken(&self, why: Break) {
        self.tallies().iter().for_each(|tally| tally.counts.broken.of(why).add(1));
    }

    /// Counts a name that did not resolve, or an address that could not be connected to.
    pub(crate) fn count(&self, failure: DialFailure, shortages: &Shortages) {
        match failure {
            DialFailure::Name => self.tallies().iter().for_each(|tally| tally.counts.dns_failures.add(1)),
            DialFailure::Connect(cause) => {
                shortages.note(cause);
                self.tallies().iter().for_each(|tally| tally.counts.connect_errors.of(cause).add(1));
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_served {
            // Every connection belongs to one target: the one that serves it, or the last one tried.
            self.place.target.counts.connections_total.add(1);
        }
        self.ends();
    }
}

/// The counters of a connection of this worker: of its port, and of the place that it is at in a row of targets.
pub(crate) fn counters(admitted: &Admitted, worker: usize, row: &TargetKey) -> (Arc<PortTally>, Arc<PlaceTally>) {
    let shard = &admitted.meter().shards[worker];
    let port = tally_of(&shard.ports, &admitted.listener.port);
    let place = port.place(admitted.target_port(), row, || tally_of(&shard.targets, row));
    (port, place)
}
