//! The header with which a load balancer in front says whom it connects for: PROXY protocol, versions 1 and 2. Pure.
//!
//! It is read from bytes that are still in the kernel, again and again until it is whole; what is behind it belongs to
//! the target. `decide/proxy.rs` writes the header that targets are sent.
//!
//! Keeps: no bytes make it panic; a header is taken only if it is whole and says nothing that the protocol forbids;
//! an IPv4-mapped address is the IPv4 one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is taken. Version 2 allows 64 KiB of extensions, of which load balancers send some hundred
/// bytes; HAProxy takes what fits into its buffer, which is as large.
pub const LONGEST: usize = 16 << 10;

/// The longest header of version 1, with the end of its line (section 2.1).
const LONGEST_V1: usize = 107;
const WORD_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = &[0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/// Signature, version and command, family, length (section 2.2).
const FIXED_V2: usize = 16;
/// Addresses and ports of a stream, by family.
const ADDRESSES_V4: usize = 12;
const ADDRESSES_V6: usize = 36;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientHeader {
    /// The beginning of a header.
    Partial,
    /// A whole one.
    Whole {
        /// So many bytes of what was read.
        length: usize,
        /// Whom it names; `None` where it names nobody, which means the connection's own addresses.
        ends: Option<HeaderEnds>,
    },
    /// Something else.
    Invalid,
}

/// Both ends of the client's connection, as the load balancer sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderEnds {
    /// Where the client is.
    pub client: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
}

/// Reads the header at the beginning of what a connection has sent so far.
pub fn read(bytes: &[u8]) -> ClientHeader {
    if begins(bytes, SIGNATURE_V2) {
        read_v2(bytes)
    } else if begins(bytes, WORD_V1) {
        read_v1(bytes)
    } else {
        ClientHeader::Invalid
    }
}

/// True if the bytes begin as this does, as far as there are any.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(byte, expected)| byte == expected)
}

fn read_v1(bytes: &[u8]) -> ClientHeader {
    let line = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_V1 { ClientHeader::Partial } else { ClientHeader::Invalid };
    };
    let length = end + 2;
    let Some(text) = line.get(WORD_V1.len()..end).and_then(|rest| str::from_utf8(rest).ok()) else {
        return ClientHeader::Invalid;
    };
    // Whatever stands behind this word is to be ignored.
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return ClientHeader::Whole { length, ends: None };
    }
    match ends_v1(text) {
        Some(ends) => ClientHeader::Whole { length, ends: Some(ends) },
        None => ClientHeader::Invalid,
    }
}

fn ends_v1(text: &str) -> Option<HeaderEnds> {
    let mut words = text.split(' ');
    let address: fn(&str) -> Option<IpAddr> = match words.next()? {
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical()),
        _ => return None,
    };
    let (client, local) = (address(words.next()?)?, address(words.next()?)?);
    let (client_port, local_port) = (port_v1(words.next()?)?, port_v1(words.next()?)?);
    let is_over = words.next().is_none();
    is_over
        .then(|| HeaderEnds { client: SocketAddr::new(client, client_port), local: SocketAddr::new(local, local_port) })
}

/// Digits alone, and no needless zero before them.
fn port_v1(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word.len() == 1 || !word.starts_with('0'));
    is_plain.then(|| word.parse().ok()).flatten()
}

fn read_v2(bytes: &[u8]) -> ClientHeader {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_V2) else { return ClientHeader::Partial };
    let [command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let size = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return ClientHeader::Invalid,
    };
    // Families and transports that the protocol does not have must not be sent (section 2.2).
    if FIXED_V2 + size > LONGEST || family >> 4 > 3 || family & 0x0f > 2 {
        return ClientHeader::Invalid;
    }
    let needed = match family {
        0x11 if !is_local => ADDRESSES_V4,
        0x21 if !is_local => ADDRESSES_V6,
        _ => 0,
    };
    if size < needed {
        return ClientHeader::Invalid;
    }
    let Some(body) = rest.get(..size) else { return ClientHeader::Partial };
    let length = FIXED_V2 + size;
    ClientHeader::Whole { length, ends: ends_v2(needed, body) }
}

fn ends_v2(needed: usize, body: &[u8]) -> Option<HeaderEnds> {
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    let ip = |at: usize| match needed {
        ADDRESSES_V4 => Some(IpAddr::V4(Ipv4Addr::from_octets(body.get(at..at + 4)?.try_into().ok()?))),
        ADDRESSES_V6 => Some(IpAddr::V6(Ipv6Addr::from_octets(body.get(at..at + 16)?.try_into().ok()?)).to_canonical()),
        _ => None,
    };
    let width = if needed == ADDRESSES_V4 { 4 } else { 16 };
    Some(HeaderEnds {
        client: SocketAddr::new(ip(0)?, port(2 * width)?),
        local: SocketAddr::new(ip(width)?, port(2 * width + 2)?),
    })
}

#[cfg(test)]
mod tests;
