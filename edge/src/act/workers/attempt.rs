//! One attempt to connect to one address. I/O.
//!
//! Keeps: it waits for nothing; what fails has a cause.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getpeername, getsockname, socket_with, sockopt};

use super::slab::Key;
use crate::act::descriptors::for_client;
use crate::act::interfaces;
use crate::decide::faults::{Cause, fault_of};

/// Lets a worker hear of everything that happens to a socket.
pub(super) fn register(registry: &Registry, socket: &OwnedFd, key: Key, leg: u8) -> std::io::Result<()> {
    // Urgent data is an event of its own: it ends what a read returns.
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(key.pack(leg)), interest)
}

/// Starts to connect.
pub(super) fn start(address: SocketAddr, registry: &Registry, key: Key, leg: u8) -> Result<OwnedFd, Cause> {
    let socket = open(address).map_err(|error| cause_of(error, address))?;
    register(registry, &socket, key, leg).map_err(|error| fault_of(&error))?;
    Ok(socket)
}

/// Whose fault it is that a socket is not connected to an address.
pub(super) fn cause_of(error: Errno, address: SocketAddr) -> Cause {
    match fault_of(&error.into()) {
        Cause::SourcePorts if error == Errno::ADDRNOTAVAIL && !interfaces::has_source(address) => Cause::Unreachable,
        cause => cause,
    }
}

/// A socket towards an address, for a client: it takes nothing of the reserve.
pub(super) fn socket_to(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    for_client(socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket_to(address, SocketType::STREAM)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // Before the first byte: an urgent byte that is at the head of the queue when this is set is lost.
    sockopt::set_socket_oobinline(&socket, true)?;
    // The port that the system picks may be one that a rule is to listen on, now or within the minute that the closed
    // connection lingers: both have to agree to share it.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// True for a connection that came in at its own socket, as happens at a port of this host where nobody listens and
/// that the system gives to the socket itself.
pub(super) fn meets_itself(socket: &OwnedFd) -> bool {
    matches!((getsockname(socket), getpeername(socket)), (Ok(local), Ok(peer)) if Some(&local) == peer.as_ref())
}

/// Why a socket is broken that had an event saying so; `None` where it is not. The kernel tells it once.
pub(super) fn failure(socket: &OwnedFd) -> Option<Errno> {
    match sockopt::socket_error(socket) {
        Err(error) | Ok(Err(error)) => Some(error),
        Ok(Ok(())) => None,
    }
}

/// True if the peer has sent something that was not read yet; of a broken socket that is all that it will ever send.
pub(super) fn has_sent(socket: &OwnedFd) -> bool {
    ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_came_in_at_its_own_socket_is_known_from_others() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        assert!(meets_itself(&socket.into()));
        let listener = std::net::TcpListener::bind(any).unwrap();
        let other = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!meets_itself(&other.into()));
    }
}
