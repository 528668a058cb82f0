//! What a policy allows, part by part, and its laws.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::health::{HealthCheck, HealthKind};
use crate::rule::{RuleParts, Target};
use crate::testing::rule_with;
use crate::wire::policy::{policy_from_wire, policy_to_wire};

#[expect(clippy::unnecessary_wraps, reason = "the lists of a policy are optional")]
fn networks(texts: &[&str]) -> Option<Networks> {
    Some(texts.iter().map(|text| text.parse::<Network>().expect("a network")).collect())
}

#[expect(clippy::unnecessary_wraps, reason = "the lists of a policy are optional")]
fn ports(texts: &[&str]) -> Option<PortSet> {
    Some(PortSet::from_ranges(texts.iter().map(|text| PortRange::parse(text).expect("ports"))))
}

fn rule_to(host: &str, first: u16, last: u16) -> crate::rule::Rule {
    let set = |parts: &mut RuleParts| {
        parts.targets[0].host = Host::parse(host).expect("a host");
        parts.targets[0].ports = parts.listen.ports;
    };
    rule_with("web", first, last, set).as_ref().clone()
}

fn message(policy: &Policy, rule: &Rule) -> Option<String> {
    let rejection = policy.forbids(rule)?;
    assert_eq!(rejection.code, RuleCode::ForbiddenByPolicy);
    Some(rejection.message)
}

#[test]
fn without_a_policy_only_metadata_addresses_are_refused() {
    let policy = Policy::default();
    let allowed = Policy { allow_metadata_targets: true, ..Policy::default() };
    let forms = [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "169.254.170.2",
        "fd00:ec2::254",
        "fd20:ce::254",
    ];
    for host in forms {
        let rule = rule_to(host, 80, 80);
        assert!(message(&policy, &rule).is_some_and(|text| text.contains("--allow-metadata-targets")), "{host}");
        assert_eq!(message(&allowed, &rule), None, "{host}");
        let ip: IpAddr = host.parse().expect("an address");
        assert!(!policy.allows_address(ip) && allowed.allows_address(ip), "{host}");
    }
    for host in ["169.254.169.253", "10.0.0.1", "fd00:ec2::1", "64:ff9b::a00:1", "example.org", "0.0.0.0"] {
        assert_eq!(message(&policy, &rule_to(host, 80, 80)), None, "{host}");
    }
}

#[test]
fn a_list_of_targets_decides_about_metadata_addresses_as_about_others() {
    let policy = |list: &[&str]| Policy { target_networks: networks(list), ..Policy::default() };
    let rule = rule_to("169.254.169.254", 80, 80);
    assert_eq!(message(&policy(&["169.254.169.254"]), &rule), None);
    assert!(message(&policy(&["10.0.0.0/8"]), &rule).is_some());
}

#[test]
fn each_part_of_a_rule_is_held_against_its_list() {
    let listens = Policy { listen_ports: ports(&["8000-8999"]), ..Policy::default() };
    assert_eq!(message(&listens, &rule_to("10.0.0.1", 8000, 8999)), None);
    for (first, last) in [(80, 80), (7999, 8000), (8999, 9000)] {
        let text = message(&listens, &rule_to("10.0.0.1", first, last)).expect("it is refused");
        assert!(text.contains("(listen_ports: 8000-8999)"), "{text}");
    }
    let targets =
        Policy { target_networks: networks(&["10.0.0.0/8"]), target_ports: ports(&["80", "443"]), ..Policy::default() };
    assert_eq!(message(&targets, &rule_to("10.1.2.3", 80, 80)), None);
    assert_eq!(message(&targets, &rule_to("::ffff:10.1.2.3", 80, 80)), None);
    assert_eq!(message(&targets, &rule_to("db.test", 80, 80)), None, "its addresses are judged when they are known");
    assert_eq!(
        message(&targets, &rule_to("192.0.2.1", 80, 80)).as_deref(),
        Some("the edge's policy does not allow a target 192.0.2.1 (target_networks: 10.0.0.0/8)"),
    );
    assert!(message(&targets, &rule_to("10.1.2.3", 80, 81)).is_some_and(|text| text.contains("ports 80-81")));
    for host in ["localhost", "app.localhost", "0.0.0.0", "::", "127.0.0.1"] {
        assert!(message(&targets, &rule_to(host, 80, 80)).is_some(), "{host}");
        let loopback = Policy { target_networks: networks(&["127.0.0.0/8", "::1"]), ..Policy::default() };
        assert_eq!(message(&loopback, &rule_to(host, 80, 80)), None, "{host}");
    }
}

#[test]
fn a_later_target_and_a_check_of_its_own_count_as_targets() {
    let policy =
        Policy { target_networks: networks(&["10.0.0.0/8"]), target_ports: ports(&["80"]), ..Policy::default() };
    let with = |change: &dyn Fn(&mut RuleParts)| {
        let rule = rule_with("web", 80, 80, |parts| {
            parts.targets[0].host = Host::parse("10.0.0.1").expect("a host");
            parts.targets[0].ports = parts.listen.ports;
            change(parts);
        });
        message(&policy, &rule)
    };
    assert_eq!(with(&|_| {}), None);
    let second = |parts: &mut RuleParts| {
        parts.targets.push(Target::new(Host::parse("192.0.2.1").expect("a host"), parts.targets[0].ports));
    };
    assert!(with(&second).is_some_and(|text| text.contains("192.0.2.1")));
    let check = |parts: &mut RuleParts, address: Option<&str>, port| {
        let address = address.map(|ip| ip.parse().expect("an address"));
        parts.health = Some(HealthCheck { port, address, ..HealthCheck::new(HealthKind::Tcp, 15) });
    };
    assert_eq!(with(&|parts| check(parts, None, None)), None);
    assert_eq!(with(&|parts| check(parts, Some("10.9.9.9"), Some(80))), None);
    assert!(with(&|parts| check(parts, Some("192.0.2.9"), None)).is_some_and(|text| text.contains("health check")));
    assert!(with(&|parts| check(parts, None, Some(8080))).is_some_and(|text| text.contains("port 8080")));
    let open = Policy::default();
    let rule = rule_with("web", 80, 80, |parts| check(parts, Some("169.254.169.254"), None));
    assert!(open.forbids(&rule).is_some());
}

#[test]
fn a_wildcard_needs_every_address_of_its_family() {
    let all = ["0.0.0.0/0", "::/0"];
    let halves = ["0.0.0.0/1", "128.0.0.0/1"];
    // What is allowed, and whether `*`, 0.0.0.0, ::, 10.0.0.1 and ::1 are.
    let cases: [(&[&str], [bool; 5]); 5] = [
        (&all, [true; 5]),
        (&halves, [false, true, false, true, false]),
        (&["0.0.0.0/0"], [false, true, false, true, false]),
        (&["10.0.0.0/8", "::1"], [false, false, false, true, true]),
        (&[], [false; 5]),
    ];
    for (list, expected) in cases {
        let policy = Policy { listen_addresses: networks(list), ..Policy::default() };
        let allowed = ["*", "0.0.0.0", "::", "10.0.0.1", "::1"].map(|address| {
            let rule = rule_with("web", 80, 80, |parts| {
                parts.listen.address = address.parse().map_or(ListenAddress::Any, ListenAddress::Ip);
            });
            policy.forbids(&rule).is_none()
        });
        assert_eq!(allowed, expected, "{list:?}");
    }
}

#[test]
fn rules_beyond_the_number_are_those_that_do_not_serve_and_then_the_last_by_name() {
    let policy = Policy { max_rules: Some(2), ..Policy::default() };
    let names = ["a", "b", "c", "d"].map(|name| RuleName::new(name).expect("a name"));
    let beyond = |serving: &[&str]| {
        let beyond = policy.beyond(names.iter(), |name| serving.contains(&name.as_str()));
        beyond.into_keys().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(beyond(&[]), ["c", "d"]);
    assert_eq!(beyond(&["c", "d"]), ["a", "b"]);
    assert_eq!(beyond(&["d"]), ["b", "c"]);
    assert_eq!(beyond(&["a", "b", "c", "d"]), ["c", "d"]);
    assert!(Policy::default().beyond(names.iter(), |_| false).is_empty());
}

#[test]
fn networks_are_read_in_every_form_and_errors_name_what_to_write() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::1", "::1/128"),
    ] {
        assert_eq!(text.parse::<Network>().expect("a network").to_string(), shown);
    }
    for (text, part) in [("10.1.2.3/8", "write 10.0.0.0/8"), ("ten", "not a network"), ("10.0.0.0/33", "not a network")]
    {
        let error = text.parse::<Network>().expect_err("no network").to_string();
        assert!(error.contains(part), "{error}");
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let network = (any::<u32>(), 0..=32_u8).prop_map(|(bits, prefix)| {
        let net = ipnet::Ipv4Net::new(Ipv4Addr::from_bits(bits), prefix).expect("a prefix").trunc();
        net.to_string().parse::<Network>().expect("a network")
    });
    let networks = proptest::option::of(proptest::collection::vec(network, 0..4).prop_map(Networks::from_iter));
    let range = (1..=u16::MAX, 0..100_u16).prop_map(|(first, more)| PortRange::new(first, first.saturating_add(more)));
    let range = range.prop_map(|range| range.expect("ascending"));
    let ports = proptest::option::of(proptest::collection::vec(range, 0..4).prop_map(PortSet::from_ranges));
    let numbers = (proptest::option::of(any::<u32>()), proptest::option::of(any::<u32>()), any::<bool>());
    (ports.clone(), networks.clone(), networks, ports, numbers).prop_map(|(a, b, c, d, (e, f, g))| Policy {
        listen_ports: a,
        listen_addresses: b,
        target_networks: c,
        target_ports: d,
        max_rules: e,
        max_connections: f,
        allow_metadata_targets: g,
    })
}

proptest! {
    #[test]
    fn a_policy_is_the_same_after_the_wire_and_after_json(policy in any_policy()) {
        prop_assert_eq!(policy_from_wire(&policy_to_wire(&policy)), Ok(policy.clone()));
        let text = serde_json::to_string(&policy).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Policy>(&text).expect("a policy"), policy);
    }

    /// The judge of rules and the judge of addresses agree about a literal target.
    #[test]
    fn what_a_rule_may_name_is_what_may_be_dialled(policy in any_policy(), ip in any::<u32>(), port in 1..=u16::MAX) {
        let policy = Policy { listen_ports: None, listen_addresses: None, ..policy };
        let to = SocketAddr::from((Ipv4Addr::from_bits(ip), port));
        let rule = rule_with("web", 80, 80, |parts| {
            parts.targets[0] = Target::new(Host::Ip(to.ip()), PortRange::single(port).expect("a port"));
        });
        let may_dial = policy.allows_address(to.ip()) && policy.allows_target_port(port);
        prop_assert_eq!(policy.forbids(&rule).is_none(), may_dial);
    }
}
