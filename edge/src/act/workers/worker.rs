//! One thread of the data plane: waits for events, and gives every connection its turn. I/O.
//!
//! Nothing here waits for anything but the poll; what a turn costs is bounded, so that timers, commands and small
//! messages are never far behind.
//!
//! Keeps: a connection ends in one place, which gives back all that it had.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::counting::meant::Concerned;
use super::counting::switch::{Adoptions, Switch};
use super::counting::ticket::Ticket;
use super::dial::refuse;
use super::header;
use super::listener::Listeners;
use super::mailbox::{Command, Incoming};
use super::ready::{Ready, TURN};
use super::relay::{self, BUFFER, Tools};
use super::shared::Shared;
use super::slab::{Key, Slab};
use super::splice::Pipes;
use super::targets::local_addresses::LocalAddresses;
use super::targets::question::Kind;
use super::tcp::Connection;
use super::timers::{self, Wheel};
use super::udp::{Around, Udp};
use super::unacknowledged::Kernel;
use crate::decide::breaks::Break;
use crate::decide::dialling::Heard;

/// The token of the worker's queues.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Events per poll: one poll per turn for a thousand busy connections.
const EVENTS: usize = 1024;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both sides have ended it.
    Whole,
    /// No target took it, which is counted for itself; the client may not take it for whole.
    Reset,
    /// Somebody broke it: neither may take it for whole.
    Broken(Break),
    /// The same, where it is not known whether everything has arrived: a reset could lose what is under way.
    Unproven(Break),
}

impl Ending {
    /// The same where a reset could lose something.
    pub(super) fn without_reset(self) -> Self {
        match self {
            Self::Broken(why) => Self::Unproven(why),
            Self::Whole | Self::Reset | Self::Unproven(_) => self,
        }
    }
}

/// One worker.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) poll: Poll,
    inside: Incoming,
    pub(super) listeners: Listeners,
    udp: Udp,
    pub(super) connections: Slab<Connection>,
    pub(super) timers: Wheel,
    pub(super) ready: Ready,
    pub(super) tools: Tools,
    start: Instant,
    /// The addresses of this host.
    pub(super) own: LocalAddresses,
    /// Names looked up so far, so that their addresses take turns.
    pub(super) names: usize,
}

impl Worker {
    /// A worker that serves nothing yet.
    pub(super) fn new(index: usize, shared: Arc<Shared>, poll: Poll, inside: Incoming) -> Self {
        let pipes = Pipes::new(shared.workers.len());
        Self {
            index,
            shared,
            poll,
            inside,
            listeners: Listeners::default(),
            udp: Udp::default(),
            connections: Slab::default(),
            timers: Wheel::default(),
            ready: Ready::default(),
            tools: Tools { buffer: vec![0; BUFFER].into(), pipes, kernel: Kernel::new(), now: 0 },
            start: Instant::now(),
            own: LocalAddresses::default(),
            names: 0,
        }
    }

    /// Works until the data plane is dropped.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut due = Vec::new();
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            if let Err(error) = self.poll.poll(&mut events, self.timeout())
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a worker cannot wait for events");
                break;
            }
            self.tools.now = timers::passed(self.start.elapsed());
            for event in &events {
                self.note(event);
            }
            self.timers.advance(self.tools.now, &mut due);
            for slot in due.drain(..) {
                self.overdue(slot);
            }
            self.tools.pipes.close_unused(self.tools.now);
            self.accept_waiting();
            self.take_turns();
            self.with_udp(Udp::work);
        }
        self.end_all();
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.udp.is_busy() {
            return Some(Duration::ZERO);
        }
        let next = [self.timers.next(), self.udp.next(), self.listeners.next(), self.tools.pipes.next_look()]
            .into_iter()
            .flatten()
            .min();
        next.map(|tick| timers::until(tick, self.start.elapsed()))
    }

    fn note(&mut self, event: &mio::event::Event) {
        let token = event.token();
        if token == WAKE {
            return self.take_messages();
        }
        if self.udp.note(event) || self.listeners.note(token.0) {
            return;
        }
        let (key, leg) = Key::unpack(token.0);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(noted) = connection.leg_mut(leg) else { return };
        noted.note(event);
        if connection.dial.is_some() {
            self.attempted(key, leg);
        } else {
            self.ready.push(key, &mut connection.score);
        }
    }

    /// Lets UDP work with what it shares with TCP.
    pub(super) fn with_udp(&mut self, work: impl FnOnce(&mut Udp, &mut Around<'_>)) {
        let mut around = Around {
            shared: &self.shared,
            registry: self.poll.registry(),
            own: &mut self.own,
            index: self.index,
            now: self.tools.now,
        };
        work(&mut self.udp, &mut around);
    }

    fn take_messages(&mut self) {
        let shared = self.shared.clone();
        shared.workers[self.index].awoke();
        if shared.is_resetting.load(Ordering::Acquire) {
            self.reset_all();
        }
        while let Ok(command) = self.inside.commands.try_recv() {
            match command {
                Command::Adopt(acceptors) => self.adopt(acceptors),
                Command::Release(acceptors, done) => {
                    self.release(acceptors);
                    // Who gave the command may have gone; the sockets are closed all the same.
                    _ = done.send(());
                }
                Command::Fence(done) => _ = done.send(()),
                Command::Note(switch, done) => {
                    // Accepted before the switch, as the fence promises; what comes after them knows it already.
                    self.take_handed();
                    self.note_switch(&switch);
                    _ = done.send(());
                }
                Command::Cut(drain) => self.reset(|ticket| ticket.drains_with(&drain)),
                Command::Reset(meant) => self.reset(|ticket| ticket.is_in(&meant)),
                Command::Ages(concerned, reply) => {
                    // Who asked may have gone.
                    _ = reply.send(self.ages(&concerned));
                }
                #[cfg(feature = "testing")]
                Command::Panic => panic!("killed by a test"),
                Command::Resolved(resolved) => match resolved.kind {
                    Kind::Connection => self.resolved(resolved),
                    Kind::Flow => self.with_udp(|udp, around| udp.resolved(&resolved, around)),
                },
            }
        }
        self.take_handed();
    }

    fn take_handed(&mut self) {
        while let Ok(handed) = self.inside.handed.try_recv() {
            self.begin(handed);
        }
    }

    /// Small ones first, as many as there are; then bulk until other work may have come.
    fn take_turns(&mut self) {
        for _ in 0..self.ready.hot() {
            let Some(key) = self.ready.pop_hot() else { break };
            self.turn(key, TURN);
        }
        let quantum = self.ready.quantum(self.tools.now);
        let mut moved = 0;
        while moved < TURN
            && let Some(key) = self.ready.pop_bulk()
        {
            moved += self.turn(key, quantum);
        }
    }

    fn turn(&mut self, key: Key, quantum: usize) -> usize {
        let Some(connection) = self.connections.get_mut(key) else { return 0 };
        connection.score.is_queued = false;
        let was_half_closed = connection.is_half_closed();
        let turn = relay::pump(connection, quantum, &mut self.tools);
        let half_closes = connection.is_half_closed() != was_half_closed;
        let bytes = turn.moved + turn.discarded;
        if turn.moved > 0 || half_closes {
            self.moved(key);
        }
        self.conclude(key, turn.next, turn.discarded > 0);
        if half_closes {
            self.look_sooner(key);
        }
        // It may have ended.
        let Some(connection) = self.connections.get_mut(key) else { return bytes };
        self.ready.note(&mut connection.score, bytes, self.tools.now);
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

    /// A target has answered the client from there, which is known where the rule has targets that are to learn of it.
    pub(super) fn connected(&mut self, key: Key, from: Option<&SocketAddr>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(version) = connection.ticket.target().proxy_protocol
            && !from.is_some_and(|from| header::send(connection, *from, version, &mut self.tools))
        {
            return self.end(key, Ending::Broken(Break::ClientOther));
        }
        self.ready.push(key, &mut connection.score);
        self.set_timer(key);
    }

    fn note_switch(&mut self, switch: &Switch) {
        let mut adoptions = Adoptions::default();
        self.connections.values_mut().for_each(|connection| connection.ticket.note(switch, &mut adoptions));
        self.with_udp(|udp, _| udp.note_switch(switch, &mut adoptions));
    }

    fn reset(&mut self, is_meant: impl Fn(&Ticket) -> bool) {
        self.with_udp(|udp, around| udp.reset(&is_meant, around));
        let meant = |(_, connection): &(Key, &Connection)| is_meant(&connection.ticket);
        let keys: Vec<Key> = self.connections.iter().filter(meant).map(|(key, _)| key).collect();
        for key in keys {
            // One that no target has answered yet is not lost: it has others to go to.
            while let Some(connection) = self.connections.get_mut(key)
                && is_meant(&connection.ticket)
            {
                if connection.dial.is_some() {
                    self.dial(key, Heard::Gone);
                } else {
                    self.end(key, Ending::Broken(Break::EdgeCut));
                }
            }
        }
    }

    /// Looks at every connection: for the sake of a person who asks, not of a clock.
    fn ages(&self, concerned: &Concerned) -> Vec<u32> {
        let now = self.tools.now;
        let connections =
            self.connections.iter().filter_map(|(_, connection)| connection.ticket.age_in(concerned, now));
        connections.chain(self.udp.ages(concerned, now)).collect()
    }

    fn reset_all(&mut self) {
        self.with_udp(|udp, around| udp.reset_all(around));
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end(key, Ending::Broken(Break::EdgeCut));
        }
    }

    /// Ends a connection, and gives back what it had.
    pub(super) fn end(&mut self, key: Key, ending: Ending) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        self.timers.clear(key.slot());
        if matches!(ending, Ending::Reset | Ending::Broken(_)) {
            connection.reset();
        }
        if let Ending::Broken(why) | Ending::Unproven(why) = ending {
            connection.ticket.broken(why);
        }
        for pipe in connection.take_pipes() {
            self.tools.pipes.discard(pipe);
        }
        // The sockets close before the ticket is given back: a rule without connections has no open one.
        drop(connection);
        self.shared.ended(self.index);
    }

    /// Leaves nothing behind.
    fn end_all(&mut self) {
        self.inside.commands.close();
        self.inside.handed.close();
        self.reset_all();
        while let Ok(handed) = self.inside.handed.try_recv() {
            refuse(handed);
            self.shared.ended(self.index);
        }
    }
}
