//! Link-local addresses with their interface: listened on, forwarded to, probed, and missed by name.

use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::thread;

use crate::namespaces::{in_namespace, ip};
use crate::peers::{Client, echo, serve};
use crate::support::{LONG, World, ports, rule};

/// Loopback is the first interface of every namespace.
const LOOPBACK: u32 = 1;

fn link(last: u16, port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last), port, 0, LOOPBACK)
}

#[test]
fn link_local_addresses_serve_with_their_interface() {
    let name = "scopes::link_local_addresses_serve_with_their_interface";
    in_namespace(name, forwarded, |_| ());
}

fn forwarded() {
    for address in ["fe80::1/64", "fe80::2/64"] {
        ip(&["-6", "addr", "add", address, "dev", "lo", "nodad"]);
    }
    let stream = TcpListener::bind(link(2, 0)).unwrap();
    let target = stream.local_addr().unwrap().port();
    serve(stream, move |stream| echo(stream, target));
    let datagrams = UdpSocket::bind(link(2, target)).unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, from)) = datagrams.recv_from(&mut bytes) {
            datagrams.send_to(&bytes[..length], from).unwrap();
        }
    });

    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let scoped = |name: &str, listen: &str, more: &str| {
        let text = rule("edge-01", name, port, target, more).replace("127.0.0.1", "[fe80::2%lo]");
        text + &format!("listen_address = \"{listen}\"\n")
    };
    let probed = scoped("web", "fe80::1%lo", "health_check_interval_secs = 1");
    let by_number = scoped("dns", "fe80::1%1", "protocol = \"udp\"");
    world.edit("a.toml", probed.clone() + &by_number + &scoped("lost", "fe80::1%nosuch0", ""));
    world.apply_with(&[]).exits(5);
    let lost = world.wait_rule("edge-01", "lost", "failed");
    assert_eq!(lost["code"], "address_not_available", "{lost}");
    assert_eq!(lost["message"], "address [fe80::1%nosuch0] is not on this host");
    for name in ["web", "dns"] {
        world.wait_rule("edge-01", name, "active");
    }

    // A break-glass rule takes them, too.
    let (glass, to) = (ports(1), format!("[fe80::2%lo]:{target}"));
    let text = glass.to_string();
    let add =
        ["override", "add", "edge-01", "--name", "glass", "--listen-address", "fe80::1%lo", "--listen-port", &text];
    let rest = ["--target", &to, "--ttl", "1h", "--why", "the pager rang"];
    world.cli(&[&add[..], &rest[..]].concat()).exits(0);
    Client::connect(link(1, glass)).unwrap().ping(1, 0, 1000).unwrap();
    world.cli(&["override", "remove", "edge-01/glass"]).exits(0);

    Client::connect(link(1, port)).unwrap().ping(1, 0, 100_000).unwrap();
    let client = UdpSocket::bind(link(1, 0)).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.connect(link(1, port)).unwrap();
    client.send(b"question").unwrap();
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"question");
    world.wait_status("the probe's verdict", |status| {
        crate::support::rule_of(status, "edge-01", "web").is_some_and(|rule| rule["health"] == "up")
    });

    // What runs is what the tree says: nothing is left to do but the rule that failed.
    world.edit("a.toml", probed + &by_number);
    world.apply();
    assert_eq!(world.plan()["changes"], serde_json::json!([]));
}
