//! What this host lacks, and what a target did before anybody looked: neither is held against the target.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::namespaces::in_namespace;
use crate::peers::{Client, Echo};
use crate::steering::target_is;
use crate::support::{Handle, LONG, World, let_pass, ports, rule, rule_of, skip, wait_until};

/// What the server exports of a series of a rule, by this cause or, where it is empty, by any.
fn counted(world: &World, series: &str, rule: &str, cause: &str) -> u64 {
    let text = World::scrape(world.metrics);
    let (rule, cause) = (format!("rule=\"{rule}\""), format!("cause=\"{cause}"));
    let rows = text.lines().filter(|row| row.starts_with(series) && row.contains(&rule) && row.contains(&cause));
    rows.filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

const CONNECT_ERRORS: &str = "portunus_rule_connect_errors_total{";
/// What is logged of the host's own faults, at most once a minute for each cause.
const OF_CONNECTIONS: &str = "a target was not reached";
const OF_PROBES: &str = "probes fail for reasons on this host";
const BROKEN: &str = "portunus_rule_connections_broken_total{";

/// How many lines of a log hold this.
fn lines(process: &Handle, text: &str) -> usize {
    process.log().lines().filter(|line| line.contains(text)).count()
}

/// A client that is not served ends with a reset, now or a little later.
fn is_turned_away(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return true };
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn a_host_without_a_source_port_left_fails_no_target_and_cuts_nobody() {
    const NAME: &str = "shortages::a_host_without_a_source_port_left_fails_no_target_and_cuts_nobody";
    in_namespace(NAME, without_source_ports, |_| ());
}

fn without_source_ports() {
    /// Connections to the target that the host can have: one for each of its ports.
    const PORTS: u16 = 40;
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let (port, target) = (ports(1), Echo::start().port);
    let check = "on_target_down = \"reset\"\n[rule.health]\ninterval_secs = 1\ntimeout_ms = 900\nrise = 1\nfall = 1";
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, target, check));
    let place = format!("127.0.0.1:{target}");
    target_is(&world, &place, "up");
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("40000 {}", 40_000 + PORTS - 1)).unwrap();
    let mut live: Vec<Client> = (0..PORTS / 2).map(|_| Client::to(port)).collect();
    // The others are taken past the edge. One that a probe has used is free again a second later.
    let mut taken = Vec::new();
    wait_until("a probe to find no port", || {
        while let Ok(stream) = TcpStream::connect(("127.0.0.1", target)) {
            taken.push(stream);
        }
        lines(&edge, OF_PROBES) > 0
    });
    for count in 1..=10 {
        assert!(is_turned_away(port), "there is no port for it");
        wait_until("the cause", || counted(&world, CONNECT_ERRORS, "a", "source_ports") == count);
    }
    // Several probes long.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        target_is(&world, &place, "up");
        for client in &mut live {
            client.ping(1, 0, 10).expect("a live connection stays");
        }
        let_pass(Duration::from_millis(200));
    }
    for text in [OF_CONNECTIONS, OF_PROBES] {
        assert_eq!(lines(&edge, text), 1, "one line a minute: {}", edge.log());
    }
    assert_eq!(counted(&world, BROKEN, "a", ""), 0);
    drop(taken);
    wait_until("ports to be free", || Client::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn an_address_that_this_host_has_no_family_for_is_down_whatever_its_check_asks() {
    const NAME: &str = "shortages::an_address_that_this_host_has_no_family_for_is_down_whatever_its_check_asks";
    in_namespace(NAME, without_ipv6, |_| ());
}

fn without_ipv6() {
    if fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").is_err() {
        return skip("IPv6 cannot be disabled here");
    }
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let first = ports(4);
    let kinds = ["tcp", "http", "tls", "icmp"];
    let checked = |(port, kind): (u16, &&str)| {
        format!(
            "[[rule]]\nname = \"{kind}\"\nedges = [\"edge-01\"]\nlisten_port = {port}\ntarget = \"[fd00::5]:80\"\n\
             [rule.health]\nkind = \"{kind}\"\ninterval_secs = 1\ntimeout_ms = 900\nfall = 1\n\
             retry = {{ max = 1, initial_ms = 100, max_ms = 100 }}\n"
        )
    };
    world.edit_and_apply("a.toml", &(first..).zip(&kinds).map(checked).collect::<String>());
    for kind in kinds {
        world.wait_status(&format!("the verdict of {kind}"), |status| {
            rule_of(status, "edge-01", kind).is_some_and(|rule| rule["health"] == "down")
        });
    }
    assert_eq!(lines(&edge, OF_PROBES), 0, "this host lacks no port: {}", edge.log());
}

/// A listener that answers no handshake until the connection that fills its queue is accepted.
fn full_queue() -> (TcpListener, TcpStream, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().unwrap().port();
    // A queue of none holds one.
    let filler = TcpStream::connect(("127.0.0.1", port)).unwrap();
    (listener, filler, port)
}

/// True if somebody waits for the answer to a handshake with that port.
fn is_dialled(port: u16) -> bool {
    let (remote, sent) = (format!("0100007F:{port:04X}"), "02");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        fields[2] == remote && fields[3] == sent
    })
}

#[test]
fn an_edge_without_a_descriptor_left_fails_no_target_and_cuts_nobody() {
    let limit = |process: &Handle, soft: usize| {
        let id = process.id().to_string();
        Command::new("prlimit").args(["--pid", &id, &format!("--nofile={soft}:")]).status()
    };
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let (port, target, (_listener, _filler, silent)) = (ports(2), Echo::start().port, full_queue());
    let check = "on_target_down = \"reset\"\n[rule.health]\ninterval_secs = 1\ntimeout_ms = 900\nrise = 1\nfall = 1";
    let targets = format!(
        "[[rule]]\nname = \"late\"\nedges = [\"edge-01\"]\nlisten_port = {}\nconnect_timeout_ms = 1000\ntargets = [\n  \
         {{ host = \"127.0.0.1\", port = {silent} }},\n  {{ host = \"127.0.0.1\", port = {target}, priority = 1 \
         }},\n]\n",
        port + 1
    );
    world.edit_and_apply("a.toml", &(rule("edge-01", "a", port, target, check) + &targets));
    let place = format!("127.0.0.1:{target}");
    target_is(&world, &place, "up");
    let mut live = Client::to(port);
    let mut late = TcpStream::connect(("127.0.0.1", port + 1)).unwrap();
    wait_until("the silent target to be dialled", || is_dialled(silent));
    // Whatever has a lower number is open for good.
    if !limit(&edge, 3).is_ok_and(|status| status.success()) {
        return skip("this user cannot lower the limit of another process (prlimit)");
    }
    late.set_read_timeout(Some(LONG)).unwrap();
    let error = late.read(&mut [0]).expect_err("the next target cannot be tried");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    wait_until("the cause", || counted(&world, CONNECT_ERRORS, "late", "descriptors") == 1);
    wait_until("a probe without a descriptor", || lines(&edge, OF_PROBES) == 1);
    target_is(&world, &place, "up");
    live.ping(1, 0, 1000).expect("a live connection stays");
    assert_eq!((lines(&edge, OF_CONNECTIONS), lines(&edge, OF_PROBES)), (1, 1), "{}", edge.log());
    assert!(limit(&edge, 1024).unwrap().success());
    wait_until("a connection to be served", || Client::connect(("127.0.0.1", port)).is_ok());
}

/// The edge stands still from its connect until it is all over, so that everything is in the first event that it sees.
#[test]
fn a_target_that_answers_and_resets_before_its_edge_looks_has_answered() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let port = ports(1);
    let mut errors = 0;
    for length in [900, 0] {
        let (listener, filler, target) = full_queue();
        world.edit_and_apply("a.toml", &rule("edge-01", "a", port, target, "connect_timeout_ms = 9000"));
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        wait_until("the target to be dialled", || is_dialled(target));
        edge.signal("STOP");
        drop((listener.accept().unwrap(), filler));
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(&vec![7; length]).unwrap();
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        edge.signal("CONT");
        let mut got = Vec::new();
        let error = client.read_to_end(&mut got).expect_err("the reset is passed on");
        assert_eq!((got.len(), error.kind()), (length, ErrorKind::ConnectionReset));
        // One that said nothing at all would have had its client go on to another target.
        errors += u64::from(length == 0);
        wait_until("the counters", || {
            let broken = counted(&world, BROKEN, "a", "reset");
            (counted(&world, CONNECT_ERRORS, "a", "reset"), broken) == (errors, 1)
        });
    }
}
