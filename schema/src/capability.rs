//! What an edge can do, and which rules that excludes. Pure.
//!
//! The planner and the edge both ask [`rejection`], so the plan names the refusal that the edge would give.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::codes::RuleCode;
use crate::health::HealthKind;
use crate::net::{ListenAddress, Protocol};
use crate::rule::{Balance, Host, Rule, Target};

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
    PortRange = "port_range", "Supports rules with more than one port.";
    MultiTarget = "multi_target", "Supports rules with more than one target.";
    ActiveHealth = "active_health", "Probes targets.";
    IcmpHealth = "icmp_health", "Probes targets by ICMP echo requests.";
    ProxyProtocol = "proxy_protocol", "Sends PROXY headers.";
    SourceIp = "source_ip", "Balances by source address.";
    Sni = "sni", "Chooses rules by TLS server name.";
    Access = "access", "Admits connections by source networks.";
    RateLimit = "rate_limit", "Limits bandwidth and new connections.";
    Quota = "quota", "Counts bytes against quotas.";
    AcceptProxy = "accept_proxy", "Reads PROXY headers of load balancers in front.";
    Ipv6 = "ipv6", "Has IPv6.";
    ScopedAddresses = "scoped_addresses", "Supports addresses with an interface.";
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

/// What the keys that say who may connect, how much, and by which name need of an edge.
fn entry_needs(rule: &Rule) -> [Option<(Capability, RuleCode, &'static str)>; 5] {
    let owner = rule.owner_limits.as_deref();
    let has_rates = rule.rate_limit.is_some() || owner.is_some_and(|owner| owner.rate_limit.is_some());
    let has_quota = rule.quota.is_some() || owner.is_some_and(|owner| owner.quota.is_some());
    let needs = |is_used: bool, need| is_used.then_some(need);
    [
        needs(
            !rule.accept_proxy.is_empty(),
            (Capability::AcceptProxy, RuleCode::AcceptProxyUnsupported, "the edge does not read PROXY headers"),
        ),
        needs(
            !rule.sni.is_empty(),
            (Capability::Sni, RuleCode::SniUnsupported, "the edge does not support routing by server name"),
        ),
        needs(
            rule.access.is_some(),
            (Capability::Access, RuleCode::AccessUnsupported, "the edge does not support access lists"),
        ),
        needs(
            has_rates,
            (Capability::RateLimit, RuleCode::RateLimitUnsupported, "the edge does not support rate limits"),
        ),
        needs(has_quota, (Capability::Quota, RuleCode::QuotaUnsupported, "the edge does not support quotas")),
    ]
}

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
        return reject(RuleCode::PortRangeUnsupported, format!("the edge does not support port ranges ({ports})"));
    }
    if limits.ports_per_range > 0 && ports.width() > limits.ports_per_range {
        return reject(
            RuleCode::PortRangeUnsupported,
            format!("the range has {} ports; the edge supports at most {}", ports.width(), limits.ports_per_range),
        );
    }
    if rule.targets.len() > 1 && lacks(Capability::MultiTarget) {
        return reject(
            RuleCode::MultiTargetUnsupported,
            format!("the edge does not support several targets ({})", rule.targets.len()),
        );
    }
    if rule.health.is_some() && lacks(Capability::ActiveHealth) {
        return reject(RuleCode::ActiveHealthUnsupported, "the edge does not support health checks".to_owned());
    }
    let is_icmp = rule.health.as_ref().is_some_and(|check| check.kind == HealthKind::Icmp);
    if is_icmp && lacks(Capability::IcmpHealth) {
        let message = "the edge is not permitted to send echo requests: it has neither CAP_NET_RAW nor ping \
            sockets"
            .to_owned();
        return reject(RuleCode::ActiveHealthUnsupported, message);
    }
    if rule.targets.iter().any(|target| target.proxy_protocol.is_some()) && lacks(Capability::ProxyProtocol) {
        return reject(RuleCode::ProxyProtocolUnsupported, "the edge does not support PROXY headers".to_owned());
    }
    if let Some((_, code, message)) = entry_needs(rule).into_iter().flatten().find(|(needed, ..)| lacks(*needed)) {
        return reject(code, message.to_owned());
    }
    if rule.balance == Balance::SourceIp && lacks(Capability::SourceIp) {
        return reject(
            RuleCode::SourceIpUnsupported,
            "the edge does not support balancing by source \
            address"
                .to_owned(),
        );
    }
    unbindable(rule, capabilities).or_else(|| forwards_to_itself(rule, |_| false))
}

/// Why this edge cannot bind the listeners of this rule, or reach its targets, if so.
fn unbindable(rule: &Rule, capabilities: &Capabilities) -> Option<Rejection> {
    let lacks = |capability| !capabilities.contains(&capability);
    let reject = |code, message: String| Some(Rejection { code, message });
    let ports = rule.listen.ports;
    if rule.listen.address.is_ipv6_only() && lacks(Capability::Ipv6) {
        return reject(RuleCode::AddressNotAvailable, "the edge does not support IPv6".to_owned());
    }
    let is_scoped = matches!(rule.listen.address, ListenAddress::Scoped(_))
        || rule.targets.iter().any(|target| matches!(target.host, Host::Scoped(_)));
    if is_scoped && lacks(Capability::ScopedAddresses) {
        let message = "the edge does not support addresses with an interface".to_owned();
        return reject(RuleCode::AddressNotAvailable, message);
    }
    if ports.first() < FIRST_UNPRIVILEGED_PORT && lacks(Capability::PrivilegedPorts) {
        return reject(RuleCode::PrivilegedPort, format!("the edge is not permitted to bind port {}", ports.first()));
    }
    None
}

/// The refusal of a rule that forwards to itself, if it does, on a host that has the addresses of `is_local` besides
/// loopback. Those only the edge can know.
pub fn forwards_to_itself(rule: &Rule, is_local: impl Fn(IpAddr) -> bool) -> Option<Rejection> {
    let is_own = |ip: IpAddr| ip.is_loopback() || is_local(ip);
    let target = rule.targets.iter().find(|target| is_own_listener(rule, target, is_own))?;
    let port = target.ports.first().max(rule.listen.ports.first());
    let place = match &target.host {
        Host::Ip(ip) => SocketAddr::new(*ip, port).to_string(),
        Host::Scoped(scoped) => format!("[{scoped}]:{port}"),
        Host::Name(name) => format!("{name}:{port}"),
    };
    let message = format!("the rule forwards to its own listener ({place})");
    Some(Rejection { code: RuleCode::SelfLockout, message })
}

/// True if a target is the rule itself. A literal address tells, and a name that stands for loopback everywhere; what
/// other names stand for is known when they are looked up, and may change.
fn is_own_listener(rule: &Rule, target: &Target, is_local: impl Fn(IpAddr) -> bool) -> bool {
    if !rule.listen.ports.overlaps(target.ports) {
        return false;
    }
    // To connect to the unspecified address is to connect to loopback.
    let reached = match &target.host {
        Host::Ip(ip) => match ip.to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            IpAddr::V6(ip) if ip.is_unspecified() => vec![IpAddr::V6(Ipv6Addr::LOCALHOST)],
            ip => vec![ip],
        },
        host @ Host::Name(_) if host.is_loopback_name() => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Host::Name(_) => return false,
        Host::Scoped(scoped) => return rule.listen.address == ListenAddress::Scoped(*scoped),
    };
    reached.into_iter().any(|reached| match rule.listen.address {
        ListenAddress::Any => is_local(reached),
        ListenAddress::Ip(own) if own.is_unspecified() => reached.is_ipv4() == own.is_ipv4() && is_local(reached),
        ListenAddress::Ip(own) => reached == own.to_canonical(),
        ListenAddress::Scoped(_) => false,
    })
}

/// True if listening on the address needs a socket of its own kind only: used by the edge when it has no IPv6.
pub fn falls_back_to_ipv4(address: ListenAddress, capabilities: &Capabilities) -> bool {
    address == ListenAddress::Any && !capabilities.contains(&Capability::Ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::HealthCheck;
    use crate::net::PortRange;
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

    #[test]
    fn a_rule_that_forwards_to_itself_is_rejected() {
        // Listen address, target, and whether that is the rule itself at the port that both have.
        let cases = [
            ("*", "127.0.0.1", true),
            ("*", "127.9.9.9", true),
            ("*", "::1", true),
            ("*", "::ffff:127.0.0.1", true),
            ("*", "0.0.0.0", true),
            ("*", "10.0.0.1", false),
            ("*", "localhost", true),
            ("*", "LOCALHOST", true),
            ("*", "localhost.", true),
            ("*", "app.localhost", true),
            ("*", "notlocalhost", false),
            ("*", "localhost.example.org", false),
            ("0.0.0.0", "localhost", true),
            ("::", "localhost", true),
            ("127.0.0.1", "localhost", true),
            ("10.0.0.1", "localhost", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::", false),
            ("0.0.0.0", "::1", false),
            ("::", "::1", true),
            ("::", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "0.0.0.0", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "127.0.0.1", false),
            ("::1", "::1", true),
        ];
        let all: Capabilities = Capability::ALL.iter().copied().collect();
        // Listen ports, target ports, and whether they overlap.
        let ports = [((80, 80), (80, 80), true), ((80, 80), (81, 81), false), ((80, 89), (85, 94), true)];
        for (listen, host, is_same_host) in cases {
            for ((first, last), (low, high), is_same_port) in ports {
                let rule = rule_with("a", first, last, |parts| {
                    parts.listen.address = listen.parse().map_or(ListenAddress::Any, ListenAddress::Ip);
                    parts.targets[0].host = Host::parse(host).expect("a host");
                    parts.targets[0].ports = PortRange::new(low, high).expect("ascending");
                });
                let code = rejection(&rule, &all, &Limits::default()).map(|rejection| rejection.code);
                let expected = (is_same_host && is_same_port).then_some(RuleCode::SelfLockout);
                assert_eq!(code, expected, "{listen}:{first}-{last} to {host}:{low}-{high}");
            }
        }
    }

    #[test]
    fn the_rejection_of_a_rule_that_forwards_to_itself_says_where() {
        let all: Capabilities = Capability::ALL.iter().copied().collect();
        let rule = rule_with("a", 80, 89, |parts| parts.targets[0].ports = PortRange::new(75, 84).expect("ascending"));
        let rejection = rejection(&rule, &all, &Limits::default()).expect("it overlaps itself");
        assert_eq!(rejection.message, "the rule forwards to its own listener (127.0.0.1:80)");
    }
}
