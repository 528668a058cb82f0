//! Flows whose target is not what it was: one that failed, one whose name leads elsewhere, one that has answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edge::act::names::Names;
use edge::act::runtime::{self, RuntimeHandle};
use edge::act::workers::Meter;
use edge::decide::names::Limits;
use schema::health::{HealthCheck, HealthKind};
use schema::net::{ListenAddress, Protocol};
use schema::rule::{Host, RuleParts, Target};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::datagrams::{ask, client, mirror, mirror_at, receive, udp};
use crate::dns::{Dns, Reply};
use crate::support::{
    LONG, apply, free_ports, let_pass, limits, runtime as start, skipped, to_all, wait_for, wait_until,
};

fn at(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), port)
}

fn meter(edge: &RuntimeHandle) -> Arc<Meter> {
    edge.status().rule("dns").unwrap().meter.clone().unwrap()
}

fn checked(parts: &mut RuleParts, port: u16) {
    let check = HealthCheck { rise: 1, fall: 1, jitter_percent: 0, ..HealthCheck::new(HealthKind::Tcp, 1) };
    parts.listen.protocol = Protocol::Udp;
    parts.health = Some(HealthCheck { port: Some(port), timeout_ms: 900, ..check });
}

async fn wait_down(edge: &RuntimeHandle) {
    wait_for(edge, |status| {
        let view = status.rule("dns").and_then(|rule| rule.health.clone());
        view.is_some_and(|view| view.targets[0].state == "down")
    })
    .await;
}

#[tokio::test]
async fn a_client_that_keeps_sending_to_a_silent_target_moves_when_its_check_fails() {
    let edge = start().await;
    let (port, check) = (free_ports(1), free_ports(1));
    // It takes everything and says nothing, so that no error ever comes back.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let spare = at("127.0.0.2", deaf.local_addr().unwrap().port());
    mirror_at(&spare.to_string(), b"2").await;
    let up = TcpListener::bind(at("127.0.0.1", check)).await.unwrap();
    let _spare = TcpListener::bind(at("127.0.0.2", check)).await.unwrap();
    let rule = to_all("dns", port, &[deaf.local_addr().unwrap(), spare], |parts| checked(parts, check));
    apply(&edge, 1, &[rule]).await;
    let (socket, listen) = (client().await, at("127.0.0.1", port));
    socket.send_to(b"?", listen).await.unwrap();
    timeout(LONG, deaf.recv_from(&mut [0; 64])).await.expect("it came").unwrap();
    drop(up);
    wait_down(&edge).await;
    assert_eq!(ask(&socket, listen, b"?").await, b"2?");
    assert_eq!(meter(&edge).figures().active_flows, 1, "it is the same flow");
}

#[tokio::test]
async fn what_has_no_other_target_ends_with_the_drain_timeout_unless_the_target_recovers() {
    for recovers in [false, true] {
        let edge = start().await;
        let (port, check) = (free_ports(1), free_ports(1));
        let target = mirror_at("127.0.0.1:0", b"").await;
        let up = TcpListener::bind(at("127.0.0.1", check)).await.unwrap();
        let rule = udp("dns", port, target, |parts| {
            checked(parts, check);
            parts.drain_timeout = Duration::from_secs(4);
        });
        apply(&edge, 1, &[rule]).await;
        let (socket, listen) = (client().await, at("127.0.0.1", port));
        ask(&socket, listen, b"?").await;
        drop(up);
        wait_down(&edge).await;
        let down = Instant::now();
        let up = if recovers { Some(TcpListener::bind(at("127.0.0.1", check)).await.unwrap()) } else { None };
        // It keeps sending: idleness ends nothing.
        let mut ended = None;
        while down.elapsed() < Duration::from_secs(8) {
            ask(&socket, listen, b"?").await;
            if ended.is_none() && meter(&edge).figures().connections_total > 1 {
                ended = Some(down.elapsed());
            }
            let_pass(Duration::from_millis(50)).await;
        }
        drop(up);
        assert_eq!(ended.is_some(), !recovers, "{ended:?}");
        assert!(ended.is_none_or(|ended| ended >= Duration::from_millis(3500)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_flow_without_an_answer_follows_the_name_of_its_target() {
    let dns = Dns::start().await;
    let says = |ip: &str| dns.say("db.test", Reply::Addresses(vec![ip.parse::<IpAddr>().unwrap()], 1));
    says("127.0.0.1");
    let limits_of_names = Limits { ttl_min: Duration::from_millis(200), ..Limits::default() };
    let edge = runtime::start(limits(), Names::with_limits(dns.source(), limits_of_names), None, None).await.0;
    let old = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = old.local_addr().unwrap();
    let port = free_ports(1);
    let name = |parts: &mut RuleParts| {
        parts.targets = vec![Target::new(Host::parse("db.test").unwrap(), parts.targets[0].ports)];
    };
    apply(&edge, 1, &[udp("dns", port, target, name)]).await;
    let (socket, listen) = (client().await, at("127.0.0.1", port));
    socket.send_to(b"?", listen).await.unwrap();
    timeout(LONG, old.recv_from(&mut [0; 64])).await.expect("it came").unwrap();
    mirror_at(&at("127.0.0.2", target.port()).to_string(), b"2").await;
    says("127.0.0.2");
    let began = Instant::now();
    assert_eq!(ask(&socket, listen, b"?").await, b"2?");
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((meter(&edge).figures().active_flows, meter(&edge).figures().connections_total), (1, 1));
}

#[tokio::test]
async fn a_flow_whose_target_answers_stays_with_its_address_whatever_the_name_says() {
    let dns = Dns::start().await;
    let says = |ip: &str| dns.say("db.test", Reply::Addresses(vec![ip.parse::<IpAddr>().unwrap()], 1));
    says("127.0.0.1");
    let limits_of_names = Limits { ttl_min: Duration::from_millis(200), ..Limits::default() };
    let edge = runtime::start(limits(), Names::with_limits(dns.source(), limits_of_names), None, None).await.0;
    let target = mirror_at("127.0.0.1:0", b"1").await;
    mirror_at(&at("127.0.0.2", target.port()).to_string(), b"2").await;
    let port = free_ports(1);
    let name = |parts: &mut RuleParts| {
        parts.targets = vec![Target::new(Host::parse("db.test").unwrap(), parts.targets[0].ports)];
    };
    apply(&edge, 1, &[udp("dns", port, target, name)]).await;
    let (socket, listen) = (client().await, at("127.0.0.1", port));
    assert_eq!(ask(&socket, listen, b"?").await, b"1?");
    says("127.0.0.2");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        assert_eq!(ask(&socket, listen, b"?").await, b"1?");
        let_pass(Duration::from_millis(100)).await;
    }
    assert_eq!(ask(&client().await, listen, b"?").await, b"2?");
}

/// Two name servers' worth of answers to each question, the second one late.
async fn answers_twice(late: Duration) -> Option<SocketAddr> {
    // Only root may have it; nothing else on this host is asked at this address.
    let socket = Arc::new(UdpSocket::bind("127.53.53.53:53").await.ok()?);
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let (socket, answer) = (socket.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                _ = socket.send_to(&answer, from).await;
                let_pass(late).await;
                _ = socket.send_to(&[b"late ", &answer[..]].concat(), from).await;
            });
        }
    });
    Some(address)
}

#[tokio::test]
async fn a_flow_of_dns_takes_no_room_once_it_is_answered_and_late_answers_still_come() {
    let Some(target) = answers_twice(Duration::from_millis(700)).await else {
        return skipped("port 53 of a loopback address needs root");
    };
    let edge = start().await;
    let port = free_ports(1);
    let few = |parts: &mut RuleParts| parts.udp_max_flows = 2;
    apply(&edge, 1, &[udp("dns", port, target, few)]).await;
    let (listen, meter) = (at("127.0.0.1", port), meter(&edge));
    let mut clients = Vec::new();
    for number in 0..50_u8 {
        let socket = client().await;
        socket.send_to(&[number], listen).await.unwrap();
        assert_eq!(receive(&socket).await, (vec![number], listen));
        clients.push(socket);
    }
    let figures = meter.figures();
    assert_eq!((figures.flows_dropped_overflow, figures.connections_total), (0, 50));
    wait_until(|| meter.active() == 0).await;
    for (number, socket) in (0_u8..).zip(&clients) {
        assert_eq!(receive(socket).await, ([b"late ", &[number][..]].concat(), listen), "{number}");
    }
    // One that asks again goes on with its flow, and all of them end.
    clients[49].send_to(&[1], listen).await.unwrap();
    assert_eq!(receive(&clients[49]).await.0, [1]);
    assert_eq!(meter.figures().connections_total, 50);
    edge.stop_accepting().await.unwrap();
    timeout(LONG, edge.connections().ended()).await.expect("none is left");
    wait_until(|| std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()).await;
    assert_eq!((meter.active(), meter.figures().active_flows), (0, 0));
}

#[tokio::test]
async fn a_rule_that_says_how_long_flows_last_keeps_them_also_on_port_53() {
    let Ok(socket) = UdpSocket::bind("127.53.53.54:53").await else {
        return skipped("port 53 of a loopback address needs root");
    };
    let edge = start().await;
    let port = free_ports(1);
    let long = |parts: &mut RuleParts| parts.udp_flow_idle = Duration::from_mins(2);
    apply(&edge, 1, &[udp("dns", port, socket.local_addr().unwrap(), long)]).await;
    let one = client().await;
    one.send_to(b"?", at("127.0.0.1", port)).await.unwrap();
    let mut buffer = [0; 64];
    let (length, from) = timeout(LONG, socket.recv_from(&mut buffer)).await.expect("it came").unwrap();
    socket.send_to(&buffer[..length], from).await.unwrap();
    receive(&one).await;
    let_pass(Duration::from_secs(4)).await;
    socket.send_to(b"pushed", from).await.unwrap();
    assert_eq!(receive(&one).await.0, b"pushed");
    assert_eq!(meter(&edge).active(), 1);
}

#[tokio::test]
async fn flows_that_come_in_at_port_1812_take_no_room_once_they_are_answered_whatever_the_port_of_their_target() {
    let here: IpAddr = "127.53.53.55".parse().unwrap();
    let edge = start().await;
    let few = |parts: &mut RuleParts| {
        parts.listen.address = ListenAddress::Ip(here);
        parts.udp_max_flows = 2;
    };
    apply(&edge, 1, &[udp("dns", 1812, mirror(b"").await, few)]).await;
    let (listen, meter) = (at("127.53.53.55", 1812), meter(&edge));
    let mut clients = Vec::new();
    for number in 0..50_u8 {
        let socket = client().await;
        socket.send_to(&[number], listen).await.unwrap();
        assert_eq!(receive(&socket).await, (vec![number], listen));
        clients.push(socket);
    }
    assert_eq!((meter.figures().flows_dropped_overflow, meter.figures().connections_total), (0, 50));
}
