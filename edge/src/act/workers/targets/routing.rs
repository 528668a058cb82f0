//! Which rule takes a connection: from a socket to a route. One immutable value, replaced as a whole.
//!
//! What hangs on a socket is one rule, or several that are chosen by the name that a TLS client asks for. To become the
//! one or the other is a matter of this value, and touches no socket. Its size goes with the number of rules, not of
//! ports.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use schema::net::{ListenAddress, ListenRange, Listener, PortRange, Protocol};
use schema::rule::{DEFAULT_SNI_TIMEOUT, Rule};
use schema::shared_port::{ByName, NameMatch, asked};

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

/// What hangs on a socket.
#[derive(Clone)]
pub enum PortPlan {
    /// One rule, for whatever comes.
    One(Arc<Route>),
    /// Rules that are chosen by name.
    Named(Arc<NamedRoutes>),
}

impl PortPlan {
    /// All of its rules.
    pub fn routes(&self) -> &[Arc<Route>] {
        match self {
            Self::One(route) => std::slice::from_ref(route),
            Self::Named(named) => &named.routes,
        }
    }

    /// The one rule, if nothing is asked for.
    pub fn one(&self) -> Option<&Arc<Route>> {
        match self {
            Self::One(route) => Some(route),
            Self::Named(_) => None,
        }
    }
}

/// The rules of a port that are chosen by name.
pub struct NamedRoutes {
    routes: Vec<Arc<Route>>,
    by_name: ByName<Arc<Route>>,
    /// How long a client may take for its hello: the longest that the rules say.
    pub timeout: Duration,
}

impl NamedRoutes {
    fn new(routes: Vec<Arc<Route>>) -> Self {
        let by_name = ByName::new(routes.iter().map(|route| (&*route.rule, route.clone())));
        // A rule without names says something about it only if it is not the default.
        let says = |rule: &&Arc<Rule>| !rule.sni.is_empty() || rule.sni_timeout != DEFAULT_SNI_TIMEOUT;
        let timeout = routes.iter().map(|route| &route.rule).filter(says).map(|rule| rule.sni_timeout).max();
        let timeout = timeout.unwrap_or(DEFAULT_SNI_TIMEOUT);
        Self { routes, by_name, timeout }
    }

    /// The rule that a client reaches with the name that it wrote, if it wrote one.
    pub fn find(&self, written: Option<&[u8]>) -> Option<(NameMatch, &Arc<Route>)> {
        match written {
            Some(written) => self.by_name.find(Some(&asked(written))),
            None => self.by_name.find(None),
        }
    }
}

type Table = HashMap<(Protocol, ListenAddress), Vec<(PortRange, PortPlan)>>;

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

    /// What a connection accepted from this socket is for.
    pub fn find(&self, listener: &Listener) -> Option<&PortPlan> {
        self.serving(listener).or_else(|| find(&self.leaving, listener))
    }

    /// What serves on this socket.
    pub fn serving(&self, listener: &Listener) -> Option<&PortPlan> {
        find(&self.serving, listener)
    }
}

fn table(routes: impl IntoIterator<Item = Route>) -> Table {
    let mut table = Table::new();
    let mut named: BTreeMap<(ListenAddress, u16), Vec<Arc<Route>>> = BTreeMap::new();
    for route in routes {
        let ListenRange { protocol, address, ports } = route.rule.listen;
        if route.rule.sni.is_empty() {
            table.entry((protocol, address)).or_default().push((ports, PortPlan::One(Arc::new(route))));
        } else {
            named.entry((address, ports.first())).or_default().push(Arc::new(route));
        }
    }
    for ((address, port), routes) in named {
        share(table.entry((Protocol::Tcp, address)).or_default(), port, routes);
    }
    for entries in table.values_mut() {
        entries.sort_unstable_by_key(|(ports, _)| *ports);
    }
    table
}

/// Gives a port to rules that are chosen by name. The rule that has it otherwise is their fallback there.
fn share(entries: &mut Vec<(PortRange, PortPlan)>, port: u16, mut routes: Vec<Arc<Route>>) {
    let other = entries.iter().position(|(ports, _)| ports.contains(port)).map(|index| entries.swap_remove(index));
    if let Some((ports, plan)) = other {
        let rest = [
            PortRange::new(ports.first(), port - 1),
            port.checked_add(1).and_then(|next| PortRange::new(next, ports.last())),
        ];
        entries.extend(rest.into_iter().flatten().map(|ports| (ports, plan.clone())));
        routes.extend_from_slice(plan.routes());
    }
    let plan = PortPlan::Named(Arc::new(NamedRoutes::new(routes)));
    entries.extend(PortRange::single(port).map(|port| (port, plan)));
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

fn find<'a>(table: &'a Table, listener: &Listener) -> Option<&'a PortPlan> {
    let entries = table.get(&(listener.protocol, listener.address))?;
    let after = entries.partition_point(|(ports, _)| ports.first() <= listener.port);
    let (ports, plan) = entries.get(after.checked_sub(1)?)?;
    ports.contains(listener.port).then_some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::sni::ServerName;
    use schema::testing::{rule, rule_with};

    fn route(name: &str, first: u16, last: u16) -> Route {
        let rule = rule(name, first, last);
        Route { choice: Arc::new(Choice::unwatched(&rule)), rule, meter: Arc::default(), gate: None }
    }

    fn name(routing: &Routing, port: u16) -> Option<&str> {
        let listener = Listener { protocol: Protocol::Tcp, address: ListenAddress::Any, port };
        routing.find(&listener).and_then(PortPlan::one).map(|route| route.rule.name.as_str())
    }

    fn named(name: &str, port: u16, names: &[&str], timeout: u64) -> Route {
        let rule = rule_with(name, port, port, |parts| {
            parts.sni = names.iter().map(|name| ServerName::parse(name).expect("a name")).collect();
            parts.sni_timeout = Duration::from_millis(timeout);
        });
        Route { choice: Arc::new(Choice::unwatched(&rule)), rule, meter: Arc::default(), gate: None }
    }

    #[test]
    fn rules_with_names_share_a_port_with_a_fallback_that_may_be_a_range() {
        let routes = [named("a", 443, &["a.example"], 100), route("f", 400, 500), named("b", 443, &["b.example"], 900)];
        let routing = Routing::new(routes, []);
        let at = |port| Listener { protocol: Protocol::Tcp, address: ListenAddress::Any, port };
        assert_eq!([name(&routing, 400), name(&routing, 442), name(&routing, 443)], [Some("f"), Some("f"), None]);
        assert_eq!([name(&routing, 444), name(&routing, 500), name(&routing, 501)], [Some("f"), Some("f"), None]);
        let Some(PortPlan::Named(shared)) = routing.find(&at(443)) else { panic!("one rule") };
        let found = |written: Option<&str>| {
            let found = shared.find(written.map(str::as_bytes));
            found.map(|(how, route)| (how.as_str(), route.rule.name.as_str()))
        };
        assert_eq!(found(Some("A.example.")), Some(("exact", "a")));
        assert_eq!(found(Some("b.example")), Some(("exact", "b")));
        assert_eq!([found(Some("c.example")), found(None)], [Some(("fallback", "f")); 2]);
        assert_eq!(shared.timeout, Duration::from_millis(900));
        assert_eq!(routing.find(&at(443)).map_or(0, |plan| plan.routes().len()), 3);
        assert!(routing.listens(Protocol::Tcp, "127.0.0.1:443".parse().expect("an address"), |_| true));
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
