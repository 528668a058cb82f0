//! Addresses that can never serve, whatever the host. Pure.
//!
//! Only files are checked for them, not what comes over the wire: a rule that runs is not lost to a newer version.

use std::net::IpAddr;

use crate::codes::TreeCode;
use crate::net::{ListenAddress, Protocol};
use crate::rule::{Host, RuleParts, RuleProblem};
use crate::scope::needs_zone;

/// What is wrong with the addresses of a rule.
pub(super) fn problems(parts: &RuleParts) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    let protocol = parts.listen.protocol;
    if let ListenAddress::Ip(ip) = parts.listen.address {
        let why = match kind(ip) {
            AddressKind::Link => Some(no_interface(ip)),
            // Datagrams to everybody have somebody to answer them.
            kind if protocol == Protocol::Tcp => {
                kind.words().map(|words| format!("{ip} is {words}; a TCP rule needs the address of a single host"))
            }
            _ => None,
        };
        add(&mut problems, TreeCode::InvalidValue, "listen_address".to_owned(), why);
    }
    for (index, target) in parts.targets.iter().enumerate() {
        let key = || format!("targets[{index}]");
        match &target.host {
            Host::Ip(ip) => add(&mut problems, TreeCode::InvalidHost, key(), unreachable(*ip, protocol)),
            Host::Scoped(scoped) if scoped.ip().is_multicast() && protocol == Protocol::Tcp => {
                let why = format!("{scoped} is a multicast group; a TCP rule needs the address of a single host");
                add(&mut problems, TreeCode::InvalidHost, key(), Some(why));
            }
            Host::Scoped(_) | Host::Name(_) => {}
        }
    }
    if let Some(ip) = parts.health.as_ref().and_then(|check| check.address) {
        let why = match kind(ip) {
            AddressKind::Link => Some(format!(
                "{ip} is a link-local address; a check can use one only as the address of its \
                target"
            )),
            _ => unreachable(ip, Protocol::Tcp),
        };
        add(&mut problems, TreeCode::InvalidValue, "health.address".to_owned(), why);
    }
    problems
}

fn add(problems: &mut Vec<RuleProblem>, code: TreeCode, key: String, why: Option<String>) {
    problems.extend(why.map(|message| RuleProblem { code, key, message }));
}

#[derive(PartialEq)]
enum AddressKind {
    One,
    /// One per interface, and none without it.
    Link,
    Everybody,
    Group,
    Nobody,
}

impl AddressKind {
    /// The kind in words, if it is not a single peer.
    fn words(&self) -> Option<&'static str> {
        match self {
            Self::One | Self::Link | Self::Nobody => None,
            Self::Everybody => Some("the broadcast address"),
            Self::Group => Some("a multicast group"),
        }
    }
}

fn kind(ip: IpAddr) -> AddressKind {
    match ip {
        IpAddr::V4(ip) if ip.is_broadcast() => AddressKind::Everybody,
        IpAddr::V6(ip) if needs_zone(ip) => AddressKind::Link,
        ip if ip.is_multicast() => AddressKind::Group,
        ip if ip.is_unspecified() => AddressKind::Nobody,
        _ => AddressKind::One,
    }
}

fn no_interface(ip: IpAddr) -> String {
    format!("{ip} is a link-local address without an interface: write it as {ip}%eth0")
}

/// Why nobody can be connected to there.
fn unreachable(ip: IpAddr, protocol: Protocol) -> Option<String> {
    let loopback = if ip.is_ipv4() { "127.0.0.1" } else { "::1" };
    match kind(ip) {
        AddressKind::One => None,
        AddressKind::Link => Some(no_interface(ip)),
        AddressKind::Nobody => Some(format!(
            "{ip} is not the address of a host; to reach the edge's own host, write \
            {loopback}"
        )),
        AddressKind::Everybody => Some(format!("{ip} is the broadcast address; a target must be a single host")),
        AddressKind::Group if protocol == Protocol::Udp => None,
        AddressKind::Group => Some(format!("{ip} is a multicast group; a TCP target must be a single host")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::health::{HealthCheck, HealthKind};
    use crate::testing::rule_with;

    /// Codes and keys of what is wrong.
    fn found(change: impl FnOnce(&mut RuleParts)) -> Vec<(TreeCode, String)> {
        let rule = Arc::unwrap_or_clone(rule_with("a", 80, 80, change));
        problems(&rule.into_parts()).into_iter().map(|problem| (problem.code, problem.key)).collect()
    }

    #[test]
    fn listen_addresses_that_can_never_serve_are_found() {
        let is_bad = |text: &str, protocol| {
            let found = found(|parts| {
                parts.listen.protocol = protocol;
                parts.listen.address = ListenAddress::parse(text).expect("an address");
            });
            assert!(found.iter().all(|(code, key)| *code == TreeCode::InvalidValue && key == "listen_address"));
            !found.is_empty()
        };
        for (text, tcp, udp) in [
            ("fe80::1", true, true),
            ("febf::1", true, true),
            ("ff02::1", true, true),
            ("fe80::1%eth0", false, false),
            ("224.0.0.1", true, false),
            ("ff05::2", true, false),
            ("255.255.255.255", true, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("169.254.0.1", false, false),
            ("240.0.0.1", false, false),
            ("192.0.2.1", false, false),
        ] {
            assert_eq!((is_bad(text, Protocol::Tcp), is_bad(text, Protocol::Udp)), (tcp, udp), "{text}");
        }
    }

    #[test]
    fn targets_that_nobody_can_be_are_found() {
        let is_bad = |text: &str, protocol| {
            let found = found(|parts| {
                parts.listen.protocol = protocol;
                parts.targets[0].host = Host::parse(text).expect("a host");
            });
            assert!(found.iter().all(|(code, key)| *code == TreeCode::InvalidHost && key == "targets[0]"));
            !found.is_empty()
        };
        for (text, tcp, udp) in [
            ("fe80::1", true, true),
            ("fe80::1%eth0", false, false),
            ("ff02::1%eth0", true, false),
            ("239.1.2.3", true, false),
            ("255.255.255.255", true, true),
            ("0.0.0.0", true, true),
            ("::", true, true),
            ("localhost", false, false),
            ("127.0.0.1", false, false),
            ("169.254.1.1", false, false),
            ("192.0.2.1", false, false),
        ] {
            assert_eq!((is_bad(text, Protocol::Tcp), is_bad(text, Protocol::Udp)), (tcp, udp), "{text}");
        }
    }

    #[test]
    fn the_address_of_a_check_is_looked_at_too() {
        for (text, is_bad) in [("10.0.0.1", false), ("fe80::1", true), ("0.0.0.0", true), ("224.0.0.1", true)] {
            let found = found(|parts| {
                let mut check = HealthCheck::new(HealthKind::Tcp, 15);
                check.address = Some(text.parse().expect("an address"));
                parts.health = Some(check);
            });
            let expected = is_bad.then(|| (TreeCode::InvalidValue, "health.address".to_owned()));
            assert_eq!(found, Vec::from_iter(expected), "{text}");
        }
    }
}
