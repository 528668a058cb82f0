//! What the owner of an edge allows on it, whatever its server sends. Pure.
//!
//! The one judge of a policy: the planner asks it about the policy that a hello carries, the edge about its own, for each
//! rule and again for each address that it is about to connect to.
//!
//! Keeps: a rule is allowed only if everything that it listens on and everything that it names as a target is; an address
//! is judged by what it stands for, so that an IPv4-mapped form of it changes nothing.

mod networks;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::capability::Rejection;
use crate::codes::RuleCode;
use crate::name::RuleName;
use crate::net::{ListenAddress, PortRange, PortSet};
use crate::rule::{Host, Rule};

pub use networks::{InvalidNetwork, Network, Networks};
use text::PolicyText;

/// Entries of one list of a policy; a longer one is an error where the policy is read.
pub const MAX_ENTRIES: usize = 1024;
/// Entries that a message names; it counts the others.
const SHOWN: usize = 4;

/// Where clouds and container platforms serve credentials to the host that asks.
const METADATA: [IpAddr; 6] = [
    // AWS, Azure, Google Cloud, Oracle, OpenStack and others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // Credentials of AWS tasks and pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    // The same over IPv6, and that of Google Cloud.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What an edge may do. A list that is absent limits nothing; an empty one allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "PolicyText", into = "PolicyText")]
pub struct Policy {
    /// Ports that rules may listen on.
    pub listen_ports: Option<PortSet>,
    /// Addresses that rules may listen on; a wildcard needs all addresses of its family.
    pub listen_addresses: Option<Networks>,
    /// Addresses of targets and checks.
    pub target_networks: Option<Networks>,
    /// Ports of targets and checks.
    pub target_ports: Option<PortSet>,
    /// Most rules.
    pub max_rules: Option<u32>,
    /// Most live connections and flows of all rules together.
    pub max_connections: Option<u32>,
    /// Metadata addresses may be targets although `target_networks` is absent.
    pub allow_metadata_targets: bool,
}

impl Policy {
    /// Why a rule is not allowed, if it is not. Looks at the rule alone; [`Policy::beyond`] counts.
    pub fn forbids(&self, rule: &Rule) -> Option<Rejection> {
        let reason = self.listen_reason(rule).or_else(|| self.target_reason(rule))?;
        Some(rejection(reason))
    }

    /// The rules of a set that are more than the policy allows: those that serve come first, then the others by name.
    pub fn beyond<'r>(
        &self,
        rules: impl Iterator<Item = &'r RuleName> + Clone,
        serves: impl Fn(&RuleName) -> bool,
    ) -> BTreeMap<RuleName, Rejection> {
        let Some(most) = self.max_rules else { return BTreeMap::new() };
        let by_name: BTreeSet<&RuleName> = rules.collect();
        let (serving, others): (Vec<_>, Vec<_>) = by_name.into_iter().partition(|name| serves(name));
        let beyond = serving.into_iter().chain(others).skip(most as usize);
        let reason = || format!("the edge's policy allows at most {most} rule(s)");
        beyond.map(|name| (name.clone(), rejection(reason()))).collect()
    }

    /// True if the edge may connect to this address; for a name, each address that it stands for is asked about.
    pub fn allows_address(&self, ip: IpAddr) -> bool {
        let reached = reached(ip);
        match &self.target_networks {
            Some(networks) => networks.contain(reached),
            None => self.allow_metadata_targets || !is_metadata(reached),
        }
    }

    /// True if the edge may connect to this port. Port 0 stands for a question without one, such as an echo request.
    pub fn allows_target_port(&self, port: u16) -> bool {
        port == 0 || self.target_ports.as_ref().is_none_or(|allowed| contains(allowed, port))
    }

    fn listen_reason(&self, rule: &Rule) -> Option<String> {
        let (ports, address) = (rule.listen.ports, rule.listen.address);
        if let Some(allowed) = self.listen_ports.as_ref().filter(|allowed| !covers(allowed, ports)) {
            let shown = listed(allowed.ranges());
            return Some(format!(
                "the edge's policy does not allow listening on {} (listen_ports: {shown})",
                of(ports)
            ));
        }
        let allowed = self.listen_addresses.as_ref()?;
        let is_allowed = match address {
            ListenAddress::Any => allowed.cover_ipv4() && allowed.cover_ipv6(),
            ListenAddress::Ip(IpAddr::V4(ip)) if ip.is_unspecified() => allowed.cover_ipv4(),
            ListenAddress::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => allowed.cover_ipv6(),
            ListenAddress::Ip(ip) => allowed.contain(ip.to_canonical()),
            ListenAddress::Scoped(scoped) => allowed.contain(scoped.ip().into()),
        };
        let reason = || {
            let shown = listed(allowed.as_slice());
            format!("the edge's policy does not allow listening on address {address} (listen_addresses: {shown})")
        };
        (!is_allowed).then(reason)
    }

    fn target_reason(&self, rule: &Rule) -> Option<String> {
        for target in &rule.targets {
            let reason = self.host_reason("target", &target.host).or_else(|| self.port_reason("target", target.ports));
            if reason.is_some() {
                return reason;
            }
        }
        let check = rule.health.as_ref()?;
        let address = check.address.and_then(|ip| self.host_reason("health check at", &Host::Ip(ip)));
        let port = || check.port.and_then(PortRange::single).and_then(|port| self.port_reason("health check at", port));
        address.or_else(port)
    }

    fn host_reason(&self, what: &str, host: &Host) -> Option<String> {
        let allows = |ip: IpAddr| self.allows_address(ip);
        let (is_allowed, ip) = match host {
            Host::Ip(ip) => (allows(*ip), Some(*ip)),
            Host::Scoped(scoped) => (allows(scoped.ip().into()), Some(scoped.ip().into())),
            // What other names stand for is known when they are looked up.
            Host::Name(_) if host.is_loopback_name() => {
                (allows(Ipv4Addr::LOCALHOST.into()) || allows(Ipv6Addr::LOCALHOST.into()), None)
            }
            Host::Name(_) => return None,
        };
        if is_allowed {
            return None;
        }
        let Some(networks) = &self.target_networks else {
            debug_assert!(ip.is_some_and(|ip| is_metadata(reached(ip))), "nothing else is refused without a list");
            return Some(format!(
                "the edge does not allow a {what} {host}: it is an address where hosts find their credentials (start the \
                 edge with --allow-metadata-targets, or name it in target_networks of its policy)"
            ));
        };
        let shown = listed(networks.as_slice());
        Some(format!("the edge's policy does not allow a {what} {host} (target_networks: {shown})"))
    }

    fn port_reason(&self, what: &str, ports: PortRange) -> Option<String> {
        let allowed = self.target_ports.as_ref().filter(|allowed| !covers(allowed, ports))?;
        let shown = listed(allowed.ranges());
        Some(format!("the edge's policy does not allow a {what} {} (target_ports: {shown})", of(ports)))
    }
}

/// The keys that are set, for people; empty where nothing is.
impl Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |ports: &PortSet| listed(ports.ranges()).to_string();
        let networks = |networks: &Networks| listed(networks.as_slice()).to_string();
        let keys = [
            ("listen_ports", self.listen_ports.as_ref().map(ports)),
            ("listen_addresses", self.listen_addresses.as_ref().map(networks)),
            ("target_networks", self.target_networks.as_ref().map(networks)),
            ("target_ports", self.target_ports.as_ref().map(ports)),
            ("max_rules", self.max_rules.map(|most| most.to_string())),
            ("max_connections", self.max_connections.map(|most| most.to_string())),
            ("allow_metadata_targets", self.allow_metadata_targets.then(|| "yes".to_owned())),
        ];
        let set = keys.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        for (index, (key, value)) in set.enumerate() {
            write!(f, "{}{key} {value}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

fn rejection(message: String) -> Rejection {
    Rejection { code: RuleCode::ForbiddenByPolicy, message }
}

/// Where a connection to this address arrives.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        // To connect to the unspecified address is to connect to loopback.
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// True for the addresses in [`METADATA`], and for their form that a translator makes IPv4 of (RFC 6052 §2.1).
fn is_metadata(ip: IpAddr) -> bool {
    let translated = match ip {
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))))
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    };
    METADATA.contains(&translated.unwrap_or(ip))
}

/// True if all of these ports are in the set.
fn covers(set: &PortSet, ports: PortRange) -> bool {
    set.ranges().iter().any(|range| range.first() <= ports.first() && ports.last() <= range.last())
}

fn contains(set: &PortSet, port: u16) -> bool {
    set.ranges().iter().any(|range| range.contains(port))
}

fn of(ports: PortRange) -> String {
    format!("{} {ports}", if ports.is_single() { "port" } else { "ports" })
}

/// The first entries of a list.
fn listed(entries: &[impl Display]) -> impl Display {
    fmt::from_fn(move |f| {
        if entries.is_empty() {
            return f.write_str("none");
        }
        for (index, entry) in entries.iter().take(SHOWN).enumerate() {
            write!(f, "{}{entry}", if index == 0 { "" } else { ", " })?;
        }
        match entries.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    })
}
