//! What becomes of a connection on its way to a target: addresses that are silent, loops, and ports of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use edge::act::names::Names;
use edge::act::runtime::RuntimeHandle;
use edge::act::workers::Figures;
use edge::decide::faults::Cause;
use schema::rule::{Host, RuleParts};
use schema::state::RuleState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::datagrams::{client, udp};
use crate::dns::{Dns, Reply};
use crate::support::{
    BlackHole, LONG, apply, connect, echo, free_ports, is_turned_away, limits, ping, runtime, target, to, wait_until,
};

fn figures(edge: &RuntimeHandle, rule: &str) -> Figures {
    edge.status().rule(rule).unwrap().meter.as_ref().unwrap().figures()
}

fn failed(edge: &RuntimeHandle, rule: &str, cause: Cause) -> u64 {
    let place = Cause::ALL.iter().position(|other| *other == cause).unwrap();
    figures(edge, rule).connect_errors[place]
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
    assert_eq!(figures(&edge, "web").connect_errors.iter().sum::<u64>(), 0, "the overtaken one did not fail");
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
        wait_until(|| failed(&edge, rule, Cause::Loop) == 1).await;
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
    wait_until(|| failed(&edge, "there", Cause::Loop) == 1).await;
    wait_until(|| figures(&edge, "there").active_flows == 0).await;
    assert_eq!(figures(&edge, "back").connections_total, 0);
}

#[tokio::test]
async fn a_port_that_an_outgoing_connection_holds_can_be_listened_on_while_it_lives_and_while_it_lingers() {
    let edge = runtime().await;
    let ((listener, address), port) = (target().await, free_ports(1));
    let web = to("web", port, address, |_| ());
    apply(&edge, 1, std::slice::from_ref(&web)).await;
    let mut outgoing = Vec::new();
    for is_ended in [false, true] {
        let mut client = connect(port).await;
        client.write_all(b"x").await.unwrap();
        let (mut server, from) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        if is_ended {
            // The edge ends its side first, and its socket lingers.
            client.shutdown().await.unwrap();
            timeout(LONG, server.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
            drop(server);
            timeout(LONG, client.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
            wait_until(|| figures(&edge, "web").active_connections == 1).await;
            outgoing.push((from.port(), None));
        } else {
            outgoing.push((from.port(), Some((client, server))));
        }
    }
    let there = echo("b").await;
    let (live, lingers) = (outgoing[0].0, outgoing[1].0);
    let rules = [web, to("live", live, there, |_| ()), to("lingers", lingers, there, |_| ())];
    let status = apply(&edge, 2, &rules).await;
    for (rule, port) in [("live", live), ("lingers", lingers)] {
        let rule = status.rule(rule).unwrap();
        assert_eq!(rule.state, RuleState::Active, "{}: {}", rule.name, rule.message);
        let mut client = connect(port).await;
        client.read_u8().await.unwrap();
        ping(&mut client, b"hello").await;
    }
}
