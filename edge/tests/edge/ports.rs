//! The ports of a range: what connections meet at one of them moves its own traffic, and nobody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edge::act::runtime::RuntimeHandle;
use edge::act::status::Status;
use schema::health::{HealthCheck, HealthKind};
use schema::net::{PortRange, Protocol};
use schema::rule::{Host, OnTargetDown, Rule, RuleParts, Target};
use schema::testing::rule_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::datagrams::{ask, client, mirror_at};
use crate::support::{
    LONG, apply, connect, echo_at, free_ports, is_reset, is_turned_away, let_pass, ping, runtime, wait_for, wait_until,
};

const WIDTH: u16 = 5;
/// How far into the range the port is that fails.
const DEAD: u16 = 2;

fn at(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), port)
}

/// The preferred host and, where there is one, another one behind it, on the same ports.
fn rule(
    protocol: Protocol,
    listen: u16,
    target: u16,
    hosts: &[&str],
    change: impl FnOnce(&mut RuleParts),
) -> Arc<Rule> {
    rule_with("web", listen, listen + WIDTH - 1, |parts| {
        parts.listen.protocol = protocol;
        let ports = PortRange::new(target, target + WIDTH - 1).unwrap();
        let one = |(priority, host): (usize, &&str)| Target {
            priority: priority as u8,
            ..Target::new(Host::parse(host).unwrap(), ports)
        };
        parts.targets = hosts.iter().enumerate().map(one).collect();
        change(parts);
    })
}

/// What answers at every port of the range but the dead one, on the preferred host, and at every port on the other.
async fn upstreams(protocol: Protocol) -> u16 {
    let first = free_ports(WIDTH);
    for port in first..first + WIDTH {
        for (host, tag) in [("127.0.0.1", "1"), ("127.0.0.2", "2")] {
            if host == "127.0.0.1" && port == first + DEAD {
                continue;
            }
            match protocol {
                Protocol::Tcp => _ = echo_at(at(host, port), tag).await,
                Protocol::Udp => _ = mirror_at(&at(host, port).to_string(), tag.as_bytes()).await,
            }
        }
    }
    first
}

async fn served_by(port: u16) -> u8 {
    timeout(LONG, connect(port).await.read_u8()).await.expect("an answer").unwrap()
}

fn failing(status: &Status) -> Vec<Vec<u32>> {
    let view = status.rule("web").and_then(|rule| rule.health.clone());
    view.map(|view| view.targets.iter().map(|target| target.failing_ports.clone()).collect()).unwrap_or_default()
}

fn states(status: &Status) -> (String, Vec<String>) {
    let view = status.rule("web").unwrap().health.clone().unwrap();
    (view.health.to_string(), view.targets.iter().map(|target| target.state.clone()).collect())
}

fn failovers(edge: &RuntimeHandle) -> u64 {
    edge.status().rule("web").unwrap().meter.clone().unwrap().figures().target_failovers
}

fn checked(port: u16) -> impl Fn(&mut RuleParts) {
    move |parts| {
        let check = HealthCheck { rise: 1, fall: 1, jitter_percent: 0, ..HealthCheck::new(HealthKind::Tcp, 1) };
        parts.health = Some(HealthCheck { port: Some(port), ..check });
    }
}

#[tokio::test]
async fn a_dead_port_of_a_range_fails_over_alone_and_a_scan_moves_nothing_else() {
    let edge = runtime().await;
    let (listen, target, check) = (free_ports(WIDTH), upstreams(Protocol::Tcp).await, free_ports(1));
    let (_one, _two) = (
        TcpListener::bind(at("127.0.0.1", check)).await.unwrap(),
        TcpListener::bind(at("127.0.0.2", check)).await.unwrap(),
    );
    apply(&edge, 1, &[rule(Protocol::Tcp, listen, target, &["127.0.0.1", "127.0.0.2"], checked(check))]).await;
    wait_for(&edge, |status| states(status).1 == ["up", "up"]).await;
    // A scan, again and again.
    for _ in 0..5 {
        for port in listen..listen + WIDTH {
            let expected = if port == listen + DEAD { b'2' } else { b'1' };
            assert_eq!(served_by(port).await, expected, "{}", port - listen);
        }
    }
    let status = wait_for(&edge, |status| failing(status) == [vec![u32::from(target + DEAD)], vec![]]).await;
    assert_eq!(states(&status), ("up".to_owned(), vec!["up".to_owned(), "up".to_owned()]));
    wait_until(|| failovers(&edge) == 1).await;
    // The check goes on passing and says nothing of that port.
    let_pass(Duration::from_millis(2500)).await;
    let errors = || edge.status().rule("web").unwrap().meter.clone().unwrap().figures().connect_errors.sum();
    let before = errors();
    assert_eq!(served_by(listen + DEAD).await, b'2');
    assert_eq!((errors(), served_by(listen).await), (before, b'1'), "the dead port is not asked");
}

#[tokio::test]
async fn a_rule_is_down_only_where_no_port_is_left_and_two_successes_bring_a_port_back() {
    let edge = runtime().await;
    let (listen, target) = (free_ports(WIDTH), free_ports(WIDTH));
    let alive = TcpListener::bind(at("127.0.0.1", target)).await.unwrap();
    apply(&edge, 1, &[rule(Protocol::Tcp, listen, target, &["127.0.0.1"], |_| ())]).await;
    let serve = async || {
        let (client, upstream) = (connect(listen).await, alive.accept().await.unwrap().0);
        drop((client, upstream));
    };
    serve().await;
    for port in listen + 1..listen + WIDTH {
        for _ in 0..3 {
            assert!(is_turned_away(port).await);
        }
    }
    let dead: Vec<u32> = (target + 1..target + WIDTH).map(u32::from).collect();
    let status = wait_for(&edge, |status| failing(status) == [dead.clone()]).await;
    assert_eq!(states(&status), ("up".to_owned(), vec!["up".to_owned()]));
    // The other port is as it was, until it dies too.
    serve().await;
    drop(alive);
    for _ in 0..3 {
        assert!(is_turned_away(listen).await);
    }
    let status = wait_for(&edge, |status| states(status).0 == "down").await;
    assert_eq!((states(&status).1, failing(&status)[0].len()), (vec!["down".to_owned()], usize::from(WIDTH)));
    let dead = [vec![u32::from(target)], dead].concat();
    // Two successes bring a port back; nothing else is eligible there, so each connection asks it.
    echo_at(at("127.0.0.1", target + 1), "1").await;
    assert_eq!([served_by(listen + 1).await, served_by(listen + 1).await], [b'1'; 2]);
    let left: Vec<u32> = dead.into_iter().filter(|port| *port != u32::from(target + 1)).collect();
    wait_for(&edge, |status| failing(status) == [left.clone()] && states(status).0 == "up").await;
}

#[tokio::test]
async fn a_port_that_nobody_would_ask_comes_back_by_trials_past_the_last_timer() {
    let edge = runtime().await;
    let (listen, target) = (free_ports(WIDTH), upstreams(Protocol::Tcp).await);
    apply(&edge, 1, &[rule(Protocol::Tcp, listen, target, &["127.0.0.1", "127.0.0.2"], |_| ())]).await;
    for _ in 0..3 {
        assert_eq!(served_by(listen + DEAD).await, b'2');
    }
    wait_for(&edge, |status| failing(status).first().is_some_and(|ports| !ports.is_empty())).await;
    echo_at(at("127.0.0.1", target + DEAD), "1").await;
    let began = Instant::now();
    assert_eq!(served_by(listen + DEAD).await, b'2');
    while served_by(listen + DEAD).await != b'1' {
        assert!(began.elapsed() < Duration::from_secs(45), "no trial came");
        let_pass(Duration::from_millis(200)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(28), "{:?}", began.elapsed());
    // The second success recovers it.
    while failing(&edge.status()).iter().any(|ports| !ports.is_empty()) {
        assert!(began.elapsed() < Duration::from_mins(1), "it stays failed");
        served_by(listen + DEAD).await;
    }
    wait_until(|| failovers(&edge) == 2).await;
    assert_eq!(served_by(listen + DEAD).await, b'1');
}

#[tokio::test]
async fn connections_of_a_port_that_fails_are_reset_where_the_rule_says_so_and_no_others() {
    let edge = runtime().await;
    let (listen, target) = (free_ports(WIDTH), free_ports(WIDTH));
    echo_at(at("127.0.0.1", target), "1").await;
    let failing_at = TcpListener::bind(at("127.0.0.1", target + DEAD)).await.unwrap();
    let reset = |parts: &mut RuleParts| parts.on_target_down = OnTargetDown::Reset;
    apply(&edge, 1, &[rule(Protocol::Tcp, listen, target, &["127.0.0.1"], reset)]).await;
    let mut other = connect(listen).await;
    assert_eq!(other.read_u8().await.unwrap(), b'1');
    let mut live = connect(listen + DEAD).await;
    let (mut upstream, _) = failing_at.accept().await.unwrap();
    upstream.write_all(b"lives").await.unwrap();
    live.read_exact(&mut [0; 5]).await.unwrap();
    drop(failing_at);
    for _ in 0..3 {
        assert!(is_turned_away(listen + DEAD).await);
    }
    assert!(is_reset(&mut live).await);
    ping(&mut other, b"lives").await;
}

#[tokio::test]
async fn only_flows_of_a_port_that_fails_move() {
    let edge = runtime().await;
    let (listen, target) = (free_ports(WIDTH), free_ports(WIDTH));
    let mut dying = None;
    for port in target..target + WIDTH {
        mirror_at(&at("127.0.0.2", port).to_string(), b"2").await;
        if port == target + DEAD {
            dying = Some(UdpSocket::bind(at("127.0.0.1", port)).await.unwrap());
        } else {
            mirror_at(&at("127.0.0.1", port).to_string(), b"1").await;
        }
    }
    apply(&edge, 1, &[rule(Protocol::Udp, listen, target, &["127.0.0.1", "127.0.0.2"], |_| ())]).await;
    let (here, there) = (at("127.0.0.1", listen), at("127.0.0.1", listen + DEAD));
    let other = client().await;
    assert_eq!(ask(&other, here, b"?").await, b"1?");
    // Flows that nothing was said to yet stay with a target that takes what they send.
    let silent: UdpSocket = client().await;
    silent.send_to(b"?", there).await.unwrap();
    let dying = dying.unwrap();
    timeout(LONG, dying.recv_from(&mut [0; 64])).await.expect("it came").unwrap();
    drop(dying);
    for _ in 0..3 {
        assert_eq!(ask(&client().await, there, b"?").await, b"2?");
    }
    wait_for(&edge, |status| failing(status) == [vec![u32::from(target + DEAD)], vec![]]).await;
    // Something listens there again and says nothing: the verdict alone moves the flow.
    let _deaf = UdpSocket::bind(at("127.0.0.1", target + DEAD)).await.unwrap();
    assert_eq!(ask(&silent, there, b"?").await, b"2?");
    assert_eq!(ask(&other, here, b"?").await, b"1?", "other ports' flows stay");
}
