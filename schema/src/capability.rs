//! What an edge can do, and which rules that excludes. Pure.
//!
//! The planner and the edge both ask [`rejection`], so the plan names the refusal that the edge would give.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::codes::RuleCode;
use crate::health::HealthKind;
use crate::net::{ListenAddress, Protocol};
use crate::rule::{Balance, Rule};

macro_rules! capabilities {
    ($($variant:ident = $text:literal, $doc:literal;)*) => {
        /// One ability of an edge, as its hello lists it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Capability { $(#[doc = $doc] $variant,)* }

        impl Capability {
            /// Every capability, in the order of CONTRACT §6.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As on the wire and in `--disable-capability`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The capability of that name; `None` for those of newer edges, which are ignored.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
capabilities! {
    Tcp = "tcp", "Forwards TCP.";
    Udp = "udp", "Forwards UDP.";
    PortRange = "port_range", "Takes rules of more than one port.";
    MultiTarget = "multi_target", "Takes rules of more than one target.";
    ActiveHealth = "active_health", "Probes targets.";
    IcmpHealth = "icmp_health", "Probes targets by echo requests too.";
    ProxyProtocol = "proxy_protocol", "Sends PROXY headers.";
    SourceIp = "source_ip", "Balances by source address.";
    Ipv6 = "ipv6", "Has IPv6.";
    PrivilegedPorts = "privileged_ports", "May bind ports below 1024.";
}

impl Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The capabilities of one edge.
pub type Capabilities = BTreeSet<Capability>;

/// The limits of one edge; 0 means that the edge names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Widest range.
    #[serde(default)]
    pub ports_per_range: u32,
    /// Descriptors that listeners may take.
    #[serde(default)]
    pub file_descriptors: u64,
    /// Most rules.
    #[serde(default)]
    pub rules: u32,
}

/// Why an edge cannot take a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The code of CONTRACT §6.
    pub code: RuleCode,
    /// One sentence.
    pub message: String,
}

/// The first port that needs no privilege on Linux by default (`net.ipv4.ip_unprivileged_port_start`).
pub const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Why this edge cannot take this rule, if so. Looks at the rule alone; budgets over all rules are the planner's.
pub fn rejection(rule: &Rule, capabilities: &Capabilities, limits: &Limits) -> Option<Rejection> {
    let lacks = |capability| !capabilities.contains(&capability);
    let reject = |code, message: String| Some(Rejection { code, message });
    let protocol = match rule.protocol() {
        Protocol::Tcp => Capability::Tcp,
        Protocol::Udp => Capability::Udp,
    };
    let ports = rule.listen.ports;
    if lacks(protocol) {
        return reject(RuleCode::UnsupportedProtocol, format!("the edge does not forward {}", protocol.as_str()));
    }
    if !ports.is_single() && lacks(Capability::PortRange) {
        return reject(RuleCode::PortRangeUnsupported, format!("the edge does not take port ranges ({ports})"));
    }
    if limits.ports_per_range > 0 && ports.width() > limits.ports_per_range {
        return reject(
            RuleCode::PortRangeUnsupported,
            format!("the range has {} ports, the edge takes {}", ports.width(), limits.ports_per_range),
        );
    }
    if rule.targets.len() > 1 && lacks(Capability::MultiTarget) {
        return reject(
            RuleCode::MultiTargetUnsupported,
            format!("the edge does not take several targets ({})", rule.targets.len()),
        );
    }
    if rule.health.is_some() && lacks(Capability::ActiveHealth) {
        return reject(RuleCode::ActiveHealthUnsupported, "the edge does not probe targets".to_owned());
    }
    let is_icmp = rule.health.as_ref().is_some_and(|check| check.kind == HealthKind::Icmp);
    if is_icmp && lacks(Capability::IcmpHealth) {
        let message = "the edge may not send echo requests: it lacks CAP_NET_RAW and ping sockets".to_owned();
        return reject(RuleCode::ActiveHealthUnsupported, message);
    }
    if rule.targets.iter().any(|target| target.proxy_protocol.is_some()) && lacks(Capability::ProxyProtocol) {
        return reject(RuleCode::ProxyProtocolUnsupported, "the edge does not send PROXY headers".to_owned());
    }
    if rule.balance == Balance::SourceIp && lacks(Capability::SourceIp) {
        return reject(RuleCode::SourceIpUnsupported, "the edge does not balance by source address".to_owned());
    }
    if rule.listen.address.is_ipv6_only() && lacks(Capability::Ipv6) {
        return reject(RuleCode::AddressNotAvailable, "the edge has no IPv6".to_owned());
    }
    if ports.first() < FIRST_UNPRIVILEGED_PORT && lacks(Capability::PrivilegedPorts) {
        return reject(RuleCode::PrivilegedPort, format!("the edge may not bind port {}", ports.first()));
    }
    None
}

/// True if listening on the address needs a socket of its own kind only: used by the edge when it has no IPv6.
pub fn falls_back_to_ipv4(address: ListenAddress, capabilities: &Capabilities) -> bool {
    address == ListenAddress::Any && !capabilities.contains(&Capability::Ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::HealthCheck;
    use crate::testing::rule_with;

    #[test]
    fn an_edge_that_may_not_send_echoes_takes_every_other_check() {
        let able = Capabilities::from([Capability::Tcp, Capability::ActiveHealth, Capability::PrivilegedPorts]);
        let code = |kind, able: &Capabilities| {
            let rule = rule_with("web", 80, 80, |parts| parts.health = Some(HealthCheck::new(kind, 15)));
            rejection(&rule, able, &Limits::default()).map(|rejection| rejection.code)
        };
        assert_eq!(code(HealthKind::Https, &able), None);
        assert_eq!(code(HealthKind::Icmp, &able), Some(RuleCode::ActiveHealthUnsupported));
        let privileged = able.iter().copied().chain([Capability::IcmpHealth]).collect();
        assert_eq!(code(HealthKind::Icmp, &privileged), None);
    }
}
