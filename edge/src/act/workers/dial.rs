//! From an accepted connection to a connected one: addresses, attempts, deadlines. I/O.
//!
//! Keeps: every address that fails is counted by its cause; one connection's dialling takes 10 s at most, names
//! included; a client that goes meanwhile ends it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use schema::rule::Host;

use super::meter::Ticket;
use super::queue::Handed;
use super::resolve::{Asker, Question, Resolved};
use super::slab::Key;
use super::tcp::{Connection, Dial, Leg, reset};
use super::timers::ticks;
use super::worker::{Ending, Worker};
use crate::decide::dial::{self, Cause};

/// The whole dialling of a connection, names included (CONTRACT §2, `connect_timeout_ms`).
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How the legs of a connection are told apart in tokens.
pub(super) const TARGET: u8 = 1;
pub(super) const CLIENT: u8 = 0;

pub(super) fn register(registry: &Registry, socket: &OwnedFd, key: Key, leg: u8) -> std::io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(key.pack(leg)), interest)
}

impl Worker {
    /// Starts a connection that counts as one of this worker's already.
    pub(super) fn begin(&mut self, handed: Handed) {
        if self.shared.is_resetting.load(Ordering::Acquire) {
            refuse(handed);
            return self.shared.ended(self.index);
        }
        let Handed { client, admitted } = handed;
        let ticket = Ticket::new(admitted, self.index);
        let dial = Dial { addresses: Vec::new(), deadline: self.tools.now + ticks(DIAL_TIMEOUT) };
        let key = self.connections.insert_with(|_| Connection::new(client, ticket, dial));
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Err(error) = register(self.poll.registry(), &connection.client.socket, key, CLIENT) {
            tracing::warn!(%error, "a connection cannot be served");
            return self.end(key, Ending::Reset);
        }
        let target = connection.ticket.target();
        match &target.host {
            Host::Ip(ip) => {
                let ip = *ip;
                self.dial(key, Some(ip));
            }
            Host::Name(name) => {
                if let Some(addresses) = self.shared.names.known(name) {
                    return self.resolved(Resolved { key, addresses });
                }
                let question = Question { name: name.clone(), asker: Asker { worker: self.index, key } };
                self.timers.set(key.slot(), self.tools.now + ticks(DIAL_TIMEOUT));
                if self.shared.questions.try_send(question).is_err() {
                    tracing::warn!("too many names wait to be looked up");
                    self.unresolved(key);
                }
            }
        }
    }

    /// Takes the answer to a question.
    pub(super) fn resolved(&mut self, Resolved { key, addresses }: Resolved) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if addresses.is_empty() {
            return self.unresolved(key);
        }
        let rule = &connection.ticket.route().rule;
        let port = target_port(&connection.ticket);
        let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let mut ordered = dial::order(addresses, rule.prefer_ipv6);
        ordered.reverse();
        if let Some(dial) = &mut connection.dial {
            dial.addresses = ordered;
        }
        self.dial(key, None);
    }

    fn unresolved(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.ticket.dns_failed();
        }
        self.end(key, Ending::Reset);
    }

    /// Tries one address, or else the next one that is left, until one is under way.
    fn dial(&mut self, key: Key, mut first: Option<IpAddr>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.target = None;
        let Some(dial) = &mut connection.dial else { return };
        loop {
            let first = first.take().map(|ip| SocketAddr::new(ip, target_port(&connection.ticket)));
            let Some(address) = first.or_else(|| dial.addresses.pop()) else { break };
            let attempt = start(address).map_err(std::io::Error::from).and_then(|socket| {
                register(self.poll.registry(), &socket, key, TARGET)?;
                Ok(socket)
            });
            match attempt {
                Ok(socket) => {
                    connection.target = Some(Leg::new(socket));
                    let limit = self.tools.now + ticks(connection.ticket.route().rule.connect_timeout);
                    return self.timers.set(key.slot(), limit.min(dial.deadline));
                }
                Err(error) => connection.ticket.connect_failed(cause_of(&error)),
            }
        }
        self.end(key, Ending::Reset);
    }

    /// Looks at an attempt that had an event.
    pub(super) fn attempted(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.client.has_failed {
            return self.end(key, Ending::Reset);
        }
        let Some(target) = connection.target.as_mut() else { return };
        if !target.has_failed && !target.is_writable {
            return;
        }
        if target.has_failed
            && let Err(error) | Ok(Err(error)) = sockopt::socket_error(&target.socket)
        {
            connection.ticket.connect_failed(cause_of(&error.into()));
            return self.dial(key, None);
        }
        connection.dial = None;
        connection.active = self.tools.now;
        self.connected(key);
    }

    /// Gives up an attempt, or the lookup, at its deadline.
    pub(super) fn dial_overdue(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.target.is_none() {
            return self.unresolved(key);
        }
        connection.ticket.connect_failed(Cause::Timeout);
        if connection.dial.as_ref().is_some_and(|dial| dial.deadline <= self.tools.now) {
            return self.end(key, Ending::Reset);
        }
        self.dial(key, None);
    }
}

fn target_port(ticket: &Ticket) -> u16 {
    dial::target_port(ticket.route().rule.listen.ports, ticket.target().ports, ticket.listener().port)
}

/// Starts to connect.
fn start(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

fn cause_of(error: &std::io::Error) -> Cause {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED) => Cause::Refused,
        Some(Errno::TIMEDOUT) => Cause::Timeout,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH) => Cause::Unreachable,
        Some(Errno::CONNRESET | Errno::CONNABORTED) => Cause::Reset,
        Some(Errno::MFILE | Errno::NFILE) => Cause::Descriptors,
        _ => Cause::Other,
    }
}

/// Makes the close of a connection that never began a reset.
pub(super) fn refuse(handed: Handed) {
    reset(&handed.client);
    drop(handed.client);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_a_cause_of_its_own() {
        assert_eq!(cause_of(&Errno::MFILE.into()), Cause::Descriptors);
        assert_eq!(cause_of(&Errno::CONNREFUSED.into()), Cause::Refused);
    }
}
