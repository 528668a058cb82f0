//! Asks the kernel what a peer has acknowledged (`sock_diag`, which is what `ss` asks). I/O.
//!
//! Two system calls for one socket: it is asked about only where something is left waiting, or a side has failed.
//!
//! Keeps: an answer is about the socket that was asked about; where the kernel does not answer, nothing is made up.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, getpeername, getsockname, netlink, recv, send,
    socket_with,
};

use crate::decide::patience::Look;

/// `SOCK_DIAG_BY_FAMILY`: type of a question and of its answer.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_req_v2`, and of `struct inet_diag_msg`.
const QUESTION: usize = 56;
const ANSWER: usize = 72;
/// Where `idiag_wqueue` is in the latter.
const WRITE_QUEUE: usize = 60;
/// `INET_DIAG_INFO`: the attribute that is a `struct tcp_info`, and the bit that asks for it.
const INFO: u16 = 2;
const WANTS_INFO: u8 = 1 << (INFO - 1);
/// Where `tcpi_last_ack_recv` (milliseconds) and `tcpi_bytes_acked` are in it.
const LAST_ACK: usize = 56;
const BYTES_ACKED: usize = 120;

/// The kernel, as far as it answers.
pub(super) struct Kernel {
    socket: Option<OwnedFd>,
    is_silent: bool,
    sequence: u32,
}

impl Kernel {
    /// Ready to ask, so that it can be asked without a descriptor to spare.
    pub(super) fn new() -> Self {
        Self { socket: open().ok(), is_silent: false, sequence: 0 }
    }

    /// What is known of what was sent on a socket; `None` where the kernel does not answer. Of a socket that is not
    /// connected any more nothing waits.
    pub(super) fn look(&mut self, socket: &OwnedFd) -> Option<Look> {
        const CLOSED: Look = Look { waiting: 0, acknowledged: 0, silent_for: Duration::ZERO };
        let local = getsockname(socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
        let peer = getpeername(socket).ok().flatten().and_then(|address| SocketAddr::try_from(address).ok());
        let (Some(local), Some(peer)) = (local, peer) else { return Some(CLOSED) };
        match self.ask(local, peer) {
            Ok(look) => Some(look),
            Err(Errno::NOENT) => Some(CLOSED),
            Err(error) => {
                if !std::mem::replace(&mut self.is_silent, true) {
                    tracing::warn!(%error, "the acknowledgements of peers cannot be read: slow peers are ended after \
                        two minutes");
                }
                None
            }
        }
    }

    fn ask(&mut self, local: SocketAddr, peer: SocketAddr) -> Result<Look, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let socket = if let Some(socket) = &self.socket { socket } else { self.socket.insert(open()?) };
        send(socket, &question(self.sequence, local, peer), SendFlags::empty())?;
        let mut buffer = [0; 1024];
        // The kernel has answered by now; an answer to an earlier question may be left.
        loop {
            let (_, length) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
            if let Some(answer) = read(&buffer[..length], self.sequence) {
                return answer;
            }
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))
}

fn question(sequence: u32, local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let (local_ip, peer_ip) = (local.ip().to_canonical(), peer.ip().to_canonical());
    let family = if peer_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let interface = match peer {
        SocketAddr::V6(peer) => peer.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let mut bytes = Vec::with_capacity(HEADER + QUESTION);
    bytes.extend(((HEADER + QUESTION) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    // TCP, in any state.
    bytes.extend([family.as_raw() as u8, 6, WANTS_INFO, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    for ip in [local_ip, peer_ip] {
        let mut field = [0; 16];
        match ip {
            IpAddr::V4(ip) => field[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => field = ip.octets(),
        }
        bytes.extend(field);
    }
    bytes.extend(interface.to_ne_bytes());
    // Whatever cookie the socket has.
    bytes.extend([0xff; 8]);
    bytes
}

/// The answer to the question of that number; `None` where it is to another one.
fn read(message: &[u8], sequence: u32) -> Option<Result<Look, Errno>> {
    let short = Errno::BADMSG;
    if u32_at(message, 8)? != sequence {
        return None;
    }
    let answer = &message[HEADER.min(message.len())..];
    match u16_at(message, 4)? {
        ERROR => {
            let code = u32_at(answer, 0)?.cast_signed();
            Some(Err(Errno::from_raw_os_error(-code)))
        }
        BY_FAMILY => Some(look(answer).ok_or(short)),
        _ => Some(Err(short)),
    }
}

fn look(answer: &[u8]) -> Option<Look> {
    let mut attributes = answer.get(ANSWER..)?;
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let content = attributes.get(4..usize::from(length))?;
        if kind == INFO {
            let acknowledged = content.get(BYTES_ACKED..BYTES_ACKED + 8)?.try_into().ok()?;
            return Some(Look {
                waiting: u32_at(answer, WRITE_QUEUE)?,
                acknowledged: u64::from_ne_bytes(acknowledged),
                silent_for: Duration::from_millis(u32_at(content, LAST_ACK)?.into()),
            });
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_waits_for_a_peer_is_known_until_it_has_taken_it_over_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut receiver, _) = listener.accept().unwrap();
            sender.set_nonblocking(true).unwrap();
            let mut sent = 0;
            loop {
                match sender.write(&[7; 16 << 10]) {
                    Ok(length) => sent += length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let (mut kernel, socket) = (Kernel::new(), OwnedFd::from(sender));
            let before = kernel.look(&socket).unwrap();
            assert!(before.waiting > 0 && before.acknowledged > 0 && u64::from(before.waiting) < sent as u64);
            receiver.read_exact(&mut vec![0; sent]).unwrap();
            let mut after = kernel.look(&socket).unwrap();
            let start = std::time::Instant::now();
            while after.waiting > 0 && start.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
                after = kernel.look(&socket).unwrap();
            }
            assert_eq!((after.waiting, after.acknowledged >= sent as u64), (0, true), "{after:?}");
            assert!(after.silent_for < Duration::from_secs(10));
        }
    }
}
