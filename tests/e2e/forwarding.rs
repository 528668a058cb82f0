//! What a connection sees: half-close, limits, timeouts, address families.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Instant;

use crate::peers::{Client, Echo, answers, piece, serve};
use crate::support::{LONG, World, ports, rule, skip};

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn half_close_is_kept_in_both_directions() {
    let world = World::with_edges(&["edge-01"]);
    // Answers only once it has seen the end of the question, with what it was asked.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().port();
    serve(listener, |mut stream| {
        let mut question = Vec::new();
        if stream.read_to_end(&mut question).is_ok() {
            stream.write_all(&question).and_then(|()| stream.shutdown(Shutdown::Write)).ok();
        }
    });
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, target, "idle_timeout_secs = 30"));
    let question = piece(9, 0, 3_000_000);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&question).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer == question, "{} bytes of {} came back", answer.len(), question.len());
    let stats = world.wait_stats("edge-01/a", "the end", |stats| stats["active_connections"] == 0);
    assert_eq!((stats["bytes_in"].as_u64(), stats["bytes_out"].as_u64()), (Some(3_000_000), Some(3_000_000)));
}

#[test]
fn more_than_max_connections_are_refused_and_counted() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, "max_connections = 2"));
    let held = [Client::to(port), Client::to(port)];
    assert!(Client::connect(("127.0.0.1", port)).is_err(), "the third is refused");
    let stats = world.wait_stats("edge-01/a", "the refusal", |stats| stats["connections_refused"] == 1);
    assert_eq!((&stats["active_connections"], &stats["connections_total"]), (&2.into(), &2.into()));
    drop(held);
    world.wait_stats("edge-01/a", "room", |stats| stats["active_connections"] == 0);
    assert_eq!(answers(port), Some(echo.port));
    // A higher limit holds from the next connection on.
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, "max_connections = 3"));
    let held = [Client::to(port), Client::to(port), Client::to(port)];
    assert!(Client::connect(("127.0.0.1", port)).is_err());
    drop(held);
}

#[test]
fn an_idle_connection_is_cut_and_a_busy_one_is_not() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, "idle_timeout_secs = 1"));
    let mut busy = Client::to(port);
    let mut idle = Client::to(port);
    let started = Instant::now();
    idle.stream.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    let mut at = 0;
    loop {
        busy.ping(2, at, 100).expect("a busy connection goes on");
        at += 100;
        match idle.stream.read(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(started.elapsed() < LONG, "never cut");
            }
            _ => break,
        }
    }
    assert!(started.elapsed().as_millis() > 800, "not before its time: {:?}", started.elapsed());
    busy.ping(2, at, 100).unwrap();
}

#[test]
fn a_target_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(2);
    // A listener whose queue is full answers no handshake.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    let fill: Vec<_> = (0..2000)
        .map_while(|_| TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200)).ok())
        .collect();
    if fill.len() == 2000 {
        return skip("the queue of a listener does not fill up here");
    }
    let tree = rule("edge-01", "mute", port, address.port(), "connect_timeout_ms = 300")
        + &rule("edge-01", "closed", port + 1, closed_port(), "");
    world.edit_and_apply("a.toml", &tree);
    let started = Instant::now();
    assert!(Client::connect(("127.0.0.1", port)).is_err());
    let elapsed = started.elapsed().as_millis();
    assert!((250..3000).contains(&elapsed), "{elapsed} ms");
    assert!(Client::connect(("127.0.0.1", port + 1)).is_err());
    let cause = |address: &str, cause: &str| {
        world.wait_stats(address, cause, |stats| stats["connect_errors"][cause] == 1);
    };
    cause("edge-01/mute", "timeout");
    cause("edge-01/closed", "refused");
}

fn closed_port() -> u16 {
    ports(1)
}

#[test]
fn names_that_do_not_resolve_are_counted() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let text = rule("edge-01", "a", port, 80, "").replace("127.0.0.1", "no-such-host.invalid");
    world.edit_and_apply("a.toml", &text);
    assert!(Client::connect(("127.0.0.1", port)).is_err());
    world.wait_stats("edge-01/a", "the failure", |stats| stats["dns_failures"] == 1);
}

#[test]
fn listeners_take_the_families_that_their_address_says() {
    if !has_ipv6() {
        return skip("no IPv6 on this machine");
    }
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(5);
    let addresses = ["", "0.0.0.0", "::", "127.0.0.1", "::1"];
    let tree: String = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| {
            let more = if address.is_empty() { String::new() } else { format!("listen_address = \"{address}\"") };
            rule("edge-01", &format!("r{index}"), port + index as u16, echo.port, &more)
        })
        .collect();
    world.edit_and_apply("a.toml", &tree);
    let on = |ip: std::net::IpAddr, index: u16| {
        Client::connect(SocketAddr::new(ip, port + index)).ok().map(|client| client.tag).is_some()
    };
    let v4 = Ipv4Addr::LOCALHOST.into();
    let v6 = Ipv6Addr::LOCALHOST.into();
    let seen: Vec<(bool, bool)> = (0..5).map(|index| (on(v4, index), on(v6, index))).collect();
    assert_eq!(seen, [(true, true), (true, false), (false, true), (true, false), (false, true)]);
}

#[test]
fn prefer_ipv6_orders_the_addresses_of_a_name() {
    if !has_ipv6() {
        return skip("no IPv6 on this machine");
    }
    let world = World::with_edges(&[]);
    let families: Vec<bool> =
        ("localhost", 1).to_socket_addrs().map(|all| all.map(|one| one.is_ipv6()).collect()).unwrap_or_default();
    let name = if families.contains(&true) && families.contains(&false) {
        world.edge("edge-01");
        "localhost"
    } else if world.edge_with_hosts("edge-01", "127.0.0.1 localhost both\n::1 both\n").is_some() {
        "both"
    } else {
        return skip("no name with addresses of both families, and no right to make one");
    };
    let target = ports(2);
    // Each family says who it is; the first two bytes are the tag.
    for (ip, port, tag) in [("127.0.0.1", target, 4_u16), ("::1", target, 6), ("127.0.0.1", target + 1, 44)] {
        serve(TcpListener::bind((ip, port)).unwrap(), move |mut stream| {
            stream.write_all(&tag.to_be_bytes()).ok();
        });
    }
    let port = ports(3);
    let to = |rule_name: &str, index: u16, target: u16, more: &str| {
        rule("edge-01", rule_name, port + index, target, more).replace("127.0.0.1", name)
    };
    let tree = to("four", 0, target, "")
        + &to("six", 1, target, "prefer_ipv6 = true")
        + &to("fallback", 2, target + 1, "prefer_ipv6 = true");
    world.edit_and_apply("a.toml", &tree);
    assert_eq!((answers(port), answers(port + 1), answers(port + 2)), (Some(4), Some(6), Some(44)));
}

#[test]
fn an_ipv6_target_is_reached() {
    if !has_ipv6() {
        return skip("no IPv6 on this machine");
    }
    let world = World::with_edges(&["edge-01"]);
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let target = listener.local_addr().unwrap().port();
    serve(listener, |mut stream| {
        stream.write_all(&6_u16.to_be_bytes()).ok();
    });
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, target, "").replace("127.0.0.1", "[::1]"));
    assert_eq!(answers(port), Some(6));
}
