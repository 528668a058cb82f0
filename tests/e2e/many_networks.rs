//! A list of a million networks on its way from the tree to an edge: how long `validate` takes is printed, and what the edge
//! may take is a bound.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::peers::{Client, Echo};
use crate::support::{LONG, World, ports, rule, wait_until};

/// All networks of the list but one.
const NETWORKS: u32 = 999_999;
/// The most memory of the edge in KiB, while the list arrives and afterwards.
const MOST: u64 = 200 << 10;

/// True if the rule serves a client from this address.
fn serves(from: Ipv4Addr, port: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&target.into()).is_ok() && std::io::Read::read_exact(&mut &socket, &mut [0; 2]).is_ok()
}

#[test]
#[expect(clippy::print_stdout, reason = "figures are for people who ask for them")]
fn a_million_networks_are_validated_sent_and_in_force_within_the_memory_of_an_edge() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let (echo, port) = (Echo::start(), ports(1));
    let mut list = "127.5.0.0/16 # a neighbour\n".to_owned();
    for number in 0..NETWORKS {
        // Every second half of a /24, so that none of them can be merged.
        writeln!(list, "{}/25", Ipv4Addr::from(0x0100_0000 + number * 256)).unwrap();
    }
    world.write("lists/million.txt", &list);
    world.write("web.toml", rule("edge-01", "web", port, echo.port, "access = { deny_file = \"lists/million.txt\" }"));
    let start = Instant::now();
    world.cli(&["validate", &world.tree_arg()]).exits(0);
    println!("validate took {:?}", start.elapsed());
    world.commit();
    world.apply();
    wait_until("the list to be in force", || !serves(Ipv4Addr::new(127, 5, 0, 1), port));
    assert!(serves(Ipv4Addr::new(127, 6, 0, 1), port));
    Client::to(port).ping(1, 0, 10_000).unwrap();
    println!("the edge has had {} KiB at most", edge.peak());
    assert!(edge.peak() < MOST, "{} KiB", edge.peak());

    // A second rule with the list costs nothing beside it.
    let before = edge.anonymous();
    let rules = ["web", "too"].map(|name| {
        let port = if name == "web" { port } else { ports(1) };
        rule("edge-01", name, port, echo.port, "access = { deny_file = \"lists/million.txt\" }")
    });
    world.edit_and_apply("web.toml", &rules.concat());
    assert!(edge.peak() < MOST, "{} KiB", edge.peak());
    println!("{before} KiB with one rule, {} KiB with two", edge.anonymous());
}
