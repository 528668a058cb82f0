//! What is due on a connection that is open: its timeouts, looks at what its peers leave waiting, and its end once they
//! have taken everything. I/O.
//!
//! Keeps: a connection whose one side failed ends when the other side has acknowledged what it is owed; a connection
//! that moves nothing costs no look.

use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::SockRef;

use super::super::context::Context;
use super::super::slab::Key;
use super::super::timers::{Tick, lasting, ticks};
use super::Tcp;
use super::connection::{Connection, Leg};
use super::ending::Ending;
use super::watch::Awaiting;
use crate::act::liveness::{self, look_for_dead_peers};
use crate::decide::breaks::Break;
use crate::decide::patience::{self, Patience};
use crate::decide::relaying::{RelayDecision, Side};

/// Bytes of a direction up to which it is taken for granted that a receiver has room for them.
const LITTLE: u32 = 16 << 10;
/// Longest time between two looks at a connection that ends, in ticks: 4 s.
const LONGEST_PAUSE: Tick = 256;
/// Where the kernel does not tell what a peer has acknowledged, it ends a peer that acknowledges nothing for so long.
const WITHOUT_LOOKS: Duration = Duration::from_mins(2);

impl Tcp {
    /// Looks at a connection whose time has come.
    pub(super) fn overdue(&mut self, slot: u32, context: &mut Context) {
        let Some(key) = self.connections.key_of(slot) else { return };
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.dial.is_some() {
            return self.dial_overdue(key, context);
        }
        if connection.look <= now && !self.look(key, context) {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(why) = timed_out(connection, now) {
            let why = connection.break_of().unwrap_or(why);
            return self.end(key, Ending::Broken(why), context);
        }
        if let Some(awaiting) = connection.awaiting()
            && awaiting.next <= now
        {
            return self.await_delivery(key, awaiting.ending, context);
        }
        if connection.may_ask(now) {
            self.ready.push(key, &mut connection.score);
        } else if std::mem::take(&mut connection.is_held_up) {
            connection.try_again();
            self.ready.push(key, &mut connection.score);
        } else {
            settle(connection);
        }
        self.set_timer(key);
    }

    /// Sets the timer of a connection that is open.
    pub(super) fn set_timer(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let next = next_look(connection);
        if next < Tick::MAX {
            self.timers.set(key.slot(), next);
        }
    }

    /// Learns that a connection moved something, or that one of its directions is over.
    pub(super) fn moved(&mut self, key: Key) {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.active = now;
        if connection.look == Tick::MAX {
            connection.look = now + period(connection);
            self.set_timer(key);
        }
    }

    /// A direction is over: other timeouts hold, and what was far away may be near.
    pub(super) fn look_sooner(&mut self, key: Key) {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.look = connection.look.min(now + period(connection));
        self.set_timer(key);
    }

    /// Does what a turn came to, which may be the end. `discards`: it read something that is for a side that failed.
    pub(super) fn conclude(&mut self, key: Key, next: RelayDecision, discards: bool, context: &Context) {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_deaf = discards && connection.is_deaf(now);
        let is_little = |side| connection.direction_to(side).moved < LITTLE;
        match next {
            _ if is_deaf => {
                let why = connection.break_of().unwrap_or(Break::EdgeCut);
                // The kernel may still deliver what it has.
                self.end(key, Ending::Unproven(why), context);
            }
            RelayDecision::GoOn => {}
            RelayDecision::Whole if is_little(Side::Client) && is_little(Side::Target) => {
                self.end(key, Ending::Whole, context);
            }
            _ if connection.awaiting().is_some() && next != RelayDecision::Broken => self.await_sooner(key),
            RelayDecision::Whole => self.await_delivery(key, Ending::Whole, context),
            RelayDecision::Await(side) => {
                let why = connection.break_of().unwrap_or(Break::EdgeCut);
                let owed = connection.direction_to(side);
                if owed.moved == 0 && !owed.passage.has_ended() {
                    self.end(key, Ending::Broken(why), context);
                } else {
                    self.await_delivery(key, Ending::Broken(why), context);
                }
            }
            RelayDecision::Broken => {
                let why = connection.break_of().unwrap_or(Break::EdgeCut);
                self.end(key, Ending::Broken(why), context);
            }
        }
    }

    /// Something happened on a connection that awaits acknowledgements: they may have come with it.
    fn await_sooner(&mut self, key: Key) {
        let next = self.tools.now + 1;
        let watch = self.connections.get_mut(key).and_then(|connection| connection.watch.as_mut());
        if let Some(awaiting) = watch.and_then(|watch| watch.awaiting.as_mut())
            && next < awaiting.next
        {
            (awaiting.next, awaiting.pause) = (next, 1);
            self.set_timer(key);
        }
    }

    /// Ends a connection if its peers have acknowledged everything that was sent to them, and looks again soon
    /// otherwise.
    fn await_delivery(&mut self, key: Key, ending: Ending, context: &Context) {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ending = connection.break_of().map_or(ending, Ending::Broken);
        let legs = [Some(&connection.client), connection.target.as_ref()].into_iter().flatten();
        let mut looks = legs.filter(|leg| !leg.has_failed()).map(|leg| self.tools.kernel.look(&leg.socket));
        // Something waits, nothing does, or it is not known.
        let waits = looks.try_fold(false, |waits, look| Some(waits || look?.waiting > 0));
        drop(looks);
        match waits {
            Some(true) => {}
            Some(false) => return self.end(key, ending, context),
            // The close lets the kernel deliver the rest, and ends it as if it were whole: better than to lose it.
            None => return self.end(key, ending.without_reset(), context),
        }
        // The last one would be sent by the close only.
        connection.pass_ends_on();
        let pause = connection.awaiting().map_or(1, |awaiting| (awaiting.pause * 2).min(LONGEST_PAUSE));
        connection.watch.get_or_insert_default().awaiting = Some(Awaiting { ending, next: now + pause, pause });
        if connection.look == Tick::MAX {
            connection.look = now + period(connection);
        }
        self.set_timer(key);
    }

    /// Looks at what peers leave waiting. False if the connection has ended.
    fn look(&mut self, key: Key, context: &Context) -> bool {
        let now = self.tools.now;
        let Some(connection) = self.connections.get_mut(key) else { return false };
        connection.look = Tick::MAX;
        let (mut waits, mut has_moved, mut is_stalled) = (false, false, false);
        for side in [Side::Client, Side::Target] {
            let stalled_timeout = connection.ticket.route().rule.stalled_timeout;
            let Some(leg) = connection.side_mut(side).filter(|leg| !leg.has_failed()) else { continue };
            let Some(look) = self.tools.kernel.look(&leg.socket) else {
                bound(leg, stalled_timeout.map_or(WITHOUT_LOOKS, |timeout| timeout.min(WITHOUT_LOOKS)));
                continue;
            };
            if look.waiting == 0 && connection.watch.is_none() {
                continue;
            }
            let watch = connection.watch.get_or_insert_default();
            let found = patience::judge(
                &mut watch.waits[side as usize],
                look,
                lasting(now),
                stalled_timeout,
                liveness::bounds(),
            );
            waits |= found != Patience::Idle;
            has_moved |= found == Patience::Moved;
            is_stalled |= found == Patience::Stalled;
            connection.apply(side, found);
        }
        if has_moved {
            connection.active = now;
        }
        if waits {
            connection.look = now + period(connection);
        } else if connection.awaiting().is_none() {
            connection.watch = None;
        }
        if is_stalled {
            self.end(key, Ending::Broken(Break::EdgeStalled), context);
            return false;
        }
        if connection.failures() != (false, false) {
            self.ready.push(key, &mut connection.score);
        }
        true
    }
}

impl Connection {
    /// True if a side has sent to one that failed for long, and has taken nothing of its own meanwhile.
    fn is_deaf(&mut self, now: Tick) -> bool {
        let since = *self.watch.get_or_insert_default().in_vain_since.get_or_insert(now);
        since.max(self.active) + ticks(liveness::deaf()) <= now
    }

    fn awaiting(&self) -> Option<Awaiting> {
        self.watch.as_ref()?.awaiting
    }

    fn apply(&mut self, side: Side, found: Patience) {
        let bounded = |connection: &mut Self, is_bounded| {
            let watch = connection.watch.get_or_insert_default();
            std::mem::replace(&mut watch.is_bounded[side as usize], is_bounded)
        };
        match found {
            Patience::Waits { user_timeout } => {
                bounded(self, true);
                self.side_mut(side).into_iter().for_each(|leg| bound(leg, user_timeout));
            }
            Patience::Idle | Patience::Moved => {
                if bounded(self, false) {
                    self.side_mut(side).into_iter().for_each(|leg| bound(leg, Duration::ZERO));
                }
            }
            Patience::Gone => self.side_mut(side).into_iter().for_each(|leg| leg.fail(Errno::TIMEDOUT)),
            Patience::Begun | Patience::Stalled => {}
        }
    }
}

/// Sets how long the kernel lets a peer leave something unacknowledged; zero: as long as it is there.
fn bound(leg: &Leg, timeout: Duration) {
    if let Err(error) = sockopt::set_tcp_user_timeout(&leg.socket, timeout.as_millis() as u32) {
        tracing::debug!(%error, "a dead peer will be detected late");
    }
}

/// Why the edge ends a connection by itself, if its time is over.
fn timed_out(connection: &Connection, now: Tick) -> Option<Break> {
    let rule = &connection.ticket.route().rule;
    let is_over = |timeout: Option<Duration>| {
        timeout.is_some_and(|it| connection.active + ticks(it) <= now) && !connection.is_waiting()
    };
    if is_over(rule.idle_timeout) {
        Some(Break::EdgeIdle)
    } else if connection.is_half_closed() && is_over(rule.half_closed_timeout) {
        Some(Break::EdgeHalfClosed)
    } else {
        None
    }
}

fn period(connection: &Connection) -> Tick {
    let rule = &connection.ticket.route().rule;
    let deaf = (connection.failures() != (false, false)).then(liveness::deaf);
    let timeouts = [rule.idle_timeout, rule.half_closed_timeout, rule.stalled_timeout, deaf];
    ticks(patience::period(liveness::bounds(), timeouts))
}

/// When to look at a connection that is open.
fn next_look(connection: &Connection) -> Tick {
    let rule = &connection.ticket.route().rule;
    let after = |timeout: Duration| connection.active + ticks(timeout);
    let settle = (!connection.is_settled).then(|| after(liveness::settle()));
    let idle = rule.idle_timeout.map(after);
    let half_closed = rule.half_closed_timeout.filter(|_| connection.is_half_closed()).map(after);
    let awaiting = connection.awaiting().map(|awaiting| awaiting.next);
    let next = [settle, idle, half_closed, awaiting].into_iter().flatten().min();
    next.unwrap_or(Tick::MAX).min(connection.look).min(connection.next_grant())
}

fn settle(connection: &mut Connection) {
    if std::mem::replace(&mut connection.is_settled, true) {
        return;
    }
    for leg in [Some(&connection.client), connection.target.as_ref()].into_iter().flatten() {
        if let Err(error) = look_for_dead_peers(&SockRef::from(&leg.socket)) {
            tracing::debug!(%error, "a dead peer will be detected late");
        }
    }
}
