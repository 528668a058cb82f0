//! An echo request, as `ping` sends it. I/O.
//!
//! Keeps: only the answer to this very request passes; whoever else is pinged by this host does not matter.

use std::io;
use std::net::SocketAddr;

use schema::health::{Outcome, ResultCode};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::reach::{Failures, NotConnected, lacks_source};
use super::{ProbeStep, broken, failed, failed_as};

const ECHO_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;
/// Type, code, checksum, identifier and number (RFC 792, RFC 4443).
const HEADER: usize = 8;
/// By which the answer is known.
const TOKEN: usize = 16;
/// An IPv4 header with all options before the echo.
const LARGEST: usize = 60 + HEADER + TOKEN;

/// True if this process may send echo requests: by the system's ping sockets, or by CAP_NET_RAW.
pub(crate) fn is_allowed() -> bool {
    open(true).is_ok()
}

/// The socket, and whether answers come with their IP header.
fn open(is_v4: bool) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = if is_v4 { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => Ok((socket, false)),
        Err(_) => Ok((Socket::new(domain, Type::RAW, Some(protocol))?, is_v4)),
    }
}

/// Asks once.
pub(super) async fn ask(addresses: &[SocketAddr], deadline: Instant) -> ProbeStep<Outcome> {
    let mut failures = Failures::default();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        let asked = match timeout(share, echo(*address)).await {
            Ok(Ok(())) => Ok(Outcome::new(ResultCode::L7Ok, &format!("{} answered the echo request", address.ip()))),
            Ok(Err(NotConnected { error, .. })) if lacks_source(*address, &error) => {
                let detail = format!("no echo reply from {}: this host has no address to ask from", address.ip());
                failed(ResultCode::L4Con, &detail)
            }
            Ok(Err(unreached)) => {
                let detail = broken(&format!("no echo reply from {}", address.ip()), &unreached.error);
                failed_as(ResultCode::L4Con, &unreached.error, unreached.cause(*address), &detail)
            }
            Err(_) => failed(ResultCode::L7Tout, &format!("{} did not answer the echo request in time", address.ip())),
        };
        match asked {
            Ok(outcome) => return Ok(outcome),
            Err(failed) => failures.add(failed),
        }
    }
    Err(failures.verdict())
}

async fn echo(address: SocketAddr) -> Result<(), NotConnected> {
    let is_v4 = address.is_ipv4();
    let (socket, has_header) = open(is_v4)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(address.ip(), 0).into()).map_err(NotConnected::at_once)?;
    let mut token = [0; TOKEN];
    getrandom::fill(&mut token).map_err(io::Error::from)?;
    // It sends and receives like any socket of datagrams.
    let socket = UdpSocket::from_std(socket.into())?;
    socket.send(&request(is_v4, &token)).await?;
    let mut buffer = [0; LARGEST];
    loop {
        let count = socket.recv(&mut buffer).await?;
        if is_answer(&buffer[..count], is_v4, has_header, &token) {
            return Ok(());
        }
    }
}

fn request(is_v4: bool, token: &[u8; TOKEN]) -> [u8; HEADER + TOKEN] {
    let mut message = [0; HEADER + TOKEN];
    message[0] = if is_v4 { ECHO_V4 } else { ECHO_V6 };
    // The identifier: ping sockets put their own there.
    message[4..6].copy_from_slice(&token[..2]);
    message[7] = 1;
    message[HEADER..].copy_from_slice(token);
    if is_v4 {
        // Of ICMPv6 the kernel makes it, for the addresses are part of it.
        let checksum = checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

fn is_answer(packet: &[u8], is_v4: bool, has_header: bool, token: &[u8; TOKEN]) -> bool {
    // The length of an IPv4 header is in its first byte, in words of four.
    let header = if has_header { packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4) } else { 0 };
    let Some(message) = packet.get(header..) else { return false };
    let reply = if is_v4 { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    message.first() == Some(&reply) && message.get(HEADER..) == Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_this_request_counts_with_or_without_its_ip_header() {
        let token = [7; TOKEN];
        let mut message = request(true, &token);
        assert_eq!(checksum(&message), 0, "the sum over a correct message");
        assert!(!is_answer(&message, true, false, &token), "the request itself, as loopback shows it");
        message[0] = ECHO_REPLY_V4;
        assert!(is_answer(&message, true, false, &token));
        assert!(!is_answer(&message, true, false, &[8; TOKEN]));
        let packet = [&[0x45; 20][..], &message].concat();
        assert!(is_answer(&packet, true, true, &token));
        assert!(!is_answer(&packet[..25], true, true, &token) && !is_answer(&[], true, true, &token));
    }
}
