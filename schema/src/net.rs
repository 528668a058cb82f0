//! Ports, addresses and listeners: the sockets that rules are about. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::scope::ScopedIp;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// As in a rule file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A non-empty range of ports, both ends included; port 0 is never in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`, or `None` if that is empty or starts at 0.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// The range of one port, `None` for port 0.
    pub const fn single(port: u16) -> Option<Self> {
        Self::new(port, port)
    }

    /// Parses what [`fmt::Display`] writes: `80` or `30000-30050`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(first.parse().ok()?, last.parse().ok()?)
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports, at least 1.
    pub const fn width(self) -> u32 {
        (self.last - self.first) as u32 + 1
    }

    /// True if it is one port.
    pub const fn is_single(self) -> bool {
        self.first == self.last
    }

    /// True if the port is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// True if the two share a port.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ports of both, if there are any.
    pub const fn intersection(self, other: Self) -> Option<Self> {
        let first = if self.first > other.first { self.first } else { other.first };
        let last = if self.last < other.last { self.last } else { other.last };
        Self::new(first, last)
    }

    /// Every port, ascending.
    pub fn ports(self) -> impl DoubleEndedIterator<Item = u16> + ExactSizeIterator {
        // An exclusive range cannot hold 65535 as its end in u16, an inclusive one has no exact size.
        let first = self.first;
        (0..self.width() as usize).map(move |offset| first + offset as u16)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Where a rule listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// All addresses, IPv4 and IPv6, on one descriptor.
    Any,
    /// One address; `0.0.0.0` is all of IPv4 only and `::` all of IPv6 only.
    Ip(IpAddr),
    /// An address of one link.
    Scoped(ScopedIp),
}

impl ListenAddress {
    /// Parses an address without brackets, with its interface where it has one.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(ip) => Some(Self::Ip(ip)),
            Err(_) => ScopedIp::parse(text).ok().map(Self::Scoped),
        }
    }

    /// The address without its interface; `None` for all addresses.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Any => None,
            Self::Ip(ip) => Some(ip),
            Self::Scoped(scoped) => Some(IpAddr::V6(scoped.ip())),
        }
    }

    /// As [`ListenAddress::parse`] reads it; `None` for all addresses.
    pub fn to_text(self) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Ip(ip) => Some(ip.to_string()),
            Self::Scoped(scoped) => Some(scoped.to_string()),
        }
    }

    /// True if one socket on each could receive the same connection.
    pub fn overlaps(self, other: Self) -> bool {
        match (self.ip(), other.ip()) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => {
                self == other || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
            }
        }
    }

    /// True if it needs IPv6 on the host to be bound at all. `Any` falls back to IPv4.
    pub fn is_ipv6_only(self) -> bool {
        matches!(self.ip(), Some(IpAddr::V6(_)))
    }

    /// The address to hand to `bind`: `::` for [`ListenAddress::Any`].
    pub const fn bind_ip(self) -> IpAddr {
        match self.ip() {
            None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            Some(ip) => ip,
        }
    }

    /// `0.0.0.0`.
    pub const fn all_ipv4() -> Self {
        Self::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Scoped(scoped) => write!(f, "[{scoped}]"),
        }
    }
}

/// One socket to listen on: the unit that an edge binds, keeps and releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address.
    pub address: ListenAddress,
    /// The port, never 0.
    pub port: u16,
}

impl Listener {
    /// Parses what [`fmt::Display`] writes: `*:80`, `127.0.0.1:80`, `[::1]:53/udp`.
    pub fn parse(text: &str) -> Option<Self> {
        let range = ListenRange::parse(text)?;
        range.ports.is_single().then(|| range.at(range.ports.first()))
    }

    /// True if both cannot be bound at the same time.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.port == other.port && self.address.overlaps(other.address)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)?;
        if self.protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

/// All the sockets of one rule: the same protocol and address over a range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenRange {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address.
    pub address: ListenAddress,
    /// The ports.
    pub ports: PortRange,
}

impl ListenRange {
    /// Parses what [`fmt::Display`] writes: `*:80`, `127.0.0.1:8000-8009`, `[::1]:53/udp`.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, protocol) = match text.strip_suffix("/udp") {
            Some(place) => (place, Protocol::Udp),
            None => (text, Protocol::Tcp),
        };
        let (address, ports) = place.rsplit_once(':')?;
        let address = match address {
            "*" => ListenAddress::Any,
            text => ListenAddress::parse(text.trim_start_matches('[').trim_end_matches(']'))?,
        };
        Some(Self { protocol, address, ports: PortRange::parse(ports)? })
    }

    /// Its sockets, in port order.
    pub fn listeners(self) -> impl DoubleEndedIterator<Item = Listener> + ExactSizeIterator {
        self.ports.ports().map(move |port| Listener { protocol: self.protocol, address: self.address, port })
    }

    /// The socket of this protocol and address on any port.
    pub const fn at(self, port: u16) -> Listener {
        Listener { protocol: self.protocol, address: self.address, port }
    }

    /// True if the socket is one of them.
    pub fn contains(&self, listener: Listener) -> bool {
        self.protocol == listener.protocol && self.address == listener.address && self.ports.contains(listener.port)
    }

    /// True if a socket of one conflicts with a socket of the other.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.ports.overlaps(other.ports) && self.address.overlaps(other.address)
    }
}

impl fmt::Display for ListenRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.ports)?;
        if self.protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

/// A set of ports as sorted, disjoint, non-adjacent ranges. Plans stay small however wide the rules are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSet {
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// The set of any ranges, which may overlap.
    pub fn from_ranges(ranges: impl IntoIterator<Item = PortRange>) -> Self {
        let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(previous) if u32::from(range.first) <= u32::from(previous.last) + 1 => {
                    previous.last = previous.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// How many ports.
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|range| range.width()).sum()
    }

    /// True if it holds no port.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Splits a range into its ports inside and outside of the set.
    pub fn split(&self, range: PortRange) -> (Self, Self) {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        let mut next = u32::from(range.first);
        let from = self.ranges.partition_point(|own| own.last < range.first);
        for own in self.ranges[from..].iter().take_while(|own| own.first <= range.last) {
            let start = own.first.max(range.first);
            let end = own.last.min(range.last);
            if u32::from(start) > next {
                outside.push(PortRange { first: next as u16, last: start - 1 });
            }
            inside.push(PortRange { first: start, last: end });
            next = u32::from(end) + 1;
        }
        if next <= u32::from(range.last) {
            outside.push(PortRange { first: next as u16, last: range.last });
        }
        (Self { ranges: inside }, Self { ranges: outside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).expect("a range")
    }

    #[test]
    fn a_full_range_has_65535_ports_and_the_highest_is_65535() {
        let full = range(1, 65535);
        assert_eq!(full.ports().len(), 65535);
        assert_eq!(full.ports().next_back(), Some(65535));
    }

    #[test]
    fn splitting_keeps_every_port_once() {
        let set = PortSet::from_ranges([range(10, 19), range(30, 39), range(20, 22)]);
        assert_eq!(set.ranges(), &[range(10, 22), range(30, 39)]);
        let (inside, outside) = set.split(range(15, 45));
        assert_eq!(inside.ranges(), &[range(15, 22), range(30, 39)]);
        assert_eq!(outside.ranges(), &[range(23, 29), range(40, 45)]);
        let (none, all) = PortSet::default().split(range(1, 65535));
        assert!(none.is_empty());
        assert_eq!(all.len(), 65535);
    }

    #[test]
    fn a_listener_is_read_back_from_its_text() {
        for text in ["*:80", "127.0.0.1:8080", "[::1]:53/udp", "0.0.0.0:1", "[fe80::1%eth0]:80"] {
            assert_eq!(Listener::parse(text).map(|listener| listener.to_string()).as_deref(), Some(text));
        }
        for text in ["*:80", "0.0.0.0:8000-8009", "[::1]:53/udp", "[fe80::1%eth0]:80-90/udp"] {
            assert_eq!(ListenRange::parse(text).map(|range| range.to_string()).as_deref(), Some(text));
        }
        for text in ["", "80", "*:", "*:0", "*:9-8", "*:8-", "localhost:80", "*:web"] {
            assert_eq!(ListenRange::parse(text), None, "{text}");
        }
        assert_eq!(Listener::parse("127.0.0.1:80-81"), None);
        assert_eq!(Listener::parse("127.0.0.1:0"), None);
        assert_eq!(Listener::parse("localhost:80"), None);
    }

    #[test]
    fn wildcards_overlap_their_own_family_and_the_dual_stack_one_overlaps_all() {
        let v4 = ListenAddress::all_ipv4();
        let v6 = ListenAddress::Ip("::".parse().expect("an address"));
        let one: ListenAddress = ListenAddress::Ip("10.0.0.1".parse().expect("an address"));
        assert!(ListenAddress::Any.overlaps(v4) && ListenAddress::Any.overlaps(v6));
        assert!(v4.overlaps(one) && !v6.overlaps(one) && !v4.overlaps(v6));
        let [here, there] = ["fe80::1%eth0", "fe80::1%eth1"].map(|text| ListenAddress::parse(text).expect("scoped"));
        assert!(here.overlaps(here) && !here.overlaps(there) && v6.overlaps(here) && !v4.overlaps(here));
        assert!(here.overlaps(ListenAddress::Any));
    }
}
