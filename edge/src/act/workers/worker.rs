//! One thread of the data plane: waits for events, and gives every connection its turn. I/O.
//!
//! Nothing here waits for anything but the poll; what a turn costs is bounded, so that timers, commands and small
//! messages are never far behind.
//!
//! Keeps: TCP and UDP work in turn with one context, and neither knows of the other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use schema::net::{Listener, Protocol};

use super::acceptor::Acceptor;
use super::context::Context;
use super::counting::meant::Concerned;
use super::counting::switch::{Adoptions, Switch};
use super::counting::ticket::Ticket;
use super::mailbox::{Incoming, WorkerCommand};
use super::shared::Shared;
use super::targets::local_addresses::LocalAddresses;
use super::targets::question::SlabKind;
use super::tcp::{Tcp, refuse};
use super::timers;
use super::udp::Udp;
use crate::decide::breaks::Break;

/// The token of the worker's queues.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Events per poll: one poll per turn for a thousand busy connections.
const EVENTS: usize = 1024;

/// One worker.
pub(super) struct Worker {
    context: Context,
    incoming: Incoming,
    tcp: Tcp,
    udp: Udp,
    start: Instant,
}

impl Worker {
    /// A worker that serves nothing yet.
    pub(super) fn new(index: usize, shared: Arc<Shared>, poll: Poll, incoming: Incoming) -> Self {
        let tcp = Tcp::new(shared.workers.len());
        let context = Context { index, shared, poll, local: LocalAddresses::default(), now: 0 };
        Self { context, incoming, tcp, udp: Udp::default(), start: Instant::now() }
    }

    /// Works until the data plane is dropped.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.context.shared.is_stopping.load(Ordering::Acquire) {
            let timeout = self.timeout();
            if let Err(error) = self.context.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a worker cannot wait for events");
                break;
            }
            self.context.now = timers::passed(self.start.elapsed());
            self.tcp.set_time(self.context.now);
            for event in &events {
                if event.token() == WAKE {
                    self.take_messages();
                } else if !self.udp.note(event) {
                    self.tcp.note(event, &mut self.context);
                }
            }
            self.tcp.work(&mut self.context);
            self.udp.work(&mut self.context);
        }
        self.end_all();
    }

    fn timeout(&self) -> Option<Duration> {
        if self.tcp.is_busy() || self.udp.is_busy() {
            return Some(Duration::ZERO);
        }
        let next = [self.tcp.next(), self.udp.next()].into_iter().flatten().min();
        next.map(|tick| timers::until(tick, self.start.elapsed()))
    }

    fn take_messages(&mut self) {
        let shared = self.context.shared.clone();
        shared.workers[self.context.index].awoke();
        if shared.is_resetting.load(Ordering::Acquire) {
            self.reset_all();
        }
        while let Ok(command) = self.incoming.commands.try_recv() {
            self.carry_out(command);
        }
        self.take_handed();
    }

    fn carry_out(&mut self, command: WorkerCommand) {
        match command {
            WorkerCommand::Adopt(acceptors) => self.adopt(acceptors),
            WorkerCommand::Release(acceptors, done) => {
                self.release(acceptors);
                // Who gave the command may have gone; the sockets are closed all the same.
                _ = done.send(());
            }
            WorkerCommand::Fence(done) => _ = done.send(()),
            WorkerCommand::Note(switch, done) => {
                // Accepted before the switch, as the fence promises; what comes after them knows it already.
                self.take_handed();
                self.note_switch(&switch);
                _ = done.send(());
            }
            WorkerCommand::Cut(drain) => self.reset(|ticket| ticket.drains_with(&drain), Break::EdgeCut),
            WorkerCommand::Reset(meant) => self.reset(|ticket| ticket.is_in(&meant), meant.why),
            WorkerCommand::Ages(concerned, reply) => {
                // Who asked may have gone.
                _ = reply.send(self.ages(&concerned));
            }
            WorkerCommand::Survey(look, kind, from, reply) => {
                let slice = match kind {
                    SlabKind::Connection => self.tcp.survey(&look, from, &self.context),
                    SlabKind::Flow => self.udp.survey(&look, from, &self.context),
                };
                _ = reply.send(slice);
            }
            #[cfg(feature = "testing")]
            WorkerCommand::Panic => panic!("killed by a test"),
            WorkerCommand::Resolved(resolved) => match resolved.kind {
                SlabKind::Connection => self.tcp.resolved(resolved, &mut self.context),
                SlabKind::Flow => self.udp.resolved(&resolved, &mut self.context),
            },
        }
    }

    fn take_handed(&mut self) {
        while let Ok(handed) = self.incoming.handed.try_recv() {
            self.tcp.begin(handed, &mut self.context);
        }
    }

    /// Accepts from these from now on.
    fn adopt(&mut self, acceptors: Vec<(Listener, Acceptor)>) {
        for (listener, acceptor) in acceptors {
            match listener.protocol {
                Protocol::Tcp => self.tcp.adopt(listener, acceptor, &self.context),
                Protocol::Udp => self.udp.adopt(listener, acceptor, &mut self.context),
            }
        }
    }

    /// Starts what waits on these sockets. TCP closes each right behind it, UDP with its last flow.
    fn release(&mut self, leaving: Vec<(Listener, Acceptor)>) {
        for (listener, acceptor) in leaving {
            match listener.protocol {
                Protocol::Tcp => self.tcp.release(listener, acceptor, &mut self.context),
                Protocol::Udp => {
                    drop(acceptor);
                    self.udp.release(listener, &mut self.context);
                }
            }
        }
    }

    fn note_switch(&mut self, switch: &Switch) {
        let mut adoptions = Adoptions::default();
        self.tcp.note_switch(switch, &mut adoptions);
        self.udp.note_switch(switch, &mut adoptions);
    }

    fn reset(&mut self, is_meant: impl Fn(&Ticket) -> bool, why: Break) {
        self.udp.reset(&is_meant, why, &self.context);
        self.tcp.reset(&is_meant, why, &mut self.context);
    }

    /// Looks at every connection: for the sake of a person who asks, not of a clock.
    fn ages(&self, concerned: &Concerned) -> Vec<u32> {
        let now = self.context.now;
        self.tcp.ages(concerned, now).chain(self.udp.ages(concerned, now)).collect()
    }

    fn reset_all(&mut self) {
        self.udp.reset_all(&self.context);
        self.tcp.reset_all(&self.context);
    }

    /// Leaves nothing behind.
    fn end_all(&mut self) {
        self.incoming.commands.close();
        self.incoming.handed.close();
        self.reset_all();
        while let Ok(handed) = self.incoming.handed.try_recv() {
            refuse(handed);
            self.context.ended();
        }
    }
}
