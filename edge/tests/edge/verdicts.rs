//! What verdicts and operators' orders mean for connections, flows and ranges: who gets the new ones, what becomes of
//! the live ones.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use edge::act::runtime::RuntimeHandle;
use edge::act::status::Status;
use edge::act::workers::Meter;
use schema::counters::ChoiceKind;
use schema::health::{HealthCheck, HealthKind};
use schema::net::{PortRange, Protocol};
use schema::proto::{TargetOverride, TargetOverrides};
use schema::rule::{Balance, Host, LastResort, OnTargetDown, Rule, RuleParts, Target};
use schema::testing::rule_with;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::time::timeout;

use crate::datagrams::{ask, client, mirror_at};
use crate::support::{
    LONG, apply, closed, connect, echo, echo_at, free_ports, is_turned_away, runtime, to, to_all, wait_for, wait_until,
};

const HOSTS: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

fn at(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), port)
}

/// Two hosts, the first one preferred, from so many ports to as many.
fn pair(protocol: Protocol, listen: u16, target: u16, count: u16, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    rule_with("web", listen, listen + count - 1, |parts| {
        parts.listen.protocol = protocol;
        let ports = PortRange::new(target, target + count - 1).unwrap();
        parts.targets = HOSTS.map(|host| Target::new(Host::parse(host).unwrap(), ports)).to_vec();
        parts.targets[1].priority = 1;
        change(parts);
    })
}

/// One result is a verdict.
fn quick() -> HealthCheck {
    HealthCheck { rise: 1, fall: 1, timeout_ms: 900, jitter_percent: 0, ..HealthCheck::new(HealthKind::Tcp, 1) }
}

fn checked_at(port: u16) -> impl Fn(&mut RuleParts) {
    move |parts| parts.health = Some(HealthCheck { port: Some(port), ..quick() })
}

/// What a check connects to.
async fn checks(host: &str, port: u16) -> TcpListener {
    TcpListener::bind(at(host, port)).await.unwrap()
}

fn are(status: &Status, states: &[&str]) -> bool {
    let view = status.rule("web").and_then(|rule| rule.health.clone());
    view.is_some_and(|view| view.targets.iter().map(|target| target.state.as_str()).eq(states.iter().copied()))
}

async fn wait_states(edge: &RuntimeHandle, states: &[&str]) -> Arc<Status> {
    wait_for(edge, |status| are(status, states)).await
}

fn meter(edge: &RuntimeHandle) -> Arc<Meter> {
    edge.status().rule("web").unwrap().meter.clone().unwrap()
}

fn came_to(edge: &RuntimeHandle, kind: ChoiceKind) -> u64 {
    *meter(edge).figures().lb.of(kind)
}

/// Makes this the whole list of what operators ordered; it is in force when this returns.
async fn order(edge: &RuntimeHandle, orders: &[(&str, SocketAddr)]) {
    let one = |(operation, target): &(&str, SocketAddr)| TargetOverride {
        rule: "web".to_owned(),
        target: target.to_string(),
        operation: (*operation).to_owned(),
        ..TargetOverride::default()
    };
    edge.set_overrides(TargetOverrides { overrides: orders.iter().map(one).collect() }).await.unwrap();
}

/// The first byte that a new connection gets.
async fn served_by(port: u16) -> u8 {
    timeout(LONG, connect(port).await.read_u8()).await.expect("an answer").unwrap()
}

/// Asks from a socket until this target answers.
async fn comes_to(socket: &UdpSocket, listen: SocketAddr, answer: &[u8]) {
    let asking = async { while ask(socket, listen, b"?").await != answer {} };
    timeout(LONG, asking).await.expect("the flow goes there");
}

/// Two mirrors on the same ports of both hosts.
async fn mirrors(count: u16) -> u16 {
    let first = free_ports(count);
    for port in first..first + count {
        for (host, tag) in HOSTS.into_iter().zip([b"1", b"2"]) {
            mirror_at(&at(host, port).to_string(), tag).await;
        }
    }
    first
}

#[tokio::test]
async fn flows_follow_the_verdicts_and_those_that_moved_stay_where_they_are() {
    for on_target_down in [OnTargetDown::Drain, OnTargetDown::Reset] {
        let edge = runtime().await;
        let (port, target, check) = (free_ports(1), mirrors(1).await, free_ports(1));
        let (preferred, _spare) = (checks(HOSTS[0], check).await, checks(HOSTS[1], check).await);
        let rule = pair(Protocol::Udp, port, target, 1, |parts| {
            checked_at(check)(parts);
            parts.on_target_down = on_target_down;
        });
        apply(&edge, 1, &[rule]).await;
        wait_states(&edge, &["up", "up"]).await;
        let (listen, live) = (at(HOSTS[0], port), client().await);
        assert_eq!(ask(&live, listen, b"?").await, b"1?");
        drop(preferred);
        wait_states(&edge, &["down", "up"]).await;
        assert_eq!(ask(&client().await, listen, b"?").await, b"2?");
        // Moved by its next datagram, or begun anew.
        comes_to(&live, listen, b"2?").await;
        let _preferred = checks(HOSTS[0], check).await;
        wait_states(&edge, &["up", "up"]).await;
        assert_eq!(ask(&client().await, listen, b"?").await, b"1?");
        assert_eq!(ask(&live, listen, b"?").await, b"2?", "a flow whose target is well is not moved");
        // There and back.
        wait_until(|| meter(&edge).figures().target_failovers == 2).await;
    }
}

#[tokio::test]
async fn a_paused_target_keeps_its_flows_and_a_disabled_one_loses_them() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), mirrors(1).await);
    apply(&edge, 1, &[pair(Protocol::Udp, port, target, 1, |_| ())]).await;
    let (listen, preferred, live) = (at(HOSTS[0], port), at(HOSTS[0], target), client().await);
    assert_eq!(ask(&live, listen, b"?").await, b"1?");
    order(&edge, &[("pause", preferred)]).await;
    assert_eq!(ask(&client().await, listen, b"?").await, b"2?");
    assert_eq!(ask(&live, listen, b"?").await, b"1?");
    order(&edge, &[("disable", preferred)]).await;
    comes_to(&live, listen, b"2?").await;
    order(&edge, &[]).await;
    assert_eq!(ask(&client().await, listen, b"?").await, b"1?");
}

#[tokio::test]
async fn the_check_of_a_ranges_first_port_is_the_verdict_for_all_of_it() {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let edge = runtime().await;
        let port = free_ports(3);
        let target = if protocol == Protocol::Udp { mirrors(3).await } else { free_ports(3) };
        let (preferred, _spare) = (checks(HOSTS[0], target).await, checks(HOSTS[1], target).await);
        if protocol == Protocol::Tcp {
            for port in target + 1..target + 3 {
                echo_at(at(HOSTS[0], port), "1").await;
                echo_at(at(HOSTS[1], port), "2").await;
            }
        }
        let served_by = async |port: u16| match protocol {
            Protocol::Tcp => served_by(port).await,
            Protocol::Udp => ask(&client().await, at(HOSTS[0], port), b"?").await[0],
        };
        apply(&edge, 1, &[pair(protocol, port, target, 3, |parts| parts.health = Some(quick()))]).await;
        let status = wait_states(&edge, &["up", "up"]).await;
        assert_eq!(status.rule("web").unwrap().health.as_ref().unwrap().targets.len(), 2);
        for port in port + 1..port + 3 {
            assert_eq!(served_by(port).await, b'1', "{port} of {protocol:?}");
        }
        drop(preferred);
        wait_states(&edge, &["down", "up"]).await;
        for port in port + 1..port + 3 {
            assert_eq!(served_by(port).await, b'2', "{port} of {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_target_that_is_out_of_use_is_not_dialled_even_where_there_is_no_other() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let all = |parts: &mut RuleParts| parts.last_resort = LastResort::All;
    let port = free_ports(2);
    for operation in ["pause", "disable", "in the tree"] {
        let edge = runtime().await;
        let in_tree = |parts: &mut RuleParts| {
            all(parts);
            parts.targets[0].enabled = operation != "in the tree";
        };
        let flows = to("flows", port + 1, socket.local_addr().unwrap(), |parts| {
            parts.listen.protocol = Protocol::Udp;
            in_tree(parts);
        });
        apply(&edge, 1, &[to("web", port, address, in_tree), flows]).await;
        if operation != "in the tree" {
            let one = |rule: &str, target: SocketAddr| TargetOverride {
                rule: rule.to_owned(),
                target: target.to_string(),
                operation: operation.to_owned(),
                ..TargetOverride::default()
            };
            let overrides = vec![one("web", address), one("flows", socket.local_addr().unwrap())];
            edge.set_overrides(TargetOverrides { overrides }).await.unwrap();
        }
        assert!(is_turned_away(port).await, "{operation}");
        wait_until(|| came_to(&edge, ChoiceKind::NoServer) == 1).await;
        assert_eq!(meter(&edge).figures().connect_errors.sum(), 0);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "{operation}");
        client().await.send_to(b"?", at(HOSTS[0], port + 1)).await.unwrap();
        let flows = edge.status().rule("flows").unwrap().meter.clone().unwrap();
        wait_until(|| flows.figures().lb == meter(&edge).figures().lb).await;
        assert_eq!(socket.try_recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "{operation}");
        edge.stop_accepting().await.unwrap();
        apply(&edge, 2, &[]).await;
    }
}

#[tokio::test]
async fn with_all_targets_down_the_last_resort_says_what_is_tried() {
    for (last_resort, tried) in [(LastResort::Top, 1), (LastResort::None, 0), (LastResort::All, 2)] {
        let edge = runtime().await;
        let (port, targets) = (free_ports(1), [closed(), closed()]);
        let rule = to_all("web", port, &targets, |parts| {
            parts.health = Some(HealthCheck { down_interval_secs: 3600, ..quick() });
            (parts.last_resort, parts.targets[0].priority) = (last_resort, 1);
        });
        apply(&edge, 1, &[rule]).await;
        wait_states(&edge, &["down", "down"]).await;
        assert!(is_turned_away(port).await);
        wait_until(|| came_to(&edge, ChoiceKind::NoServer) == 1).await;
        let errors: u64 = meter(&edge).figures().connect_errors.sum();
        assert_eq!(errors, tried, "{last_resort:?}");
        // It is back, which no check will see soon. The second one is the preferred one.
        echo_at(targets[1], "x").await;
        if tried > 0 {
            assert_eq!(served_by(port).await, b'x');
            wait_until(|| came_to(&edge, ChoiceKind::Untracked) == 1).await;
        } else {
            assert!(is_turned_away(port).await);
        }
    }
}

/// Which target gets each of some clients.
async fn mapping(port: u16) -> BTreeMap<IpAddr, u8> {
    let mut mapping = BTreeMap::new();
    for last in 1..=40 {
        let socket = TcpSocket::new_v4().unwrap();
        let ip = IpAddr::from([127, 0, 2, last]);
        socket.bind((ip, 0).into()).unwrap();
        let mut stream = timeout(LONG, socket.connect(at(HOSTS[0], port))).await.unwrap().unwrap();
        mapping.insert(ip, timeout(LONG, stream.read_u8()).await.expect("an answer").unwrap());
    }
    mapping
}

#[tokio::test]
async fn clients_have_the_same_target_on_every_edge_and_after_each_start_and_only_those_of_one_that_leaves_move() {
    let targets = [echo("a").await, echo("b").await, echo("c").await, echo("d").await];
    let sticky = |parts: &mut RuleParts| parts.balance = Balance::SourceIp;
    let (one, other) = (runtime().await, runtime().await);
    let (port, elsewhere) = (free_ports(1), free_ports(1));
    apply(&one, 1, &[to_all("web", port, &targets, sticky)]).await;
    apply(&other, 1, &[to_all("web", elsewhere, &targets, sticky)]).await;
    let before = mapping(port).await;
    assert_eq!(mapping(elsewhere).await, before, "another edge, started anew");
    assert!((b'a'..=b'd').all(|tag| before.values().any(|other| *other == tag)), "{before:?}");
    order(&one, &[("pause", targets[1])]).await;
    let without = mapping(port).await;
    for (client, tag) in &before {
        let now = without[client];
        assert!(if *tag == b'b' { now != b'b' } else { now == *tag }, "{client}: {tag} became {now}");
    }
    // Out of the tree it is the same.
    let left = [targets[0], targets[2], targets[3]];
    apply(&other, 2, &[to_all("web", elsewhere, &left, sticky)]).await;
    assert_eq!(mapping(elsewhere).await, without);
    order(&one, &[]).await;
    assert_eq!(mapping(port).await, before);
}
