//! Accepts connections and gives each to the worker that has the fewest. I/O.
//!
//! A socket is accepted from by one worker: the one that owns it. Which rule takes a connection is decided here and
//! goes with it, so that a switch does not change the rule of what was accepted before it.
//!
//! Keeps: what the kernel accepted before the stop is served, not reset; a shortage of descriptors ends nothing and
//! spins nowhere.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use schema::net::Listener;

use super::super::acceptor::Acceptor;
use super::super::context::Context;
use super::super::counting::admitted::Admitted;
use super::super::counting::meter::Refusal;
use super::super::mailbox::{ClientEnds, Handed};
use super::super::room::{CLIENTS, CONNECTION, Lent, TARGETS};
use super::super::slab::{Key, Slab};
use super::super::targets::routing::{PortPlan, Route};
use super::super::timers::{Tick, ticks};
use super::Tcp;
use super::connection::reset;

/// How long accepting waits after the process ran out of descriptors: long enough for some to be closed.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// Connections of one socket in a turn; the others come first then.
const BATCH: usize = 64;
/// Marks the tokens of listening sockets.
const MARK: usize = 1 << 63;

struct AcceptingSocket {
    listener: Listener,
    acceptor: Acceptor,
    is_ready: bool,
}

/// A connection that was accepted.
pub(super) struct Arrival {
    pub(super) client: OwnedFd,
    pub(super) ends: ClientEnds,
    pub(super) listener: Listener,
    /// It is known where it comes from: its header was read, or it has none.
    pub(super) is_announced: bool,
    /// This worker hears of what happens to it.
    pub(super) is_watched: bool,
}

/// The listening sockets of one worker.
#[derive(Default)]
pub(super) struct AcceptingSockets {
    sockets: Slab<AcceptingSocket>,
    by_listener: HashMap<Listener, Key>,
    /// Sockets that may have connections waiting.
    ready: VecDeque<Key>,
    /// No accepting before this, for want of descriptors.
    paused_until: Tick,
}

impl AcceptingSockets {
    fn insert(&mut self, listener: Listener, acceptor: Acceptor, registry: &Registry) -> std::io::Result<()> {
        let descriptor = acceptor.descriptor();
        let key = self.sockets.insert_with(|_| AcceptingSocket { listener, acceptor, is_ready: false });
        self.by_listener.insert(listener, key);
        registry.register(&mut SourceFd(&descriptor), Token(MARK | key.pack(0)), Interest::READABLE)
    }

    /// Takes note of an event if it is one of a listening socket.
    pub(super) fn note(&mut self, token: usize) -> bool {
        if token & MARK == 0 {
            return false;
        }
        let (key, _) = Key::unpack(token & !MARK);
        if let Some(listening) = self.sockets.get_mut(key).filter(|listening| !listening.is_ready) {
            listening.is_ready = true;
            self.ready.push_back(key);
        }
        true
    }

    /// When to accept next, if anything waits.
    pub(super) fn next(&self) -> Option<Tick> {
        (!self.ready.is_empty()).then_some(self.paused_until)
    }
}

impl Tcp {
    /// Accepts from this socket from now on.
    pub(in super::super) fn adopt(&mut self, listener: Listener, acceptor: Acceptor, context: &Context) {
        if let Err(error) = self.listeners.insert(listener, acceptor, context.registry()) {
            tracing::error!(%listener, %error, "connections cannot be watched");
        }
    }

    /// Starts what waits on this socket, and closes it right behind that.
    pub(in super::super) fn release(&mut self, listener: Listener, acceptor: Acceptor, context: &mut Context) {
        let key = self.listeners.by_listener.remove(&listener);
        let owned = key.and_then(|key| self.listeners.sockets.remove(key));
        // The last of these two closes it, so that nothing can arrive between the last accept and the close.
        if let Err(error) = self.accept(listener, &acceptor, usize::MAX, context) {
            tracing::warn!(%listener, %error, "waiting connections were lost");
        }
        drop((owned, acceptor));
    }

    /// Accepts what waits, some from each socket.
    pub(super) fn accept_waiting(&mut self, context: &mut Context) {
        if self.tools.now < self.listeners.paused_until {
            return;
        }
        for _ in 0..self.listeners.ready.len() {
            let Some(key) = self.listeners.ready.pop_front() else { return };
            let Some(listening) = self.listeners.sockets.get_mut(key) else { continue };
            let (listener, acceptor) = (listening.listener, listening.acceptor.clone());
            match self.accept(listener, &acceptor, BATCH, context) {
                Ok(true) => {
                    if let Some(listening) = self.listeners.sockets.get_mut(key) {
                        listening.is_ready = false;
                    }
                }
                Ok(false) => self.listeners.ready.push_back(key),
                Err(error) => {
                    self.listeners.ready.push_front(key);
                    self.listeners.paused_until = self.tools.now + ticks(SHORTAGE_PAUSE);
                    context.shared.room.note_shortage(error);
                    return;
                }
            }
        }
    }

    /// True if nothing waits any more. Fails where the process is short of something that comes back.
    fn accept(
        &mut self,
        listener: Listener,
        acceptor: &Acceptor,
        most: usize,
        context: &mut Context,
    ) -> Result<bool, Errno> {
        for _ in 0..most {
            // A socket that closes behind this is emptied as far as the system lets it.
            let lent = if most == usize::MAX {
                context.shared.room.lend(context.index, CONNECTION);
                Lent::Granted
            } else {
                context.shared.room.take(context.index, CONNECTION)
            };
            match lent {
                Lent::Granted => {}
                Lent::NotYet => return Ok(false),
                Lent::Full => return Err(Errno::MFILE),
            }
            match acceptfrom_with(&*acceptor.socket(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((client, from)) => {
                    context.shared.room.settle(context.index, CLIENTS);
                    // Always there on an IP socket.
                    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok()).unwrap_or(nowhere);
                    let ends = ClientEnds { client: from, local: None };
                    let arrival = Arrival { client, ends, listener, is_announced: false, is_watched: false };
                    self.route(arrival, context);
                }
                Err(Errno::AGAIN) => {
                    context.shared.room.give(context.index, CONNECTION);
                    return Ok(true);
                }
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    context.shared.room.settle(context.index, CONNECTION);
                    return Err(error);
                }
                // That peer went away while it waited (accept(2) lists the errors); the next one may be there still.
                Err(_) => context.shared.room.give(context.index, CONNECTION),
            }
        }
        Ok(false)
    }

    /// Finds the rule of a connection, once it is known where it comes from and what it asks for.
    pub(super) fn route(&mut self, arrival: Arrival, context: &mut Context) {
        let routing = context.shared.routing.load();
        let Some(plan) = routing.find(&arrival.listener) else {
            context.shared.room.settle(context.index, TARGETS);
            return reset(&arrival.client);
        };
        // The rules of one port agree on who sends headers.
        let is_headed =
            |route: &Arc<Route>| !arrival.is_announced && route.rule.accept_proxy.contains(arrival.ends.client.ip());
        match plan {
            plan if plan.routes().first().is_some_and(is_headed) => {
                drop(routing);
                self.await_header(arrival, context);
            }
            PortPlan::One(route) => self.admit(arrival, route, context),
            PortPlan::Named(named) => {
                let timeout = named.timeout;
                drop(routing);
                self.await_hello(arrival, timeout, context);
            }
        }
    }

    /// Refuses a connection or gives it to a worker. Limits are looked at before anything is allocated for it.
    pub(super) fn admit(&mut self, arrival: Arrival, route: &Arc<Route>, context: &mut Context) {
        let Arrival { client, ends, listener, is_watched, .. } = arrival;
        let admitted = match Admitted::new(route, listener, ends.client.ip().to_canonical(), context.index) {
            Ok(admitted) => admitted,
            Err(why) => {
                context.refused(route, listener, ends.client, why);
                context.shared.room.settle(context.index, TARGETS);
                return reset(&client);
            }
        };
        let worker = context.shared.least_loaded(context.index);
        context.shared.workers[worker].began();
        if context.shared.is_beyond_policy() {
            context.shared.ended(worker);
            context.refused(&admitted.route, listener, ends.client, Refusal::Limit);
            context.shared.room.settle(context.index, TARGETS);
            return reset(&client);
        }
        let source = ends.client.into();
        let from = admitted.may_tell_client().then(|| Box::new(ends));
        let mut handed = Handed { client, source, from, admitted, is_watched };
        if worker != context.index {
            handed.stop_watching(context.registry());
            match context.shared.workers[worker].hand(handed) {
                Ok(()) => return,
                Err(back) => handed = back,
            }
            context.shared.ended(worker);
            context.shared.workers[context.index].began();
        }
        self.begin(handed, context);
    }
}
