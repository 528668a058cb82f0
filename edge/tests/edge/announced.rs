//! `accept_proxy`: connections of load balancers begin with a header, which says whom they connect for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use schema::access::{Access, Enforcement};
use schema::counters::RefusalReason;
use schema::rule::{ProxyProtocol, RuleParts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::access::{list, refused};
use crate::daemons::Daemon;
use crate::support::{LONG, apply, connect, echo, free_ports, is_reset, ping, runtime, target, to, wait_until};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

fn v2() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &addresses[..]].concat()
}

fn accepting(parts: &mut RuleParts) {
    parts.accept_proxy = list(&["127.0.0.0/8"]);
}

#[tokio::test]
async fn the_address_of_the_header_counts_for_lists_and_for_the_target_and_no_byte_is_lost() {
    let (edge, (listener, address), port) = (runtime().await, target().await, free_ports(1));
    let rule = |parts: &mut RuleParts| {
        accepting(parts);
        parts.access = Some(Box::new(Access { allow: list(&["192.0.2.0/24"]), ..Access::default() }));
        parts.targets[0].proxy_protocol = Some(ProxyProtocol::V1);
    };
    let status = apply(&edge, 1, &[to("web", port, address, rule)]).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    for (header, split) in [(V1.to_vec(), 0), (v2(), 0), (V1.to_vec(), 9), (v2(), 20)] {
        let mut client = connect(port).await;
        client.set_nodelay(true).unwrap();
        client.write_all(&header[..split]).await.unwrap();
        client.write_all(&[&header[split..], b"question"].concat()).await.unwrap();
        let (mut server, _) = timeout(LONG, listener.accept()).await.expect("it is dialled").unwrap();
        let mut read = vec![0; V1.len() + 8];
        timeout(LONG, server.read_exact(&mut read)).await.expect("it comes").unwrap();
        assert_eq!(read, [V1, b"question"].concat());
        server.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        timeout(LONG, client.read_exact(&mut answer)).await.expect("it comes").unwrap();
    }
    // Its own address is not in the list: one that names nobody is refused by that.
    let mut client = connect(port).await;
    client.write_all(b"PROXY UNKNOWN\r\nquestion").await.unwrap();
    assert!(is_reset(&mut client).await);
    assert_eq!(refused(&meter, RefusalReason::Access, Enforcement::Enforce), 1);
    assert_eq!(refused(&meter, RefusalReason::ProxyHeader, Enforcement::Enforce), 0);
}

#[tokio::test]
async fn what_does_not_begin_with_a_header_is_reset_and_counted_and_others_are_served() {
    let (edge, target, port) = (runtime().await, echo("").await, free_ports(1));
    let status = apply(&edge, 1, &[to("web", port, target, accepting)]).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    let start = Instant::now();
    let mut silent = connect(port).await;
    let mut partial = connect(port).await;
    partial.write_all(&V1[..20]).await.unwrap();
    let mut other = connect(port).await;
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_reset(&mut other).await);
    let count = || refused(&meter, RefusalReason::ProxyHeader, Enforcement::Enforce);
    wait_until(|| count() == 1).await;
    let mut announced = connect(port).await;
    announced.write_all(V1).await.unwrap();
    ping(&mut announced, b"hello").await;
    assert!(is_reset(&mut silent).await && is_reset(&mut partial).await);
    assert!(start.elapsed() >= Duration::from_secs(5) && start.elapsed() < Duration::from_secs(30));
    wait_until(|| count() == 3).await;
    ping(&mut announced, b"still here").await;
}

#[tokio::test]
async fn of_a_stranger_a_header_is_bytes() {
    let (edge, (listener, address), port) = (runtime().await, target().await, free_ports(1));
    apply(&edge, 1, &[to("web", port, address, |parts| parts.accept_proxy = list(&["10.0.0.0/8"]))]).await;
    let mut client = connect(port).await;
    client.write_all(V1).await.unwrap();
    let (mut server, _) = timeout(LONG, listener.accept()).await.expect("it is dialled").unwrap();
    let mut read = vec![0; V1.len()];
    timeout(LONG, server.read_exact(&mut read)).await.expect("it comes").unwrap();
    assert_eq!(read, V1);
}

#[tokio::test]
async fn a_crowd_that_never_speaks_makes_room_for_those_who_do() {
    let (edge, target, port) = (runtime().await, echo("").await, free_ports(1));
    let status = apply(&edge, 1, &[to("web", port, target, accepting)]).await;
    let meter = status.rule("web").unwrap().meter.clone().unwrap();
    let mut crowd = Vec::new();
    for _ in 0..1100 {
        crowd.push(connect(port).await);
    }
    wait_until(|| refused(&meter, RefusalReason::ProxyHeader, Enforcement::Enforce) >= 76).await;
    let mut announced = connect(port).await;
    announced.write_all(&v2()).await.unwrap();
    ping(&mut announced, b"hello").await;
}

#[tokio::test]
async fn haproxy_in_front_says_whom_it_connects_for() {
    let (edge, (listener, address), port) = (runtime().await, target().await, free_ports(3));
    let rule = |parts: &mut RuleParts| {
        accepting(parts);
        parts.targets[0].proxy_protocol = Some(ProxyProtocol::V1);
    };
    apply(&edge, 1, &[to("web", port, address, rule)]).await;
    let front = |number: u16, how: &str| {
        format!("listen l{number}\n bind 127.0.0.1:{}\n server s 127.0.0.1:{port} {how}\n", port + number)
    };
    let config = format!(
        "defaults\n mode tcp\n timeout client 9s\n timeout connect 9s\n timeout server 9s\n{}{}",
        front(1, "send-proxy"),
        front(2, "send-proxy-v2")
    );
    let Some(_daemon) = Daemon::start("haproxy", &config, &["-db", "-f"], port + 1).await else { return };
    for front in [port + 1, port + 2] {
        let mut client = connect(front).await;
        client.write_all(b"question").await.unwrap();
        let own: SocketAddr = client.local_addr().unwrap();
        // The look whether the daemon listens is a connection as well, which sends nothing.
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {front}\r\nquestion", own.port());
        loop {
            let (mut server, _) = timeout(LONG, listener.accept()).await.expect("it is dialled").unwrap();
            let mut read = vec![0; expected.len()];
            if timeout(LONG, server.read_exact(&mut read)).await.expect("it comes").is_ok() {
                assert_eq!(String::from_utf8_lossy(&read), expected);
                break;
            }
        }
    }
}
