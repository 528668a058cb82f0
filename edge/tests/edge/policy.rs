//! What the owner of an edge allows holds on every path: rules, addresses of names, flows, ranges, checks and restarts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edge::Edge;
use edge::act::names::Names;
use edge::act::runtime::{self, RuntimeHandle};
use edge::act::status::Status;
use edge::decide::policy::parse;
use schema::codes::RuleCode;
use schema::counters::ConnectCause;
use schema::health::{HealthCheck, HealthKind, RuleHealth};
use schema::net::{ListenAddress, Protocol};
use schema::policy::Policy;
use schema::rule::{Host, Rule, RuleParts};
use schema::state::RuleState;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::dns::{Dns, Reply};
use crate::support::{
    LONG, apply, closed, config_without_server, connect, desired, echo, echo_at, echo_range, end, free_ports,
    is_turned_away, let_pass, limits, ping, range, runtime, to, to_all, wait_for, wait_until,
};

fn policy(text: &str) -> Policy {
    parse(text).unwrap()
}

async fn set(edge: &RuntimeHandle, text: &str) {
    timeout(LONG, edge.set_policy(policy(text))).await.unwrap().unwrap();
}

fn code(status: &Status, rule: &str) -> Option<RuleCode> {
    status.rule(rule).and_then(|rule| rule.code)
}

async fn refused(port: u16) -> bool {
    timeout(LONG, TcpStream::connect(("127.0.0.1", port))).await.unwrap().is_err()
}

fn metadata(name: &str, port: u16, host: &str) -> Arc<Rule> {
    to(name, port, ([127, 0, 0, 1], 80).into(), |parts| parts.targets[0].host = Host::parse(host).unwrap())
}

#[tokio::test]
async fn metadata_addresses_are_refused_without_a_policy_and_whatever_else_is_wanted_serves() {
    let edge = runtime().await;
    let port = free_ports(3);
    let target = echo("").await;
    let rules = [
        metadata("a", port, "169.254.169.254"),
        metadata("b", port + 1, "::ffff:169.254.169.254"),
        to("web", port + 2, target, |_| ()),
    ];
    let status = apply(&edge, 1, &rules).await;
    for name in ["a", "b"] {
        assert_eq!(code(&status, name), Some(RuleCode::ForbiddenByPolicy));
        assert_eq!(status.rule(name).unwrap().state, RuleState::Rejected);
    }
    ping(&mut connect(port + 2).await, b"web").await;
    assert!(refused(port).await && refused(port + 1).await);
}

#[tokio::test]
async fn a_narrower_policy_stops_accepting_at_once_and_drains_and_a_wider_one_serves_again() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    let drains = |parts: &mut RuleParts| parts.drain_timeout = Duration::from_secs(1);
    let rules = [to("a", port, target, drains), to("b", port + 1, target, |_| ())];
    apply(&edge, 1, &rules).await;
    let (mut held, mut kept) = (connect(port).await, connect(port + 1).await);
    ping(&mut held, b"before").await;
    ping(&mut kept, b"before").await;

    set(&edge, &format!("listen_ports = [{}]", port + 1)).await;
    assert_eq!(code(&edge.status(), "a"), Some(RuleCode::ForbiddenByPolicy));
    assert!(refused(port).await, "no more connections");
    ping(&mut held, b"draining").await;
    ping(&mut kept, b"allowed").await;
    // Past the drain: what is left is cut, and nothing else.
    assert!(crate::support::is_reset(&mut held).await);
    ping(&mut kept, b"still").await;
    assert_eq!(edge.status().accepted.generation, 1, "the server's word is not changed");

    set(&edge, "").await;
    assert_eq!(edge.status().rule("a").unwrap().state, RuleState::Active);
    ping(&mut connect(port).await, b"again").await;
}

#[tokio::test]
async fn an_allowed_version_goes_on_where_the_next_one_is_forbidden_and_a_forbidden_one_does_not() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    set(&edge, &format!("listen_ports = [{port}]")).await;
    let first = to("a", port, target, |_| ());
    apply(&edge, 1, std::slice::from_ref(&first)).await;
    let status = apply(&edge, 2, &[to("a", port + 1, target, |_| ())]).await;
    assert_eq!(code(&status, "a"), Some(RuleCode::ForbiddenByPolicy));
    assert_eq!(status.rule("a").unwrap().running.as_ref(), Some(&first));
    ping(&mut connect(port).await, b"first").await;
    // Neither version is allowed any more.
    set(&edge, "listen_ports = []").await;
    assert!(refused(port).await && refused(port + 1).await);
    assert!(edge.status().rule("a").unwrap().running.is_none());
}

#[tokio::test]
async fn a_forbidden_version_ends_although_the_allowed_one_after_it_fails() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    apply(&edge, 1, &[to("a", port, target, |_| ())]).await;
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    apply(&edge, 2, &[to("a", port + 1, target, |_| ())]).await;
    ping(&mut connect(port).await, b"previous").await;
    set(&edge, &format!("listen_ports = [{}]", port + 1)).await;
    assert_eq!(code(&edge.status(), "a"), Some(RuleCode::PortInUse));
    assert!(refused(port).await);
    drop(stranger);
    wait_for(&edge, |status| status.rules[0].state == RuleState::Active).await;
    ping(&mut connect(port + 1).await, b"next").await;
}

#[tokio::test]
async fn the_number_of_rules_is_kept_and_those_that_serve_come_first() {
    let edge = runtime().await;
    let (port, target) = (free_ports(3), echo("").await);
    let rules: Vec<Arc<Rule>> = (0..3).map(|index| to(&format!("r{index}"), port + index, target, |_| ())).collect();
    set(&edge, "max_rules = 2").await;
    apply(&edge, 1, &rules[1..]).await;
    let status = apply(&edge, 2, &rules).await;
    assert_eq!(code(&status, "r0"), Some(RuleCode::ForbiddenByPolicy));
    ping(&mut connect(port + 1).await, b"one").await;
    ping(&mut connect(port + 2).await, b"two").await;
    set(&edge, "max_rules = 1").await;
    assert!(refused(port).await && refused(port + 2).await);
    ping(&mut connect(port + 1).await, b"one").await;
    set(&edge, "max_rules = 3").await;
    for index in 0..3 {
        ping(&mut connect(port + index).await, b"all").await;
    }
}

#[tokio::test]
async fn the_sum_of_connections_and_flows_is_never_above_the_policy() {
    let edge = runtime().await;
    let (port, target) = (free_ports(3), echo("").await);
    let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let flows = to("flows", port + 2, upstream.local_addr().unwrap(), |parts| {
        parts.listen.protocol = Protocol::Udp;
    });
    apply(&edge, 1, &[to("a", port, target, |_| ()), to("b", port + 1, target, |_| ()), flows]).await;
    set(&edge, "max_connections = 3").await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"flow", ("127.0.0.1", port + 2)).await.unwrap();
    let mut buffer = [0; 16];
    timeout(LONG, upstream.recv_from(&mut buffer)).await.unwrap().unwrap();
    let (mut first, mut second) = (connect(port).await, connect(port + 1).await);
    ping(&mut first, b"1").await;
    ping(&mut second, b"2").await;
    assert!(is_turned_away(port).await && is_turned_away(port + 1).await);
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other.send_to(b"flow", ("127.0.0.1", port + 2)).await.unwrap();
    let meter = |name: &str| edge.status().rule(name).unwrap().meter.clone().unwrap();
    wait_until(|| meter("flows").figures().connections_refused == 1).await;
    assert_eq!(edge.connections().count(), 3);
    assert!(meter("a").figures().connections_refused >= 1);
    // One that ends makes room.
    drop(first);
    wait_until(|| edge.connections().count() == 2).await;
    ping(&mut connect(port).await, b"3").await;
    ping(&mut second, b"2").await;
}

async fn named_edge(dns: &Dns, text: &str) -> RuntimeHandle {
    let edge = runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
    set(&edge, text).await;
    edge
}

fn named(name: &str) -> impl FnOnce(&mut RuleParts) {
    let host = Host::parse(name).unwrap();
    move |parts| parts.targets[0].host = host
}

#[tokio::test]
async fn of_a_name_the_allowed_addresses_are_used_by_connections_flows_and_checks() {
    let dns = Dns::start().await;
    let ips = ["127.0.5.1", "127.0.5.2", "127.0.5.3"].map(|ip| ip.parse::<IpAddr>().unwrap());
    dns.say("db.test", Reply::Addresses(ips.to_vec(), 60));
    dns.say("meta.test", Reply::Addresses(vec!["169.254.169.254".parse().unwrap()], 60));
    let edge = named_edge(&dns, "target_networks = [\"127.0.5.2\", \"127.0.5.3\"]").await;
    let (port, target) = (free_ports(4), free_ports(1));
    // The forbidden one would answer.
    let forbidden = TcpListener::bind((ips[0], target)).await.unwrap();
    for ip in &ips[1..] {
        echo_at((*ip, target).into(), "").await;
    }
    let flows_forbidden = UdpSocket::bind((ips[0], target)).await.unwrap();
    let flows_allowed = UdpSocket::bind((ips[1], target)).await.unwrap();
    let _third = UdpSocket::bind((ips[2], target)).await.unwrap();
    let at = SocketAddr::from((ips[0], target));
    let checked = |parts: &mut RuleParts| {
        named("db.test")(parts);
        parts.health = Some(HealthCheck { rise: 1, ..HealthCheck::new(HealthKind::Tcp, 1) });
    };
    let udp = |parts: &mut RuleParts| {
        named("db.test")(parts);
        parts.listen.protocol = Protocol::Udp;
    };
    let rules = [
        to("checked", port, at, checked),
        to("flows", port + 1, at, udp),
        to("gone", port + 2, at, named("meta.test")),
    ];
    apply(&edge, 1, &rules).await;
    for _ in 0..9 {
        ping(&mut connect(port).await, b"allowed").await;
    }
    let mut buffer = [0; 16];
    for _ in 0..6 {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"flow", ("127.0.0.1", port + 1)).await.unwrap();
    }
    timeout(LONG, flows_allowed.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert!(is_turned_away(port + 2).await, "none of its addresses is allowed");
    let meter = |name: &str| edge.status().rule(name).unwrap().meter.clone().unwrap();
    wait_until(|| *meter("gone").figures().connect_errors.of(ConnectCause::Policy) == 1).await;
    assert_eq!(meter("checked").figures().connect_errors.sum(), 0);
    // Checks have asked by now, and asked the allowed ones.
    wait_for(&edge, |status| {
        status
            .rule("checked")
            .and_then(|rule| rule.health.as_ref())
            .is_some_and(|health| health.health == RuleHealth::Up)
    })
    .await;
    let_pass(Duration::from_secs(1)).await;
    assert!(timeout(Duration::ZERO, forbidden.accept()).await.is_err(), "nobody came to the forbidden address");
    assert!(flows_forbidden.try_recv_from(&mut buffer).is_err());
}

#[tokio::test]
async fn a_target_that_is_forbidden_when_it_is_dialled_is_passed_over_without_a_verdict() {
    let dns = Dns::start().await;
    dns.say("moved.test", Reply::Addresses(vec!["127.0.6.1".parse().unwrap()], 60));
    let edge = named_edge(&dns, "target_networks = [\"127.0.0.1\"]").await;
    let port = free_ports(1);
    let rule = to_all("web", port, &[closed(), echo("").await], named("moved.test"));
    let status = apply(&edge, 1, &[rule]).await;
    for _ in 0..5 {
        ping(&mut connect(port).await, b"second").await;
    }
    let figures = || status.rule("web").unwrap().meter.as_ref().unwrap().figures();
    wait_until(|| *figures().connect_errors.of(ConnectCause::Policy) == 5).await;
    assert_eq!(figures().target_failovers, 0, "five in a row are not a verdict: this edge is at fault");
}

#[tokio::test]
async fn every_port_of_a_range_is_judged() {
    let edge = runtime().await;
    let (port, target) = (free_ports(4), echo_range(4).await);
    let rule = range("all", port, port + 3, target);
    set(&edge, &format!("target_ports = [\"{target}-{}\"]", target + 2)).await;
    let status = apply(&edge, 1, std::slice::from_ref(&rule)).await;
    assert_eq!(code(&status, "all"), Some(RuleCode::ForbiddenByPolicy));
    assert!(refused(port).await);
    set(&edge, &format!("target_ports = [\"{target}-{}\"]", target + 3)).await;
    for index in 0..4 {
        ping(&mut connect(port + index).await, b"range").await;
    }
}

#[tokio::test]
async fn a_wildcard_listener_needs_every_address() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    set(&edge, "listen_addresses = [\"127.0.0.0/8\"]").await;
    let loopback = |parts: &mut RuleParts| parts.listen.address = ListenAddress::Ip([127, 0, 0, 1].into());
    let rules = [to("wild", port, target, |_| ()), to("one", port + 1, target, loopback)];
    let status = apply(&edge, 1, &rules).await;
    assert_eq!((code(&status, "wild"), code(&status, "one")), (Some(RuleCode::ForbiddenByPolicy), None));
    ping(&mut connect(port + 1).await, b"one").await;
    assert!(refused(port).await);
}

#[tokio::test]
async fn after_a_restart_the_last_good_state_is_served_as_far_as_the_policy_allows() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(3), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port + 2)).unwrap();
    apply(edge.runtime(), 1, &[to("a", port, target, |_| ()), to("b", port + 1, target, |_| ())]).await;
    // A version that fails leaves the forbidden one before it in the file.
    apply(edge.runtime(), 2, &[to("a", port + 2, target, |_| ()), to("b", port + 1, target, |_| ())]).await;
    end(edge).await;

    let mut config = config_without_server(folder.path());
    config.policy = policy(&format!("listen_ports = [\"{}-{}\"]", port + 1, port + 2));
    let edge = Edge::start(config.clone()).await.unwrap();
    ping(&mut connect(port + 1).await, b"allowed").await;
    assert!(refused(port).await, "the version before was allowed then");
    drop(stranger);
    end(edge).await;

    config.policy = policy("max_rules = 1");
    let edge = Edge::start(config.clone()).await.unwrap();
    let status = edge.runtime().status();
    assert_eq!(status.rules.iter().filter(|rule| rule.running.is_some()).count(), 1);
    assert_eq!(status.accepted.generation, 2);
    end(edge).await;

    config.policy = Policy::default();
    let edge = Edge::start(config).await.unwrap();
    ping(&mut connect(port + 2).await, b"all").await;
    end(edge).await;
}

#[tokio::test]
async fn a_plan_is_not_proven_against_the_policy() {
    let edge = runtime().await;
    let port = free_ports(1);
    set(&edge, "listen_ports = []").await;
    let base = edge::decide::admission::Base { generation: 0, running: edge.status().running_digest };
    let proof = edge.reserve(desired(1, &[to("a", port, closed(), |_| ())]), base, LONG).await.unwrap().unwrap();
    let verdict = proof.rules.values().next().unwrap();
    assert!(
        matches!(verdict, runtime::RuleProof::Refused(failure) if failure.code == RuleCode::ForbiddenByPolicy),
        "{verdict:?}"
    );
    assert_eq!(proof.lease, 0);
}
