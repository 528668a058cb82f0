//! Floods: what peers without any token can make a process hold is bounded, and others are served meanwhile.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::peers::Echo;
use crate::support::{World, http, ports, rule, wait_until};

/// What a flooded process may take beside what it took before, in KiB; unbounded it is gigabytes.
const MORE: u64 = 300 << 10;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The beginning of a call, whose messages are still to come.
pub(crate) fn headers(stream: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in
        [(&[0x04][..], "/portunus.v1.EdgeControl/Session"), (&[0x01], "127.0.0.1"), (&[0x0f, 0x10], "application/grpc")]
    {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    frame(0x1, 0x4, stream, &block)
}

/// Speaks HTTP/2 by hand, so that it heeds no limit.
pub(crate) fn http2(port: u16) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").ok()?;
    stream.write_all(&frame(0x4, 0, 0, &[])).ok()?;
    let mut answers = stream.try_clone().ok()?;
    // Somebody has to read what it says, or it would stop listening.
    thread::spawn(move || while answers.read(&mut [0; 8 << 10]).is_ok_and(|read| read > 0) {});
    Some(stream)
}

/// Repeats an attack on a few threads while something else happens; how often it was tried.
fn during(attack: impl Fn() -> u64 + Send + Sync + 'static, meanwhile: impl FnOnce(&AtomicU64)) -> u64 {
    let (attack, stop, tried) = (Arc::new(attack), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let attackers: Vec<_> = (0..3)
        .map(|_| {
            let (attack, stop, tried) = (Arc::clone(&attack), Arc::clone(&stop), Arc::clone(&tried));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    tried.fetch_add(attack(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    meanwhile(&tried);
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().unwrap();
    }
    tried.load(Ordering::Relaxed)
}

/// Attacks the control port until so much was tried, while an edge joins and an operator looks.
fn attacked(name: &str, least: u64, attack: impl Fn(u16) -> u64 + Send + Sync + 'static) {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let (before, control) = (server.peak(), world.control);
    let tried = during(
        move || attack(control),
        |tried| {
            wait_until(&format!("some of {name}"), || tried.load(Ordering::Relaxed) > least / 10);
            world.edge("real");
            world.cli(&["status"]).exits(0);
            wait_until(&format!("the rest of {name}"), || tried.load(Ordering::Relaxed) > least);
            world.cli(&["status"]).exits(0);
        },
    );
    let more = server.peak() - before;
    assert!(more < MORE, "{name} took {more} KiB for {tried} of it");
    world.wait_connected("real", true);
    server.stop();
}

#[test]
fn thousands_of_streams_on_a_connection_take_no_memory() {
    attacked("streams", 100_000, |port| {
        let Some(mut stream) = http2(port) else { return 0 };
        // One connection goes on for as long as it is let.
        (0..20_000).take_while(|number| stream.write_all(&headers(2 * number + 1)).is_ok()).count() as u64
    });
}

#[test]
fn streams_that_are_reset_as_soon_as_they_begin_take_no_memory() {
    attacked("resets", 50_000, |port| {
        let Some(mut stream) = http2(port) else { return 0 };
        let both = |number: u32| [headers(2 * number + 1), frame(0x3, 0, 2 * number + 1, &[0, 0, 0, 8])].concat();
        (0..20_000).take_while(|number| stream.write_all(&both(*number)).is_ok()).count() as u64
    });
}

#[test]
fn large_messages_on_all_streams_of_many_connections_share_one_budget() {
    const PIECE: usize = 16 << 10;
    attacked("megabytes", 1500, |port| {
        let Some(mut stream) = http2(port) else { return 0 };
        let begun = [&[0][..], &(64_u32 << 20).to_be_bytes(), &[0x1a; PIECE - 5]].concat();
        let mut sent = 0;
        stream.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        for number in 0..16_u32 {
            let opened = stream.write_all(&headers(2 * number + 1)).is_ok();
            sent += u64::from(opened && stream.write_all(&frame(0, 0, 2 * number + 1, &begun)).is_ok());
        }
        let more = frame(0, 0, 1, &[0x1a; PIECE]);
        // Past what the server is willing to read ahead, a peer that heeds nothing goes on.
        sent += (0..64).take_while(|_| stream.write_all(&more).is_ok()).count() as u64;
        stream.shutdown(Shutdown::Both).ok();
        sent
    });
}

#[test]
fn a_message_of_a_million_empty_entries_is_refused_before_it_is_decoded() {
    // Two bytes each here, hundreds in memory.
    let rules = [0x2a, 0x00].repeat(8 << 20);
    let length = |length: usize| {
        let mut rest = length;
        let mut bytes = Vec::new();
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    let report = [&[0x32][..], &length(rules.len()), &rules].concat();
    let hello = [&[0x0a][..], &length(report.len()), &report].concat();
    let message = [&[0][..], &u32::try_from(hello.len()).unwrap().to_be_bytes(), &hello].concat();
    attacked("hellos", 10, move |port| {
        let Some(mut stream) = http2(port) else { return 0 };
        stream.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        // A stream may have 64 KiB on its way; more is sent whenever the server has read that.
        let pieces = message.chunks(16 << 10).map(|piece| frame(0, 0, 1, piece));
        let sent = std::iter::once(headers(1)).chain(pieces).take_while(|piece| stream.write_all(piece).is_ok());
        u64::from(sent.count() > 4)
    });
}

#[test]
fn idle_peers_of_the_edges_metrics_port_do_not_stop_forwarding() {
    let world = World::new().with_few_descriptors();
    world.serve(&["--mode", "heal"]);
    let (metrics, echo, listen) = (ports(1), Echo::start(), ports(1));
    let edge = world.edge_with("edge-01", &["--metrics-listen", &format!("127.0.0.1:{metrics}")]);
    world.edit_and_apply("a.toml", &rule("edge-01", "web", listen, echo.port, ""));
    world.wait_rule("edge-01", "web", "active");
    let peers: Vec<TcpStream> = (0..1133).filter_map(|_| TcpStream::connect(("127.0.0.1", metrics)).ok()).collect();
    assert!(peers.len() > 900, "{}", peers.len());
    for _ in 0..20 {
        let mut tag = [0; 2];
        TcpStream::connect(("127.0.0.1", listen)).unwrap().read_exact(&mut tag).unwrap();
        assert_eq!(u16::from_be_bytes(tag), echo.port);
    }
    assert!(edge.descriptors() < 300, "{}", edge.descriptors());
    let (status, _) = http(metrics, "GET", "/healthz", &[], "").unwrap();
    assert_eq!(status, 200);
    drop(peers);
    world.cli(&["status"]).exits(0);
}
