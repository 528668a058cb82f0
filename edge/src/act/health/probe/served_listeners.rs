//! Whether what is asked is a listener of this edge: a check that came back would find it well, whatever is behind it. I/O.
//!
//! Keeps: the system is asked for this host's addresses only where a rule listens on the port in question.

use std::collections::HashMap;
use std::net::SocketAddr;

use schema::net::{ListenAddress, ListenRange, Protocol};

use crate::act::interfaces;
use crate::decide::dial;

/// The addresses that rules accept connections at, by port.
#[derive(Debug, Default)]
pub(in crate::act::health) struct ServedListeners(HashMap<u16, Vec<ListenAddress>>);

impl ServedListeners {
    /// Those of rules that listen so.
    pub(in crate::act::health) fn new(ranges: impl Iterator<Item = ListenRange>) -> Self {
        let mut addresses = HashMap::<u16, Vec<ListenAddress>>::new();
        for range in ranges.filter(|range| range.protocol == Protocol::Tcp) {
            for port in range.ports.first()..=range.ports.last() {
                addresses.entry(port).or_default().push(range.address);
            }
        }
        Self(addresses)
    }

    /// True if a connection to this address would come in at one of them.
    pub(in crate::act::health) fn contain(&self, to: SocketAddr) -> bool {
        let Some(addresses) = self.0.get(&to.port()) else { return false };
        let is_own = |ip| interfaces::addresses().contains(&ip);
        dial::comes_back(to.ip(), |address| addresses.contains(&address), is_own)
    }
}

#[cfg(test)]
mod tests {
    use schema::net::PortRange;

    use super::*;

    #[test]
    fn a_listener_is_known_by_its_port_and_by_every_address_of_this_host() {
        let range = |text: &str, protocol| {
            let (address, ports) = text.split_once(' ').unwrap();
            let ports = PortRange::parse(ports).unwrap();
            let address = if address == "*" { ListenAddress::Any } else { ListenAddress::Ip(address.parse().unwrap()) };
            ListenRange { protocol, address, ports }
        };
        let ranges = [
            range("* 8000-8001", Protocol::Tcp),
            range("192.0.2.1 9000", Protocol::Tcp),
            range("* 7000", Protocol::Udp),
        ];
        let listeners = ServedListeners::new(ranges.into_iter());
        for (to, expected) in [
            ("127.0.0.1:8000", true),
            ("[::1]:8001", true),
            ("192.0.2.1:8001", false),
            ("192.0.2.1:9000", true),
            ("127.0.0.1:9000", false),
            ("127.0.0.1:7000", false),
            ("127.0.0.1:8002", false),
        ] {
            assert_eq!(listeners.contain(to.parse().unwrap()), expected, "{to}");
        }
    }
}
