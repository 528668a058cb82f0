//! Echoes datagrams, many per call, so that the target costs as little as it can. I/O.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{self, MsgFlags, MultiHeaders, SockaddrIn};
use rustix::net::sockopt;

/// Datagrams per call.
const BATCH: usize = 64;
/// What a workload sends at most.
const LONGEST: usize = 2048;
/// Room for what a thousand clients have under way.
const QUEUE: usize = 4 << 20;

pub fn bind(port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
    Ok(socket)
}

/// Echoes until the process is killed.
pub fn echo(socket: &UdpSocket) -> io::Result<()> {
    let mut buffers = vec![[0; LONGEST]; BATCH];
    let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let (mut lengths, mut clients) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    loop {
        lengths.clear();
        clients.clear();
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let Ok(received) = socket::recvmmsg(socket.as_raw_fd(), &mut incoming, slices.iter_mut(), flags, None) else {
            // What an earlier reply met at a client that has gone.
            continue;
        };
        for message in received {
            lengths.push(message.bytes);
            clients.push(message.address);
        }
        let mut first = 0;
        while first < lengths.len() {
            let replies: Vec<_> =
                (first..lengths.len()).map(|at| [IoSlice::new(&buffers[at][..lengths[at]])]).collect();
            let sent = socket::sendmmsg(
                socket.as_raw_fd(),
                &mut outgoing,
                replies.iter(),
                &clients[first..],
                [],
                MsgFlags::empty(),
            );
            // One that cannot be sent is lost, as datagrams may be.
            first += sent.map_or(1, |sent| sent.count().max(1));
        }
    }
}
