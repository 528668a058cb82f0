//! Which addresses a connection tries in which order, and what comes of it is called. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schema::net::{ListenAddress, PortRange};

pub use super::faults::ConnectCause;

/// In turn one of the preferred family and one of the other, until one of them has no more (RFC 8305, 4). Inside a
/// family they begin at the one whose turn it is, so that connections are spread over all of them. Those that are put
/// off come after all others, in the same order.
pub fn order(addresses: &[IpAddr], prefer_ipv6: bool, turn: usize, is_put_off: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    let of = |late: bool, is_ipv6: bool| {
        let is_meant = |ip: &IpAddr| ip.is_ipv6() == is_ipv6 && is_put_off(*ip) == late;
        let mut family: Vec<IpAddr> = addresses.iter().copied().filter(is_meant).collect();
        if !family.is_empty() {
            let start = turn % family.len();
            family.rotate_left(start);
        }
        family.into_iter()
    };
    let mut ordered = Vec::with_capacity(addresses.len());
    for late in [false, true] {
        let (mut preferred, mut other) = (of(late, prefer_ipv6), of(late, !prefer_ipv6));
        for _ in 0..addresses.len() {
            ordered.extend(preferred.next());
            ordered.extend(other.next());
        }
    }
    ordered
}

/// True if a connection to an address would come in at one of this edge's own sockets: at the address itself, or at all
/// addresses where it is one of this host. `listens` tells at which addresses there is a socket on the port in question,
/// `is_own` the addresses of this host from others; that is asked only where it matters.
pub fn comes_back(to: IpAddr, listens: impl Fn(ListenAddress) -> bool, is_own: impl FnOnce(IpAddr) -> bool) -> bool {
    let to = to.to_canonical();
    let (all, loopback): (IpAddr, IpAddr) = match to {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    };
    // Connecting to no address in particular is connecting to this host.
    let to = if to.is_unspecified() { loopback } else { to };
    let is_at_all = || listens(ListenAddress::Any) || listens(ListenAddress::Ip(all));
    listens(ListenAddress::Ip(to)) || (is_at_all() && (to.is_loopback() || is_own(to)))
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
        let nobody = |_| false;
        assert_eq!(order(&all, true, 0, nobody), v6);
        let turned = ["10.0.0.2", "::2", "10.0.0.3", "::1", "10.0.0.1"].map(ip);
        assert_eq!(order(&all, false, 1, nobody), turned);
        let put_off = ["10.0.0.3", "::2", "10.0.0.1", "10.0.0.2", "::1"].map(ip);
        let is_put_off = |address| address == ip("10.0.0.2") || address == ip("::1");
        assert_eq!(order(&all, false, 1, is_put_off), put_off);
        assert!(order(&[], false, 7, nobody).is_empty());
    }

    #[test]
    fn a_connection_comes_back_at_an_address_that_a_listener_covers() {
        let own = |address: IpAddr| address == ip("192.0.2.1");
        let comes_back = |at: ListenAddress, to: &str| comes_back(ip(to), |address| address == at, own);
        let at = |text: &str| ListenAddress::Ip(ip(text));
        for address in ["127.0.0.1", "::1", "0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
            assert!(comes_back(ListenAddress::Any, address), "{address}");
        }
        for address in ["192.0.2.2", "2001:db8::1"] {
            assert!(!comes_back(ListenAddress::Any, address), "{address}");
        }
        assert!(comes_back(at("192.0.2.1"), "192.0.2.1"));
        assert!(!comes_back(at("192.0.2.1"), "127.0.0.1"));
        assert!(comes_back(at("127.0.0.1"), "0.0.0.0"));
        assert!(comes_back(at("::"), "::1"));
        assert!(!comes_back(at("::"), "127.0.0.1"));
        assert!(comes_back(at("0.0.0.0"), "127.0.3.4"));
    }

    #[test]
    fn ports_map_first_to_first_and_last_to_last() {
        let range = |first, last| PortRange::new(first, last).expect("a range");
        let (listen, target) = (range(65436, 65535), range(1, 100));
        assert_eq!(target_port(listen, target, 65436), 1);
        assert_eq!(target_port(listen, target, 65535), 100);
    }
}
