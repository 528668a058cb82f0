//! TCP: connections between clients and targets. I/O.
//!
//! A listening socket is accepted from by one worker; a connection belongs to the worker that it was given to, with both
//! of its sockets.
//!
//! Keeps: a connection ends in one place, which gives back all that it had.

mod accept;
mod attempt;
mod connect;
mod connection;
mod ending;
mod headers;
mod limited;
mod overdue;
mod proxy_header;
mod quanta;
mod ready;
mod relay;
mod splice;
mod unacknowledged;
mod undecided;
mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;

use mio::event::Event;

use super::context::Context;
use super::counting::meant::Concerned;
use super::counting::switch::{Adoptions, Switch};
use super::counting::ticket::Ticket;
use super::live::{QuerySlice, SLICE, SeenConnection, SlabQuery};
use super::room::TARGETS;
use super::slab::{Key, Slab};
use super::timers::{Tick, Wheel};
use crate::decide::breaks::Break;
use crate::decide::dialling::{Heard, Lane};
use accept::AcceptingSockets;
use connection::Connection;
use ending::Ending;
use headers::AwaitedHeaders;
use ready::{Ready, TURN};
use relay::{BUFFER, RelayBuffers};
use splice::Pipes;
use unacknowledged::Kernel;
use undecided::{UNDECIDED, UndecidedConnections};

pub(super) use connect::refuse;

/// All of TCP on one worker.
pub(super) struct Tcp {
    listeners: AcceptingSockets,
    /// Those that have no rule yet.
    undecided: UndecidedConnections,
    connections: Slab<Connection>,
    /// Connections of load balancers that have yet to say whom they connect for.
    headers: AwaitedHeaders,
    timers: Wheel,
    /// Sockets and addresses that wait for a descriptor, by the slot of their connection.
    wanting: HashMap<u32, (Lane, SocketAddr)>,
    ready: Ready,
    tools: RelayBuffers,
    /// Names looked up so far, so that their addresses take turns.
    names: usize,
    due: Vec<u32>,
}

impl Tcp {
    /// No connections yet, on one of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            listeners: AcceptingSockets::default(),
            undecided: UndecidedConnections::default(),
            connections: Slab::default(),
            headers: AwaitedHeaders::default(),
            timers: Wheel::default(),
            wanting: HashMap::new(),
            ready: Ready::default(),
            tools: RelayBuffers {
                buffer: vec![0; BUFFER].into(),
                pipes: Pipes::new(workers),
                kernel: Kernel::new(),
                now: 0,
            },
            names: 0,
            due: Vec::new(),
        }
    }

    /// Learns when it is, before anything else of a turn.
    pub(super) fn set_time(&mut self, now: Tick) {
        self.tools.now = now;
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event, context: &mut Context) {
        let token = event.token();
        if self.listeners.note(token.0) {
            return;
        }
        if let Some(key) = AwaitedHeaders::key_of(token.0) {
            return self.note_arrival(key, event, context);
        }
        let (key, leg) = Key::unpack(token.0);
        if leg == UNDECIDED {
            return self.note_undecided(key, event, context);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(noted) = connection.leg_mut(leg) else { return };
        noted.note(event);
        if connection.dial.is_some() {
            self.attempted(key, leg, context);
        } else {
            self.ready.push(key, &mut connection.score);
        }
    }

    /// True if there is something to do at once.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Tick> {
        let (sockets, hellos, headers) = (self.listeners.next(), self.undecided.next(), self.headers.next());
        let next = [self.timers.next(), sockets, hellos, headers, self.tools.pipes.next_look()];
        next.into_iter().flatten().min()
    }

    /// One turn: what is due, what waits to be accepted, and what can be moved.
    pub(super) fn work(&mut self, context: &mut Context) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(self.tools.now, &mut due);
        for slot in due.drain(..) {
            self.overdue(slot, context);
        }
        self.due = due;
        self.refuse_overdue(context);
        self.decide_overdue(context);
        self.tools.pipes.close_unused(self.tools.now);
        self.accept_waiting(context);
        self.take_turns(context);
    }

    /// Small ones first, as many as there are; then bulk until other work may have come.
    fn take_turns(&mut self, context: &Context) {
        for _ in 0..self.ready.hot() {
            let Some(key) = self.ready.pop_hot() else { break };
            self.turn(key, TURN, context);
        }
        let quantum = self.ready.quantum(self.tools.now);
        let mut moved = 0;
        while moved < TURN
            && let Some(key) = self.ready.pop_bulk()
        {
            moved += self.turn(key, quantum, context);
        }
    }

    fn turn(&mut self, key: Key, quantum: usize, context: &Context) -> usize {
        let Some(connection) = self.connections.get_mut(key) else { return 0 };
        connection.score.is_queued = false;
        let was_half_closed = connection.is_half_closed();
        let quanta = connection.quanta(quantum, self.tools.now);
        let turn = relay::pump(connection, quanta, &mut self.tools);
        connection.settle(quanta, turn.moved);
        let is_waiting = connection.is_waiting();
        let half_closes = connection.is_half_closed() != was_half_closed;
        let moved = turn.moved[0] + turn.moved[1];
        let bytes = moved + turn.discarded;
        if moved > 0 || half_closes {
            self.moved(key);
        }
        self.conclude(key, turn.next, turn.discarded > 0, context);
        if half_closes {
            self.look_sooner(key);
        }
        if is_waiting {
            self.set_timer(key);
        }
        // It may have ended.
        let Some(connection) = self.connections.get_mut(key) else { return bytes };
        // What limits let pass says nothing about how much there is.
        if quanta.granted.is_none() {
            self.ready.note(&mut connection.score, bytes, self.tools.now);
        }
        if !turn.is_finished {
            self.ready.push_unfinished(key, &mut connection.score);
        }
        // Kept until it is tried: a turn for what the other side said meanwhile takes nothing back.
        if turn.is_held_up {
            connection.is_held_up = true;
            self.timers.set(key.slot(), self.tools.now + 1);
        }
        bytes
    }

    /// Lets every connection learn that other rules serve from now on.
    pub(super) fn note_switch(&mut self, switch: &Switch, adoptions: &mut Adoptions) {
        for connection in self.connections.values_mut() {
            connection.ticket.note(switch, adoptions);
            connection.ticket.note_access(switch);
        }
    }

    /// Ends the connections that are meant.
    pub(super) fn reset(&mut self, is_meant: impl Fn(&Ticket) -> bool, why: Break, context: &mut Context) {
        let meant = |(_, connection): &(Key, &Connection)| is_meant(&connection.ticket);
        let keys: Vec<Key> = self.connections.iter().filter(meant).map(|(key, _)| key).collect();
        for key in keys {
            // One that no target has answered yet is not lost: it has others to go to.
            while let Some(connection) = self.connections.get_mut(key)
                && is_meant(&connection.ticket)
            {
                if connection.dial.is_some() {
                    self.dial(key, Heard::Gone, context);
                } else {
                    self.end(key, Ending::Broken(why), context);
                }
            }
        }
    }

    /// How many ticks ago each connection of a rule came.
    pub(super) fn ages(&self, meant: &Concerned, now: Tick) -> impl Iterator<Item = u32> {
        self.connections.iter().filter_map(move |(_, connection)| connection.ticket.age_in(meant, now))
    }

    /// Looks at a slice of the connections: to list them, or to end those that are meant.
    pub(super) fn survey(&mut self, look: &SlabQuery, from: u32, context: &Context) -> QuerySlice {
        let (slice, next) = self.connections.slice(from, SLICE);
        let seen = slice.map(|(key, connection)| {
            let id = context.id_of(key, look.run(), false);
            (key, SeenConnection { ticket: &connection.ticket, id, active: connection.active })
        });
        let (found, meant) = look.slice(seen, self.tools.now);
        for key in meant {
            self.end(key, Ending::Broken(Break::EdgeOperator), context);
        }
        QuerySlice::new(found, next)
    }

    /// Ends all connections.
    pub(super) fn reset_all(&mut self, context: &Context) {
        self.reset_arrivals(context);
        self.reset_undecided(context);
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end(key, Ending::Broken(Break::EdgeCut), context);
        }
    }

    /// Ends a connection, and gives back what it had.
    fn end(&mut self, key: Key, ending: Ending, context: &Context) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        self.timers.clear(key.slot());
        if matches!(ending, Ending::Reset | Ending::Broken(_)) {
            connection.reset();
        }
        if let Ending::Broken(why) | Ending::Unproven(why) = ending {
            connection.ticket.broken(why);
        }
        context.log_end(&connection.ticket, ending.as_end());
        for pipe in connection.take_pipes() {
            self.tools.pipes.discard(pipe);
        }
        if let Some(dial) = &connection.dial {
            self.wanting.remove(&key.slot());
            if dial.is_owed {
                context.shared.room.settle(context.index, TARGETS);
            }
        }
        // The sockets close before the ticket is given back: a rule without connections has no open one.
        drop(connection);
        context.ended();
    }
}
