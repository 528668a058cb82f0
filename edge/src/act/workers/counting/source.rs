//! Where a connection comes from, in little room. Values.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address and port of a client. An IPv4-mapped address is the IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Source {
    // No type that is aligned: there is one in every connection.
    ip: [u8; 16],
    port: [u8; 2],
}

impl Source {
    /// The address.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.ip).to_canonical()
    }

    /// Address and port.
    pub fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip(), u16::from_be_bytes(self.port))
    }
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: address.port().to_be_bytes() }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_it_is_meant() {
        for (given, kept) in [
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
            ("[::]:1", "[::]:1"),
        ] {
            assert_eq!(Source::from(given.parse::<SocketAddr>().expect("an address")).to_string(), kept);
        }
        assert_eq!(size_of::<Source>(), 18);
    }
}
