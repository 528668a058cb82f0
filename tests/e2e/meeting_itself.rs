//! A target of this host where nothing listens, at a port that the system gives to outgoing connections: a connection to
//! it can be given that very port and meet itself. That is a refusal, to clients and to checks.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::namespaces::in_namespace;
use crate::support::{LONG, World, ports, rule, rule_of, skip};

/// Ports that this namespace gives away: so few that nearly every second row of attempts comes by the target's.
const GIVEN: (u16, u16) = (40_000, 40_063);
const TARGET: u16 = 40_040;
/// More than there are ports, so that each of them was tried.
const ATTEMPTS: u64 = 300;

#[test]
fn a_target_of_this_host_that_is_dead_never_answers_itself() {
    let name = "meeting_itself::a_target_of_this_host_that_is_dead_never_answers_itself";
    in_namespace(name, dead, |_| ());
}

fn dead() {
    let (first, last) = GIVEN;
    if fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("{first} {last}")).is_err() {
        return skip("this user may not say which ports a namespace gives away");
    }
    let world = World::with_edges(&["edge-01"]);
    let (checked, plain) = (ports(1), ports(1));
    let check = "last_resort = \"all\"\n[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";
    let tree = rule("edge-01", "checked", checked, TARGET, check) + &rule("edge-01", "plain", plain, TARGET, "");
    world.edit_and_apply("a.toml", &tree);
    for attempt in 0..ATTEMPTS {
        let mut client = match TcpStream::connect(("127.0.0.1", plain)) {
            Ok(client) => client,
            // Its own port is one of the few, too, and may rest from an earlier attempt.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => continue,
            Err(error) => panic!("attempt {attempt}: {error}"),
        };
        client.set_read_timeout(Some(LONG)).unwrap();
        // A connection that met itself would send it back.
        client.write_all(b"who are you?").ok();
        let mut answer = [0; 16];
        let read = client.read(&mut answer);
        assert!(!matches!(read, Ok(length) if length > 0), "attempt {attempt}: {read:?} {answer:?}");
        let status = world.status();
        let state = &rule_of(&status, "edge-01", "checked").unwrap()["health"];
        assert_ne!(state, "up", "attempt {attempt}: {status}");
    }
    let stats = world.stats("edge-01/plain");
    let refused = stats["connect_errors"]["refused"].as_u64().unwrap_or_default();
    assert!(refused >= ATTEMPTS / 2, "{stats}");
}
