//! The rules of one edge as they come in, with what they take: names, and ports on addresses. Pure.
//!
//! Keeps: looking for a free name or for who has a port costs the same however many rules came before.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use schema::name::{MAX_NAME, RuleName};
use schema::net::{ListenAddress, ListenRange, Protocol};
use schema::rule::Rule;
use schema::sni::ServerName;

/// A rule on its way into a file.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) rule: Arc<Rule>,
    pub(super) enabled: bool,
}

/// Addresses that the first one on a port was found under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum On {
    /// Any address at all.
    Some,
    /// Any address of IPv6, or of IPv4.
    Family { is_ipv6: bool },
    /// This very address.
    Exactly(ListenAddress),
}

/// The rules of one edge.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    rules: Vec<Draft>,
    names: HashSet<String>,
    /// By name: below this number every numbered one is taken.
    numbers: HashMap<String, u32>,
    /// The first enabled rule on each port, by kinds of addresses that a newcomer may ask for.
    ports: HashMap<(Protocol, u16, On), u32>,
    /// Who of the enabled rules on a listener has a server name, or has none.
    names_on: HashMap<(ListenRange, Option<ServerName>), u32>,
}

impl Drafts {
    pub(super) fn rules(&self) -> &[Draft] {
        &self.rules
    }

    pub(super) fn push(&mut self, draft: Draft) {
        let number = self.rules.len() as u32;
        self.names.insert(draft.rule.name.to_string());
        if draft.enabled {
            let ListenRange { protocol, address, ports } = draft.rule.listen;
            let family = address.ip().map(|ip| On::Family { is_ipv6: ip.is_ipv6() });
            let kinds = [Some(On::Some), family, Some(On::Exactly(address))];
            for (port, on) in ports.ports().flat_map(|port| kinds.into_iter().flatten().map(move |on| (port, on))) {
                self.ports.entry((protocol, port, on)).or_insert(number);
            }
            let names = draft.rule.sni.iter().map(|name| Some(name.clone()));
            let none = draft.rule.sni.is_empty().then_some(None);
            self.names_on.extend(names.chain(none).map(|name| ((draft.rule.listen, name), number)));
        }
        self.rules.push(draft);
    }

    /// Who came first of those that have one of the ports, and does not share it by server name.
    pub(super) fn taken(&self, rule: &Rule) -> Option<&RuleName> {
        let first = &self.rules[self.first_on(rule.listen)? as usize].rule;
        if first.listen != rule.listen {
            return Some(&first.name);
        }
        let names = || rule.sni.iter().map(|name| Some(name.clone()));
        let claims: Vec<Option<ServerName>> = if rule.sni.is_empty() { vec![None] } else { names().collect() };
        let holders = claims.into_iter().filter_map(|claim| self.names_on.get(&(rule.listen, claim)));
        holders.min().map(|holder| &self.rules[*holder as usize].rule.name)
    }

    fn first_on(&self, listen: ListenRange) -> Option<u32> {
        let exactly = |ip: IpAddr| On::Exactly(ListenAddress::Ip(ip));
        // As `ListenAddress::overlaps` has it, from the side of the newcomer.
        let on = match listen.address.ip() {
            None => vec![On::Some],
            Some(ip) if ip.is_unspecified() => {
                vec![On::Exactly(ListenAddress::Any), On::Family { is_ipv6: ip.is_ipv6() }]
            }
            Some(ip) => {
                let all = if ip.is_ipv6() {
                    exactly(Ipv6Addr::UNSPECIFIED.into())
                } else {
                    On::Exactly(ListenAddress::all_ipv4())
                };
                vec![On::Exactly(ListenAddress::Any), all, On::Exactly(listen.address)]
            }
        };
        let places = listen.ports.ports().flat_map(|port| on.iter().map(move |on| (listen.protocol, port, *on)));
        places.filter_map(|place| self.ports.get(&place)).min().copied()
    }

    /// The name, or the first with a number behind it that nobody has.
    pub(super) fn free_name(&mut self, name: &str) -> String {
        if !self.names.contains(name) {
            return name.to_owned();
        }
        let next = self.numbers.entry(name.to_owned()).or_insert(2);
        loop {
            let tail = format!("-{next}");
            let head = name.get(..MAX_NAME - tail.len()).unwrap_or(name);
            let numbered = format!("{head}{tail}");
            if !self.names.contains(&numbered) {
                return numbered;
            }
            *next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::spec;
    use serde_json::json;

    use super::*;

    fn draft(name: &str, address: Option<&str>, ports: &str, enabled: bool) -> Draft {
        let mut rule = json!({ "name": name, "listen_ports": ports, "target": format!("a.example:{ports}") });
        if let Some(address) = address {
            rule["listen_address"] = address.into();
        }
        Draft { rule: spec::from_json(&rule).expect("a rule").into(), enabled }
    }

    #[test]
    fn who_has_a_port_is_the_first_enabled_one_that_conflicts() {
        const ADDRESSES: [Option<&str>; 6] =
            [None, Some("0.0.0.0"), Some("::"), Some("10.0.0.1"), Some("10.0.0.2"), Some("2001:db8::1")];
        let mut taken = 0;
        for (first, second) in ADDRESSES.into_iter().flat_map(|one| ADDRESSES.map(|other| (one, other))) {
            let mut drafts = Drafts::default();
            drafts.push(draft("off", None, "70-99", false));
            drafts.push(draft("first", first, "80-85", true));
            drafts.push(draft("second", second, "84-90", true));
            for (address, ports) in
                ADDRESSES.into_iter().flat_map(|one| ["70-79", "79-84", "84-85", "90-95"].map(|p| (one, p)))
            {
                let new = draft("new", address, ports, true).rule;
                let listen = new.listen;
                let conflicting = |draft: &&Draft| draft.enabled && draft.rule.listen.conflicts_with(&listen);
                let expected = drafts.rules().iter().find(conflicting).map(|draft| &draft.rule.name);
                assert_eq!(drafts.taken(&new), expected, "{first:?}, {second:?}: {address:?}:{ports}");
                taken += u32::from(expected.is_some());
            }
        }
        assert!(taken > 100, "{taken}");
    }

    #[test]
    fn a_free_name_has_the_first_number_that_nobody_has() {
        let mut drafts = Drafts::default();
        let mut given = Vec::new();
        for (port, name) in ["web", "web-3", "web", "web", "web-3", "web"].into_iter().enumerate() {
            let free = drafts.free_name(name);
            drafts.push(draft(&free, None, &format!("{0}-{0}", port + 80), true));
            given.push(free);
        }
        assert_eq!(given, ["web", "web-3", "web-2", "web-4", "web-3-2", "web-5"]);
    }
}
