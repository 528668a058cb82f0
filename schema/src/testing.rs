//! Builders for tests of every crate: short names for valid rules.

pub mod shared_ports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, Listener, PortRange, Protocol};
use crate::rule::{Host, Rule, RuleParts, Target};
use crate::ruleset::Rails;

/// A TCP rule `name` on all addresses at `first..=last`, to 127.0.0.1 at the ports above them, or below where there is no
/// room: at the same ones it would forward to itself.
pub fn rule(name: &str, first: u16, last: u16) -> Arc<Rule> {
    rule_with(name, first, last, |_| ())
}

/// Like [`rule`], with a change to its parts.
pub fn rule_with(name: &str, first: u16, last: u16, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    let ports = PortRange::new(first, last).expect("the test gives a range");
    let listen = ListenRange { protocol: Protocol::Tcp, address: ListenAddress::Any, ports };
    let width = last - first + 1;
    let target = last.checked_add(width).map_or_else(|| (first - width, first - 1), |above| (last + 1, above));
    let target = PortRange::new(target.0, target.1).expect("a test's range leaves room for its target's");
    let host = Host::parse("127.0.0.1").expect("an address");
    let mut parts =
        RuleParts::new(RuleName::new(name).expect("the test gives a name"), listen, vec![Target::new(host, target)]);
    change(&mut parts);
    Arc::new(Rule::new(parts).expect("the test gives a valid rule"))
}

/// Rails that nothing but emptying an edge and taking a protected rule trips.
pub const fn wide_rails() -> Rails {
    Rails {
        max_removed_percent: 100,
        max_removed_rules: u32::MAX,
        max_rebound_percent: 100,
        max_connections_dropped: 0,
    }
}

/// Every listener of these rules with the enabled places that it leads to, port by port: what [`crate::ending`] is
/// measured by.
pub fn places(rules: &crate::diff::Rules) -> BTreeMap<Listener, BTreeSet<(Host, u16)>> {
    let mut places: BTreeMap<Listener, BTreeSet<(Host, u16)>> = BTreeMap::new();
    for rule in rules.values() {
        for (offset, listener) in rule.listen.listeners().enumerate() {
            let enabled = rule.targets.iter().filter(|target| target.enabled);
            let ports = enabled.filter_map(|target| Some((target.host.clone(), target.ports.ports().nth(offset)?)));
            places.entry(listener).or_default().extend(ports);
        }
    }
    places
}

/// Strategies for property tests: arbitrary valid rules and sets of them.
pub mod arbitrary {
    use std::collections::BTreeMap;
    use std::num::{NonZeroU32, NonZeroU64};
    use std::sync::Arc;
    use std::time::Duration;

    use ipnet::IpNet;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use crate::access::{Access, Enforcement, LiveConnections};
    use crate::diff::Rules;
    use crate::health::{HealthCheck, HealthKind, MAX_HISTORY, Retry, StatusRanges};
    use crate::name::RuleName;
    use crate::net::{ListenAddress, ListenRange, PortRange, Protocol};
    use crate::networks::{ListFile, NetworkList};
    use crate::policy::Network;
    use crate::quota::{MAX_QUOTA_BYTES, OnExhausted, Period, Quota, TimeZoneName};
    use crate::rate::{MAX_BYTES_PER_SEC, MAX_CONNECTIONS_PER_SEC, PerSource, RateLimit};
    use crate::rule::{Balance, Host, LastResort, OnTargetDown, OwnerLimits, ProxyProtocol, Rule, RuleParts, Target};
    use crate::sni::ServerName;

    /// A rule name, from few enough that sets of rules share some.
    pub fn name() -> impl Strategy<Value = RuleName> {
        prop_oneof![3 => "[a-h]", 1 => "[a-z0-9][a-z0-9._-]{0,62}"]
            .prop_map(|text| RuleName::new(&text).expect("the pattern is that of names"))
    }

    /// A range of ports, most of them narrow and near each other.
    pub fn ports() -> impl Strategy<Value = PortRange> {
        let near = (20_000_u16..20_200, 0_u16..60);
        let any = (1_u16..=65_535, 0_u16..1024);
        prop_oneof![3 => near, 1 => any]
            .prop_map(|(first, more)| PortRange::new(first, first.saturating_add(more)).expect("ascending and above 0"))
    }

    /// An address to listen on.
    pub fn address() -> impl Strategy<Value = ListenAddress> {
        let ip = |text: &str| ListenAddress::Ip(text.parse().expect("an address"));
        prop_oneof![
            4 => Just(ListenAddress::Any),
            3 => select(vec![ip("0.0.0.0"), ip("::"), ip("10.0.0.1"), ip("10.0.0.2"), ip("2001:db8::1")]),
        ]
    }

    /// A host that can be a target and is never the edge itself.
    pub fn host() -> impl Strategy<Value = Host> {
        prop_oneof![
            "[a-z][a-z0-9-]{0,10}[a-z0-9](\\.[a-z]{2,8}){0,2}",
            (0_u32..1 << 20).prop_map(|low| std::net::Ipv4Addr::from_bits(0xac10_0000 | low).to_string()),
            any::<u64>()
                .prop_map(|low| std::net::Ipv6Addr::from_bits((0xfd_u128 << 120) | u128::from(low)).to_string()),
        ]
        .prop_map(|text| Host::parse(&text).expect("each of them is a host"))
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[ -~]{1,30}", "[äöü✓\"'\\\\ ]{1,10}"]
    }

    fn health() -> impl Strategy<Value = HealthCheck> {
        let kinds = [HealthKind::Tcp, HealthKind::Tls, HealthKind::Http, HealthKind::Https, HealthKind::Icmp];
        let counts = (1_u8..=255, 1_u8..=255, 0_u8..=100, 1_u32..=3600, 1_u32..=3600);
        let words = ("/[a-z/]{0,9}", "[a-z.]{0,9}", "[A-Z]{1,7}", "([a-z][+?]?){0,5}", "\\PC{0,9}", "[a-z\r\n]{0,9}");
        (select(kinds.to_vec()), 1_u32..=3600, 1_u32..=5000, option::of(1_u16..), any::<[bool; 4]>(), counts, words)
            .prop_map(|(kind, interval, timeout, port, flags, counts, words)| {
                let mut check = HealthCheck::new(kind, interval);
                check.timeout_ms = timeout.min(interval * 1000);
                (check.rise, check.fall, check.jitter_percent) = (counts.0, counts.1, counts.2);
                (check.fast_interval_secs, check.down_interval_secs) = (counts.3, counts.4);
                if kind != HealthKind::Icmp {
                    check.port = port;
                }
                if kind.is_http() {
                    (check.path, check.host, check.method, check.expect_body) = (words.0, words.1, words.2, words.3);
                    check.expect_status = StatusRanges::parse("204,300-302").expect("statuses");
                } else if kind == HealthKind::Tcp {
                    (check.send, check.expect) = (words.4, words.5);
                }
                if kind.is_tls() {
                    check.verify = flags[0];
                    check.server_name = if flags[1] { "x.example".to_owned() } else { String::new() };
                }
                check.address = flags[1].then(|| "10.9.8.7".parse().expect("an address"));
                (check.is_optimistic, check.is_leaky) = (flags[2], flags[3]);
                if flags[0] {
                    check.history = counts.0 % MAX_HISTORY + 1;
                    check.retry = Retry { max: counts.1, initial_ms: counts.3, max_ms: counts.3 + counts.4 };
                }
                check
            })
    }

    /// One to eight targets as wide as the range, no two alike.
    fn targets(width: u32, protocol: Protocol) -> impl Strategy<Value = Vec<Target>> {
        let proxy = option::of(select(vec![ProxyProtocol::V1, ProxyProtocol::V2]));
        let one = (host(), 1_u16..=65_535, 0_u8..=99, 0_u8..=100, any::<bool>(), proxy);
        let plain = (host(), 1_u16..=65_535).prop_map(|(host, port)| (host, port, 0, 100, true, None));
        prop_oneof![vec(plain, 1), vec(one, 1..=8)].prop_map(move |drawn| {
            let mut targets: Vec<Target> = Vec::new();
            for (host, port, priority, weight, enabled, proxy) in drawn {
                let first = u32::from(port).min(65_536 - width) as u16;
                let last = (u32::from(first) + width - 1) as u16;
                let mut target = Target::new(host, PortRange::new(first, last).expect("ascending"));
                (target.priority, target.weight, target.enabled) = (priority, weight, enabled);
                target.proxy_protocol = proxy.filter(|_| protocol == Protocol::Tcp);
                if !targets.iter().any(|other| other.host == target.host) {
                    targets.push(target);
                }
            }
            targets
        })
    }

    fn listen() -> impl Strategy<Value = ListenRange> {
        (prop_oneof![4 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)], address(), ports())
            .prop_map(|(protocol, address, ports)| ListenRange { protocol, address, ports })
    }

    fn network() -> impl Strategy<Value = Network> {
        let v4 = (any::<u32>(), 0_u8..=32)
            .prop_map(|(bits, prefix)| IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), prefix));
        let v6 = (any::<u128>(), 0_u8..=128)
            .prop_map(|(bits, prefix)| IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), prefix));
        prop_oneof![v4, v6].prop_map(|net| {
            Network::from_net(net.expect("the prefix fits").trunc()).expect("no bits are set beyond the prefix")
        })
    }

    /// A list of networks, perhaps empty.
    pub fn networks() -> impl Strategy<Value = NetworkList> {
        vec(network(), 0..4).prop_map(|networks| networks.into_iter().collect())
    }

    fn rate_limit() -> impl Strategy<Value = RateLimit> {
        let bytes = || option::of((1..=MAX_BYTES_PER_SEC).prop_map(|bytes| NonZeroU64::new(bytes).expect("above 0")));
        let count =
            || option::of((1..=MAX_CONNECTIONS_PER_SEC).prop_map(|count| NonZeroU32::new(count).expect("above 0")));
        let source = option::of((count(), count(), count(), 1_u8..=32, 1_u8..=128));
        (bytes(), bytes(), bytes(), count(), count(), source, any::<bool>()).prop_filter_map(
            "it limits something",
            |(bandwidth_in, bandwidth_out, burst, new_connections, more, source, observe)| {
                let per_source = source.map(|(connections, new_connections, more, prefix_v4, prefix_v6)| PerSource {
                    connections,
                    new_connections,
                    new_connections_burst: more.filter(|_| new_connections.is_some()),
                    prefix_v4,
                    prefix_v6,
                });
                let rate = RateLimit {
                    bandwidth_in,
                    bandwidth_out,
                    bandwidth_burst: burst.filter(|_| bandwidth_in.or(bandwidth_out).is_some()),
                    new_connections,
                    new_connections_burst: more.filter(|_| new_connections.is_some()),
                    per_source: per_source.filter(|own| own.connections.or(own.new_connections).is_some()),
                    mode: if observe { Enforcement::Observe } else { Enforcement::Enforce },
                };
                (!rate.is_empty()).then_some(rate)
            },
        )
    }

    fn quota() -> impl Strategy<Value = Quota> {
        let periods = vec![Period::Hour, Period::Day, Period::Week, Period::Month, Period::Total];
        let zones = vec!["UTC", "Europe/Berlin", "America/St_Johns"];
        let exhausted = vec![OnExhausted::Stop, OnExhausted::Throttle, OnExhausted::Observe];
        let words = (select(periods), select(zones), select(exhausted));
        (1..=MAX_QUOTA_BYTES, words, 1_u8..=31, 1_u8..=100, 1..=MAX_BYTES_PER_SEC).prop_map(
            |(bytes, (period, zone, on_exhausted), day, warn_percent, throttle)| {
                let mut quota = Quota::new(NonZeroU64::new(bytes).expect("above 0"));
                (quota.period, quota.on_exhausted, quota.warn_percent) = (period, on_exhausted, warn_percent);
                if period == Period::Month {
                    quota.anchor_day = day;
                }
                if period != Period::Total {
                    quota.time_zone = TimeZoneName::parse(zone).expect("a zone");
                }
                quota.throttle = NonZeroU64::new(throttle).filter(|_| on_exhausted == OnExhausted::Throttle);
                quota
            },
        )
    }

    fn access() -> impl Strategy<Value = Option<Access>> {
        let file = |path: &'static str| {
            option::of(vec(network(), 1..4).prop_map(move |list| ListFile::new(path, list.into_iter().collect())))
        };
        (networks(), networks(), any::<[bool; 2]>(), file("lists/allow.txt"), file("lists/deny.txt")).prop_map(
            |(allow, deny, [observe, drain], allow_file, deny_file)| {
                let mode = if observe { Enforcement::Observe } else { Enforcement::Enforce };
                let live = if drain { LiveConnections::Drain } else { LiveConnections::Keep };
                let access = Access { allow, deny, allow_file, deny_file, mode, live };
                (!access.is_empty()).then_some(access)
            },
        )
    }

    /// A rule with keys that say who may connect, how much, and by which name.
    pub fn guarded_rule() -> BoxedStrategy<Rule> {
        let name = "(\\*\\.)?[a-z][a-z0-9_]{0,8}(\\.[a-z][a-z0-9-]{0,8}[a-z0-9]){1,3}\\.[a-z]{2,6}";
        let names = vec(name, 0..4);
        let limits = (access(), option::of(rate_limit().boxed()), option::of(quota().boxed()));
        (rule().boxed(), names, 1_u64..=60_000, networks(), limits)
            .prop_map(|(rule, names, timeout, proxies, limits)| {
                let mut parts = rule.into_parts();
                if parts.listen.protocol == Protocol::Tcp {
                    if parts.listen.ports.is_single() {
                        parts.sni = names.iter().map(|name| ServerName::parse(name).expect("a name")).collect();
                        parts.sni.sort();
                        parts.sni.dedup();
                    }
                    parts.sni_timeout = Duration::from_millis(timeout);
                    parts.accept_proxy = proxies;
                }
                (parts.access, parts.rate_limit, parts.quota) =
                    (limits.0.map(Box::new), limits.1.map(Box::new), limits.2.map(Box::new));
                Rule::new(parts).expect("every part is in its range")
            })
            .boxed()
    }

    /// Such a rule with the limits of its owner.
    pub fn owned_rule() -> BoxedStrategy<Rule> {
        (guarded_rule(), option::of(rate_limit()), option::of(quota()))
            .prop_map(|(rule, rate_limit, quota)| {
                let mut parts = rule.into_parts();
                let rate_limit =
                    rate_limit.map(|rate| RateLimit { per_source: None, ..rate }).filter(|rate| !rate.is_empty());
                let limits = OwnerLimits { rate_limit, quota };
                parts.owner_limits = (limits != OwnerLimits::default()).then(|| Box::new(limits));
                Rule::new(parts).expect("every part is in its range")
            })
            .boxed()
    }

    /// Any valid rule that a file can hold.
    pub fn rule() -> impl Strategy<Value = Rule> {
        listen().prop_flat_map(|listen| {
            let words = (
                select(vec![Balance::Failover, Balance::SourceIp, Balance::RoundRobin, Balance::LeastConnections]),
                select(vec![LastResort::Top, LastResort::None, LastResort::All]),
                select(vec![OnTargetDown::Drain, OnTargetDown::Reset]),
            );
            let limits = (1_u64..=10_000, option::of(1_u64..=31_536_000), any::<u32>(), 0_u64..=86_400);
            let udp = (1_u32..=1_048_576, 1_u64..=86_400);
            let waits = (option::of(1_u64..=31_536_000), option::of(1_u64..=31_536_000));
            let udp = (udp, waits);
            let targets = targets(listen.ports.width(), listen.protocol);
            (name(), text(), text(), any::<[bool; 3]>(), targets, option::of(health()), words, limits, udp).prop_map(
                move |(name, description, owner, flags, targets, health, words, limits, udp)| {
                    let mut parts = RuleParts::new(name, listen, targets);
                    (parts.description, parts.owner, parts.health) = (description, owner, health);
                    (parts.protected, parts.prefer_ipv6) = (flags[0], flags[1]);
                    if flags[2] {
                        (parts.balance, parts.last_resort, parts.on_target_down) = words;
                        parts.max_connections = NonZeroU32::new(limits.2);
                        parts.drain_timeout = Duration::from_secs(limits.3);
                    }
                    if listen.protocol == Protocol::Udp {
                        parts.udp_max_flows = udp.0.0;
                        parts.udp_flow_idle = Duration::from_secs(udp.0.1);
                    } else if flags[2] {
                        parts.connect_timeout = Duration::from_millis(limits.0);
                        parts.idle_timeout = limits.1.map(Duration::from_secs);
                        parts.half_closed_timeout = udp.1.0.map(Duration::from_secs);
                        parts.stalled_timeout = udp.1.1.map(Duration::from_secs);
                    }
                    Rule::new(parts).expect("every part is in its range")
                },
            )
        })
    }

    /// The rules of one edge: names and sockets are each claimed once.
    pub fn rules() -> impl Strategy<Value = Rules> {
        vec(rule(), 0..8).prop_map(|drawn| {
            let mut rules: Rules = BTreeMap::new();
            for rule in drawn {
                if !rules.values().any(|other| other.listen.conflicts_with(&rule.listen)) {
                    rules.entry(rule.name.clone()).or_insert_with(|| Arc::new(rule));
                }
            }
            rules
        })
    }

    /// A rule of a small world, in which rules meet each other's listeners and places all the time.
    pub(super) fn crowded_rule() -> impl Strategy<Value = Rule> {
        let target = (select(vec!["10.0.0.1", "10.0.0.2", "web.example"]), select(vec![1000_u16, 1001, 2000]));
        let targets = vec((target, prop::bool::weighted(0.8), select(vec![0_u8, 50, 100])), 1..4);
        let listen = (20_001_u16..20_010, 0_u16..6, prop::bool::weighted(0.3), prop::bool::weighted(0.2));
        ("[a-e]", listen, targets, 0_u64..4).prop_map(|(name, (first, more, is_udp, is_one), targets, drain)| {
            let ports = PortRange::new(first, first + more).expect("ascending and above 0");
            let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
            let one = ListenAddress::Ip("10.0.0.9".parse().expect("an address"));
            let listen = ListenRange { protocol, address: if is_one { one } else { ListenAddress::Any }, ports };
            let mut parts = RuleParts::new(RuleName::new(&name).expect("a name"), listen, Vec::new());
            for ((host, delta), enabled, weight) in targets {
                let ports = PortRange::new(first + delta, first + more + delta).expect("ascending and above 0");
                let target = Target { weight, enabled, ..Target::new(Host::parse(host).expect("a host"), ports) };
                let clash = |other: &Target| other.host == target.host && other.ports.overlaps(ports);
                if !parts.targets.iter().any(clash) {
                    parts.targets.push(target);
                }
            }
            parts.drain_timeout = Duration::from_secs(drain);
            Rule::new(parts).expect("every part is in its range")
        })
    }

    /// The rules of one edge in a small world.
    pub fn crowded_rules() -> impl Strategy<Value = Rules> {
        vec(crowded_rule(), 0..6).prop_map(|drawn| {
            let mut rules: Rules = BTreeMap::new();
            for rule in drawn {
                if !rules.values().any(|other| other.listen.conflicts_with(&rule.listen)) {
                    rules.entry(rule.name.clone()).or_insert_with(|| Arc::new(rule));
                }
            }
            rules
        })
    }
}
