//! Which rule takes a connection: from a socket to a route. One immutable value, replaced as a whole.
//!
//! Its size goes with the number of rules, not of ports.

use std::collections::HashMap;
use std::sync::Arc;

use schema::net::{ListenAddress, ListenRange, Listener, PortRange, Protocol};
use schema::rule::Rule;

use super::choice::Choice;
use super::meter::Meter;

/// The way of one rule's connections.
#[derive(Clone)]
pub struct Route {
    /// The version that serves.
    pub rule: Arc<Rule>,
    /// Its counters and live connections, which outlive the version.
    pub meter: Arc<Meter>,
    /// Its targets, as health sees them.
    pub choice: Arc<Choice>,
}

type Table = HashMap<(Protocol, ListenAddress), Vec<(PortRange, Arc<Route>)>>;

/// Routes by socket.
#[derive(Default)]
pub struct Routing {
    serving: Table,
    /// For what waits in the queues of sockets that are being released.
    leaving: Table,
}

impl Routing {
    /// Routing to the rules that serve, and behind them to those that served on sockets being released.
    pub fn new(serving: impl IntoIterator<Item = Route>, leaving: impl IntoIterator<Item = Route>) -> Self {
        Self { serving: table(serving), leaving: table(leaving) }
    }

    /// The route of a connection accepted from this socket.
    pub fn find(&self, listener: &Listener) -> Option<&Arc<Route>> {
        find(&self.serving, listener).or_else(|| find(&self.leaving, listener))
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
        Route { choice: Arc::new(Choice::unwatched(&rule)), rule, meter: Arc::default() }
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
    fn a_leaving_rule_is_found_only_where_none_serves() {
        let routing = Routing::new([route("new", 105, 115)], [route("old", 100, 110)]);
        assert_eq!([name(&routing, 104), name(&routing, 105)], [Some("old"), Some("new")]);
    }
}
