//! Rules that share a port, chosen by the name that a TLS client asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::act::runtime::RuntimeHandle;
use edge::act::status::Status;
use rustls::pki_types::ServerName as TlsName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore};
use schema::counters::{SniMiss, SniResult};
use schema::rule::{Rule, RuleParts};
use schema::sni::ServerName;
use schema::state::RuleState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{LONG, apply, connect, echo, echo_at, free_ports, is_reset, ping, range, runtime, to, wait_until};

/// How long a test lets a client take for its hello where that is to be over soon.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) fn names(names: &[&str]) -> impl Fn(&mut RuleParts) {
    let names: Vec<ServerName> = names.iter().map(|name| ServerName::parse(name).unwrap()).collect();
    move |parts| parts.sni.clone_from(&names)
}

fn record(payload: &[u8]) -> Vec<u8> {
    [&[0x16, 3, 1], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
}

/// The message of a client that asks for a name, with so many bytes of padding.
fn message(name: &str, padding: usize) -> Vec<u8> {
    let prefixed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let entry = [&[0][..], &prefixed(name.as_bytes())].concat();
    let mut extensions = [&[0, 21][..], &prefixed(&vec![0; padding])].concat();
    if !name.is_empty() {
        extensions.extend([&[0, 0][..], &prefixed(&prefixed(&entry))].concat());
    }
    let body = [&[3, 3][..], &[5; 32], &[0, 0, 2, 0x13, 1, 1, 0], &prefixed(&extensions)].concat();
    [&[1], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// What a TLS client sends first.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    record(&message(name, 200))
}

/// Says hello and returns the tag of the target that got it, whole.
pub(crate) async fn asks(port: u16, name: &str) -> (char, TcpStream) {
    let mut stream = connect(port).await;
    let tag = greets(&mut stream, &hello(name)).await;
    (tag, stream)
}

/// The same with these bytes on this connection.
async fn greets(stream: &mut TcpStream, bytes: &[u8]) -> char {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 1 + bytes.len()];
    timeout(LONG, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(&answer[1..], bytes, "the target gets every byte as it was");
    char::from(answer[0])
}

pub(crate) fn results(status: &Status, rule: &str) -> [u64; 3] {
    let figures = status.rule(rule).unwrap().meter.as_ref().unwrap().figures();
    [SniResult::Exact, SniResult::Wildcard, SniResult::Fallback].map(|result| *figures.sni.of(result))
}

fn missed(edge: &RuntimeHandle, cause: SniMiss) -> u64 {
    edge.connections().sni_misses()[cause as usize]
}

/// What a rustls client makes of the answer.
pub(crate) async fn tls_error(port: u16, name: &str) -> String {
    let name = TlsName::try_from(name.to_owned()).unwrap();
    let failed = tokio::task::spawn_blocking(move || {
        let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        tls.complete_io(&mut socket).unwrap_err()
    });
    format!("{:?}", failed.await.unwrap().into_inner().expect("an error of TLS"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_leads_to_its_rule_and_the_target_gets_every_byte() {
    let edge = runtime().await;
    let port = free_ports(1);
    let rules = [
        to("exact", port, echo("e").await, names(&["www.example.org", "bücher.example"])),
        to("wild", port, echo("w").await, names(&["*.example.org"])),
        to("other", port, echo("f").await, |_| ()),
    ];
    let status = apply(&edge, 1, &rules).await;
    assert_eq!(status.listeners, 1);
    assert!(status.rules.iter().all(|rule| rule.state == RuleState::Active));
    let cases = [
        ("www.example.org", 'e'),
        ("WWW.EXAMPLE.ORG.", 'e'),
        ("xn--bcher-kva.example", 'e'),
        ("api.example.org", 'w'),
        ("a.b.example.org", 'f'),
        ("example.com", 'f'),
        ("", 'f'),
    ];
    for (name, tag) in cases {
        let (found, mut stream) = asks(port, name).await;
        assert_eq!(found, tag, "{name}");
        ping(&mut stream, b"and more").await;
    }
    let status = edge.status();
    assert_eq!(results(&status, "exact"), [3, 0, 0]);
    assert_eq!(results(&status, "wild"), [0, 1, 0]);
    assert_eq!(results(&status, "other"), [0, 0, 3]);
    assert_eq!(edge.connections().sni_misses().iter().sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_may_come_in_any_pieces_and_records() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("a").await);
    apply(&edge, 1, &[to("a", port, target, names(&["a.example"]))]).await;
    let crumbs: Vec<u8> = message("a.example", 40).iter().flat_map(|byte| record(&[*byte])).collect();
    let mut stream = connect(port).await;
    stream.set_nodelay(true).unwrap();
    for piece in crumbs.chunks(7) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = vec![0; 1 + crumbs.len()];
    timeout(LONG, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer[1..], crumbs);
    let large =
        [record(&message("a.example", 30_000)[..16_000]), record(&message("a.example", 30_000)[16_000..])].concat();
    let mut stream = connect(port).await;
    assert_eq!(greets(&mut stream, &large).await, 'a');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fallback_tls_clients_get_an_alert_and_others_a_reset_and_both_are_counted() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("a").await);
    let rule = to("a", port, target, |parts| {
        names(&["a.example"])(parts);
        parts.sni_timeout = SHORT;
    });
    apply(&edge, 1, &[rule]).await;

    let alert = format!("{:?}", rustls::Error::AlertReceived(AlertDescription::UnrecognisedName));
    assert_eq!(tls_error(port, "b.example").await, alert);
    assert_eq!(tls_error(port, "127.0.0.1").await, alert, "a client without a name");
    assert_eq!((missed(&edge, SniMiss::NoMatch), missed(&edge, SniMiss::NoName)), (1, 1));

    let says = async |bytes: &[u8]| {
        let mut stream = connect(port).await;
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it ends").map(|_| rest)
    };
    let (no_match, large) = (hello("b.example"), record(&[&[1, 2, 0, 0][..], &[3; 900]].concat()));
    let alert = edge::decide::hello::UNRECOGNIZED_NAME;
    assert_eq!(says(&no_match).await.expect("an end and no reset"), alert);
    assert!(says(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    assert_eq!(missed(&edge, SniMiss::NotTls), 1);
    assert_eq!(says(&large).await.expect("an end and no reset"), alert, "its length says that it is too large");
    assert_eq!(missed(&edge, SniMiss::TooLarge), 1);
    assert_eq!(says(&no_match[..100]).await.expect("an end and no reset"), alert, "half a hello");
    assert!(says(b"").await.is_err(), "nothing at all");
    assert_eq!(missed(&edge, SniMiss::Timeout), 2);
    assert_eq!(asks(port, "a.example").await.0, 'a');
    wait_until(|| edge.connections().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fallback_gets_whatever_is_no_hello_in_time() {
    let edge = runtime().await;
    let (port, named, others) = (free_ports(3), echo("a").await, free_ports(3));
    for other in others..others + 3 {
        echo_at(([127, 0, 0, 1], other).into(), "f").await;
    }
    let rule = to("a", port + 1, named, |parts| {
        names(&["a.example"])(parts);
        parts.sni_timeout = Duration::from_millis(50);
    });
    // The longest timeout of the port applies.
    let fallback = range("f", port, port + 2, others);
    let fallback = Rule::new(RuleParts { sni_timeout: SHORT, ..Rule::clone(&fallback).into_parts() });
    apply(&edge, 1, &[rule, Arc::new(fallback.unwrap())]).await;

    let begun = Instant::now();
    let mut silent = connect(port + 1).await;
    let (mut stream, mut half) = (connect(port + 1).await, connect(port + 1).await);
    assert_eq!(greets(&mut stream, b"GET / HTTP/1.1\r\n\r\n").await, 'f');
    let large = record(&[&[1, 2, 0, 0][..], &[3; 900]].concat());
    assert_eq!(greets(&mut connect(port + 1).await, &large).await, 'f');
    assert!(begun.elapsed() < SHORT, "neither waits");
    assert_eq!(greets(&mut half, &hello("a.example")[..50]).await, 'f');
    // The target speaks first.
    let mut tag = [0];
    timeout(LONG, silent.read_exact(&mut tag)).await.expect("a greeting").unwrap();
    assert!(begun.elapsed() >= SHORT && tag == *b"f");
    // A client that has ended its side will say no more.
    let mut ended = connect(port + 1).await;
    ended.write_all(&hello("a.example")[..50]).await.unwrap();
    ended.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LONG, ended.read_to_end(&mut rest)).await.expect("an answer").unwrap();
    assert_eq!(rest.len(), 51);
    assert_eq!(asks(port + 1, "a.example").await.0, 'a');
    // Beside the port nothing is awaited.
    let mut beside = connect(port).await;
    timeout(LONG, beside.read_exact(&mut tag)).await.expect("a greeting").unwrap();
    assert_eq!(results(&edge.status(), "f"), [0, 0, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_1024_undecided_connections_the_oldest_makes_room_for_the_next() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("a").await);
    let rule = to("a", port, target, |parts| {
        names(&["a.example"])(parts);
        parts.sni_timeout = LONG * 3;
    });
    apply(&edge, 1, &[rule]).await;
    let mut waiting = Vec::new();
    for count in 1..=1024 {
        waiting.push(connect(port).await);
        wait_until(|| edge.connections().count() == count).await;
    }
    let mut second = waiting.swap_remove(1);
    let mut next = connect(port).await;
    assert!(is_reset(&mut waiting[0]).await);
    assert_eq!(missed(&edge, SniMiss::Overflow), 1);
    assert_eq!(greets(&mut next, &hello("a.example")).await, 'a', "others are served");
    assert_eq!(greets(&mut second, &hello("a.example")).await, 'a');
    // The two have left the list: there is room for two more.
    let more = [connect(port).await, connect(port).await];
    wait_until(|| edge.connections().count() == 1026).await;
    assert_eq!(missed(&edge, SniMiss::Overflow), 1);
    drop((waiting, more));
    wait_until(|| edge.connections().count() == 2).await;
    assert_eq!(missed(&edge, SniMiss::Timeout), 1024, "who goes without a word said no whole hello");
}
