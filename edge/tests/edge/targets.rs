//! Several targets on one rule: who gets a connection, and where it goes when that one does not answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use edge::act::names::Names;
use edge::decide::dial::ConnectCause;
use schema::counters::{ChoiceKind, Figures};
use schema::net::PortRange;
use schema::rule::{Balance, Host, RuleParts, Target};
use schema::testing::rule_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::dns::{Dns, Reply};
use crate::support::{
    BlackHole, LONG, apply, closed, connect, echo, echo_range, free_ports, is_reset, is_turned_away, limits, ping,
    runtime, skipped, to, to_all, wait_until,
};

/// The first byte of an echo target, which says which one it is.
async fn tag(stream: &mut TcpStream) -> char {
    char::from(timeout(LONG, stream.read_u8()).await.expect("an answer").unwrap())
}

#[tokio::test]
async fn a_target_that_refuses_is_followed_by_the_next_one_at_once() {
    let edge = runtime().await;
    let (port, gone, there) = (free_ports(1), closed(), echo("b").await);
    let status = apply(&edge, 1, &[to_all("web", port, &[gone, there], |_| ())]).await;
    let mut client = connect(port).await;
    assert_eq!(tag(&mut client).await, 'b');
    ping(&mut client, b"hello").await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    let figures = meter.figures();
    assert_eq!((figures.target_failovers, figures.connections_total), (0, 1), "one failure is no verdict");
    assert_eq!(*figures.lb.of(ChoiceKind::Next), 1);
    assert_eq!(*figures.connect_errors.of(ConnectCause::Refused), 1);
    let targets: BTreeMap<_, _> = meter.per_target().into_iter().map(|((_, port), figures)| (port, figures)).collect();
    let (failed, serving) = (targets[&gone.port()], targets[&there.port()]);
    assert_eq!((failed.connections_total, failed.active_connections, failed.bytes_in), (0, 0, 0));
    assert_eq!((serving.connections_total, serving.active_connections, serving.bytes_in), (1, 1, 5));
    let times: BTreeMap<_, _> = meter.last_times().into_iter().map(|((_, port), times)| (port, times)).collect();
    assert!(times[&gone.port()].failure_ms > 0 && times[&gone.port()].success_ms == 0);
    assert!(times[&there.port()].failure_ms == 0 && times[&there.port()].success_ms > 0);
    let stats = status.rule("web").unwrap().stats(false, true).total.unwrap();
    assert_eq!(Figures::from_wire(&stats).unwrap().lb.iter().collect::<Vec<_>>(), [("next", 1)]);
}

#[tokio::test]
async fn where_all_targets_fail_the_client_is_reset_and_counted() {
    let edge = runtime().await;
    let port = free_ports(1);
    let status = apply(&edge, 1, &[to_all("web", port, &[closed(), closed(), closed()], |_| ())]).await;
    assert!(is_turned_away(port).await);
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.active() == 0).await;
    let figures = meter.figures();
    assert_eq!((figures.connections_total, figures.connections_refused), (1, 0));
    assert_eq!(*figures.lb.of(ChoiceKind::NoServer), 1);
    let last: u64 = meter.per_target().iter().map(|(_, figures)| figures.connections_total).sum();
    assert_eq!(last, 1, "a connection belongs to one target");
}

#[tokio::test]
async fn a_target_that_does_not_answer_has_its_time_and_then_the_next_one_is_tried() {
    let edge = runtime().await;
    let (hole, port) = (BlackHole::at(([127, 0, 0, 1], 0).into()), free_ports(1));
    let quick = |parts: &mut RuleParts| parts.connect_timeout = Duration::from_millis(300);
    let status = apply(&edge, 1, &[to_all("web", port, &[hole.address, echo("b").await], quick)]).await;
    assert_eq!(tag(&mut connect(port).await).await, 'b');
    let figures = status.rule("web").unwrap().meter.as_ref().unwrap().figures();
    assert_eq!(*figures.connect_errors.of(ConnectCause::Timeout), 1);
}

#[tokio::test]
async fn dialling_takes_ten_seconds_at_most_however_many_targets_there_are() {
    let edge = runtime().await;
    let holes = [(); 3].map(|()| BlackHole::at(([127, 0, 0, 1], 0).into()));
    let port = free_ports(1);
    let slow = |parts: &mut RuleParts| parts.connect_timeout = Duration::from_secs(6);
    let addresses: Vec<SocketAddr> = holes.iter().map(|hole| hole.address).collect();
    let status = apply(&edge, 1, &[to_all("web", port, &addresses, slow)]).await;
    let start = Instant::now();
    assert!(is_reset(&mut connect(port).await).await);
    assert!(start.elapsed() >= Duration::from_secs(10) && start.elapsed() < Duration::from_secs(15));
    let figures = status.rule("web").unwrap().meter.as_ref().unwrap().figures();
    assert_eq!(*figures.connect_errors.of(ConnectCause::Timeout), 2);
}

#[tokio::test]
async fn turns_are_by_weight() {
    let edge = runtime().await;
    let port = free_ports(1);
    let by_weight = |parts: &mut RuleParts| {
        parts.balance = Balance::RoundRobin;
        (parts.targets[0].weight, parts.targets[1].weight, parts.targets[2].weight) = (75, 25, 0);
    };
    let targets = [echo("a").await, echo("b").await, echo("c").await];
    apply(&edge, 1, &[to_all("web", port, &targets, by_weight)]).await;
    let mut counts = BTreeMap::new();
    for _ in 0..16 {
        *counts.entry(tag(&mut connect(port).await).await).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([('a', 12), ('b', 4)]));
}

#[tokio::test]
async fn the_target_with_the_fewest_connections_gets_the_next_one() {
    let edge = runtime().await;
    let port = free_ports(1);
    let least = |parts: &mut RuleParts| parts.balance = Balance::LeastConnections;
    let targets = [echo("a").await, echo("b").await];
    let status = apply(&edge, 1, &[to_all("web", port, &targets, least)]).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    let mut held: BTreeMap<char, Vec<TcpStream>> = BTreeMap::new();
    for _ in 0..6 {
        let mut stream = connect(port).await;
        held.entry(tag(&mut stream).await).or_default().push(stream);
    }
    assert_eq!(held.values().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    held.remove(&'b');
    wait_until(|| meter.active() == 3).await;
    for _ in 0..3 {
        let mut stream = connect(port).await;
        assert_eq!(tag(&mut stream).await, 'b');
        held.entry('b').or_default().push(stream);
    }
}

#[tokio::test]
async fn a_client_address_stays_with_its_target_and_addresses_are_spread() {
    let edge = runtime().await;
    let port = free_ports(1);
    let sticky = |parts: &mut RuleParts| parts.balance = Balance::SourceIp;
    let targets = [echo("a").await, echo("b").await];
    apply(&edge, 1, &[to_all("web", port, &targets, sticky)]).await;
    let from = async |last: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 1, last], 0).into()).unwrap();
        tag(&mut socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()).await
    };
    let mut seen = BTreeMap::new();
    for last in 1..=16 {
        let first = from(last).await;
        assert_eq!(from(last).await, first);
        *seen.entry(first).or_insert(0) += 1;
    }
    assert!(seen.len() == 2 && seen.values().all(|count| *count >= 2), "{seen:?}");
}

#[tokio::test]
async fn a_target_that_is_the_rules_own_listener_is_not_connected_to() {
    // What a name stands for is known only once it is resolved; `localhost` would be refused before that.
    let dns = Dns::start().await;
    dns.say("here.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap()], 300));
    let edge = edge::act::runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
    let port = free_ports(2);
    let itself = ([127, 0, 0, 1], port).into();
    let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("here.test").unwrap();
    let rules = [
        to_all("web", port, &[itself, echo("b").await], named),
        to("named", port + 1, ([127, 0, 0, 1], port + 1).into(), named),
    ];
    let status = apply(&edge, 1, &rules).await;
    assert_eq!(tag(&mut connect(port).await).await, 'b');
    assert!(is_turned_away(port + 1).await);
    for name in ["web", "named"] {
        let figures = status.rule(name).unwrap().meter.as_ref().unwrap().figures();
        assert!(*figures.connect_errors.of(ConnectCause::Loop) >= 1, "{name}");
        assert_eq!(figures.connections_total, 1, "{name}");
    }
}

#[tokio::test]
async fn a_connection_that_still_dials_a_removed_target_goes_on_to_the_next_one() {
    let edge = runtime().await;
    let (hole, port) = (BlackHole::at(([127, 0, 0, 1], 0).into()), free_ports(1));
    let there = echo("b").await;
    let at_once = |parts: &mut RuleParts| {
        (parts.connect_timeout, parts.drain_timeout) = (Duration::from_secs(9), Duration::ZERO);
    };
    let status = apply(&edge, 1, &[to_all("web", port, &[hole.address, there], at_once)]).await;
    let mut client = connect(port).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.per_target().iter().any(|(_, figures)| figures.active_connections == 1)).await;
    let start = Instant::now();
    apply(&edge, 2, &[to_all("web", port, &[there], at_once)]).await;
    assert_eq!(tag(&mut client).await, 'b');
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn every_target_of_a_range_has_a_port_for_each_of_its_ports() {
    let edge = runtime().await;
    let (first, targets) = (free_ports(3), echo_range(3).await);
    let gone = free_ports(3);
    let rule = rule_with("web", first, first + 2, |parts| {
        let to = |port: u16| Target::new(Host::parse("127.0.0.1").unwrap(), PortRange::new(port, port + 2).unwrap());
        parts.targets = vec![to(gone), to(targets)];
    });
    let status = apply(&edge, 1, &[rule]).await;
    for port in first..first + 3 {
        ping(&mut connect(port).await, b"hello").await;
    }
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    assert_eq!(*meter.figures().lb.of(ChoiceKind::Next), 3);
    assert_eq!(meter.per_port().len(), 3);
    assert_eq!(meter.per_target().len(), 2);
}

/// A name with an address of each family; the IPv6 one answers nothing.
#[tokio::test]
async fn a_family_that_does_not_answer_delays_nothing() {
    let dns = Dns::start().await;
    let both = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    dns.say("both.test", Reply::Addresses(both, 60));
    let edge = edge::act::runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
    let (port, target) = (free_ports(1), free_ports(1));
    let Ok(hole) = BlackHole::try_at((std::net::Ipv6Addr::LOCALHOST, target).into()) else {
        return skipped("this host has no IPv6");
    };
    let listener = TcpListener::bind(("127.0.0.1", target)).await.unwrap();
    let named = |parts: &mut RuleParts| {
        parts.targets[0].host = Host::parse("both.test").unwrap();
        parts.prefer_ipv6 = true;
        parts.connect_timeout = Duration::from_secs(8);
    };
    let status = apply(&edge, 1, &[to("web", port, hole.address, named)]).await;
    let start = Instant::now();
    let mut client = connect(port).await;
    let (mut server, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(250) && start.elapsed() < Duration::from_secs(4));
    server.write_all(b"won").await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
    client.write_all(b"indeed").await.unwrap();
    server.read_exact(&mut [0; 6]).await.unwrap();
    // The overtaken one did not fail.
    let figures = status.rule("web").unwrap().meter.as_ref().unwrap().figures();
    assert_eq!((figures.connect_errors.sum(), figures.target_failovers), (0, 0));
}

#[tokio::test]
async fn connections_are_spread_over_the_addresses_of_a_name_and_pass_over_those_that_refuse() {
    let dns = Dns::start().await;
    let all = ["127.0.3.1", "127.0.3.2", "127.0.3.3"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap());
    dns.say("many.test", Reply::Addresses(all.to_vec(), 60));
    let edge = edge::act::runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
    let (port, target) = (free_ports(1), free_ports(1));
    // The third one refuses.
    let listeners =
        [TcpListener::bind((all[0], target)).await.unwrap(), TcpListener::bind((all[1], target)).await.unwrap()];
    let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("many.test").unwrap();
    let status = apply(&edge, 1, &[to("web", port, (all[0], target).into(), named)]).await;
    let mut counts = [0; 2];
    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(connect(port).await);
        let accepted = timeout(LONG, async {
            tokio::select! {
                accepted = listeners[0].accept() => (0, accepted.unwrap()),
                accepted = listeners[1].accept() => (1, accepted.unwrap()),
            }
        });
        let (which, (stream, _)) = accepted.await.unwrap();
        counts[which] += 1;
        drop(stream);
    }
    assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    // The target may know of a connection before the edge does.
    wait_until(|| *meter.figures().lb.of(ChoiceKind::First) == 24).await;
    let refused = *meter.figures().connect_errors.of(ConnectCause::Refused);
    assert!((1..=2).contains(&refused), "one that refused comes last from then on: {refused}");
}

#[tokio::test]
async fn a_name_that_gets_no_answer_takes_its_share_of_the_time_only() {
    let dns = Dns::start().await;
    dns.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n");
    dns.say("mute.test", Reply::Silence);
    let edge = edge::act::runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
    let port = free_ports(1);
    let targets = [closed(), echo("b").await];
    let named = |parts: &mut RuleParts| {
        parts.targets[0].host = Host::parse("mute.test").unwrap();
        parts.connect_timeout = Duration::from_millis(400);
    };
    let status = apply(&edge, 1, &[to_all("web", port, &targets, named)]).await;
    let start = Instant::now();
    assert_eq!(tag(&mut connect(port).await).await, 'b');
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(status.rule("web").unwrap().meter.as_ref().unwrap().figures().dns_failures, 1);
}

#[tokio::test]
async fn a_verdict_that_moves_the_weight_counts_as_a_failover() {
    let edge = runtime().await;
    let port = free_ports(1);
    let status = apply(&edge, 1, &[to_all("web", port, &[closed(), echo("b").await], |_| ())]).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    let moved = || meter.figures().target_failovers;
    let until_down = async {
        while moved() == 0 {
            assert_eq!(tag(&mut connect(port).await).await, 'b');
        }
    };
    timeout(LONG, until_down).await.expect("what connections meet takes a target out of use");
    assert_eq!(moved(), 1);
    let before = meter.figures().lb;
    assert_eq!(tag(&mut connect(port).await).await, 'b');
    wait_until(|| meter.figures().lb != before).await;
    assert_eq!(moved(), 1);
}
