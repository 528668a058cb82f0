//! How flows begin, live and end: limits, idleness, failing targets, rules that go, ports that change hands.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use edge::act::workers::Meter;
use schema::counters::{ConnectCause, Lost};
use schema::net::{ListenAddress, PortRange, Protocol};
use schema::rule::{Balance, Host, Rule, RuleParts, Target};
use schema::state::RuleState;
use schema::testing::rule_with;
use tokio::net::UdpSocket;

use crate::datagrams::{ask, client, mirror, mirror_at, receive, udp};
use crate::support::{alone, apply, free_ports, let_pass, runtime, wait_for, wait_until};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn meter(edge: &edge::act::runtime::RuntimeHandle, rule: &str) -> std::sync::Arc<Meter> {
    edge.status().rule(rule).unwrap().meter.clone().unwrap()
}

/// How long a flow lives without a datagram where a test waits for its end.
const IDLE: Duration = Duration::from_secs(1);

fn briefly(parts: &mut RuleParts) {
    parts.udp_flow_idle = IDLE;
}

#[tokio::test]
async fn a_flood_of_new_flows_takes_no_room_and_leaves_live_ones_alone() {
    let edge = runtime().await;
    let port = free_ports(1);
    let few = |parts: &mut RuleParts| parts.udp_max_flows = 10;
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, few)]).await;
    let meter = meter(&edge, "dns");
    let mut live = Vec::new();
    for _ in 0..10 {
        let socket = client().await;
        ask(&socket, local(port), b"first").await;
        live.push(socket);
    }
    let flood: Vec<UdpSocket> = futures(500).await;
    for (number, socket) in flood.iter().enumerate() {
        socket.send_to(b"flood", local(port)).await.unwrap();
        if number % 50 == 0 {
            for socket in &live {
                assert_eq!(ask(socket, local(port), b"alive").await, b"alive");
            }
        }
    }
    wait_until(|| meter.figures().flows_dropped_overflow > 0).await;
    let figures = meter.figures();
    assert_eq!((figures.active_flows, figures.connections_total, figures.connections_refused), (10, 10, 0));
    assert_eq!(edge.connections().count(), 10);
    assert!(figures.flows_dropped_overflow <= 500);
}

async fn futures(count: usize) -> Vec<UdpSocket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(client().await);
    }
    sockets
}

/// Takes every descriptor of its process, so it has one for itself.
#[test]
fn a_flow_without_a_descriptor_is_a_shortage_of_the_host_and_no_full_table() {
    alone("flows::a_flow_without_a_descriptor_is_a_shortage_of_the_host_and_no_full_table", async {
        let limit = rustix::process::Rlimit { current: Some(200), maximum: Some(200) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let edge = runtime().await;
        let port = free_ports(1);
        apply(&edge, 1, &[udp("dns", port, mirror(b"").await, |_| ())]).await;
        let (meter, socket) = (meter(&edge, "dns"), client().await);
        let hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        socket.send_to(b"?", local(port)).await.unwrap();
        wait_until(|| *meter.figures().connect_errors.of(ConnectCause::Descriptors) == 1).await;
        let figures = meter.figures();
        assert_eq!((figures.flows_dropped_overflow, figures.active_flows, meter.flows_refused()), (0, 0, (0, 0)));
        assert_eq!((meter.active(), edge.connections().count()), (0, 0));
        drop(hoard);
        assert_eq!(ask(&socket, local(port), b"again").await, b"again");
    });
}

#[tokio::test]
async fn max_connections_is_a_limit_of_flows_too_and_counts_as_refused() {
    let edge = runtime().await;
    let port = free_ports(1);
    let one = |parts: &mut RuleParts| parts.max_connections = NonZeroU32::new(1);
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, one)]).await;
    let meter = meter(&edge, "dns");
    ask(&client().await, local(port), b"first").await;
    client().await.send_to(b"second", local(port)).await.unwrap();
    wait_until(|| meter.figures().connections_refused == 1).await;
    assert_eq!((meter.figures().active_flows, meter.figures().flows_dropped_overflow), (1, 0));
}

/// Counts descriptors, so it has a process for itself.
#[test]
fn a_flow_without_a_datagram_for_too_long_ends_and_leaves_nothing() {
    alone("flows::a_flow_without_a_datagram_for_too_long_ends_and_leaves_nothing", async {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let edge = runtime().await;
        let port = free_ports(1);
        apply(&edge, 1, &[udp("dns", port, mirror(b"").await, briefly)]).await;
        let meter = meter(&edge, "dns");
        let clients = futures(50).await;
        let before = open();
        // On a busy host the first of them may end before the last one begins; they are asked again then.
        loop {
            let start = Instant::now();
            for socket in &clients {
                ask(socket, local(port), b"?").await;
            }
            let found = (meter.figures().active_flows, open());
            if start.elapsed() < IDLE {
                assert_eq!(found, (50, before + 50));
                break;
            }
        }
        let begun = meter.figures().connections_total;
        wait_until(|| meter.figures().active_flows == 0).await;
        wait_until(|| open() == before && edge.connections().count() == 0).await;
        // The client may come back at any time.
        ask(&clients[0], local(port), b"again").await;
        assert_eq!(meter.figures().connections_total, begun + 1);
    });
}

#[tokio::test]
async fn a_flow_lives_while_either_side_sends() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    apply(&edge, 1, &[udp("dns", port, target.local_addr().unwrap(), briefly)]).await;
    let socket = client().await;
    socket.send_to(b"subscribe", local(port)).await.unwrap();
    let (_, from) = receive(&target).await;
    for _ in 0..8 {
        let_pass(Duration::from_millis(300)).await;
        target.send_to(b"news", from).await.unwrap();
        assert_eq!(receive(&socket).await.0, b"news");
    }
    assert_eq!(meter(&edge, "dns").figures().connections_total, 1);
}

#[tokio::test]
async fn a_target_that_does_not_listen_ends_the_flow_and_the_next_datagram_begins_it_anew() {
    let edge = runtime().await;
    let port = free_ports(2);
    let target = local(port + 1);
    apply(&edge, 1, &[udp("dns", port, target, |_| ())]).await;
    let meter = meter(&edge, "dns");
    let socket = client().await;
    socket.send_to(b"nobody", local(port)).await.unwrap();
    wait_until(|| meter.figures().connect_errors.sum() == 1 && meter.active() == 0).await;
    let figures = meter.figures();
    assert_eq!((figures.active_flows, *figures.datagrams_dropped.of(Lost::Unreachable)), (0, 1));
    mirror_at(&target.to_string(), b"").await;
    assert_eq!(ask(&socket, local(port), b"somebody").await, b"somebody");
    assert_eq!(meter.figures().active_flows, 1);
}

#[tokio::test]
async fn a_flow_goes_on_to_the_next_target_where_the_first_does_not_listen() {
    let edge = runtime().await;
    let port = free_ports(2);
    let second = mirror(b"2").await;
    let rule = udp("dns", port, local(port + 1), |parts| {
        let ports = PortRange::single(second.port()).unwrap();
        parts.targets.push(Target::new(Host::Ip(second.ip()), ports));
    });
    apply(&edge, 1, &[rule]).await;
    assert_eq!(ask(&client().await, local(port), b"?").await, b"2?");
    let figures = meter(&edge, "dns").figures();
    assert_eq!((figures.active_flows, figures.connections_total), (1, 1));
}

#[tokio::test]
async fn a_name_is_looked_up_while_the_first_datagrams_wait() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = mirror(b"").await;
    let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("localhost").unwrap();
    apply(&edge, 1, &[udp("dns", port, target, named)]).await;
    let socket = client().await;
    for number in 0..5_u8 {
        socket.send_to(&[number], local(port)).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(receive(&socket).await.0);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_name_without_an_address_loses_what_waited_and_says_so() {
    let edge = runtime().await;
    let port = free_ports(1);
    let nowhere = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("nowhere.invalid").unwrap();
    apply(&edge, 1, &[udp("dns", port, local(9), nowhere)]).await;
    let meter = meter(&edge, "dns");
    client().await.send_to(b"?", local(port)).await.unwrap();
    wait_until(|| meter.figures().dns_failures == 1 && meter.active() == 0).await;
    let figures = meter.figures();
    assert_eq!(
        (figures.active_flows, *figures.datagrams_dropped.of(Lost::Unresolved), figures.udp_datagrams_in),
        (0, 1, 0)
    );
}

#[tokio::test]
async fn flows_of_a_range_are_spread_over_two_targets_and_stay_where_they_are() {
    let edge = runtime().await;
    let first = free_ports(6);
    for port in 0..2 {
        mirror_at(&local(first + 2 + port).to_string(), if port == 0 { b"a0" } else { b"a1" }).await;
        mirror_at(&local(first + 4 + port).to_string(), if port == 0 { b"b0" } else { b"b1" }).await;
    }
    let rule = rule_with("dns", first, first + 1, |parts| {
        parts.listen.protocol = Protocol::Udp;
        parts.balance = Balance::RoundRobin;
        let target = |port| Target::new(parts.targets[0].host.clone(), PortRange::new(port, port + 1).unwrap());
        parts.targets = vec![target(first + 2), target(first + 4)];
    });
    apply(&edge, 1, &[rule]).await;
    let mut answers = Vec::new();
    for number in 0..8_u16 {
        let socket = client().await;
        let at = local(first + number % 2);
        let answer = ask(&socket, at, b"").await;
        assert_eq!(ask(&socket, at, b"").await, answer);
        answers.push(String::from_utf8(answer).unwrap());
    }
    let meter = meter(&edge, "dns");
    let to = |target: &str| answers.iter().filter(|answer| answer.starts_with(target)).count();
    assert_eq!((to("a"), to("b")), (4, 4), "{answers:?}");
    assert!(answers.iter().enumerate().all(|(number, answer)| answer.ends_with(if number % 2 == 0 {
        '0'
    } else {
        '1'
    })));
    let ports: Vec<u64> = meter.per_port().iter().map(|(_, figures)| figures.active_flows).collect();
    let targets: Vec<u64> = meter.per_target().iter().map(|(_, figures)| figures.active_flows).collect();
    assert_eq!((ports, targets), (vec![4, 4], vec![4, 4]));
}

fn draining(parts: &mut RuleParts) {
    parts.drain_timeout = Duration::from_secs(2);
}

#[tokio::test]
async fn flows_of_a_removed_rule_go_on_both_ways_until_its_drain_timeout_and_nobody_new_does() {
    let edge = runtime().await;
    let port = free_ports(1);
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, draining)]).await;
    let socket = client().await;
    ask(&socket, local(port), b"1").await;
    let status = apply(&edge, 2, &[]).await;
    let rule = status.rule("dns").unwrap();
    assert_eq!((rule.state, status.listeners), (RuleState::Draining, 0));
    let meter = rule.meter.clone().unwrap();
    assert_eq!(ask(&socket, local(port), b"2").await, b"2");
    client().await.send_to(b"new", local(port)).await.unwrap();
    assert_eq!(ask(&socket, local(port), b"3").await, b"3");
    assert_eq!(meter.figures().connections_total, 1);
    wait_for(&edge, |status| status.rules.is_empty()).await;
    // The port is free again.
    wait_until(|| std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()).await;
    assert_eq!((meter.active(), edge.connections().count()), (0, 0));
}

#[tokio::test]
async fn a_port_that_goes_to_another_rule_serves_it_at_once_and_old_flows_drain() {
    let edge = runtime().await;
    let port = free_ports(2);
    let (a, b) = (mirror(b"a").await, mirror(b"b").await);
    apply(&edge, 1, &[udp("one", port, a, draining)]).await;
    let old = client().await;
    ask(&old, local(port), b"").await;
    let status = apply(&edge, 2, &[udp("one", port + 1, a, draining), udp("two", port, b, draining)]).await;
    assert_eq!(status.rule("two").unwrap().state, RuleState::Active);
    assert_eq!(ask(&client().await, local(port), b"").await, b"b");
    assert_eq!(ask(&client().await, local(port + 1), b"").await, b"a");
    assert_eq!(ask(&old, local(port), b"").await, b"a");
    let (one, two) = (meter(&edge, "one"), meter(&edge, "two"));
    assert_eq!((one.active(), two.active()), (2, 1));
    wait_until(|| one.active() == 1).await;
    assert_eq!(ask(&old, local(port), b"").await, b"b");
    assert_eq!((one.active(), two.active()), (1, 2));
}

#[tokio::test]
async fn a_socket_that_is_open_for_its_last_flows_is_no_obstacle_to_the_next_rule() {
    let edge = runtime().await;
    let port = free_ports(1);
    let (a, b) = (mirror(b"a").await, mirror(b"b").await);
    let here = |parts: &mut RuleParts| parts.listen.address = ListenAddress::Ip("127.0.0.1".parse().unwrap());
    let rules: [std::sync::Arc<Rule>; 3] =
        [udp("one", port, a, |_| ()), udp("two", port, b, |_| ()), udp("three", port, b, here)];
    let old = client().await;
    for (round, rule) in (0..).zip(&rules) {
        let status = apply(&edge, 1 + 2 * round, std::slice::from_ref(rule)).await;
        let now = status.rules.iter().find(|rule| rule.state == RuleState::Active);
        assert_eq!(now.map(|now| now.name.as_str()), Some(rule.name.as_str()), "{:?}", status.rules[0].message);
        assert_eq!(ask(&client().await, local(port), b"").await, if round == 0 { b"a" } else { b"b" });
        assert_eq!(ask(&old, local(port), b"").await, b"a", "{}", rule.name);
        let status = apply(&edge, 2 + 2 * round, &[]).await;
        assert_eq!(status.listeners, 0);
    }
}

#[tokio::test]
async fn wildcard_and_address_exchange_a_port_under_live_flows() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = mirror(b"").await;
    let here = |parts: &mut RuleParts| parts.listen.address = ListenAddress::Ip("127.0.0.1".parse().unwrap());
    let everywhere = [udp("dns", port, target, |_| ())];
    let specific = [udp("dns", port, target, here)];
    apply(&edge, 1, &everywhere).await;
    let socket = client().await;
    ask(&socket, local(port), b"first").await;
    for round in 0..10 {
        let status = apply(&edge, 2 + round, if round % 2 == 0 { &specific } else { &everywhere }).await;
        assert_eq!((status.rules[0].state, status.listeners), (RuleState::Active, 1), "{}", status.rules[0].message);
        socket.send_to(b"lives", local(port)).await.unwrap();
        assert_eq!(receive(&socket).await, (b"lives".to_vec(), local(port)));
        ask(&client().await, local(port), b"new").await;
    }
    assert_eq!(meter(&edge, "dns").figures().connections_total, 11);
}

#[tokio::test]
async fn flows_whose_address_nobody_serves_any_more_drain_beside_the_next_socket_on_their_port() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = mirror(b"").await;
    let only_v4 = |parts: &mut RuleParts| {
        draining(parts);
        parts.listen.address = ListenAddress::Ip("0.0.0.0".parse().unwrap());
    };
    apply(&edge, 1, &[udp("dns", port, target, draining)]).await;
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    let (old, stranger) = (UdpSocket::bind("[::1]:0").await.unwrap(), UdpSocket::bind("[::1]:0").await.unwrap());
    ask(&old, v6, b"1").await;
    apply(&edge, 2, &[]).await;
    let status = apply(&edge, 3, &[udp("dns", port, target, only_v4)]).await;
    assert_eq!((status.rules[0].state, status.rules[0].drains.len()), (RuleState::Active, 1));
    let meter = meter(&edge, "dns");
    assert_eq!(meter.active(), 1);
    assert_eq!(ask(&old, v6, b"2").await, b"2");
    ask(&client().await, local(port), b"new").await;
    stranger.send_to(b"nobody", v6).await.unwrap();
    wait_until(|| meter.active() == 1).await;
    assert_eq!(meter.figures().connections_total, 2, "nobody new comes in at an address that is not served");
    // The old socket is closed with its last flow.
    let is_closed = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).unwrap();
        socket.set_only_v6(true).unwrap();
        socket.bind(&SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)).into()).is_ok()
    };
    wait_until(is_closed).await;
}

#[tokio::test]
async fn the_end_of_accepting_leaves_flows_alone_and_the_reset_of_all_ends_them() {
    let edge = runtime().await;
    let port = free_ports(1);
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, |_| ())]).await;
    let socket = client().await;
    ask(&socket, local(port), b"1").await;
    edge.stop_accepting().await.unwrap();
    assert_eq!(ask(&socket, local(port), b"2").await, b"2");
    edge.connections().reset_all();
    edge.connections().ended().await;
    wait_until(|| std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()).await;
}
