//! More connections than descriptors, and as many at once as there may be: what is there goes on, and all comes back.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::peers::{Client, Echo, answers};
use crate::processes::Process;
use crate::support::{LONG, World, let_pass, ports, rule, skip, wait_until};

/// Processor time of a process so far, in hundredths of a second.
fn processor_time(process: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Memory of a process, in KiB.
fn memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many descriptors this process may have.
fn own_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    // "unlimited" is as many as anybody asks for here.
    line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX)
}

#[test]
fn an_edge_without_descriptors_serves_what_it_has_rests_and_recovers() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let (port, target) = (ports(2), Echo::start().port);
    let tree = rule("edge-01", "a", port, target, "") + &rule("edge-01", "b", port + 1, target, "");
    world.edit_and_apply("a.toml", &tree);
    assert_eq!((answers(port), answers(port + 1)), (Some(target), Some(target)));
    let mut live = Client::to(port + 1);
    live.ping(1, 0, 10).unwrap();
    let open = edge.descriptors();
    let limit = |count: usize| {
        let id = edge.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={count}:")]).output();
        limited.is_ok_and(|output| output.status.success())
    };
    if !limit(open + 60) {
        return skip("there is no prlimit that may change a process of this user");
    }
    let crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    wait_until("the edge to have no descriptor left", || edge.descriptors() >= open + 50);
    live.ping(1, 10, 100_000).unwrap();
    let start = processor_time(&edge);
    let_pass(Duration::from_secs(1));
    let spent = processor_time(&edge) - start;
    assert!(spent < 25, "{spent} hundredths of a second in one: it does not spin");
    live.ping(1, 100_010, 100_000).unwrap();

    drop(crowd);
    wait_until("what the crowd took", || edge.descriptors() <= open);
    assert_eq!((answers(port), answers(port + 1)), (Some(target), Some(target)));
    world.wait_rule("edge-01", "a", "active");
    live.ping(1, 200_010, 10).unwrap();
}

#[test]
fn ten_thousand_connections_at_once_are_served_and_leave_nothing() {
    const WANTED: usize = 10_000;
    // Both peers of each are here; other tests run beside this one.
    let possible = own_limit().saturating_sub(500) / 2;
    let count = WANTED.min(possible);
    if count < WANTED {
        skip(&format!("{} of {WANTED} connections: this process may have {} descriptors", WANTED - count, own_limit()));
    }
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, listener.local_addr().unwrap().port(), ""));

    let round = |count: usize| {
        let pairs: Vec<(TcpStream, TcpStream)> = (0..count)
            .map(|number| {
                let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (mut server, _) = listener.accept().unwrap();
                client.set_read_timeout(Some(LONG)).unwrap();
                server.set_read_timeout(Some(LONG)).unwrap();
                let mut key = [0; 8];
                client.write_all(&number.to_be_bytes()).unwrap();
                server.read_exact(&mut key).unwrap();
                assert_eq!(usize::from_be_bytes(key), number);
                (client, server)
            })
            .collect();
        // Each still has its own peer, both ways, with all of them there.
        for (number, (client, server)) in pairs.iter().enumerate() {
            let (mut from, mut to) = (server, client);
            let mut key = [0; 8];
            from.write_all(&(!number).to_be_bytes()).unwrap();
            to.read_exact(&mut key).unwrap();
            assert_eq!(usize::from_be_bytes(key), !number);
        }
        let held = memory(&edge);
        drop(pairs);
        held
    };
    let open = edge.descriptors();
    let rest = || wait_until("its descriptors", || edge.descriptors() <= open);
    round(100);
    rest();
    let before = memory(&edge);
    let full = round(count);
    rest();
    let each = full.saturating_sub(before) * 1024 / count as u64;
    assert!(each <= 2048, "{each} bytes for each of {count} connections");
    // What one crowd left behind is there for the next one: it does not grow again.
    let after = memory(&edge);
    round(count);
    rest();
    assert!(memory(&edge) <= after + 2048, "{after} KiB after the first crowd, {} after the second", memory(&edge));
}
