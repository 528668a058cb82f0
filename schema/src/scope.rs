//! Link-local addresses with the interface that they are on (RFC 4007, 11): `fe80::1%eth0`. Pure.

use std::fmt;
use std::net::Ipv6Addr;

/// Longest name of an interface on Linux (IFNAMSIZ without the final zero).
const MAX_ZONE: usize = 15;

/// The interface of a scoped address: its name, or its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    bytes: [u8; MAX_ZONE],
    length: u8,
}

impl Zone {
    fn parse(text: &str) -> Option<Self> {
        let is_name = (1..=MAX_ZONE).contains(&text.len())
            && !matches!(text, "." | "..")
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%[]\"\\".contains(&byte));
        if !is_name {
            return None;
        }
        let mut bytes = [0; MAX_ZONE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: text.len() as u8 })
    }

    /// As it is written behind the `%`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("only ASCII is parsed")
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Why a text is not a scoped address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// What stands before the `%` is something else.
    #[error("only an IPv6 address can have an interface after `%`")]
    Address,
    /// The address is the same on every interface.
    #[error("only a link-local address (fe80::/10) can have an interface after `%`")]
    NotLocal,
    /// What stands behind the `%` names no interface.
    #[error("the name of an interface has 1 to {MAX_ZONE} printable characters, as in fe80::1%eth0")]
    Zone,
}

/// An address that means a host only together with an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopedIp {
    ip: Ipv6Addr,
    zone: Zone,
}

impl ScopedIp {
    /// Parses `fe80::1%eth0`, without brackets.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        let (ip, zone) = text.split_once('%').ok_or(InvalidScope::Zone)?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| InvalidScope::Address)?;
        if !needs_zone(ip) {
            return Err(InvalidScope::NotLocal);
        }
        Ok(Self { ip, zone: Zone::parse(zone).ok_or(InvalidScope::Zone)? })
    }

    /// The address without its interface.
    pub const fn ip(&self) -> Ipv6Addr {
        self.ip
    }

    /// The interface.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }
}

impl fmt::Display for ScopedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%{}", self.ip, self.zone.as_str())
    }
}

/// True for addresses that exist once per interface: link-local ones, and groups of one link or host (`ff01::`,
/// `ff02::`).
pub const fn needs_zone(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    ip.is_unicast_link_local() || (first & 0xff00 == 0xff00 && matches!(first & 0xf, 1 | 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scoped_address_is_read_back_from_its_text() {
        for text in ["fe80::1%eth0", "fe80::abcd%2", "febf::1%a.b-c_d@e", "ff02::1%lo"] {
            assert_eq!(ScopedIp::parse(text).map(|scoped| scoped.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(ScopedIp::parse("FE80:0::1%eth0").map(|scoped| scoped.to_string()).as_deref(), Ok("fe80::1%eth0"));
    }

    #[test]
    fn what_is_no_scoped_address_says_why() {
        for (text, why) in [
            ("10.0.0.1%eth0", InvalidScope::Address),
            ("eth0%fe80::1", InvalidScope::Address),
            ("2001:db8::1%eth0", InvalidScope::NotLocal),
            ("::1%lo", InvalidScope::NotLocal),
            ("ff05::1%eth0", InvalidScope::NotLocal),
            ("fe80::1", InvalidScope::Zone),
            ("fe80::1%", InvalidScope::Zone),
            ("fe80::1%eth0%eth1", InvalidScope::Zone),
            ("fe80::1%a b", InvalidScope::Zone),
            ("fe80::1%..", InvalidScope::Zone),
            ("fe80::1%sixteen-letters0", InvalidScope::Zone),
        ] {
            assert_eq!(ScopedIp::parse(text), Err(why), "{text}");
        }
    }
}
