//! From an accepted connection to a connected one: targets, their addresses, attempts, deadlines. I/O.
//!
//! A name's addresses are tried one after the other, and one of each family side by side once the first has had a
//! quarter of a second (RFC 8305). What fails is followed by the next address at once, and then by the next target.
//!
//! Keeps: every address that fails is counted by its cause; one connection's dialling takes 10 s at most, names
//! included; a client that goes meanwhile ends it; health hears of a target once, when all of its addresses failed.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use schema::rule::Host;

use super::attempt::{self, register};
use super::choice::Met;
use super::queue::Handed;
use super::resolve::{Asker, Kind, Question, Resolved};
use super::slab::Key;
use super::tcp::{Connection, Dial, Leg, Named, reset};
use super::ticket::Ticket;
use super::timers::{Tick, ticks};
use super::worker::{Ending, Worker};
use crate::act::interfaces;
use crate::decide::breaks::Break;
use crate::decide::dial::{self, Cause};

/// The whole dialling of a connection, names included (CONTRACT §2, `connect_timeout_ms`).
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the first of two families is tried alone: the "Connection Attempt Delay" of RFC 8305, 8.
const HEAD_START: Duration = Duration::from_millis(250);

/// How the sockets of a connection are told apart in tokens.
pub(super) const CLIENT: u8 = 0;
pub(super) const TARGET: u8 = 1;
const RIVAL: u8 = 2;

/// What health is told of a target by a cause; nothing where the edge is at fault.
fn met(cause: Cause) -> Option<Met> {
    cause.is_targets().then_some(Met::Failure(cause))
}

impl Worker {
    /// Starts a connection that counts as one of this worker's already.
    pub(super) fn begin(&mut self, handed: Handed) {
        if self.shared.is_resetting.load(Ordering::Acquire) {
            refuse(handed);
            return self.shared.ended(self.index);
        }
        let Handed { client, admitted } = handed;
        let ticket = Ticket::new(admitted, self.index, self.tools.now);
        let dial = Dial { deadline: self.tools.now + ticks(DIAL_TIMEOUT), limit: Tick::MAX, named: None };
        let key = self.connections.insert_with(|_| Connection::new(client, ticket, dial));
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Err(error) = register(self.poll.registry(), &connection.client.socket, key, CLIENT) {
            tracing::warn!(%error, "a connection cannot be served");
            return self.end(key, Ending::Reset);
        }
        self.dial(key);
    }

    /// Tries the target that the connection is at and those behind it, until an attempt or a lookup is under way.
    pub(super) fn dial(&mut self, key: Key) {
        while let Err(met) = self.dial_target(key)
            && self.go_on(key, met)
        {}
    }

    /// Goes on after a target has failed. False if that was the last one, and the connection has ended.
    fn go_on(&mut self, key: Key, met: Option<Met>) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        connection.abandon();
        connection.ticket.failed(met);
        let goes_on =
            connection.dial.as_ref().is_some_and(|dial| dial.deadline > self.tools.now) && connection.ticket.go_on();
        if !goes_on {
            connection.ticket.unserved();
            self.end(key, Ending::Reset);
        }
        goes_on
    }

    fn dial_target(&mut self, key: Key) -> Result<(), Option<Met>> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let ticket = &connection.ticket;
        match &ticket.target().host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, ticket.target_port());
                self.attempt(key, TARGET, address).map_err(met)?;
            }
            Host::Scoped(scoped) => {
                let Some(address) = interfaces::socket_address(scoped, ticket.target_port()) else {
                    ticket.connect_failed(Cause::Unreachable);
                    return Err(met(Cause::Unreachable));
                };
                self.attempt(key, TARGET, address).map_err(met)?;
            }
            Host::Name(name) => {
                if let Some(ips) = self.shared.names.known(name) {
                    return self.try_addresses(key, &ips);
                }
                let asker = Asker { worker: self.index, key, kind: Kind::Connection, step: ticket.step() };
                let question = Question { name: name.clone(), asker };
                // Where other targets are left, one whose name does not resolve may not take all of the time.
                let limit = ticket.has_more().then(|| self.tools.now + ticks(ticket.route().rule.connect_timeout));
                if self.shared.questions.try_send(question).is_err() {
                    tracing::warn!("too many names wait to be looked up");
                    ticket.dns_failed();
                    // No fault of the target.
                    return Err(None);
                }
                if let Some(dial) = &mut connection.dial {
                    dial.limit = limit.unwrap_or(Tick::MAX);
                }
            }
        }
        self.set_dial_timer(key);
        Ok(())
    }

    /// Takes the answer to a question.
    pub(super) fn resolved(&mut self, Resolved { key, step, addresses, .. }: Resolved) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        // It has given up waiting, and is at another target since.
        if connection.ticket.step() != step || connection.dial.is_none() {
            return;
        }
        if let Err(met) = self.try_addresses(key, &addresses)
            && self.go_on(key, met)
        {
            self.dial(key);
        }
    }

    fn try_addresses(&mut self, key: Key, ips: &[IpAddr]) -> Result<(), Option<Met>> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        if ips.is_empty() {
            connection.ticket.dns_failed();
            return Err(Some(Met::NoAddress));
        }
        let port = connection.ticket.target_port();
        let ordered = dial::order(ips, connection.ticket.route().rule.prefer_ipv6, self.names);
        self.names = self.names.wrapping_add(1);
        let addresses = ordered.into_iter().rev().map(|ip| SocketAddr::new(ip, port)).collect();
        let named = Named { addresses, rival: None, rival_limit: Tick::MAX, race: 0, cause: Cause::Other };
        if let Some(dial) = &mut connection.dial {
            dial.named = Some(Box::new(named));
        }
        self.dial_named(key)
    }

    fn unresolved(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.ticket.dns_failed();
        }
        if self.go_on(key, Some(Met::NoAddress)) {
            self.dial(key);
        }
    }

    /// Starts what may be tried of a name's addresses now. Fails where nothing is left and nothing is under way.
    fn dial_named(&mut self, key: Key) -> Result<(), Option<Met>> {
        let now = self.tools.now;
        loop {
            let Some((has_target, named)) = self.named(key) else { return Ok(()) };
            let leg = match (has_target, named.rival.is_some()) {
                (false, _) => TARGET,
                (true, false) if named.race <= now => RIVAL,
                _ => break,
            };
            let Some(address) = named.addresses.pop() else {
                if !has_target && named.rival.is_none() {
                    return Err(met(named.cause));
                }
                break;
            };
            let is_other = |next: &SocketAddr| next.is_ipv4() != address.is_ipv4();
            let races = named.addresses.last().is_some_and(is_other);
            named.race = if races { now + ticks(HEAD_START) } else { Tick::MAX };
            if let Err(cause) = self.attempt(key, leg, address)
                && let Some((_, named)) = self.named(key)
            {
                (named.cause, named.race) = (cause, 0);
            }
        }
        self.set_dial_timer(key);
        Ok(())
    }

    fn attempt(&mut self, key: Key, leg: u8, address: SocketAddr) -> Result<(), Cause> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let Some(dial) = &mut connection.dial else { return Ok(()) };
        let listener = connection.ticket.listener();
        let now = self.tools.now;
        let is_loop = dial::is_loop((listener.address, listener.port), address, |ip| self.own.contains(ip, now));
        let started = if is_loop { Err(Cause::Loop) } else { attempt::start(address, self.poll.registry(), key, leg) };
        let socket = started.inspect_err(|cause| connection.ticket.connect_failed(*cause))?;
        let limit = now + ticks(connection.ticket.route().rule.connect_timeout);
        match &mut dial.named {
            Some(named) if leg == RIVAL => (named.rival, named.rival_limit) = (Some(Leg::new(socket)), limit),
            _ => (connection.target, dial.limit) = (Some(Leg::new(socket)), limit),
        }
        Ok(())
    }

    /// Looks at an attempt that had an event.
    pub(super) fn attempted(&mut self, key: Key, leg: u8) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.client.has_failed {
            return self.end(key, Ending::Broken(Break::ClientReset));
        }
        if leg == CLIENT {
            return;
        }
        let Some(attempt) = connection.leg_mut(leg) else { return };
        if !attempt.has_failed && !attempt.is_writable {
            return;
        }
        if attempt.has_failed
            && let Some(cause) = attempt::failure(&attempt.socket)
        {
            return self.attempt_failed(key, leg, cause);
        }
        let dial = connection.dial.take();
        if leg == RIVAL {
            // The other attempt is closed by this.
            connection.target = dial.and_then(|dial| dial.named).and_then(|named| named.rival);
            connection.target_leg = RIVAL;
        }
        connection.ticket.served();
        connection.active = self.tools.now;
        self.connected(key);
    }

    fn attempt_failed(&mut self, key: Key, leg: u8, cause: Cause) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.ticket.connect_failed(cause);
        if leg == TARGET {
            connection.target = None;
        }
        let mut failed = Err(met(cause));
        if let Some((_, named)) = self.named(key) {
            if leg == RIVAL {
                named.rival = None;
            }
            (named.cause, named.race) = (cause, 0);
            failed = self.dial_named(key);
        }
        if let Err(met) = failed
            && self.go_on(key, met)
        {
            self.dial(key);
        }
    }

    /// Gives up what has had its time, and starts what has come to it.
    pub(super) fn dial_overdue(&mut self, key: Key) {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(dial) = &connection.dial else { return };
        if dial.deadline <= now {
            return self.out_of_time(key);
        }
        if dial.named.is_none() && connection.target.is_none() && dial.limit <= now {
            return self.unresolved(key);
        }
        if connection.target.is_some() && dial.limit <= now {
            return self.attempt_failed(key, TARGET, Cause::Timeout);
        }
        let rival = dial.named.as_ref().filter(|named| named.rival.is_some() && named.rival_limit <= now);
        if rival.is_some() {
            return self.attempt_failed(key, RIVAL, Cause::Timeout);
        }
        if dial.named.is_none() {
            self.set_dial_timer(key);
        } else if let Err(met) = self.dial_named(key)
            && self.go_on(key, met)
        {
            self.dial(key);
        }
    }

    /// Ends the dialling of a connection whose 10 s are over.
    fn out_of_time(&mut self, key: Key) {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(dial) = &connection.dial else { return };
        let rival = dial.named.as_ref().is_some_and(|named| named.rival.is_some());
        let attempts = usize::from(connection.target.is_some()) + usize::from(rival);
        for _ in 0..attempts {
            connection.ticket.connect_failed(Cause::Timeout);
        }
        let met = if attempts > 0 {
            Met::Failure(Cause::Timeout)
        } else {
            connection.ticket.dns_failed();
            Met::NoAddress
        };
        // One that came late in the order and was cut short has not failed.
        let had_its_time = dial.limit <= now || !connection.ticket.has_moved();
        self.go_on(key, had_its_time.then_some(met));
    }

    /// The addresses of a connection's target that is a name, and whether one is tried by the target's leg.
    fn named(&mut self, key: Key) -> Option<(bool, &mut Named)> {
        let connection = self.connections.get_mut(key)?;
        let named = connection.dial.as_mut()?.named.as_deref_mut()?;
        Some((connection.target.is_some(), named))
    }

    fn set_dial_timer(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(dial) = &connection.dial else { return };
        let mut next = dial.deadline.min(dial.limit);
        if let Some(named) = &dial.named {
            let race = if named.addresses.is_empty() || named.rival.is_some() { Tick::MAX } else { named.race };
            let rival = if named.rival.is_some() { named.rival_limit } else { Tick::MAX };
            next = next.min(race).min(rival);
        }
        self.timers.set(key.slot(), next);
    }
}

/// Makes the close of a connection that never began a reset.
pub(super) fn refuse(handed: Handed) {
    reset(&handed.client);
    drop(handed.client);
}
