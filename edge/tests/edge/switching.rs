//! Ports that stay are never closed; a rule binds all of its sockets or none (invariants 1 and 2).

use std::net::TcpListener as StdListener;

use schema::codes::RuleCode;
use schema::net::ListenAddress;
use schema::state::RuleState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Prober, alone, apply, connect, echo, echo_range, free_ports, ping, range, runtime, to, wait_for, wait_until,
};

fn loopback(parts: &mut schema::rule::RuleParts) {
    parts.listen.address = ListenAddress::Ip("127.0.0.1".parse().unwrap());
}

/// True if a socket with the option could join on this port. On an address that no exchange has used: for those
/// the kernel remembers the former answer.
fn can_be_shared(port: u16) -> bool {
    let rival = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    rival.set_reuse_port(true).unwrap();
    let address: std::net::SocketAddr = ([127, 0, 0, 2], port).into();
    rival.bind(&address.into()).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_slides_under_a_live_transfer() {
    let edge = runtime().await;
    let (first, target) = (free_ports(150), echo_range(150).await);
    apply(&edge, 1, &[range("web", first, first + 99, target)]).await;
    let stream = connect(first + 75).await;
    let (mut reader, mut writer) = stream.into_split();
    let sent = 32 << 20;
    let transfer = tokio::spawn(async move {
        let chunk = vec![7; 64 << 10];
        for _ in 0..sent / chunk.len() {
            writer.write_all(&chunk).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    let mut received = vec![0; 1 << 20];
    reader.read_exact(&mut received).await.unwrap();

    let status = apply(&edge, 2, &[range("web", first + 50, first + 149, target + 50)]).await;
    assert_eq!((status.listeners, status.rules[0].state), (100, RuleState::Active));

    reader.read_to_end(&mut received).await.unwrap();
    transfer.await.unwrap();
    assert_eq!(received.len(), sent);
    assert!(received.iter().all(|byte| *byte == 7));
    ping(&mut connect(first + 149).await, b"new").await;
    ping(&mut connect(first + 50).await, b"kept").await;
    assert!(TcpStream::connect(("127.0.0.1", first + 49)).await.is_err(), "a released port still accepts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rules_swap_their_ports_without_one_refusal() {
    let edge = runtime().await;
    let (port, a, b) = (free_ports(2), echo("a").await, echo("b").await);
    let straight = [to("a", port, a, |_| ()), to("b", port + 1, b, |_| ())];
    let crossed = [to("a", port + 1, a, |_| ()), to("b", port, b, |_| ())];
    apply(&edge, 1, &straight).await;
    let prober = Prober::start(port).await;
    for round in 0..50 {
        apply(&edge, 2 + round, if round % 2 == 0 { &crossed } else { &straight }).await;
        prober.passes(1).await;
    }
    assert!(prober.stop().await >= 50);
    let mut tag = [0];
    connect(port).await.read_exact(&mut tag).await.unwrap();
    assert_eq!(&tag, b"a");
}

#[tokio::test]
async fn a_rename_under_a_live_connection_keeps_it_and_the_counters() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    apply(&edge, 1, &[to("old", port, target, |_| ())]).await;
    let mut stream = connect(port).await;
    ping(&mut stream, b"before").await;
    let status = apply(&edge, 2, &[to("new", port, target, |_| ())]).await;
    ping(&mut stream, b"after").await;
    assert_eq!(status.rules.len(), 1);
    let meter = status.rule("new").unwrap().meter.clone().unwrap();
    wait_until(|| (meter.figures().bytes_in, meter.figures().bytes_out) == (11, 11)).await;
    let figures = meter.figures();
    assert_eq!((figures.active_connections, figures.connections_total), (1, 1));
}

#[tokio::test]
async fn a_taken_port_fails_the_whole_rule_and_it_heals_by_itself() {
    let edge = runtime().await;
    let (first, target) = (free_ports(20), echo_range(20).await);
    let before = range("web", first, first + 4, target);
    apply(&edge, 1, std::slice::from_ref(&before)).await;
    let stranger = StdListener::bind(("127.0.0.1", first + 15)).unwrap();

    let wanted = range("web", first + 10, first + 19, target);
    let status = apply(&edge, 2, std::slice::from_ref(&wanted)).await;
    let rule = status.rule("web").unwrap();
    assert_eq!((rule.state, rule.code), (RuleState::Failed, Some(RuleCode::PortInUse)));
    let holder = format!("(pid {})", std::process::id());
    assert!(rule.message.starts_with(&format!("port {} already bound by ", first + 15)), "{}", rule.message);
    assert!(rule.message.ends_with(&holder), "{}", rule.message);
    assert_eq!(rule.running.as_ref(), Some(&before));
    assert_eq!(rule.wanted.as_ref().map(|spec| spec.first_port), Some(u32::from(first) + 10));
    assert_eq!(status.listeners, 5);
    assert!(TcpStream::connect(("127.0.0.1", first + 10)).await.is_err(), "a part of a failed rule is bound");
    ping(&mut connect(first).await, b"previous").await;

    drop(stranger);
    let status = wait_for(&edge, |status| status.rules[0].state == RuleState::Active).await;
    assert_eq!(status.rules[0].running.as_ref(), Some(&wanted));
    ping(&mut connect(first + 15).await, b"healed").await;
    assert!(TcpStream::connect(("127.0.0.1", first)).await.is_err(), "the previous version still accepts");
}

#[tokio::test]
async fn rules_that_wait_for_each_other_heal_together() {
    let edge = runtime().await;
    let (first, target) = (free_ports(3), echo("").await);
    apply(&edge, 1, &[to("a", first, target, |_| ()), to("b", first + 1, target, |_| ())]).await;
    let stranger = StdListener::bind(("127.0.0.1", first + 2)).unwrap();
    let wanted = [to("a", first + 2, target, |_| ()), to("b", first, target, |_| ())];
    let status = apply(&edge, 2, &wanted).await;
    assert_eq!(status.rule("b").unwrap().message, format!("port {first} already bound by rule `a`"));
    ping(&mut connect(first).await, b"a").await;
    ping(&mut connect(first + 1).await, b"b").await;
    drop(stranger);
    let healed = |rule: &edge::act::status::RuleStatus| rule.state == RuleState::Active;
    let status = wait_for(&edge, |status| status.rules.iter().all(healed)).await;
    assert_eq!(status.listeners, 2);
    assert_eq!(status.running_digest, status.accepted.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcard_and_address_exchange_the_same_port_without_a_refusal() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("x").await);
    let everywhere = [to("web", port, target, |_| ())];
    let here = [to("web", port, target, loopback)];
    apply(&edge, 1, &everywhere).await;
    let prober = Prober::start(port).await;
    for round in 0..10 {
        let status = apply(&edge, 2 + round, if round % 2 == 0 { &here } else { &everywhere }).await;
        assert_eq!((status.rules[0].state, status.listeners), (RuleState::Active, 1), "{}", status.rules[0].message);
        prober.passes(3).await;
    }
    prober.stop().await;
}

#[tokio::test]
async fn an_exchange_that_fails_leaves_the_old_socket_alone() {
    let edge = runtime().await;
    let (first, target) = (free_ports(2), echo_range(2).await);
    apply(&edge, 1, &[range("web", first, first, target)]).await;
    let stranger = StdListener::bind(("127.0.0.1", first + 1)).unwrap();
    let wanted = schema::testing::rule_with("web", first, first + 1, |parts| {
        loopback(parts);
        parts.targets[0].ports = schema::net::PortRange::new(target, target + 1).unwrap();
    });
    let status = apply(&edge, 2, &[wanted]).await;
    assert_eq!((status.rules[0].state, status.listeners), (RuleState::Failed, 1));
    ping(&mut connect(first).await, b"still").await;
    assert!(!can_be_shared(first), "the old socket still shares its port");
    drop(stranger);
}

#[tokio::test]
async fn what_does_not_fit_into_the_descriptors_fails_and_the_rest_serves() {
    let few = schema::capability::Limits { file_descriptors: 5, ..crate::support::limits() };
    let (edge, _) = edge::act::runtime::start(
        few,
        edge::act::names::Names::start(edge::act::names::ResolverFiles::default()),
        None,
        None,
    )
    .await;
    let (first, target) = (free_ports(10), echo_range(10).await);
    let status =
        apply(&edge, 1, &[range("a", first, first + 3, target), range("b", first + 5, first + 6, target)]).await;
    let states: Vec<_> = status.rules.iter().map(|rule| (rule.state, rule.code)).collect();
    assert_eq!(states, [(RuleState::Active, None), (RuleState::Failed, Some(RuleCode::FdBudgetExceeded))]);
}

/// Counts the descriptors of its process, so it has one for itself.
#[test]
fn a_thousand_failing_attempts_leak_no_descriptor() {
    alone("switching::a_thousand_failing_attempts_leak_no_descriptor", async {
        let edge = runtime().await;
        let first = free_ports(10);
        let stranger = StdListener::bind(("127.0.0.1", first + 7)).unwrap();
        let rule = range("web", first, first + 9, 9000);
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mut before = 0;
        for attempt in 0..1000 {
            let status = apply(&edge, 1, std::slice::from_ref(&rule)).await;
            assert_eq!(status.rules[0].state, RuleState::Failed);
            if attempt == 0 {
                before = open();
            }
        }
        assert_eq!(open(), before);
        drop(stranger);
    });
}
