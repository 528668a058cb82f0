//! From an accepted connection to a connected one: does what [`Dialling`](crate::decide::dialling) decides. I/O.
//!
//! Keeps: it waits for nothing; what happens to a socket or a name is reported once; a client that goes ends it, unless
//! it has sent something before.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use schema::net::Protocol;

use super::super::context::Context;
use super::super::counting::ticket::Ticket;
use super::super::mailbox::Handed;
use super::super::room::TARGETS;
use super::super::slab::Key;
use super::super::targets::addresses::{heard, look_up};
use super::super::targets::outgoing::meets_itself;
use super::super::targets::question::{Asker, Resolved, SlabKind};
use super::super::timers::{Tick, ticks};
use super::attempt::{self, watch_client};
use super::connection::{CLIENT, Connection, Dial, Leg, RIVAL, TARGET, reset};
use super::ending::Ending;
use super::{Tcp, proxy_header};
use crate::decide::breaks::Break;
use crate::decide::dialling::{DialFailure, Do, Heard, Lane};
use crate::decide::faults::{ConnectCause, fault_of};

/// How long a connection that wants a descriptor waits before it tries again.
const WANTING_PAUSE: Duration = Duration::from_millis(100);

const fn token_of(lane: Lane) -> u8 {
    match lane {
        Lane::First => TARGET,
        Lane::Second => RIVAL,
    }
}

impl Tcp {
    /// Starts a connection that counts as one of this worker's already.
    pub(in super::super) fn begin(&mut self, handed: Handed, context: &mut Context) {
        if context.shared.is_resetting.load(Ordering::Acquire) {
            refuse(handed);
            context.shared.room.settle(context.index, TARGETS);
            return context.ended();
        }
        let Handed { client, source, from, admitted, is_watched } = handed;
        let ticket = Ticket::new(admitted, source, context.index, self.tools.now);
        let target = ticket.whereabouts();
        let dialling = ticket.dialling(self.tools.now);
        let dial = Dial { dialling, second: None, may_meet_itself: [false; 2], from, is_owed: true };
        let key = self.connections.insert_with(|_| Connection::new(client, ticket, dial));
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Err(error) = watch_client(context.registry(), &connection.client.socket, key, is_watched) {
            connection.ticket.count(DialFailure::Connect(fault_of(&error)), &context.shared.shortages);
            connection.ticket.unserved();
            return self.end(key, Ending::Reset, context);
        }
        self.dial(key, target, context);
    }

    /// Reports to the dialling of a connection, if it has one, and does what it says.
    pub(super) fn dial(&mut self, key: Key, heard: Heard, context: &mut Context) {
        let (mut next, now) = (Some(heard), self.tools.now);
        while let Some(heard) = next.take() {
            let Some(dial) = self.dial_of(key) else { return };
            for step in dial.dialling.hear(heard, now) {
                next = self.carry_out(key, step, context);
            }
        }
        let is_wanting = self.wanting.contains_key(&key.slot());
        let Some(dial) = self.dial_of(key) else { return };
        let again = if is_wanting { now + ticks(WANTING_PAUSE) } else { Tick::MAX };
        if let Some(due) = dial.dialling.due() {
            self.timers.set(key.slot(), due.min(again));
        }
    }

    /// Looks at a dialling whose time has come: time is up, or what waits for a descriptor tries again.
    pub(super) fn dial_overdue(&mut self, key: Key, context: &mut Context) {
        let now = self.tools.now;
        let Some(dial) = self.dial_of(key) else { return };
        let is_late = dial.dialling.due().is_some_and(|due| due <= now);
        let heard = match self.wanting.remove(&key.slot()) {
            None => Heard::Tick,
            Some((lane, _)) if is_late => Heard::Failed(lane, ConnectCause::Descriptors),
            Some((lane, address)) => self.try_address(key, lane, address, context).unwrap_or(Heard::Begun(lane)),
        };
        self.dial(key, heard, context);
    }

    /// Starts to connect. Where no descriptor is left and nothing else is tried, it waits for one: clients that end give
    /// theirs back.
    fn try_address(&mut self, key: Key, lane: Lane, address: SocketAddr, context: &mut Context) -> Option<Heard> {
        let cause = self.connect(key, lane, address, context).err()?;
        let now = self.tools.now;
        if cause == ConnectCause::Descriptors
            && let Some(Connection { target: None, dial: Some(dial), .. }) = self.connections.get_mut(key)
            && dial.second.is_none()
            && dial.dialling.has_time(now)
            && !self.wanting.contains_key(&key.slot())
        {
            self.wanting.insert(key.slot(), (lane, address));
            return Some(Heard::Wanting(lane));
        }
        Some(Heard::Failed(lane, cause))
    }

    fn dial_of(&mut self, key: Key) -> Option<&mut Dial> {
        self.connections.get_mut(key)?.dial.as_deref_mut()
    }

    /// Returns what comes of it at once.
    fn carry_out(&mut self, key: Key, step: Do, context: &mut Context) -> Option<Heard> {
        let connection = self.connections.get_mut(key)?;
        let ticket = &mut connection.ticket;
        match step {
            Do::Approach(step) if ticket.approach(step) => return Some(ticket.whereabouts()),
            Do::Approach(_) => return Some(Heard::Gone),
            Do::LookUp => {
                let step = connection.dial.as_ref()?.dialling.step();
                let asker = Asker { worker: context.index, key, kind: SlabKind::Connection, step };
                return look_up(ticket, &context.shared, asker, &mut self.names);
            }
            Do::Connect(lane, address) => {
                return self.try_address(key, lane, address, context);
            }
            Do::Close(lane) => {
                connection.close(lane);
                self.wanting.remove(&key.slot());
            }
            Do::Count(failure) => ticket.count(failure, &context.shared.shortages),
            Do::Tell(failure) => ticket.failed(failure),
            Do::Defer(address) => context.shared.names.defer(&ticket.target().host, address),
            Do::Trust(address) => context.shared.names.trust(&ticket.target().host, address),
            Do::Serve(lane) => self.serve(key, lane, context),
            Do::GiveUp => {
                ticket.unserved();
                self.end(key, Ending::Reset, context);
            }
            Do::Abandon => self.end(key, Ending::Broken(Break::ClientReset), context),
        }
        None
    }

    fn connect(
        &mut self,
        key: Key,
        lane: Lane,
        address: SocketAddr,
        context: &mut Context,
    ) -> Result<(), ConnectCause> {
        let now = self.tools.now;
        if context.shared.routing.load().listens(Protocol::Tcp, address, |ip| context.local.contains(ip, now)) {
            return Err(ConnectCause::Loop);
        }
        if context.shared.policy.refuses(address) {
            return Err(ConnectCause::Policy);
        }
        let socket = attempt::start(address, context.registry(), key, token_of(lane))?;
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let Some(dial) = &mut connection.dial else { return Ok(()) };
        if std::mem::take(&mut dial.is_owed) {
            context.shared.room.settle(context.index, TARGETS);
        }
        dial.may_meet_itself[lane as usize] = context.local.may_meet_itself(address, now);
        match lane {
            Lane::First => connection.target = Some(Leg::new(socket)),
            Lane::Second => dial.second = Some(Leg::new(socket)),
        }
        Ok(())
    }

    /// Takes the answer to a question.
    pub(in super::super) fn resolved(&mut self, Resolved { key, step, found, .. }: Resolved, context: &mut Context) {
        // It may have given up waiting, and be at another target since.
        if self.dial_of(key).is_some_and(|dial| dial.dialling.step() == step)
            && let Some(connection) = self.connections.get_mut(key)
        {
            let heard = heard(&connection.ticket, &found, &context.shared, &mut self.names);
            self.dial(key, heard, context);
        }
    }

    /// Looks at an attempt that had an event.
    pub(super) fn attempted(&mut self, key: Key, leg: u8, context: &mut Context) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let heard = if leg == CLIENT { gone(&connection.client) } else { attempted(connection, leg) };
        if let Some(heard) = heard {
            self.dial(key, heard, context);
        }
    }

    /// Its target has answered: from now on its bytes are relayed. One that is to learn of the client learns of it first.
    fn serve(&mut self, key: Key, lane: Lane, context: &Context) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(dial) = connection.dial.take() else { return };
        if lane == Lane::Second {
            connection.target = dial.second;
            connection.target_leg = RIVAL;
        }
        connection.ticket.served();
        connection.active = self.tools.now;
        // Where the client is, is known where the rule has targets that are to learn of it.
        if let Some(version) = connection.ticket.target().proxy_protocol
            && !dial.from.is_some_and(|from| proxy_header::send(connection, *from, version, &mut self.tools))
        {
            return self.end(key, Ending::Broken(Break::ClientOther), context);
        }
        self.ready.push(key, &mut connection.score);
        self.set_timer(key);
    }
}

/// What is to be reported of a client, if it is gone.
fn gone(client: &Leg) -> Option<Heard> {
    client.has_failed().then(|| Heard::ClientGone { has_sent: attempt::has_sent(&client.socket) })
}

/// What is to be reported of a socket that is being connected, if anything.
fn attempted(connection: &mut Connection, leg: u8) -> Option<Heard> {
    let lane = if leg == RIVAL { Lane::Second } else { Lane::First };
    let may_meet_itself = connection.dial.as_ref()?.may_meet_itself[lane as usize];
    let tried = connection.leg_mut(leg).filter(|tried| tried.has_failed() || tried.is_writable)?;
    if tried.has_failed()
        && let Some(error) = attempt::failure(&tried.socket)
    {
        // The kernel has forgotten it by now.
        tried.fail(error);
        let has_sent = error == Errno::PIPE || attempt::has_sent(&tried.socket);
        return Some(Heard::Broken { lane, cause: fault_of(&error.into()), has_sent });
    }
    let meets_itself = may_meet_itself && meets_itself(&tried.socket);
    Some(if meets_itself { Heard::Failed(lane, ConnectCause::Refused) } else { Heard::Opened(lane) })
}

/// Makes the close of a connection that never began a reset.
pub(in super::super) fn refuse(handed: Handed) {
    reset(&handed.client);
    drop(handed.client);
}
