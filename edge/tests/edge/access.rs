//! Access lists: who is refused, who is only counted, and which live connections a new list ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::act::workers::Meter;
use schema::access::{Access, Enforcement, LiveConnections};
use schema::counters::RefusalReason;
use schema::networks::{ListFile, NetworkList};
use schema::rule::RuleParts;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{apply, desired, echo, free_ports, is_reset, ping, runtime, to, wait_until};

pub(crate) fn list(networks: &[&str]) -> NetworkList {
    networks.iter().map(|network| network.parse().expect("a network")).collect()
}

fn with(access: Access) -> impl FnOnce(&mut RuleParts) {
    move |parts| {
        parts.access = Some(Box::new(access));
        parts.drain_timeout = Duration::from_secs(1);
    }
}

pub(crate) fn refused(meter: &Meter, reason: RefusalReason, mode: Enforcement) -> u64 {
    *meter.figures().refused.of(reason.by(mode))
}

/// A connection from an address of the loopback network.
async fn from(ip: [u8; 4], port: u16) -> TcpStream {
    try_from(ip, port).await.unwrap()
}

async fn try_from(ip: [u8; 4], port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::from(ip), 0))?;
    socket.connect(([127, 0, 0, 1], port).into()).await
}

#[tokio::test]
async fn a_list_refuses_by_file_and_network_and_mapped_addresses_are_ipv4() {
    let (edge, target, port) = (runtime().await, echo("").await, free_ports(1));
    let access = Access {
        allow: list(&["127.0.0.2/31"]),
        allow_file: Some(ListFile::new("lists/a.txt", list(&["127.0.1.0/24"]))),
        deny: list(&["127.0.0.3"]),
        ..Access::default()
    };
    // On all addresses: an IPv4 client is an IPv4-mapped one there.
    let status = apply(&edge, 1, &[to("web", port, target, with(access.clone()))]).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    for (ip, admitted) in
        [([127, 0, 0, 2], true), ([127, 0, 1, 9], true), ([127, 0, 0, 3], false), ([127, 0, 0, 1], false)]
    {
        if admitted {
            ping(&mut from(ip, port).await, b"hello").await;
        } else if let Ok(mut client) = try_from(ip, port).await {
            // Else the reset came before the client had seen that it was connected.
            assert!(is_reset(&mut client).await, "{ip:?}");
        }
    }
    wait_until(|| refused(&meter, RefusalReason::Access, Enforcement::Enforce) == 2).await;
    let observes = Access { mode: Enforcement::Observe, ..access };
    apply(&edge, 2, &[to("web", port, target, with(observes))]).await;
    ping(&mut from([127, 0, 0, 3], port).await, b"hello").await;
    let counts = [Enforcement::Enforce, Enforcement::Observe].map(|mode| refused(&meter, RefusalReason::Access, mode));
    assert_eq!(counts, [2, 1]);
}

#[tokio::test]
async fn a_new_list_keeps_or_drains_those_it_refuses_and_nobody_else() {
    let (edge, target, port) = (runtime().await, echo("").await, free_ports(1));
    apply(&edge, 1, &[to("web", port, target, |parts| parts.drain_timeout = Duration::from_secs(1))]).await;
    let (mut refused, mut admitted) = (from([127, 0, 0, 2], port).await, from([127, 0, 0, 3], port).await);
    ping(&mut refused, b"hello").await;
    ping(&mut admitted, b"hello").await;
    let keeps = Access { deny: list(&["127.0.0.2"]), ..Access::default() };
    apply(&edge, 2, &[to("web", port, target, with(keeps.clone()))]).await;
    ping(&mut refused, b"kept").await;
    let start = Instant::now();
    let drains = Access { deny: list(&["127.0.0.2", "192.0.2.1"]), live: LiveConnections::Drain, ..keeps };
    apply(&edge, 3, &[to("web", port, target, with(drains.clone()))]).await;
    ping(&mut refused, b"drains").await;
    // Another change of the rule neither spares nor delays it.
    let other = |parts: &mut RuleParts| {
        with(drains)(parts);
        parts.description = "another version".to_owned();
    };
    apply(&edge, 4, &[to("web", port, target, other)]).await;
    assert!(is_reset(&mut refused).await);
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(20));
    ping(&mut admitted, b"still here").await;
}

#[tokio::test]
async fn a_list_that_admits_again_spares_what_drains() {
    let (edge, target, port) = (runtime().await, echo("").await, free_ports(1));
    let rule = |access: Access| to("web", port, target, with(access));
    apply(&edge, 1, &[rule(Access { deny: list(&["192.0.2.1"]), ..Access::default() })]).await;
    let (mut spared, mut refused) = (from([127, 0, 0, 2], port).await, from([127, 0, 0, 3], port).await);
    ping(&mut spared, b"hello").await;
    ping(&mut refused, b"hello").await;
    let drains = Access { deny: list(&["127.0.0.2/31"]), live: LiveConnections::Drain, ..Access::default() };
    apply(&edge, 2, &[rule(drains.clone())]).await;
    apply(&edge, 3, &[rule(Access { deny: list(&["127.0.0.3"]), ..drains })]).await;
    // Both had the same end.
    assert!(is_reset(&mut refused).await);
    ping(&mut spared, b"spared").await;
}

#[tokio::test]
async fn a_rule_whose_list_did_not_arrive_is_rejected_and_the_previous_version_serves() {
    let (edge, target, port) = (runtime().await, echo("").await, free_ports(1));
    apply(&edge, 1, &[to("web", port, target, |_| {})]).await;
    let digest = list(&["192.0.2.0/24"]).digest();
    let access = Access { allow_file: Some(ListFile::referred("lists/a.txt", digest, 1)), ..Access::default() };
    let status = apply(&edge, 2, &[to("web", port, target, with(access))]).await;
    let rule = status.rule("web").unwrap();
    assert_eq!(rule.message, "the networks of the list file lists/a.txt are missing");
    ping(&mut from([127, 0, 0, 2], port).await, b"served").await;
}

#[test]
fn rules_with_one_list_hold_it_once() {
    let networks: NetworkList = list(&["10.0.0.0/8"]);
    let file = |name: &str| Some(ListFile::new(name, networks.clone()));
    let rule = |name, port| {
        to(name, port, ([127, 0, 0, 1], 9).into(), with(Access { allow_file: file("a.txt"), ..Access::default() }))
    };
    let desired = desired(1, &[rule("a", 8001), rule("b", 8002)]);
    assert_eq!(desired.to_wire().lists.len(), 1);
    assert!(desired.rules.values().all(|rule| rule.rejection.is_none() && rule.rule.as_ref().unwrap().is_resolved()));
}

#[tokio::test]
async fn datagrams_of_refused_sources_are_dropped_and_their_flows_drain() {
    let (edge, port) = (runtime().await, free_ports(1));
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = silent.local_addr().unwrap();
    let rule = |access: Access| {
        to("dns", port, target, move |parts| {
            with(access)(parts);
            parts.listen.protocol = schema::net::Protocol::Udp;
        })
    };
    let status = apply(&edge, 1, &[rule(Access { deny: list(&["127.0.0.2"]), ..Access::default() })]).await;
    let meter: Arc<Meter> = status.rule("dns").unwrap().meter.clone().unwrap();
    let send = |ip: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind(&SocketAddr::new(IpAddr::from(ip), 0).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        socket.send(b"question").unwrap();
        socket
    };
    let _refused = send([127, 0, 0, 2]);
    wait_until(|| refused(&meter, RefusalReason::Access, Enforcement::Enforce) == 1).await;
    assert_eq!(meter.active(), 0);
    let _flow = send([127, 0, 0, 3]);
    wait_until(|| meter.active() == 1).await;
    let drains = Access { deny: list(&["127.0.0.3"]), live: LiveConnections::Drain, ..Access::default() };
    apply(&edge, 2, &[rule(drains)]).await;
    wait_until(|| meter.active() == 0).await;
}
