//! The header that tells a target who connects: PROXY protocol, versions 1 and 2, as HAProxy publishes it. Pure.
//!
//! Keeps: an IPv4-mapped address is written as the IPv4 one; a header fits into one segment of any network.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use schema::rule::ProxyProtocol;

/// The longest header: the text one of version 1 with two long IPv6 addresses (section 2.1, without its final zero).
pub const MAX_HEADER: usize = 107;
/// What version 2 begins with (section 2.2).
const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// A stream over IPv4, and the bytes of its two addresses and ports.
const STREAM_IPV4: (u8, u16) = (0x11, 12);
/// The same over IPv6.
const STREAM_IPV6: (u8, u16) = (0x21, 36);

/// A connection of the edge itself, in version 2: command LOCAL, no addresses.
const LOCAL_V2: [u8; 16] =
    [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00];
/// The same in version 1, which has no word for it but this (section 2.1).
const UNKNOWN_V1: &[u8] = b"PROXY UNKNOWN\r\n";

/// The header of a connection that the edge makes for itself, as a health check: no client stands behind it.
pub const fn of_own(version: ProxyProtocol) -> &'static [u8] {
    match version {
        ProxyProtocol::V1 => UNKNOWN_V1,
        ProxyProtocol::V2 => &LOCAL_V2,
    }
}

/// A header, ready to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; MAX_HEADER],
    length: usize,
}

impl Header {
    /// For a connection of a client to an address of this host.
    ///
    /// # Panics
    /// Never: the longest header fits, by [`MAX_HEADER`].
    pub fn new(version: ProxyProtocol, client: SocketAddr, local: SocketAddr) -> Self {
        let mut header = Self { bytes: [0; MAX_HEADER], length: 0 };
        let ends = Ends::of(client, local);
        match version {
            ProxyProtocol::V1 => header.write_text(&ends),
            ProxyProtocol::V2 => header.write_binary(&ends),
        }
        header
    }

    /// What is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn write_text(&mut self, ends: &Ends) {
        let mut rest = &mut self.bytes[..];
        let Ends { client, local, client_port, local_port } = ends;
        let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
        write!(rest, "PROXY {family} {client} {local} {client_port} {local_port}\r\n").expect("MAX_HEADER is enough");
        self.length = MAX_HEADER - rest.len();
    }

    fn write_binary(&mut self, ends: &Ends) {
        let (family, length) = if ends.client.is_ipv4() { STREAM_IPV4 } else { STREAM_IPV6 };
        self.push(&SIGNATURE);
        self.push(&[PROXY, family]);
        self.push(&length.to_be_bytes());
        for ip in [ends.client, ends.local] {
            match ip {
                IpAddr::V4(ip) => self.push(&ip.octets()),
                IpAddr::V6(ip) => self.push(&ip.octets()),
            }
        }
        self.push(&ends.client_port.to_be_bytes());
        self.push(&ends.local_port.to_be_bytes());
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// Both ends, in one family.
struct Ends {
    client: IpAddr,
    local: IpAddr,
    client_port: u16,
    local_port: u16,
}

impl Ends {
    fn of(client: SocketAddr, local: SocketAddr) -> Self {
        let mut ips = [client, local].map(|end| end.ip().to_canonical());
        if ips[0].is_ipv4() != ips[1].is_ipv4() {
            ips = ips.map(|ip| IpAddr::V6(as_ipv6(ip)));
        }
        let [from, to] = ips;
        Self { client: from, local: to, client_port: client.port(), local_port: local.port() }
    }
}

fn as_ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyProtocol, client: &str, local: &str) -> Vec<u8> {
        let end = |text: &str| text.parse().expect("an address with a port");
        Header::new(version, end(client), end(local)).as_bytes().to_vec()
    }

    #[test]
    fn the_text_names_family_addresses_and_ports_and_ends_its_line() {
        let v1 = |client, local| String::from_utf8(header(ProxyProtocol::V1, client, local)).expect("text");
        // The example of section 2.1.
        assert_eq!(v1("192.168.0.1:56324", "192.168.0.11:443"), "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
        assert_eq!(v1("[2001:db8::1]:1", "[::1]:65535"), "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
        assert_eq!(v1("[::ffff:192.0.2.1]:9", "[::ffff:127.0.0.1]:8"), "PROXY TCP4 192.0.2.1 127.0.0.1 9 8\r\n");
    }

    #[test]
    fn the_longest_text_is_as_long_as_the_specification_says_it_may_be() {
        let end = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        // Without `UNKNOWN`, which the limit of 107 bytes makes room for, 104 are the most.
        assert_eq!(header(ProxyProtocol::V1, end, end).len(), 104);
        assert!(header(ProxyProtocol::V1, end, end).len() <= MAX_HEADER);
    }

    #[test]
    fn the_binary_header_is_the_published_one_byte_by_byte() {
        let signature = *b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A";
        let ipv4 = [&signature[..], &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 127, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb]].concat();
        assert_eq!(header(ProxyProtocol::V2, "192.0.2.1:56324", "127.0.0.1:443"), ipv4);
        assert_eq!(header(ProxyProtocol::V2, "[::ffff:192.0.2.1]:56324", "[::ffff:127.0.0.1]:443"), ipv4);
        let mut ipv6 = [&signature[..], &[0x21, 0x21, 0, 36, 0x20, 0x01, 0x0d, 0xb8]].concat();
        ipv6.extend([0; 11]);
        ipv6.push(1);
        ipv6.extend([0; 15]);
        ipv6.extend([2, 0, 1, 0xff, 0xff]);
        assert_eq!(header(ProxyProtocol::V2, "[2001:db8::1]:1", "[::2]:65535"), ipv6);
    }

    #[test]
    fn a_connection_of_the_edge_itself_names_nobody() {
        assert_eq!(of_own(ProxyProtocol::V1), b"PROXY UNKNOWN\r\n");
        let local = of_own(ProxyProtocol::V2);
        assert_eq!((&local[..12], &local[12..]), (&SIGNATURE[..], &[0x20, 0, 0, 0][..]));
    }

    #[test]
    fn ends_of_two_families_are_written_in_the_larger_one() {
        let v1 = header(ProxyProtocol::V1, "192.0.2.1:9", "[2001:db8::1]:8");
        assert_eq!(v1, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 9 8\r\n");
    }
}
