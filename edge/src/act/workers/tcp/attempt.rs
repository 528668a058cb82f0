//! One attempt to connect to one address. I/O.
//!
//! Keeps: it waits for nothing; what fails has a cause.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{SocketType, connect, sockopt};

use super::super::slab::Key;
use super::super::targets::outgoing::{cause_of, socket_to};
use super::connection::CLIENT;
use crate::decide::faults::{ConnectCause, fault_of};

/// Everything that happens to a socket. Urgent data is an event of its own: it ends what a read returns.
const EVERYTHING: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

/// Lets a worker hear of everything that happens to the socket of a target.
fn register(registry: &Registry, socket: &OwnedFd, key: Key, leg: u8) -> std::io::Result<()> {
    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(key.pack(leg)), EVERYTHING)
}

/// The same for the socket of a client, of which the worker may have heard something before.
pub(super) fn watch_client(registry: &Registry, socket: &OwnedFd, key: Key, is_watched: bool) -> std::io::Result<()> {
    let (descriptor, token) = (socket.as_raw_fd(), Token(key.pack(CLIENT)));
    let mut source = SourceFd(&descriptor);
    if is_watched {
        registry.reregister(&mut source, token, EVERYTHING)
    } else {
        registry.register(&mut source, token, EVERYTHING)
    }
}

/// Starts to connect.
pub(super) fn start(address: SocketAddr, registry: &Registry, key: Key, leg: u8) -> Result<OwnedFd, ConnectCause> {
    let socket = open(address).map_err(|error| cause_of(error, address))?;
    register(registry, &socket, key, leg).map_err(|error| fault_of(&error))?;
    Ok(socket)
}

fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket_to(address, SocketType::STREAM)?;
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
