//! Connections of which it is not known yet to which rule they belong: what their clients say first decides it. I/O.
//!
//! What a client says stays in the kernel until then, so that its target gets every byte of it, and nothing is copied
//! more than once. They wait on the worker that accepted them.
//!
//! Keeps: at most [`MOST`] of a port wait, and beyond that the oldest one is reset; each has a deadline; how often one is
//! looked at goes with the logarithm of what it sends.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use schema::counters::SniMiss;
use schema::net::Listener;

use super::super::context::Context;
use super::super::room::TARGETS;
use super::super::slab::{Key, Slab};
use super::super::targets::routing::{PortPlan, Route};
use super::super::timers::{Tick, Wheel, lasting, ticks};
use super::Tcp;
use super::accept::Arrival;
use super::connection::reset;
use crate::decide::hello::{self, Hello, MAX_HELLO};

/// Marks the tokens of these sockets.
pub(super) const UNDECIDED: u8 = 3;
/// Connections of one port that wait.
const MOST: usize = 1024;

/// One of them.
struct Undecided {
    arrival: Arrival,
    since: Tick,
    /// It cannot be decided with fewer bytes.
    needs: usize,
    /// Its client sends nothing more.
    is_closing: bool,
}

/// Those of one port, the oldest one first.
#[derive(Default)]
struct WaitingLine {
    /// With some that have been decided since.
    keys: VecDeque<Key>,
    waiting: usize,
}

/// All of one worker.
#[derive(Default)]
pub(super) struct UndecidedConnections {
    connections: Slab<Undecided>,
    timers: Wheel,
    lines: HashMap<Listener, WaitingLine>,
    /// Room for what is looked at; none before something is.
    buffer: Vec<u8>,
    due: Vec<u32>,
}

/// What a look at a client has found.
enum HelloLook {
    /// It has yet to say more: so many bytes in all, at least.
    Wait(usize),
    /// It is gone.
    Gone,
    /// There is nothing to wait for.
    Decided(Verdict),
}

/// What a client has said, where that is all.
struct Verdict {
    name: Option<Vec<u8>>,
    /// What it counts as where no rule is for it.
    miss: SniMiss,
    /// It understands an alert.
    is_tls: bool,
}

impl UndecidedConnections {
    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Tick> {
        self.timers.next()
    }

    /// Keeps one until it is decided. Returns the key of another one that has to make room for it.
    fn insert(&mut self, undecided: Undecided, deadline: Tick) -> (Key, Option<Key>) {
        let line = self.lines.entry(undecided.arrival.listener).or_default();
        let key = self.connections.insert_with(|_| undecided);
        let is_full = line.waiting >= MOST;
        let connections = &mut self.connections;
        let oldest = is_full.then(|| {
            loop {
                let key = line.keys.pop_front()?;
                if connections.get_mut(key).is_some() {
                    return Some(key);
                }
            }
        });
        if line.keys.len() >= 2 * MOST {
            line.keys.retain(|key| connections.get_mut(*key).is_some());
        }
        line.keys.push_back(key);
        line.waiting += 1;
        self.timers.set(key.slot(), deadline);
        (key, oldest.flatten())
    }

    fn remove(&mut self, key: Key) -> Option<Undecided> {
        let undecided = self.connections.remove(key)?;
        self.timers.clear(key.slot());
        if let Some(line) = self.lines.get_mut(&undecided.arrival.listener) {
            line.waiting -= 1;
            if line.waiting == 0 {
                self.lines.remove(&undecided.arrival.listener);
            }
        }
        Some(undecided)
    }

    /// Looks at one of them, if it is there still.
    fn look(&mut self, key: Key, is_last: bool) -> Option<HelloLook> {
        let undecided = self.connections.get_mut(key)?;
        let found = look(&undecided.arrival.client, is_last || undecided.is_closing, undecided.needs, &mut self.buffer);
        if let HelloLook::Wait(needs) = found {
            undecided.needs = needs;
        }
        Some(found)
    }
}

/// Looks at what a client has sent so far; with `is_last` there will be no more that counts.
fn look(client: &OwnedFd, is_last: bool, needs: usize, buffer: &mut Vec<u8>) -> HelloLook {
    // A look copies all that there is; to ask how much it is copies nothing.
    if needs > 1 && !is_last && ioctl_fionread(client).is_ok_and(|bytes| bytes < needs as u64) {
        return HelloLook::Wait(needs);
    }
    buffer.resize(MAX_HELLO, 0);
    let count = match recv(client, &mut buffer[..], RecvFlags::PEEK) {
        Ok((count, _)) => count,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(_) => return HelloLook::Gone,
    };
    let bytes = &buffer[..count];
    let (name, miss) = match hello::read(bytes) {
        Hello::Incomplete { needs } if !is_last => return HelloLook::Wait(needs),
        Hello::Incomplete { .. } => (None, SniMiss::Timeout),
        Hello::NotTls => (None, SniMiss::NotTls),
        Hello::TooLarge => (None, SniMiss::TooLarge),
        Hello::Whole(None) => (None, SniMiss::NoName),
        Hello::Whole(Some(name)) => (Some(name.into_owned()), SniMiss::NoMatch),
    };
    HelloLook::Decided(Verdict { name, miss, is_tls: hello::is_tls(bytes) })
}

impl Tcp {
    /// Lets a client say first what it wants.
    pub(super) fn await_hello(&mut self, arrival: Arrival, timeout: Duration, context: &mut Context) {
        context.shared.undecided();
        // Often it has come by the time that the connection is accepted.
        match look(&arrival.client, false, 1, &mut self.undecided.buffer) {
            HelloLook::Decided(verdict) => self.decide(arrival, self.tools.now, &verdict, context),
            HelloLook::Gone => forget(arrival, context),
            HelloLook::Wait(needs) => {
                let now = self.tools.now;
                let undecided = Undecided { arrival, since: now, needs, is_closing: false };
                let (key, oldest) = self.undecided.insert(undecided, now + ticks(timeout));
                if let Some(oldest) = oldest.and_then(|oldest| self.undecided.remove(oldest)) {
                    let Arrival { listener, ends, .. } = &oldest.arrival;
                    context.missed(
                        *listener,
                        ends.client,
                        lasting(now.saturating_sub(oldest.since)),
                        SniMiss::Overflow,
                    );
                    reset(&oldest.arrival.client);
                    forget(oldest.arrival, context);
                }
                self.watch_undecided(key, context);
            }
        }
    }

    fn watch_undecided(&mut self, key: Key, context: &Context) {
        let Some(undecided) = self.undecided.connections.get_mut(key) else { return };
        let descriptor = undecided.arrival.client.as_raw_fd();
        let token = Token(key.pack(UNDECIDED));
        undecided.arrival.is_watched = true;
        if let Err(error) = context.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE) {
            tracing::error!(%error, "a client cannot be watched");
            self.forget_undecided(key, context);
        }
    }

    /// Takes note of an event of a client that has yet to say what it wants.
    pub(super) fn note_undecided(&mut self, key: Key, event: &Event, context: &mut Context) {
        let Some(undecided) = self.undecided.connections.get_mut(key) else { return };
        undecided.is_closing |= event.is_read_closed();
        if event.is_error() {
            return self.forget_undecided(key, context);
        }
        self.look_at_undecided(key, false, context);
    }

    /// Decides about those whose time is over.
    pub(super) fn decide_overdue(&mut self, context: &mut Context) {
        let mut due = std::mem::take(&mut self.undecided.due);
        self.undecided.timers.advance(self.tools.now, &mut due);
        for slot in due.drain(..) {
            if let Some(key) = self.undecided.connections.key_of(slot) {
                self.look_at_undecided(key, true, context);
            }
        }
        self.undecided.due = due;
    }

    /// Resets all of them.
    pub(super) fn reset_undecided(&mut self, context: &Context) {
        let keys: Vec<Key> = self.undecided.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.forget_undecided(key, context);
        }
    }

    fn look_at_undecided(&mut self, key: Key, is_last: bool, context: &mut Context) {
        match self.undecided.look(key, is_last) {
            None | Some(HelloLook::Wait(_)) => {}
            Some(HelloLook::Gone) => self.forget_undecided(key, context),
            Some(HelloLook::Decided(verdict)) => {
                if let Some(undecided) = self.undecided.remove(key) {
                    self.decide(undecided.arrival, undecided.since, &verdict, context);
                }
            }
        }
    }

    fn forget_undecided(&mut self, key: Key, context: &Context) {
        if let Some(undecided) = self.undecided.remove(key) {
            reset(&undecided.arrival.client);
            forget(undecided.arrival, context);
        }
    }

    /// Gives a connection to its rule, if there is one for it.
    fn decide(&mut self, arrival: Arrival, since: Tick, verdict: &Verdict, context: &mut Context) {
        let waited = lasting(self.tools.now.saturating_sub(since));
        match route_of(&arrival, waited, verdict, context) {
            Ok(route) => {
                self.admit(arrival, &route, context);
                context.shared.decided();
            }
            Err(Miss { is_alerted }) => {
                if is_alerted {
                    alert(&arrival.client, &mut self.undecided.buffer);
                } else {
                    reset(&arrival.client);
                }
                forget(arrival, context);
            }
        }
    }
}

/// No rule is for a connection.
struct Miss {
    /// Its client understands an alert.
    is_alerted: bool,
}

/// The rule of a connection, by the routing of this moment.
fn route_of(arrival: &Arrival, waited: Duration, verdict: &Verdict, context: &Context) -> Result<Arc<Route>, Miss> {
    let routing = context.shared.routing.load();
    // A connection that waited was not among those that learned of the release of their port.
    let plan = if arrival.is_watched { routing.serving(&arrival.listener) } else { routing.find(&arrival.listener) };
    match plan {
        Some(PortPlan::One(route)) => Ok(route.clone()),
        Some(PortPlan::Named(named)) => {
            let found = named.find(verdict.name.as_deref()).ok_or_else(|| {
                context.missed(arrival.listener, arrival.ends.client, waited, verdict.miss);
                Miss { is_alerted: verdict.is_tls }
            });
            let (how, route) = found?;
            route.meter.chosen_by_name(context.index, arrival.listener.port, how);
            Ok(route.clone())
        }
        None => Err(Miss { is_alerted: false }),
    }
}

/// Ends a connection that no rule got.
fn forget(arrival: Arrival, context: &Context) {
    drop(arrival);
    context.shared.room.settle(context.index, TARGETS);
    context.shared.decided();
}

/// Lets a TLS client know that nobody has its name. What it sent is read first: a socket that closes with something
/// unread resets its peer, which may lose the alert then.
fn alert(client: &OwnedFd, buffer: &mut [u8]) {
    let read = recv(client, &mut buffer[..], RecvFlags::empty());
    let sent = read.and_then(|_| send(client, &hello::UNRECOGNIZED_NAME, SendFlags::NOSIGNAL));
    if let Err(error) = sent.and_then(|_| shutdown(client, Shutdown::Write)) {
        tracing::debug!(%error, "a client is not told that nobody has its name");
    }
}
