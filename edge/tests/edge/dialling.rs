//! What becomes of a connection on its way to a target: addresses that are silent, loops, and ports of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use edge::act::names::Names;
use edge::act::runtime::RuntimeHandle;
use edge::act::status::{RuleStatus, Status};
use edge::decide::faults::ConnectCause;
use schema::counters::Figures;
use schema::health::{HealthCheck, HealthKind, Retry};
use schema::rule::{Host, ProxyProtocol, RuleParts};
use schema::state::RuleState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::datagrams::{client, udp};
use crate::dns::{Dns, Reply};
use crate::support::{
    BlackHole, LONG, alone_in_network, apply, connect, echo, free_ports, ip, is_turned_away, limits, ping, runtime,
    skipped, target, to, wait_for, wait_until,
};

fn figures(edge: &RuntimeHandle, rule: &str) -> Figures {
    edge.status().rule(rule).unwrap().meter.as_ref().unwrap().figures()
}

fn failed(edge: &RuntimeHandle, rule: &str, cause: ConnectCause) -> u64 {
    *figures(edge, rule).connect_errors.of(cause)
}

async fn with_names(dns: &Dns) -> RuntimeHandle {
    edge::act::runtime::start(limits(), Names::start(dns.source()), None, None).await.0
}

#[tokio::test]
async fn a_silent_address_of_two_delays_a_connection_and_not_every_second_one() {
    let dns = Dns::start().await;
    let all = ["127.0.4.1", "127.0.4.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
    dns.say("two.test", Reply::Addresses(all.to_vec(), 60));
    let edge = with_names(&dns).await;
    let port = free_ports(1);
    let hole = BlackHole::at((all[0], 0).into());
    let listener = TcpListener::bind((all[1], hole.address.port())).await.unwrap();
    let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("two.test").unwrap();
    apply(&edge, 1, &[to("web", port, hole.address, named)]).await;
    let mut slow = 0;
    for _ in 0..12 {
        let start = Instant::now();
        let _client = connect(port).await;
        timeout(LONG, listener.accept()).await.unwrap().unwrap();
        slow += usize::from(start.elapsed() >= Duration::from_millis(250));
    }
    assert!((1..=3).contains(&slow), "{slow} of 12 waited");
    wait_until(|| figures(&edge, "web").connections_total == 12).await;
    assert_eq!(figures(&edge, "web").connect_errors.sum(), 0, "the overtaken one did not fail");
}

#[tokio::test]
async fn an_edge_connects_to_none_of_its_own_listeners_whichever_rule_they_are_of() {
    let dns = Dns::start().await;
    dns.say("here.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap()], 300));
    let edge = with_names(&dns).await;
    let port = free_ports(2);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("here.test").unwrap();
    apply(&edge, 1, &[to("there", port, at(port + 1), |_| ()), to("back", port + 1, at(port), named)]).await;
    for (port, rule) in [(port, "there"), (port + 1, "back")] {
        assert!(is_turned_away(port).await);
        wait_until(|| failed(&edge, rule, ConnectCause::Loop) == 1).await;
        assert_eq!(figures(&edge, rule).connections_total, 1, "{rule}");
    }
}

#[tokio::test]
async fn a_datagram_does_not_go_round_between_two_rules() {
    let edge = runtime().await;
    let port = free_ports(2);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    apply(&edge, 1, &[udp("there", port, at(port + 1), |_| ()), udp("back", port + 1, at(port), |_| ())]).await;
    client().await.send_to(b"round", at(port)).await.unwrap();
    wait_until(|| failed(&edge, "there", ConnectCause::Loop) == 1).await;
    wait_until(|| figures(&edge, "there").active_flows == 0).await;
    assert_eq!(figures(&edge, "back").connections_total, 0);
}

/// Another process may use the same port towards another peer, and that one may not share it: any of a few will do.
/// In a network of its own: connections of others, also ended ones, hold ports without sharing them, and the system gives
/// neighbouring ports to neighbouring connections.
#[test]
fn a_port_that_an_outgoing_connection_holds_can_be_listened_on_while_it_lives_and_while_it_lingers() {
    const EACH: u16 = 6;
    let name =
        "dialling::a_port_that_an_outgoing_connection_holds_can_be_listened_on_while_it_lives_and_while_it_lingers";
    alone_in_network(name, async {
        let edge = runtime().await;
        let ((listener, address), port) = (target().await, free_ports(1));
        let mut rules = vec![to("web", port, address, |_| ())];
        apply(&edge, 1, &rules).await;
        let there = echo("b").await;
        let mut held = Vec::new();
        for number in 0..EACH * 2 {
            let mut client = connect(port).await;
            let (mut server, from) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
            let name = format!("{}-{number}", if number < EACH { "live" } else { "lingers" });
            rules.push(to(&name, from.port(), there, |_| ()));
            if number < EACH {
                held.push((client, server));
                continue;
            }
            // The edge ends its side first, and its socket lingers.
            client.shutdown().await.unwrap();
            timeout(LONG, server.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
            drop(server);
            timeout(LONG, client.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
        }
        wait_until(|| figures(&edge, "web").active_connections == u64::from(EACH)).await;
        let status = apply(&edge, 2, &rules).await;
        for kind in ["live", "lingers"] {
            let is_one = |rule: &&RuleStatus| rule.name.starts_with(kind) && rule.state == RuleState::Active;
            let rule = status.rules.iter().find(is_one).unwrap_or_else(|| panic!("no {kind} one serves"));
            let mut client = connect(rule.running.as_ref().unwrap().listen.ports.first()).await;
            client.read_u8().await.unwrap();
            ping(&mut client, b"hello").await;
        }
    });
}

/// In a network of its own, where no connection of others has the same port.
#[test]
fn a_port_that_a_check_holds_can_be_listened_on_meanwhile() {
    alone_in_network("dialling::a_port_that_a_check_holds_can_be_listened_on_meanwhile", async {
        let edge = runtime().await;
        let ((listener, address), there, port) = (target().await, echo("b").await, free_ports(1));
        // It connects, and awaits an answer that does not come.
        let patient =
            HealthCheck { timeout_ms: 60_000, expect: "hello".to_owned(), ..HealthCheck::new(HealthKind::Tcp, 60) };
        let mut rules = vec![to("checked", port, address, |parts| parts.health = Some(patient))];
        apply(&edge, 1, &rules).await;
        let (_check, from) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        rules.push(to("late", from.port(), there, |_| ()));
        let status = apply(&edge, 2, &rules).await;
        assert_eq!(status.rule("late").unwrap().state, RuleState::Active);
    });
}

/// Where the system has one port left to give, a socket that connects to that very port of this host is given it and
/// meets itself. A check of a target that demands a header is not the bare connect that most probes are.
#[test]
fn a_flow_and_a_check_that_could_only_meet_themselves_were_refused() {
    let name = "dialling::a_flow_and_a_check_that_could_only_meet_themselves_were_refused";
    alone_in_network(name, async {
        let (port, given) = (free_ports(2), free_ports(4));
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        if std::fs::write(range, format!("{given} {}", given + 3)).is_err() {
            return skipped("this user may not say which ports a network gives away");
        }
        let (mut datagrams, mut streams) = (Vec::new(), Vec::new());
        for taken in given + 1..given + 4 {
            datagrams.push(UdpSocket::bind(("127.0.0.1", taken)).await.unwrap());
            streams.push(TcpListener::bind(("127.0.0.1", taken)).await.unwrap());
        }
        let (edge, dead) = (runtime().await, SocketAddr::from(([127, 0, 0, 1], given)));
        let checked = |parts: &mut RuleParts| {
            parts.targets[0].proxy_protocol = Some(ProxyProtocol::V2);
            let retry = Retry { max: 0, ..Retry::default() };
            parts.health = Some(HealthCheck { rise: 1, fall: 1, retry, ..HealthCheck::new(HealthKind::Tcp, 1) });
        };
        apply(&edge, 1, &[udp("flow", port, dead, |_| ()), to("check", port + 1, dead, checked)]).await;
        datagrams[0].send_to(b"who are you?", ("127.0.0.1", port)).await.unwrap();
        wait_until(|| failed(&edge, "flow", ConnectCause::Refused) == 1).await;
        let state = |status: &Status| status.rule("check").unwrap().health.as_ref().unwrap().targets[0].state.clone();
        let status = wait_for(&edge, |status| state(status) != "unknown").await;
        assert_eq!(state(&status), "down");
    });
}

#[test]
fn what_the_routes_of_this_host_refuse_is_counted_as_its_own_fault() {
    alone_in_network("dialling::what_the_routes_of_this_host_refuse_is_counted_as_its_own_fault", async {
        let edge = runtime().await;
        let kinds = [
            ("blackhole", ConnectCause::Firewall),
            ("unreachable", ConnectCause::Firewall),
            ("prohibit", ConnectCause::Firewall),
            ("none", ConnectCause::Route),
        ];
        let (mut rules, first) = (Vec::new(), free_ports(2 * kinds.len() as u16));
        for (number, (kind, _)) in kinds.iter().enumerate() {
            let host = [198, 51, 100, number as u8];
            if *kind != "none" {
                ip(&["route", "add", *kind, &IpAddr::from(host).to_string()]);
            }
            let port = first + 2 * number as u16;
            let there = |parts: &mut RuleParts| parts.targets[0].host = Host::Ip(host.into());
            rules.push(to(kind, port, (host, 9).into(), there));
            rules.push(udp(&format!("{kind}-udp"), port + 1, (host, 9).into(), there));
        }
        apply(&edge, 1, &rules).await;
        for (number, (kind, cause)) in kinds.into_iter().enumerate() {
            let port = first + 2 * number as u16;
            assert!(is_turned_away(port).await, "{kind}");
            wait_until(|| failed(&edge, kind, cause) == 1).await;
            client().await.send_to(b"x", ("127.0.0.1", port + 1)).await.unwrap();
            wait_until(|| failed(&edge, &format!("{kind}-udp"), cause) == 1).await;
        }
    });
}

/// The system refuses a broadcast address to a socket that did not ask for it, as it would for a firewall.
#[tokio::test]
async fn what_this_host_forbids_is_counted_by_its_cause_and_is_no_verdict() {
    let dns = Dns::start().await;
    dns.say("all.test", Reply::Addresses(vec!["255.255.255.255".parse().unwrap()], 300));
    let edge = with_names(&dns).await;
    let port = free_ports(1);
    let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("all.test").unwrap();
    apply(&edge, 1, &[udp("dns", port, ([127, 0, 0, 1], 9).into(), named)]).await;
    for count in 1..=5 {
        client().await.send_to(b"x", ("127.0.0.1", port)).await.unwrap();
        wait_until(|| failed(&edge, "dns", ConnectCause::Firewall) == count).await;
    }
    assert_eq!(figures(&edge, "dns").connect_errors.sum(), 5);
    let times = edge.status().rule("dns").unwrap().meter.as_ref().unwrap().last_times();
    assert!(times.values().all(|times| times.failure_ms == 0), "health hears nothing of it");
}
