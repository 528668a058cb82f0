//! Sockets to targets, as TCP and UDP both need them. I/O.
//!
//! Keeps: what fails has a cause; a socket takes nothing of the reserve of descriptors.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, getpeername, getsockname, socket_with};

use crate::act::descriptors::for_client;
use crate::act::interfaces;
use crate::decide::faults::{ConnectCause, fault_at_once};

/// Whose fault it is that a socket cannot even begin to connect to an address.
pub(crate) fn cause_of(error: Errno, address: SocketAddr) -> ConnectCause {
    match fault_at_once(&error.into(), address) {
        ConnectCause::SourcePorts if error == Errno::ADDRNOTAVAIL && !interfaces::has_source(address) => {
            ConnectCause::Unreachable
        }
        cause => cause,
    }
}

/// A socket towards an address, for a client: it takes nothing of the reserve.
pub(crate) fn socket_to(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    for_client(socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

/// True for a connection that came in at its own socket, as happens at a port of this host where nobody listens and
/// that the system gives to the socket itself.
pub(crate) fn meets_itself(socket: &OwnedFd) -> bool {
    matches!((getsockname(socket), getpeername(socket)), (Ok(local), Ok(peer)) if Some(&local) == peer.as_ref())
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
