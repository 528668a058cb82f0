//! Datagrams arrive whole, once, with the sizes that they had and from the address that they were sent to.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use schema::net::{ListenAddress, Protocol};
use schema::rule::{Host, Rule, RuleParts};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

use crate::support::{LONG, apply, echo, free_ports, ping, runtime, skipped, to, wait_until};

/// A UDP rule from one free port to one target port.
pub(crate) fn udp(name: &str, port: u16, target: SocketAddr, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    to(name, port, target, |parts| {
        parts.listen.protocol = Protocol::Udp;
        parts.targets[0].host = Host::Ip(target.ip());
        change(parts);
    })
}

/// A target that sends every datagram back with its tag before it.
pub(crate) async fn mirror(tag: &'static [u8]) -> SocketAddr {
    mirror_at("127.0.0.1:0", tag).await
}

pub(crate) async fn mirror_at(address: &str, tag: &'static [u8]) -> SocketAddr {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let answer = [tag, &buffer[..length]].concat();
            // A queue that is full loses it, as queues do.
            _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

pub(crate) async fn client() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let (length, from) = timeout(LONG, socket.recv_from(&mut buffer)).await.expect("an answer").unwrap();
    buffer.truncate(length);
    (buffer, from)
}

/// Sends until an answer comes: datagrams may be lost while something else is under way. Each question ends with a
/// number of its own, so that a late answer to an earlier one is not taken for its own; the target sends it back.
pub(crate) async fn ask(socket: &UdpSocket, at: SocketAddr, word: &[u8]) -> Vec<u8> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let number = ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let question = [word, &number].concat();
    let mut buffer = vec![0; 1 << 16];
    let asking = async {
        loop {
            // An error is what is said of an earlier one.
            _ = socket.send_to(&question, at).await;
            let deadline = Instant::now() + Duration::from_millis(100);
            while let Ok(answer) = timeout_at(deadline, socket.recv_from(&mut buffer)).await {
                if let Ok((length, from)) = answer
                    && from == at
                    && let Some(answer) = buffer[..length].strip_suffix(&number)
                {
                    return answer.to_vec();
                }
            }
        }
    };
    timeout(LONG, asking).await.expect("an answer in time")
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[tokio::test]
async fn answers_come_from_the_address_that_was_asked_whatever_the_listener_is() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = mirror(b"").await;
    let addresses = [ListenAddress::Any, ListenAddress::Ip("0.0.0.0".parse().unwrap())];
    for (generation, address) in (1..).zip(addresses) {
        apply(&edge, generation, &[udp("dns", port, target, |parts| parts.listen.address = address)]).await;
        for last in 1..=9 {
            let client = client().await;
            let at = SocketAddr::from(([127, 0, 0, last], port));
            client.send_to(b"question", at).await.unwrap();
            assert_eq!(receive(&client).await, (b"question".to_vec(), at), "{address}");
        }
    }
}

#[tokio::test]
async fn a_broadcast_is_answered_from_an_address_of_the_host_whatever_the_listener_is() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = mirror(b"").await;
    let addresses = [ListenAddress::Any, ListenAddress::Ip("0.0.0.0".parse().unwrap())];
    for (generation, address) in (1..).zip(addresses) {
        apply(&edge, generation, &[udp("dns", port, target, |parts| parts.listen.address = address)]).await;
        let client = client().await;
        client.set_broadcast(true).unwrap();
        let everybody = SocketAddr::from(([127, 255, 255, 255], port));
        // Loopback has a broadcast address as every network has, and nobody else hears it.
        for _ in 0..3 {
            client.send_to(b"who?", everybody).await.unwrap();
            assert_eq!(receive(&client).await, (b"who?".to_vec(), local(port)), "{address}");
        }
        // Datagrams of both families take turns: what one tells has room after the other.
        let Ok(six) = UdpSocket::bind("[::1]:0").await else { continue };
        if address == ListenAddress::Any {
            for _ in 0..3 {
                let at = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), port);
                six.send_to(b"six", at).await.unwrap();
                assert_eq!(receive(&six).await, (b"six".to_vec(), at));
                client.send_to(b"who?", everybody).await.unwrap();
                assert_eq!(receive(&client).await, (b"who?".to_vec(), local(port)));
            }
        }
    }
}

#[tokio::test]
async fn both_families_reach_targets_of_both_families() {
    let edge = runtime().await;
    let Ok(six) = UdpSocket::bind("[::1]:0").await else { return skipped("this host has no IPv6") };
    let (v4, v6) = (mirror(b"4").await, mirror_at("[::1]:0", b"6").await);
    let port = free_ports(3);
    let only_v6 = |parts: &mut RuleParts| parts.listen.address = ListenAddress::Ip("::".parse().unwrap());
    let here = |parts: &mut RuleParts| parts.listen.address = ListenAddress::Ip("::1".parse().unwrap());
    apply(&edge, 1, &[udp("a", port, v6, |_| ()), udp("b", port + 1, v4, only_v6), udp("c", port + 2, v4, here)]).await;
    let four = client().await;
    for (socket, ip, offset, answer) in
        [(&four, "127.0.0.1", 0, b"6?"), (&six, "::1", 0, b"6?"), (&six, "::1", 1, b"4?"), (&six, "::1", 2, b"4?")]
    {
        let at = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port + offset);
        socket.send_to(b"?", at).await.unwrap();
        assert_eq!(receive(socket).await, (answer.to_vec(), at));
    }
    let meter = edge.status().rule("a").unwrap().meter.clone().unwrap();
    wait_until(|| meter.figures().udp_datagrams_out == 2).await;
    let figures = meter.figures();
    assert_eq!((figures.udp_datagrams_in, figures.bytes_in, figures.bytes_out), (2, 2, 4));
    assert_eq!((figures.active_flows, figures.active_connections, figures.connections_total), (2, 2, 2));
    assert_eq!(figures.datagrams_dropped.sum(), 0);
}

#[tokio::test]
async fn tcp_and_udp_share_a_port_number() {
    let edge = runtime().await;
    let port = free_ports(1);
    let (stream, datagrams) = (echo("").await, mirror(b"").await);
    let status = apply(&edge, 1, &[to("web", port, stream, |_| ()), udp("dns", port, datagrams, |_| ())]).await;
    assert_eq!(status.listeners, 2);
    ping(&mut crate::support::connect(port).await, b"stream").await;
    assert_eq!(ask(&client().await, local(port), b"datagram").await, b"datagram");
}

#[tokio::test]
async fn the_longest_datagram_and_the_empty_one_pass() {
    let edge = runtime().await;
    let port = free_ports(1);
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, |_| ())]).await;
    let client = client().await;
    for length in [65_507, 0, 1, 65_507] {
        let datagram: Vec<u8> = (0..length).map(|index| (index * 31 % 251) as u8).collect();
        client.send_to(&datagram, local(port)).await.unwrap();
        assert!(receive(&client).await.0 == datagram, "{length}");
    }
}

/// Its number, and bytes that follow from key, number and place.
fn numbered(key: u32, number: u32, length: usize) -> Vec<u8> {
    let mut datagram = [key.to_le_bytes(), number.to_le_bytes()].concat();
    let seed = key.wrapping_mul(0x9e37_79b9) ^ number.wrapping_mul(0x85eb_ca6b);
    datagram.extend((8..length as u32).map(|place| (seed.wrapping_add(place).wrapping_mul(0xc2b2_ae35) >> 13) as u8));
    datagram
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_flows_get_their_own_bytes_and_nobody_elses() {
    const FLOWS: u32 = 1000;
    let edge = runtime().await;
    let port = free_ports(1);
    let target = mirror(b"").await;
    apply(&edge, 1, &[udp("dns", port, target, |_| ())]).await;
    let mut sockets = Vec::new();
    for key in 0..FLOWS {
        let socket = client().await;
        let datagram = numbered(key, 0, 8 + (key as usize * 7) % 1400);
        assert!(ask(&socket, local(port), &datagram).await == datagram);
        sockets.push(socket);
    }
    for number in 1..4 {
        for batch in sockets.chunks(50).enumerate() {
            let key = |index: usize| (batch.0 * 50 + index) as u32;
            for (index, socket) in batch.1.iter().enumerate() {
                let datagram = numbered(key(index), number, 8 + (index * 13) % 1400);
                socket.send_to(&datagram, local(port)).await.unwrap();
            }
            for (index, socket) in batch.1.iter().enumerate() {
                let expected = numbered(key(index), number, 8 + (index * 13) % 1400);
                let first = numbered(key(index), 0, 8 + (key(index) as usize * 7) % 1400);
                let mut answer = receive(socket).await.0;
                // The first question may have been asked twice.
                while answer.starts_with(&first) {
                    answer = receive(socket).await.0;
                }
                assert!(answer == expected, "{}", key(index));
            }
        }
    }
    let meter = edge.status().rule("dns").unwrap().meter.clone().unwrap();
    assert_eq!((meter.figures().active_flows, meter.figures().connections_total), (1000, 1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_mixed_sizes_keep_the_bounds_of_every_datagram() {
    let edge = runtime().await;
    let port = free_ports(1);
    // The target looks at every datagram by itself, and answers with it.
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, |_| ())]).await;
    let client = client().await;
    client.connect(local(port)).await.unwrap();
    let lengths = [1200, 1200, 1200, 700, 1200, 64, 64, 64, 64, 9, 1200, 1200, 8, 8, 3000, 3000, 3000, 2999];
    for round in 0..40 {
        let sent: Vec<Vec<u8>> =
            (0..lengths.len()).map(|index| numbered(round, index as u32, lengths[index])).collect();
        for datagram in &sent {
            client.send(datagram).await.unwrap();
        }
        let mut missing: HashSet<Vec<u8>> = sent.into_iter().collect();
        while !missing.is_empty() {
            assert!(missing.remove(&receive(&client).await.0), "nobody sent this");
        }
    }
    let meter = edge.status().rule("dns").unwrap().meter.clone().unwrap();
    let count = 40 * lengths.len() as u64;
    wait_until(|| meter.figures().udp_datagrams_out == count).await;
    assert_eq!((meter.figures().udp_datagrams_in, meter.figures().connections_total), (count, 1));
}

/// What is sent as one piece travels as one over loopback, and arrives as one where the receiver takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_that_come_as_one_leave_with_the_bounds_that_they_had() {
    const SEGMENT: u16 = 900;
    let edge = runtime().await;
    let port = free_ports(1);
    apply(&edge, 1, &[udp("dns", port, mirror(b"").await, |_| ())]).await;
    let client = client().await;
    client.connect(local(port)).await.unwrap();
    if setsockopt(&client, UdpGsoSegment, &SEGMENT.into()).is_err() {
        return skipped("this kernel has no UDP_SEGMENT");
    }
    // Enough at once for the edge to let them be joined on their way in.
    let piece =
        |round: u32| -> Vec<u8> { (0..40).flat_map(|number| numbered(round, number, SEGMENT.into())).collect() };
    for round in 0..30 {
        let mut whole = piece(round);
        whole.truncate(whole.len() - 500);
        client.send(&whole).await.unwrap();
        let mut missing: HashSet<&[u8]> = whole.chunks(SEGMENT.into()).collect();
        while !missing.is_empty() {
            let (datagram, _) = receive(&client).await;
            assert!(missing.remove(&*datagram), "nobody sent these {} bytes", datagram.len());
        }
    }
    let meter = edge.status().rule("dns").unwrap().meter.clone().unwrap();
    wait_until(|| meter.figures().udp_datagrams_out == 30 * 40).await;
    assert_eq!(meter.figures().udp_datagrams_in, 30 * 40);
}

/// A target that answers in pieces, and a client that takes them apart itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_answers_in_pieces_is_heard_whole() {
    let edge = runtime().await;
    let port = free_ports(1);
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    apply(&edge, 1, &[udp("dns", port, target.local_addr().unwrap(), |_| ())]).await;
    let client = client().await;
    if setsockopt(&client, UdpGroSegment, &false).is_err() {
        return skipped("this kernel has no UDP_GRO");
    }
    client.connect(local(port)).await.unwrap();
    client.send(b"start").await.unwrap();
    let (_, from) = receive(&target).await;
    target.connect(from).await.unwrap();
    for round in 0..20 {
        let segment = if round % 2 == 0 { 500 } else { 1300 };
        setsockopt(&target, UdpGsoSegment, &segment).unwrap();
        let whole: Vec<u8> = (0..30).flat_map(|number| numbered(round, number, segment as usize)).collect();
        target.send(&whole[..whole.len() - 99]).await.unwrap();
        let mut missing: HashSet<&[u8]> = whole[..whole.len() - 99].chunks(segment as usize).collect();
        while !missing.is_empty() {
            assert!(missing.remove(&*receive(&client).await.0), "nobody sent this");
        }
    }
    let meter = edge.status().rule("dns").unwrap().meter.clone().unwrap();
    wait_until(|| meter.figures().udp_datagrams_out == 20 * 30).await;
}
