//! What happens to connections: copied whole, counted exactly, limited, drained, reset.

use std::num::NonZeroU32;
use std::time::Duration;

use edge::act::workers::Meter;
use edge::decide::breaks::Break;
use schema::counters::{ConnectCause, Figures};
use schema::net::PortRange;
use schema::rule::Host;
use schema::state::RuleState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{
    LONG, alone, apply, connect, echo, echo_range, free_ports, is_reset, is_turned_away, ping, range, runtime, target,
    to, wait_for, wait_until,
};

pub(crate) fn reset_on_close(stream: &tokio::net::TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other_alone() {
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(1);
    apply(&edge, 1, &[to("web", port, address, |_| ())]).await;

    // The client ends first; the target's answer comes afterwards.
    let mut client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");

    // The target ends first.
    let mut client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"later").await.unwrap();
    drop(client);
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "later");

    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.active() == 0).await;
    let figures = meter.figures();
    assert_eq!((figures.bytes_in, figures.bytes_out, figures.connections_total), (13, 6, 2));
    assert_eq!(meter.per_port(), [(port, figures)]);
    assert_eq!(meter.per_target().len(), 1);
}

#[tokio::test]
async fn a_reset_is_passed_on_both_ways_and_the_counters_are_exact() {
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(1);
    apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();

    let mut client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"12345").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    reset_on_close(&server);
    drop(server);
    assert!(is_reset(&mut client).await);

    let client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    reset_on_close(&client);
    drop(client);
    assert!(is_reset(&mut server).await);

    wait_until(|| meter.active() == 0).await;
    assert_eq!((meter.figures().bytes_in, meter.figures().connections_total), (5, 2));
    assert_eq!(broken(&meter), [(Break::ClientReset, 1), (Break::TargetReset, 1)]);
    let of_target = &meter.per_target()[0].1;
    assert_eq!(of_target.broken, meter.figures().broken);

    // One that both sides end is not broken.
    let mut client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    client.shutdown().await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    wait_until(|| meter.active() == 0).await;
    assert_eq!(broken(&meter).len(), 2);
}

/// Who broke connections, and how often.
pub(crate) fn broken(meter: &Meter) -> Vec<(Break, u64)> {
    let figures = meter.figures();
    Break::ALL.iter().map(|why| (*why, *figures.broken.of(*why))).filter(|(_, count)| *count > 0).collect()
}

/// What one side cannot send any more was meant for the other, which is not to blame.
#[tokio::test]
async fn a_side_that_resets_while_much_is_on_its_way_there_is_the_one_that_broke_it() {
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(1);
    apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
    for (resets_client, expected) in [(true, Break::ClientReset), (false, Break::TargetReset)] {
        let before = broken(&meter).iter().find(|(why, _)| *why == expected).map_or(0, |(_, count)| *count);
        let moved = |figures: Figures| figures.bytes_in + figures.bytes_out;
        let earlier = moved(meter.figures());
        let client = connect(port).await;
        let (server, _) = listener.accept().await.unwrap();
        let (mut sender, receiver) = if resets_client { (server, client) } else { (client, server) };
        let sending = tokio::spawn(async move {
            let chunk = vec![7; 1 << 20];
            while sender.write_all(&chunk).await.is_ok() {}
        });
        wait_until(|| moved(meter.figures()) > earlier + (1 << 20)).await;
        reset_on_close(&receiver);
        drop(receiver);
        timeout(LONG, sending).await.expect("the sender is told").unwrap();
        wait_until(|| meter.active() == 0).await;
        assert_eq!(broken(&meter).iter().find(|(why, _)| *why == expected).map(|(_, count)| *count), Some(before + 1));
    }
    assert_eq!(broken(&meter), [(Break::ClientReset, 1), (Break::TargetReset, 1)]);
}

#[tokio::test]
async fn a_connection_without_a_byte_for_too_long_is_reset() {
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(1);
    let idle = |parts: &mut schema::rule::RuleParts| parts.idle_timeout = Some(Duration::from_secs(1));
    apply(&edge, 1, &[to("web", port, address, idle)]).await;
    let mut client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    assert!(is_reset(&mut client).await);
    assert!(is_reset(&mut server).await);
    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.active() == 0).await;
    assert_eq!(broken(&meter), [(Break::EdgeIdle, 1)]);
}

#[tokio::test]
async fn connections_above_the_limit_are_reset_and_counted() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    let two = |parts: &mut schema::rule::RuleParts| parts.max_connections = NonZeroU32::new(2);
    apply(&edge, 1, &[to("web", port, target, two)]).await;
    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
    let mut first = connect(port).await;
    let mut second = connect(port).await;
    ping(&mut first, b"1").await;
    ping(&mut second, b"2").await;
    assert!(is_turned_away(port).await);
    let figures = meter.figures();
    assert_eq!((figures.active_connections, figures.connections_total, figures.connections_refused), (2, 2, 1));
    drop(first);
    wait_until(|| meter.active() == 1).await;
    ping(&mut connect(port).await, b"room again").await;
}

#[tokio::test]
async fn what_cannot_be_connected_is_reset_and_counted_by_cause() {
    let edge = runtime().await;
    let port = free_ports(4);
    let closed = ([127, 0, 0, 1], port + 3).into();
    let disabled = |parts: &mut schema::rule::RuleParts| parts.targets[0].enabled = false;
    let named = |parts: &mut schema::rule::RuleParts| {
        parts.targets[0].host = Host::parse("name.invalid").unwrap();
        parts.targets[0].ports = PortRange::single(80).unwrap();
    };
    let rules = [
        to("closed", port, closed, |_| ()),
        to("disabled", port + 1, closed, disabled),
        to("named", port + 2, closed, named),
    ];
    let status = apply(&edge, 1, &rules).await;
    for offset in 0..3 {
        assert!(is_turned_away(port + offset).await);
    }
    let figures = |name: &str| status.rule(name).unwrap().meter.as_ref().unwrap().figures();
    let stats = status.rule("closed").unwrap().stats(false, true);
    for counters in [stats.total.as_ref(), stats.targets[0].counters.as_ref()] {
        let figures = Figures::from_wire(counters.unwrap()).unwrap();
        assert_eq!(figures.connect_errors.iter().collect::<Vec<_>>(), [("refused", 1)]);
    }
    assert_eq!((figures("closed").connections_total, figures("closed").connections_refused), (1, 0));
    assert_eq!((figures("disabled").connections_total, figures("disabled").connections_refused), (0, 1));
    assert_eq!((figures("named").dns_failures, figures("named").connect_errors.sum()), (1, 0));
}

#[tokio::test]
async fn a_name_is_looked_up_and_its_addresses_are_tried_in_turn() {
    let edge = runtime().await;
    // It listens on IPv4 only; where the host's name has an IPv6 address too, that one is tried first and refused.
    let (port, address) = (free_ports(1), echo("").await);
    let named = |parts: &mut schema::rule::RuleParts| {
        parts.targets[0].host = Host::parse("localhost").unwrap();
        parts.prefer_ipv6 = true;
    };
    let status = apply(&edge, 1, &[to("web", port, address, named)]).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(connect(port).await);
    }
    for stream in &mut streams {
        ping(stream, b"by name").await;
    }
    let figures = status.rule("web").unwrap().meter.as_ref().unwrap().figures();
    assert_eq!((figures.active_connections, figures.dns_failures), (4, 0));
    let failed = figures.connect_errors.sum();
    assert!(failed == 0 || *figures.connect_errors.of(ConnectCause::Refused) == 4, "{:?}", figures.connect_errors);
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_given_up_in_time() {
    let edge = runtime().await;
    // A full accept queue: the kernel drops every further SYN.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    let _queued = std::net::TcpStream::connect(address).unwrap();
    let port = free_ports(1);
    let soon = |parts: &mut schema::rule::RuleParts| parts.connect_timeout = Duration::from_millis(200);
    let status = apply(&edge, 1, &[to("web", port, address, soon)]).await;
    let start = std::time::Instant::now();
    assert!(is_turned_away(port).await);
    assert!(start.elapsed() >= Duration::from_millis(200));
    let causes = status.rule("web").unwrap().figures().connect_errors;
    assert_eq!(causes.iter().collect::<Vec<_>>(), [("timeout", 1)]);
}

/// Takes every descriptor of its process, so it has one for itself.
#[test]
fn a_shortage_of_descriptors_ends_no_connection_and_no_listener() {
    alone("connections::a_shortage_of_descriptors_ends_no_connection_and_no_listener", async {
        let limit = rustix::process::Rlimit { current: Some(200), maximum: Some(200) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let edge = runtime().await;
        let (port, target) = (free_ports(2), echo("").await);
        let rules = [to("a", port, target, |_| ()), to("b", port + 1, target, |_| ())];
        apply(&edge, 1, &rules).await;
        let mut live = connect(port).await;
        ping(&mut live, b"before").await;
        let sockets = [tokio::net::TcpSocket::new_v4().unwrap(), tokio::net::TcpSocket::new_v4().unwrap()];
        let processor = crate::relaying::Processor::new();
        let hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        let mut waiting = Vec::new();
        for (socket, port) in sockets.into_iter().zip([port, port + 1]) {
            waiting.push(socket.connect(([127, 0, 0, 1], port).into()).await.unwrap());
        }
        ping(&mut live, b"during").await;
        assert_eq!(edge.connections().count(), 1);
        // Accepting waits; it does not try again and again.
        let start = processor.spent();
        crate::support::let_pass(Duration::from_millis(500)).await;
        assert!(processor.spent() - start < 10, "the workers spin");
        drop(hoard);
        for stream in &mut waiting {
            ping(stream, b"after").await;
        }
        ping(&mut live, b"after").await;
    });
}

/// Takes every descriptor of its process, so it has one for itself.
#[test]
fn a_client_whose_target_finds_no_descriptor_waits_for_one_beyond_its_connect_timeout() {
    alone("connections::a_client_whose_target_finds_no_descriptor_waits_for_one_beyond_its_connect_timeout", async {
        let limit = rustix::process::Rlimit { current: Some(200), maximum: Some(200) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let edge = runtime().await;
        let (port, target) = (free_ports(1), echo("").await);
        let soon = |parts: &mut schema::rule::RuleParts| parts.connect_timeout = Duration::from_millis(200);
        let status = apply(&edge, 1, &[to("web", port, target, soon)]).await;
        // Some are lent from now on.
        ping(&mut connect(port).await, b"before").await;
        wait_until(|| edge.connections().count() == 0).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let mut hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        // Enough for a client, and not for its target.
        hoard.pop();
        let mut waiting = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        wait_until(|| edge.connections().count() == 1).await;
        crate::support::let_pass(Duration::from_secs(1)).await;
        drop(hoard);
        ping(&mut waiting, b"after").await;
        assert_eq!(status.rule("web").unwrap().figures().connect_errors.sum(), 0);
    });
}

#[tokio::test]
async fn counters_move_while_a_connection_lives() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    apply(&edge, 1, &[to("web", port, target, |_| ())]).await;
    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
    let mut stream = connect(port).await;
    ping(&mut stream, &vec![1; 64 << 10]).await;
    // The last piece is counted behind its arrival.
    wait_until(|| (meter.figures().bytes_in, meter.figures().bytes_out) == (64 << 10, 64 << 10)).await;
}

#[tokio::test]
async fn a_removed_rule_drains_and_is_reset_at_its_deadline() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    let drain = |parts: &mut schema::rule::RuleParts| parts.drain_timeout = Duration::from_secs(1);
    apply(&edge, 1, &[to("web", port, target, drain)]).await;
    let mut stream = connect(port).await;
    ping(&mut stream, b"1").await;
    let status = apply(&edge, 2, &[]).await;
    let rule = status.rule("web").unwrap();
    assert_eq!((rule.state, rule.meter.as_ref().unwrap().active()), (RuleState::Draining, 1));
    assert_eq!(status.listeners, 0);
    ping(&mut stream, b"2").await;
    assert!(is_reset(&mut stream).await);
    let meter = rule.meter.clone().unwrap();
    wait_for(&edge, |status| status.rules.is_empty()).await;
    assert_eq!((meter.active(), meter.figures().bytes_in), (0, 2));
    assert_eq!(broken(&meter), [(Break::EdgeCut, 1)]);
}

#[tokio::test]
async fn a_removed_rule_is_gone_as_soon_as_its_connections_are() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    apply(&edge, 1, &[to("web", port, target, |_| ())]).await;
    let mut stream = connect(port).await;
    ping(&mut stream, b"1").await;
    assert_eq!(apply(&edge, 2, &[]).await.rules.len(), 1);
    drop(stream);
    wait_for(&edge, |status| status.rules.is_empty()).await;
}

#[tokio::test]
async fn a_rule_that_comes_back_while_it_drains_keeps_its_connections() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("").await);
    let drain = |parts: &mut schema::rule::RuleParts| parts.drain_timeout = Duration::from_secs(1);
    let back = to("back", port, target, drain);
    apply(&edge, 1, &[back.clone(), to("gone", port + 1, target, drain)]).await;
    let (mut stream, mut gone) = (connect(port).await, connect(port + 1).await);
    ping(&mut stream, b"1").await;
    ping(&mut gone, b"1").await;
    apply(&edge, 2, &[]).await;
    let status = apply(&edge, 3, &[back]).await;
    assert_eq!(status.rule("back").unwrap().meter.as_ref().unwrap().active(), 1);
    assert!(is_reset(&mut gone).await);
    wait_for(&edge, |status| status.rules.len() == 1).await;
    ping(&mut stream, b"2").await;
}

#[tokio::test]
async fn connections_of_released_ports_and_of_removed_targets_drain_and_others_stay() {
    let edge = runtime().await;
    let (first, a, b) = (free_ports(2), echo_range(2).await, echo_range(2).await);
    let with_drain = |last: u16, target: u16| {
        let mut parts = schema::rule::Rule::clone(&range("web", first, last, target)).into_parts();
        parts.drain_timeout = Duration::from_secs(1);
        std::sync::Arc::new(schema::rule::Rule::new(parts).unwrap())
    };
    apply(&edge, 1, &[with_drain(first + 1, a)]).await;
    let (mut kept, mut released) = (connect(first).await, connect(first + 1).await);
    ping(&mut kept, b"1").await;
    ping(&mut released, b"1").await;
    apply(&edge, 2, &[with_drain(first, a)]).await;
    assert!(is_reset(&mut released).await);
    ping(&mut kept, b"2").await;

    apply(&edge, 3, &[with_drain(first, b)]).await;
    let mut moved = connect(first).await;
    ping(&mut moved, b"3").await;
    assert!(is_reset(&mut kept).await);
    ping(&mut moved, b"4").await;
}
