//! Which addresses a connection tries in which order, and what comes of it is called. Pure.

use std::net::{IpAddr, SocketAddr};

use schema::net::{ListenAddress, PortRange};

pub use super::faults::Cause;

/// What came of a choice of targets; the label of `portunus_rule_lb_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The first of the order took it.
    First,
    /// A later one did.
    Next,
    /// A target took it that carries no weight: without a verdict, on trial or as a last resort.
    Untracked,
    /// Nobody did.
    NoServer,
}

impl Outcome {
    /// Every outcome, in the order of the counters.
    pub const ALL: [Self; 4] = [Self::First, Self::Next, Self::Untracked, Self::NoServer];

    /// As in the protocol and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Next => "next",
            Self::Untracked => "untracked",
            Self::NoServer => "no_server",
        }
    }
}

/// In turn one of the preferred family and one of the other, until one of them has no more (RFC 8305, 4). Inside a
/// family they begin at the one whose turn it is, so that connections are spread over all of them.
pub fn order(addresses: &[IpAddr], prefer_ipv6: bool, turn: usize) -> Vec<IpAddr> {
    let of = |is_ipv6: bool| {
        let mut family: Vec<IpAddr> = addresses.iter().copied().filter(|ip| ip.is_ipv6() == is_ipv6).collect();
        if !family.is_empty() {
            let start = turn % family.len();
            family.rotate_left(start);
        }
        family.into_iter()
    };
    let (mut preferred, mut other) = (of(prefer_ipv6), of(!prefer_ipv6));
    let mut ordered = Vec::with_capacity(addresses.len());
    for _ in 0..addresses.len() {
        ordered.extend(preferred.next());
        ordered.extend(other.next());
    }
    ordered
}

/// True if a connection to this address would come in at the socket on that address and port itself. `is_own` tells
/// the addresses of this host from others; it is asked only where it matters.
pub fn is_loop(listen: (ListenAddress, u16), to: SocketAddr, is_own: impl FnOnce(IpAddr) -> bool) -> bool {
    let (address, port) = listen;
    if to.port() != port {
        return false;
    }
    let ip = to.ip().to_canonical();
    // Connecting to no address in particular is connecting to this host.
    let is_here = |own: bool| own && (ip.is_unspecified() || ip.is_loopback() || is_own(ip));
    match address {
        ListenAddress::Any => is_here(true),
        ListenAddress::Ip(at) if at.is_unspecified() => is_here(at.is_ipv6() == ip.is_ipv6()),
        ListenAddress::Ip(at) if ip.is_unspecified() => at.is_loopback() && at.is_ipv6() == ip.is_ipv6(),
        ListenAddress::Ip(at) => at.to_canonical() == ip,
        // The same address on another link is another host, and no name leads here.
        ListenAddress::Scoped(_) => false,
    }
}

/// The target's port for a listen port: first to first, last to last.
pub fn target_port(listen: PortRange, target: PortRange, port: u16) -> u16 {
    target.first() + (port - listen.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn families_take_turns_and_each_begins_with_the_address_whose_turn_it_is() {
        let all = ["10.0.0.1", "::1", "10.0.0.2", "::2", "10.0.0.3"].map(ip);
        let v6 = ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"].map(ip);
        assert_eq!(order(&all, true, 0), v6);
        let turned = ["10.0.0.2", "::2", "10.0.0.3", "::1", "10.0.0.1"].map(ip);
        assert_eq!(order(&all, false, 1), turned);
        assert!(order(&[], false, 7).is_empty());
    }

    #[test]
    fn a_loop_is_the_same_port_at_an_address_that_the_listener_covers() {
        let to = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let at = |text: &str| (ListenAddress::Ip(ip(text)), 80);
        let any = (ListenAddress::Any, 80);
        let own = |ip: IpAddr| ip == "192.0.2.1".parse::<IpAddr>().expect("an address");
        for address in ["127.0.0.1:80", "[::1]:80", "0.0.0.0:80", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            assert!(is_loop(any, to(address), own), "{address}");
        }
        for address in ["127.0.0.1:81", "192.0.2.2:80", "[2001:db8::1]:80"] {
            assert!(!is_loop(any, to(address), own), "{address}");
        }
        assert!(is_loop(at("192.0.2.1"), to("192.0.2.1:80"), own));
        assert!(!is_loop(at("192.0.2.1"), to("127.0.0.1:80"), own));
        assert!(is_loop(at("127.0.0.1"), to("0.0.0.0:80"), own));
        assert!(is_loop(at("::"), to("[::1]:80"), own));
        assert!(!is_loop(at("::"), to("127.0.0.1:80"), own));
    }

    #[test]
    fn ports_map_first_to_first_and_last_to_last() {
        let range = |first, last| PortRange::new(first, last).expect("a range");
        let (listen, target) = (range(65436, 65535), range(1, 100));
        assert_eq!(target_port(listen, target, 65436), 1);
        assert_eq!(target_port(listen, target, 65535), 100);
    }
}
