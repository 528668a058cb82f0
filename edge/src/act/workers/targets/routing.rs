//! Which rule takes a connection: from a socket to a route. One immutable value, replaced as a whole.
//!
//! Its size goes with the number of rules, not of ports.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use schema::net::{ListenAddress, ListenRange, Listener, PortRange, Protocol};
use schema::rule::Rule;

use super::super::counting::gate::Gate;
use super::super::counting::meter::Meter;
use super::choice::Choice;
use crate::decide::dial;

/// The way of one rule's connections.
#[derive(Clone)]
pub struct Route {
    /// The version that serves.
    pub rule: Arc<Rule>,
    /// Its counters and live connections, which outlive the version.
    pub meter: Arc<Meter>,
    /// Its targets, as health sees them.
    pub choice: Arc<Choice>,
    /// What it asks of connections before it takes them, if anything.
    pub gate: Option<Arc<Gate>>,
}

type Table = HashMap<(Protocol, ListenAddress), Vec<(PortRange, Arc<Route>)>>;

/// Routes by socket.
#[derive(Default)]
pub struct Routing {
    serving: Table,
    /// For what waits in the queues of sockets that are being released.
    leaving: Table,
    /// Every port that is served, by protocol: few dials need more than a look here.
    ports: [Vec<PortRange>; 2],
}

impl Routing {
    /// Routing to the rules that serve, and behind them to those that served on sockets being released.
    pub fn new(serving: impl IntoIterator<Item = Route>, leaving: impl IntoIterator<Item = Route>) -> Self {
        let serving = table(serving);
        let ports = [Protocol::Tcp, Protocol::Udp].map(|protocol| ports(&serving, protocol));
        Self { serving, leaving: table(leaving), ports }
    }

    /// True if a connection to this address would come in at one of the sockets that serve here. `is_own` tells the
    /// addresses of this host from others.
    pub(crate) fn listens(&self, protocol: Protocol, to: SocketAddr, is_own: impl FnOnce(IpAddr) -> bool) -> bool {
        let port = to.port();
        let ports = &self.ports[usize::from(protocol == Protocol::Udp)];
        let after = ports.partition_point(|range| range.first() <= port);
        let is_served = after.checked_sub(1).is_some_and(|last| ports[last].contains(port));
        let listens = |address| find(&self.serving, &Listener { protocol, address, port }).is_some();
        is_served && dial::comes_back(to.ip(), listens, is_own)
    }

    /// The route of a connection accepted from this socket.
    pub fn find(&self, listener: &Listener) -> Option<&Arc<Route>> {
        self.serving(listener).or_else(|| find(&self.leaving, listener))
    }

    /// The route of the rule that serves on this socket.
    pub fn serving(&self, listener: &Listener) -> Option<&Arc<Route>> {
        find(&self.serving, listener)
    }
}

fn table(routes: impl IntoIterator<Item = Route>) -> Table {
    let mut table = Table::new();
    for route in routes {
        let ListenRange { protocol, address, ports } = route.rule.listen;
        table.entry((protocol, address)).or_default().push((ports, Arc::new(route)));
    }
    for entries in table.values_mut() {
        entries.sort_unstable_by_key(|(ports, _)| *ports);
    }
    table
}

/// The ports of all listen addresses, in order and apart.
fn ports(table: &Table, protocol: Protocol) -> Vec<PortRange> {
    let of_protocol = table.iter().filter(|((other, _), _)| *other == protocol);
    let mut ranges: Vec<PortRange> =
        of_protocol.flat_map(|(_, entries)| entries.iter().map(|(ports, _)| *ports)).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let overlaps = next.first() <= range.last();
        if overlaps && let Some(both) = PortRange::new(range.first(), range.last().max(next.last())) {
            *range = both;
        }
        overlaps
    });
    ranges
}

fn find<'a>(table: &'a Table, listener: &Listener) -> Option<&'a Arc<Route>> {
    let entries = table.get(&(listener.protocol, listener.address))?;
    let after = entries.partition_point(|(ports, _)| ports.first() <= listener.port);
    let (ports, route) = entries.get(after.checked_sub(1)?)?;
    ports.contains(listener.port).then_some(route)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;

    fn route(name: &str, first: u16, last: u16) -> Route {
        let rule = rule(name, first, last);
        Route { choice: Arc::new(Choice::unwatched(&rule)), rule, meter: Arc::default(), gate: None }
    }

    fn name(routing: &Routing, port: u16) -> Option<&str> {
        let listener = Listener { protocol: Protocol::Tcp, address: ListenAddress::Any, port };
        routing.find(&listener).map(|route| route.rule.name.as_str())
    }

    #[test]
    fn every_port_of_a_range_finds_its_rule_and_ports_between_find_none() {
        let routing = Routing::new([route("b", 200, 299), route("a", 100, 110)], []);
        assert_eq!([name(&routing, 99), name(&routing, 100), name(&routing, 110)], [None, Some("a"), Some("a")]);
        assert_eq!([name(&routing, 111), name(&routing, 299), name(&routing, 300)], [None, Some("b"), None]);
    }

    #[test]
    fn every_socket_that_serves_is_known_by_port_and_address_whichever_rule_owns_it() {
        let routing = Routing::new([route("b", 200, 299), route("a", 100, 110)], [route("old", 300, 310)]);
        let listens = |to: &str| {
            let own = "192.0.2.1".parse::<IpAddr>().expect("an address");
            routing.listens(Protocol::Tcp, to.parse().expect("an address"), |ip| ip == own)
        };
        for to in ["127.0.0.1:100", "192.0.2.1:250", "[::1]:299", "0.0.0.0:110"] {
            assert!(listens(to), "{to}");
        }
        for to in ["127.0.0.1:111", "192.0.2.2:250", "127.0.0.1:305", "127.0.0.1:99"] {
            assert!(!listens(to), "{to}");
        }
        assert!(!routing.listens(Protocol::Udp, "127.0.0.1:100".parse().expect("an address"), |_| true));
    }

    #[test]
    fn a_leaving_rule_is_found_only_where_none_serves() {
        let routing = Routing::new([route("new", 105, 115)], [route("old", 100, 110)]);
        assert_eq!([name(&routing, 104), name(&routing, 105)], [Some("old"), Some("new")]);
    }
}
