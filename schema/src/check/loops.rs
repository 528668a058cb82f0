//! Rules that forward to a listener of their own edge, their own one or that of another rule. Pure.
//!
//! An edge does not connect to its own listeners: where two rules forward to each other, one client would take every
//! descriptor and one datagram every flow. Addresses of the host that no file names, and names that lead to it, are
//! the edge's to find.
//!
//! Keeps: every target that certainly is a listener of its edge is found; the work is a sort per edge and a search per
//! target.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::RuleEntry;
use super::clashes::on_edges;
use super::edges::Fleet;
use crate::codes::TreeCode;
use crate::diagnostic::Diagnostic;
use crate::findings::Findings;
use crate::net::{ListenAddress, PortRange, Protocol};
use crate::rule::{Host, Rule, Target};

/// A target that is a listener of its own edge. Rules are meant by their numbers in the list that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lockout {
    /// The rule that forwards to it.
    pub rule: u32,
    /// Which of its targets.
    pub target: u32,
    /// Whose listener it is.
    pub listening: u32,
}

/// Where a target of a rule may be met: a range of the edge, and the range with the highest port of those up to it.
struct Reach {
    ports: PortRange,
    /// The highest port so far, and whose it is.
    highest: (u16, u32),
}

/// The listeners of one edge, by protocol and address, in the order of their ports.
#[derive(Default)]
struct Listeners(HashMap<(Protocol, ListenAddress), Vec<Reach>>);

impl Listeners {
    fn of<'r>(rules: impl Iterator<Item = (u32, &'r Rule)>) -> Self {
        let mut all: HashMap<_, Vec<Reach>> = HashMap::new();
        for (number, rule) in rules {
            let address = match rule.listen.address {
                ListenAddress::Ip(ip) => ListenAddress::Ip(ip.to_canonical()),
                address => address,
            };
            let ports = rule.listen.ports;
            let reach = Reach { ports, highest: (ports.last(), number) };
            all.entry((rule.protocol(), address)).or_default().push(reach);
        }
        for reaches in all.values_mut() {
            reaches.sort_unstable_by_key(|reach| (reach.ports, reach.highest.1));
            let mut highest = (0, 0);
            for reach in reaches {
                highest = highest.max(reach.highest);
                reach.highest = highest;
            }
        }
        Self(all)
    }

    /// Whose listener has one of the ports at the address.
    fn find(&self, protocol: Protocol, address: ListenAddress, ports: PortRange) -> Option<u32> {
        let reaches = self.0.get(&(protocol, address))?;
        let behind = reaches.partition_point(|reach| reach.ports.first() <= ports.last());
        let (last, number) = reaches[..behind].last()?.highest;
        (last >= ports.first()).then_some(number)
    }

    /// Whose listener a target is.
    fn met_by(&self, protocol: Protocol, target: &Target) -> Option<u32> {
        let reached = reached(&target.host);
        let mut places = reached.iter().copied().flatten().flat_map(places);
        let met = places.find_map(|address| self.find(protocol, address, target.ports));
        met.or_else(|| match target.host {
            Host::Scoped(scoped) => self.find(protocol, ListenAddress::Scoped(scoped), target.ports),
            _ => None,
        })
    }
}

/// The addresses that a host certainly means on every edge.
fn reached(host: &Host) -> [Option<IpAddr>; 2] {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    match host {
        // To connect to the unspecified address is to connect to loopback.
        Host::Ip(ip) if ip.is_unspecified() => [Some(if ip.is_ipv4() { v4 } else { v6 }), None],
        Host::Ip(ip) => [Some(ip.to_canonical()), None],
        name if name.is_loopback_name() => [Some(v4), Some(v6)],
        Host::Name(_) | Host::Scoped(_) => [None, None],
    }
}

/// Where a socket listens that connections to the address certainly come in at.
fn places(ip: IpAddr) -> impl Iterator<Item = ListenAddress> {
    let wildcard = match ip {
        IpAddr::V4(_) => ListenAddress::all_ipv4(),
        IpAddr::V6(_) => ListenAddress::Ip(Ipv6Addr::UNSPECIFIED.into()),
    };
    let all = [ListenAddress::Any, wildcard].into_iter().filter(move |_| ip.is_loopback());
    std::iter::once(ListenAddress::Ip(ip)).chain(all)
}

/// Every target of the rules of one edge that certainly is a listener of one of them.
pub fn find<'r>(rules: impl Iterator<Item = (u32, &'r Rule)> + Clone) -> Vec<Lockout> {
    let listeners = Listeners::of(rules.clone());
    let of_rule = |(rule, own): (u32, &'r Rule)| {
        let listeners = &listeners;
        let numbered = (0..).zip(&own.targets);
        numbered
            .filter_map(move |(target, to)| {
                let listening = listeners.met_by(own.protocol(), to)?;
                Some(Lockout { rule, target, listening })
            })
            .collect::<Vec<_>>()
    };
    rules.flat_map(of_rule).collect()
}

/// Reports targets that are listeners of their edge; disabled rules do not listen.
pub(super) fn lockouts(entries: &[RuleEntry<'_>], by_edge: &[Vec<u32>], fleet: &Fleet<'_>, diagnostics: &mut Findings) {
    let rule =
        |number: u32| entries[number as usize].own.rule.as_deref().filter(|_| entries[number as usize].own.enabled);
    let listened: HashSet<IpAddr> = entries.iter().filter_map(|entry| entry.own.listen?.address.ip()).collect();
    // Most fleets forward to other hosts, and then there is nothing to sort.
    let is_suspect = |rule: &Rule| {
        rule.targets.iter().any(|target| match &target.host {
            Host::Scoped(scoped) => listened.contains(&IpAddr::V6(scoped.ip())),
            host => reached(host).into_iter().flatten().any(|ip| ip.is_loopback() || listened.contains(&ip)),
        })
    };
    let suspects: Vec<bool> = (0..entries.len()).map(|number| rule(number as u32).is_some_and(is_suspect)).collect();
    let mut found: HashMap<Lockout, (u32, u32)> = HashMap::new();
    for (edge, members) in by_edge.iter().enumerate() {
        if members.iter().any(|member| suspects[*member as usize]) {
            for lockout in find(members.iter().filter_map(|member| Some((*member, rule(*member)?)))) {
                found.entry(lockout).or_insert((edge as u32, 0)).1 += 1;
            }
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_unstable();
    diagnostics
        .extend(found.into_iter().filter_map(|(lockout, edges)| diagnostic(entries, lockout, &on_edges(fleet, edges))));
}

fn diagnostic(entries: &[RuleEntry<'_>], lockout: Lockout, edges: &str) -> Option<Diagnostic> {
    let (from, to) = (&entries[lockout.rule as usize], &entries[lockout.listening as usize]);
    let (rule, other) = (from.own.rule.as_deref()?, to.own.rule.as_deref()?);
    let target = rule.targets.get(lockout.target as usize)?;
    let place = from.own.targets.get(lockout.target as usize).copied().unwrap_or(from.own.name_span);
    let (message, help) = if lockout.rule == lockout.listening {
        let message = format!("rule `{}` forwards to its own listener ({target})", rule.name);
        (message, "an edge never connects to its own listeners: choose another port or target".to_owned())
    } else {
        let message =
            format!("rule `{}` forwards to {target}, where rule `{}` of {edges} listens", rule.name, other.name);
        let help = format!(
            "an edge never connects to its own listeners: forward to the target of `{}`, or choose another port",
            other.name
        );
        (message, help)
    };
    let found = Diagnostic::error(TreeCode::SelfLockout, from.file, place, message);
    let listens = format!("`{}` listens here ({})", other.name, other.listen);
    Some(found.label("this is a listener of the edge itself").related(to.file, to.own.listen_span, listens).help(help))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::rule::RuleParts;
    use crate::testing::{arbitrary, rule_with};

    fn numbered(rules: &[Arc<Rule>]) -> impl Iterator<Item = (u32, &Rule)> + Clone {
        (0..).zip(rules.iter().map(AsRef::as_ref))
    }

    /// A rule of the ports, with its one target.
    fn rule(
        (address, ports): (ListenAddress, PortRange),
        (host, offset): (Host, i32),
        protocol: Protocol,
    ) -> Arc<Rule> {
        let shifted = |port: u16| (i32::from(port) + offset).clamp(1, 65_535) as u16;
        rule_with("a", ports.first(), ports.first(), |parts: &mut RuleParts| {
            parts.listen.protocol = protocol;
            parts.listen.address = address;
            parts.targets[0].host = host;
            let first = shifted(ports.first()).min(u16::MAX - (ports.last() - ports.first()));
            parts.listen.ports = ports;
            parts.targets[0].ports = PortRange::new(first, first + (ports.last() - ports.first())).expect("a range");
        })
    }

    /// What `find` promises, said port by port.
    fn is_listener(from: &Rule, to: &Rule) -> bool {
        let target = &from.targets[0];
        if from.protocol() != to.protocol() || !target.ports.overlaps(to.listen.ports) {
            return false;
        }
        if let Host::Scoped(scoped) = target.host {
            return to.listen.address == ListenAddress::Scoped(scoped);
        }
        reached(&target.host).into_iter().flatten().any(|ip| match to.listen.address {
            ListenAddress::Any => ip.is_loopback(),
            ListenAddress::Ip(own) if own.is_unspecified() => ip.is_loopback() && own.is_ipv4() == ip.is_ipv4(),
            ListenAddress::Ip(own) => own == ip,
            ListenAddress::Scoped(_) => false,
        })
    }

    fn addresses() -> impl Strategy<Value = ListenAddress> {
        let scoped = ListenAddress::parse("fe80::1%eth0").expect("an address");
        let loopback = ListenAddress::parse("127.0.0.1").expect("an address");
        prop_oneof![6 => arbitrary::address(), 1 => Just(scoped), 2 => Just(loopback)]
    }

    fn hosts() -> impl Strategy<Value = Host> {
        let hosts =
            ["127.0.0.1", "127.0.0.2", "::1", "localhost", "10.0.0.1", "10.0.0.9", "fe80::1%eth0", "0.0.0.0", "a.test"];
        proptest::sample::select(hosts.map(|text| Host::parse(text).expect("a host")).to_vec())
    }

    proptest! {
        #[test]
        fn every_target_that_is_a_listener_of_its_edge_is_found_and_no_other(
            drawn in proptest::collection::vec(
                ((addresses(), arbitrary::ports()), (hosts(), -80..80_i32), any::<bool>()), 0..16),
        ) {
            let protocol = |is_udp| if is_udp { Protocol::Udp } else { Protocol::Tcp };
            let rules: Vec<_> =
                drawn.into_iter().map(|(listen, to, is_udp)| rule(listen, to, protocol(is_udp))).collect();
            let found = find(numbered(&rules));
            let is_found: BTreeSet<u32> = found.iter().map(|lockout| lockout.rule).collect();
            for lockout in &found {
                prop_assert!(is_listener(&rules[lockout.rule as usize], &rules[lockout.listening as usize]));
            }
            for (number, from) in numbered(&rules) {
                let expected = rules.iter().any(|to| is_listener(from, to));
                prop_assert_eq!(is_found.contains(&number), expected, "rule {}", number);
            }
        }

        #[test]
        fn a_rule_that_forwards_to_itself_is_found_here_as_by_its_edge(
            listen in (addresses(), arbitrary::ports()), to in (hosts(), -80..80_i32),
        ) {
            let one = [rule(listen, to, Protocol::Tcp)];
            let refused = crate::capability::forwards_to_itself(&one[0], |_| false).is_some();
            prop_assert_eq!(!find(numbered(&one)).is_empty(), refused);
        }
    }
}
