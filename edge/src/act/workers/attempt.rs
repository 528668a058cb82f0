//! One attempt to connect to one address. I/O.
//!
//! Keeps: it waits for nothing; what fails has a cause.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::slab::Key;
use crate::act::descriptors::for_client;
use crate::decide::faults::Cause;

/// Lets a worker hear of everything that happens to a socket.
pub(super) fn register(registry: &Registry, socket: &OwnedFd, key: Key, leg: u8) -> std::io::Result<()> {
    // Urgent data is an event of its own: it ends what a read returns.
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(key.pack(leg)), interest)
}

/// Starts to connect.
pub(super) fn start(address: SocketAddr, registry: &Registry, key: Key, leg: u8) -> Result<OwnedFd, Cause> {
    let socket = open(address).map_err(|error| Cause::of(&error.into()))?;
    register(registry, &socket, key, leg).map_err(|error| Cause::of(&error))?;
    Ok(socket)
}

fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = for_client(socket_with(family, SocketType::STREAM, flags, None)?)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Why an attempt failed that had an event saying so; `None` where it did not.
pub(super) fn failure(socket: &OwnedFd) -> Option<Cause> {
    match sockopt::socket_error(socket) {
        Err(error) | Ok(Err(error)) => Some(Cause::of(&error.into())),
        Ok(Ok(())) => None,
    }
}
