//! From a flow to a connected socket: does what [`Dialling`](crate::decide::dialling) decides. I/O.
//!
//! Nothing answers to a connect here. A target has failed where the system says that nobody listens there, or that there
//! is no way to it; the flow goes on to the next address and then to the next target with the client's next datagram.
//!
//! Keeps: what waits for a name is sent or counted, in order.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketType, connect, send};
use schema::counters::Lost;
use schema::net::Protocol;

use super::super::context::Context;
use super::super::room::FLOW;
use super::super::slab::Key;
use super::super::targets::addresses::{heard, look_up};
use super::super::targets::outgoing::{cause_of, meets_itself, socket_to};
use super::super::targets::question::{Asker, Resolved, SlabKind};
use super::errors::{SendError, judge};
use super::flow::Upstream;
use super::{MARK, Udp};
use crate::decide::dialling::{DialFailure, Do, Heard, Lane};
use crate::decide::endings::ConnectionEnd;
use crate::decide::faults::ConnectCause;

fn start(address: SocketAddr, registry: &Registry, key: Key) -> Result<OwnedFd, Errno> {
    let socket = socket_to(address, SocketType::DGRAM)?;
    connect(&socket, &address)?;
    let token = Token(MARK | key.pack(0));
    registry
        .register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
    Ok(socket)
}

/// How the datagrams of a flow are lost whose last target failed so.
fn lost_by(failure: DialFailure) -> Lost {
    match failure {
        DialFailure::Name => Lost::Unresolved,
        DialFailure::Connect(ConnectCause::Descriptors | ConnectCause::SourcePorts | ConnectCause::Memory) => {
            Lost::NoRoom
        }
        DialFailure::Connect(_) => Lost::Unreachable,
    }
}

impl Udp {
    /// Opens a way to a target for a flow that has none; while a name is looked up, the flow waits. Fails where nothing
    /// is left: the flow is to be ended.
    pub(super) fn open(&mut self, key: Key, context: &mut Context) -> Result<(), Lost> {
        let Some(flow) = self.flows.get_mut(key) else { return Err(Lost::Other) };
        let heard = if flow.dialling.is_over() { Heard::Wanted } else { flow.ticket.whereabouts() };
        self.dial(key, heard, context)
    }

    /// Gives up the address that the flow is at. False where nothing is left to try.
    pub(super) fn fail(&mut self, key: Key, cause: ConnectCause, context: &mut Context) -> bool {
        self.dial(key, Heard::Failed(Lane::First, cause), context).is_ok()
    }

    /// Reports to the dialling of a flow, and does what it says.
    fn dial(&mut self, key: Key, heard: Heard, context: &mut Context) -> Result<(), Lost> {
        let (mut next, mut lost) = (Some(heard), Lost::Other);
        while let Some(heard) = next.take() {
            let Some(flow) = self.flows.get_mut(key) else { return Err(lost) };
            for step in flow.dialling.hear(heard, context.now) {
                match step {
                    Do::Count(failure) => lost = lost_by(failure),
                    Do::GiveUp => {
                        flow.ticket.unserved();
                        return Err(lost);
                    }
                    _ => {}
                }
                next = flow.carry_out(step, key, context, &mut self.names);
            }
        }
        let Some(flow) = self.flows.get_mut(key) else { return Err(lost) };
        if let Some(due) = flow.dialling.due() {
            self.timers.set(key.slot(), due);
        }
        Ok(())
    }

    /// Takes the answer to a question.
    pub(in super::super) fn resolved(&mut self, resolved: &Resolved, context: &mut Context) {
        let key = resolved.key;
        // It may have given up waiting, and be at another target since.
        let Some(flow) = self.flows.get_mut(key).filter(|flow| flow.dialling.step() == resolved.step) else { return };
        match flow.upstream {
            Upstream::Named => {
                let heard = heard(&flow.ticket, &resolved.found, &context.shared, &mut self.names);
                self.dial_waiting(key, heard, context);
            }
            Upstream::Open(_) => self.answered_meanwhile(resolved, context.now),
            Upstream::Failed => {}
        }
    }

    /// Goes on with a flow that waits for a name, and sends what waits with it once there is a way.
    fn dial_waiting(&mut self, key: Key, heard: Heard, context: &mut Context) {
        let dialled = self.dial(key, heard, context);
        let Some(flow) = self.flows.get_mut(key) else { return };
        if let Err(lost) = dialled {
            let waiting = std::mem::take(&mut flow.waiting).take(&mut self.waiting);
            flow.ticket.lost(lost, waiting.len() as u64);
            return self.end(key, ConnectionEnd::NoTarget, context);
        }
        let Upstream::Open(socket) = &flow.upstream else { return };
        self.timers.set(key.slot(), context.now + flow.idle());
        for datagram in std::mem::take(&mut flow.waiting).take(&mut self.waiting) {
            match send(socket, &datagram, SendFlags::NOSIGNAL).map_err(judge) {
                Ok(_) => flow.ticket.passed_in(1, datagram.len()),
                Err(SendError::Lost(lost)) => flow.ticket.lost(lost, 1),
                Err(SendError::Full) => flow.ticket.lost(Lost::NoRoom, 1),
                Err(SendError::Failed(_)) => flow.ticket.lost(Lost::Unreachable, 1),
            }
        }
    }

    /// Looks at a flow whose time may have come.
    pub(super) fn overdue(&mut self, key: Key, context: &mut Context) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        if matches!(flow.upstream, Upstream::Named) {
            return self.dial_waiting(key, Heard::Tick, context);
        }
        let end = flow.active + flow.idle();
        if end <= context.now {
            return self.end(key, ConnectionEnd::Closed, context);
        }
        self.timers.set(key.slot(), end);
    }
}

impl super::flow::Flow {
    /// Returns what comes of it at once.
    fn carry_out(&mut self, step: Do, key: Key, context: &mut Context, turn: &mut usize) -> Option<Heard> {
        match step {
            Do::Approach(step) if self.ticket.approach(step) => return Some(self.ticket.whereabouts()),
            Do::Approach(_) => return Some(Heard::Gone),
            Do::LookUp => {
                self.upstream = Upstream::Named;
                let asker = Asker { worker: context.index, key, step: self.dialling.step(), kind: SlabKind::Flow };
                return look_up(&self.ticket, &context.shared, asker, turn);
            }
            Do::Connect(lane, address) => {
                return Some(match self.connect(address, key, context) {
                    Ok(()) => Heard::Opened(lane),
                    Err(cause) => Heard::Failed(lane, cause),
                });
            }
            Do::Close(_) => self.upstream = Upstream::Failed,
            Do::Count(failure) => self.ticket.count(failure, &context.shared.shortages),
            Do::Tell(failure) => self.ticket.failed(failure),
            Do::Defer(address) => context.shared.names.defer(&self.ticket.target().host, address),
            Do::Trust(address) => context.shared.names.trust(&self.ticket.target().host, address),
            Do::Serve(_) => {
                (self.is_busy, self.joins_in) = (false, false);
                self.ticket.opened();
            }
            Do::GiveUp | Do::Abandon => {}
        }
        None
    }

    fn connect(&mut self, address: SocketAddr, key: Key, context: &mut Context) -> Result<(), ConnectCause> {
        let routing = context.shared.routing.load();
        if routing.listens(Protocol::Udp, address, |ip| context.local.contains(ip, context.now)) {
            return Err(ConnectCause::Loop);
        }
        if context.shared.policy.refuses(address) {
            return Err(ConnectCause::Policy);
        }
        let socket = start(address, context.registry(), key).map_err(|error| cause_of(error, address))?;
        if context.local.may_meet_itself(address, context.now) && meets_itself(&socket) {
            return Err(ConnectCause::Refused);
        }
        if std::mem::take(&mut self.is_owed) {
            context.shared.room.settle(context.index, FLOW);
        }
        self.upstream = Upstream::Open(socket);
        Ok(())
    }
}
