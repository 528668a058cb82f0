//! A hundred thousand sources at a rule that limits each of them: bounded memory, and everyone else is served.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::{LONG, World, ports, rule, wait_until};

const SOURCES: u32 = 100_000;
/// What they may cost beside what the edge has, in KiB: 65,536 remembered sources and some room.
const MORE: u64 = 48 << 10;

/// A target that greets everyone and keeps the last thousand: a connection that it closed first would keep its port.
fn greeter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut kept = VecDeque::new();
        for mut stream in listener.incoming().flatten() {
            // One that went already is of no interest.
            _ = stream.write_all(b"!");
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            kept.push_back(stream);
            if kept.len() > 1_000 {
                kept.pop_front();
            }
        }
    });
    port
}

/// Connects from an address and waits for the greeting; its end is a reset, so that it leaves nothing behind.
fn connect(from: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG))?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

#[test]
#[expect(clippy::print_stdout, reason = "figures are for people who ask for them")]
fn a_hundred_thousand_sources_cost_a_bounded_table_and_everyone_is_served_and_limited() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let port = ports(1);
    let per_source = "rate_limit = { per_source = { connections = 2, new_connections_per_sec = 1, \
                      new_connections_burst = 4 } }";
    world.edit_and_apply("rules.toml", &rule("edge-01", "web", port, greeter(), per_source));
    let address = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number);
    for number in 0..1_000 {
        connect(address(number), port).unwrap();
    }
    let before = edge.anonymous();

    let next = AtomicU64::new(1_000);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = u32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    if number >= SOURCES {
                        return;
                    }
                    // Every one of them is new, and within its limits.
                    connect(address(number), port).unwrap_or_else(|error| panic!("{}: {error}", address(number)));
                }
            });
        }
    });
    let after = edge.anonymous();
    println!("{SOURCES} sources: {before} KiB before, {after} KiB after");
    assert!(after < before + MORE, "{before} KiB before, {after} KiB after");

    // One that is known still, or new again, has its limits.
    let greedy = Ipv4Addr::new(127, 200, 0, 1);
    let live: Vec<_> = (0..2).map(|_| connect(greedy, port).unwrap()).collect();
    let refused = (0..10).filter(|_| connect(greedy, port).is_err()).count();
    assert_eq!(refused, 10, "two connections at a time");
    connect(Ipv4Addr::new(127, 200, 0, 2), port).unwrap();
    drop(live);
    let counted = || {
        let text = World::scrape(world.metrics);
        let row = "portunus_rule_refused_total{client=\"edge-01\",mode=\"enforce\",owner=\"\",reason=\"source_";
        let rows = text.lines().filter_map(|line| line.strip_prefix(row)?.rsplit(' ').next()?.parse::<u64>().ok());
        rows.sum::<u64>()
    };
    wait_until("the refused ones are counted", || counted() == 10);
}
