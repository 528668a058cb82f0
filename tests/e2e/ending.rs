//! SIGTERM and SIGINT end each process cleanly: accepting stops, connections drain, a second signal ends at once.

use std::time::Instant;

use crate::peers::{Client, Echo, answers, refuses};
use crate::support::{World, ports, rule, wait_until};

#[test]
fn server_and_edge_end_with_0_and_live_connections_drain() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let mut client = Client::to(port);
    server.stop();
    client.ping(1, 0, 1000).unwrap();
    edge.signal("INT");
    wait_until("accepting to stop", || refuses(port));
    client.ping(1, 1000, 100_000).expect("a live connection drains");
    assert!(edge.has_ended().is_none(), "it waits for the connection");
    drop(client);
    assert_eq!(edge.ended(), 0, "{}", edge.log());
}

#[test]
fn the_drain_has_an_end_and_a_second_signal_ends_at_once() {
    let world = World::with_edges(&[]);
    let patient = world.edge("edge-01");
    let hasty = world.edge_with("edge-02", &["--shutdown-drain-timeout", "1s"]);
    let echo = Echo::start();
    let port = ports(2);
    let tree = rule("edge-01", "a", port, echo.port, "") + &rule("edge-02", "b", port + 1, echo.port, "");
    world.edit_and_apply("a.toml", &tree);
    let (mut held, mut cut) = (Client::to(port), Client::to(port + 1));
    let started = Instant::now();
    hasty.signal("TERM");
    assert!(cut.is_cut());
    assert_eq!(hasty.ended(), 0);
    assert!(started.elapsed().as_secs() < 20);
    patient.signal("TERM");
    wait_until("accepting to stop", || refuses(port));
    held.ping(1, 0, 10).unwrap();
    let again = Instant::now();
    patient.signal("TERM");
    assert_eq!(patient.ended(), 0);
    assert!(again.elapsed().as_secs() < 10, "at once: {:?}", again.elapsed());
    assert!(held.is_cut());
}

#[test]
fn up_ends_with_0_and_drains() {
    let world = World::new();
    let echo = Echo::start();
    let port = ports(1);
    world.write("a.toml", rule("local", "a", port, echo.port, ""));
    let up = world.up(&[&world.tree_arg(), "--shutdown-drain-timeout", "20s"]);
    wait_until("the port", || answers(port) == Some(echo.port));
    let mut client = Client::to(port);
    up.signal("TERM");
    wait_until("accepting to stop", || refuses(port));
    client.ping(1, 0, 100_000).expect("a live connection drains");
    drop(client);
    assert_eq!(up.ended(), 0, "{}", up.log());

    let up = world.up(&[&world.tree_arg()]);
    wait_until("the port again", || answers(port) == Some(echo.port));
    let held = Client::to(port);
    up.signal("TERM");
    wait_until("accepting to stop", || refuses(port));
    up.signal("TERM");
    let started = Instant::now();
    assert_eq!(up.ended(), 0, "{}", up.log());
    assert!(started.elapsed().as_secs() < 10);
    drop(held);
}

#[test]
fn a_server_with_listeners_of_its_operators_ends_all_the_same() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let events = world.events(&[]);
    events.next();
    // A client that never says anything holds nothing up either.
    let _silent = [world.control, world.operator, world.metrics]
        .map(|port| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());
}
