//! Connections of load balancers that have yet to say whom they connect for (`accept_proxy`). I/O.
//!
//! The header is read from what the kernel holds, and taken from there once it is whole; what is behind it stays where it
//! is until it is relayed. They wait on the worker that accepted them.
//!
//! Keeps: at most [`MOST`] of a port wait, and beyond that the oldest one is refused; each has a deadline; a connection
//! that does not begin with a header is refused and counted.

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use schema::counters::RefusalReason;
use schema::net::Listener;

use super::super::context::Context;
use super::super::counting::meter::Refusal;
use super::super::mailbox::ClientEnds;
use super::super::room::TARGETS;
use super::super::slab::{Key, Slab};
use super::super::timers::{Tick, Wheel, ticks};
use super::Tcp;
use super::accept::Arrival;
use super::connection::reset;
use crate::decide::client_header::{self, ClientHeader, HeaderEnds};

/// How long a load balancer may take for its header.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections of one port that wait.
const MOST: usize = 1024;
/// Marks the tokens of these sockets: the leg that connections do not use, and the highest bit of a slot, which no slab
/// comes to.
const LEG: u8 = 3;
const MARK: usize = 1 << 31;

/// Those of one port, the oldest one first.
#[derive(Default)]
struct HeaderLine {
    /// With some that wait no more.
    keys: VecDeque<Key>,
    waiting: usize,
}

/// All of one worker.
#[derive(Default)]
pub(super) struct AwaitedHeaders {
    arrivals: Slab<Arrival>,
    timers: Wheel,
    lines: HashMap<Listener, HeaderLine>,
    due: Vec<u32>,
}

/// What a look at a connection has found.
enum HeaderLook {
    Wait,
    Whole(usize, Option<HeaderEnds>),
    /// It is gone, or begins with something else.
    Refused,
}

impl AwaitedHeaders {
    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Tick> {
        self.timers.next()
    }

    /// The key of a connection that waits, if a token is one of these.
    pub(super) fn key_of(token: usize) -> Option<Key> {
        let (key, leg) = Key::unpack(token & !MARK);
        (token & MARK != 0 && leg == LEG).then_some(key)
    }

    /// Keeps one. Returns another one that has to make room for it.
    fn insert(&mut self, arrival: Arrival, deadline: Tick) -> (Key, Option<Key>) {
        let line = self.lines.entry(arrival.listener).or_default();
        let arrivals = &mut self.arrivals;
        let key = arrivals.insert_with(|_| arrival);
        if line.keys.len() >= 2 * MOST {
            line.keys.retain(|key| arrivals.get_mut(*key).is_some());
        }
        let mut oldest = None;
        while line.waiting >= MOST
            && oldest.is_none()
            && let Some(first) = line.keys.pop_front()
        {
            oldest = arrivals.get_mut(first).is_some().then_some(first);
        }
        line.keys.push_back(key);
        line.waiting += 1;
        self.timers.set(key.slot(), deadline);
        (key, oldest)
    }

    fn remove(&mut self, key: Key, context: &Context) -> Option<Arrival> {
        let arrival = self.arrivals.remove(key)?;
        self.timers.clear(key.slot());
        if let Some(line) = self.lines.get_mut(&arrival.listener) {
            line.waiting -= 1;
            if line.waiting == 0 {
                self.lines.remove(&arrival.listener);
            }
        }
        if let Err(error) = context.registry().deregister(&mut SourceFd(&arrival.client.as_raw_fd())) {
            tracing::debug!(%error, "a connection stays registered");
        }
        Some(arrival)
    }
}

impl Tcp {
    /// Lets a load balancer say first whom it connects for.
    pub(super) fn await_header(&mut self, arrival: Arrival, context: &mut Context) {
        // Often it has come by the time that the connection is accepted.
        match look(&arrival, &mut self.tools.buffer) {
            HeaderLook::Refused => refuse(&arrival, context),
            HeaderLook::Whole(length, ends) => self.announced(arrival, (length, ends), context),
            HeaderLook::Wait => {
                let descriptor = arrival.client.as_raw_fd();
                let (key, oldest) = self.headers.insert(arrival, self.tools.now + ticks(PATIENCE));
                if let Some(oldest) = oldest {
                    self.refuse_arrival(oldest, context);
                }
                let token = Token(key.pack(LEG) | MARK);
                let watched = context.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE);
                if let Err(error) = watched {
                    tracing::error!(%error, "a connection cannot be watched");
                    self.refuse_arrival(key, context);
                }
            }
        }
    }

    /// Takes note of an event of a connection that waits.
    pub(super) fn note_arrival(&mut self, key: Key, event: &Event, context: &mut Context) {
        let Some(arrival) = self.headers.arrivals.get_mut(key) else { return };
        match look(arrival, &mut self.tools.buffer) {
            HeaderLook::Wait if !event.is_read_closed() && !event.is_error() => {}
            HeaderLook::Wait | HeaderLook::Refused => self.refuse_arrival(key, context),
            HeaderLook::Whole(length, ends) => {
                if let Some(arrival) = self.headers.remove(key, context) {
                    self.announced(arrival, (length, ends), context);
                }
            }
        }
    }

    /// Refuses those whose time is over.
    pub(super) fn refuse_overdue(&mut self, context: &mut Context) {
        let mut due = std::mem::take(&mut self.headers.due);
        self.headers.timers.advance(self.tools.now, &mut due);
        for slot in due.drain(..) {
            if let Some(key) = self.headers.arrivals.key_of(slot) {
                self.refuse_arrival(key, context);
            }
        }
        self.headers.due = due;
    }

    /// Resets all that wait.
    pub(super) fn reset_arrivals(&mut self, context: &Context) {
        let keys: Vec<Key> = self.headers.arrivals.iter().map(|(key, _)| key).collect();
        for arrival in keys.into_iter().filter_map(|key| self.headers.remove(key, context)) {
            context.shared.room.settle(context.index, TARGETS);
            reset(&arrival.client);
        }
    }

    fn refuse_arrival(&mut self, key: Key, context: &Context) {
        if let Some(arrival) = self.headers.remove(key, context) {
            refuse(&arrival, context);
        }
    }

    /// Goes on with a connection whose header is whole, as if it came from whom that names.
    fn announced(&mut self, arrival: Arrival, header: (usize, Option<HeaderEnds>), context: &mut Context) {
        let (length, ends) = header;
        let taken = recv(&arrival.client, &mut self.tools.buffer[..length], RecvFlags::empty());
        if taken.map_or(0, |(count, _)| count) != length {
            return refuse(&arrival, context);
        }
        let ends = ends.map_or(arrival.ends, |ends| ClientEnds { client: ends.client, local: Some(ends.local) });
        self.route(Arrival { ends, is_announced: true, ..arrival }, context);
    }
}

/// Looks at what a connection has sent so far.
fn look(arrival: &Arrival, buffer: &mut [u8]) -> HeaderLook {
    match recv(&arrival.client, &mut buffer[..client_header::LONGEST], RecvFlags::PEEK) {
        Ok((0, _)) => HeaderLook::Refused,
        Ok((count, _)) => match client_header::read(&buffer[..count]) {
            ClientHeader::Partial => HeaderLook::Wait,
            ClientHeader::Whole { length, ends } => HeaderLook::Whole(length, ends),
            ClientHeader::Invalid => HeaderLook::Refused,
        },
        Err(Errno::AGAIN | Errno::INTR) => HeaderLook::Wait,
        Err(_) => HeaderLook::Refused,
    }
}

/// Resets a connection without a header, and counts it for the rule of its port.
fn refuse(arrival: &Arrival, context: &Context) {
    let listener = arrival.listener;
    // Of several rules it is not known which one it would have reached.
    if let Some(route) = context.shared.routing.load().find(&listener).and_then(|plan| plan.routes().first()) {
        context.refused(route, listener, arrival.ends.client, Refusal::Entry(RefusalReason::ProxyHeader));
    }
    context.shared.room.settle(context.index, TARGETS);
    reset(&arrival.client);
}
