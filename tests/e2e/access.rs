//! Access lists from files of the tree, through plans, applies and restarts to the edge.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::peers::Echo;
use crate::support::{LONG, World, ports, rule, wait_until};

/// True if a connection from this address of the loopback network reaches the target.
fn reaches(source: &str, port: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
    if socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).is_err() {
        return false;
    }
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).unwrap();
    // A reset is reported once, by whichever call comes first; an end of data comes from the target.
    std::io::Write::write_all(&mut stream, &[0; 1]).is_ok()
        && stream.shutdown(std::net::Shutdown::Write).is_ok()
        && stream.read_to_end(&mut Vec::new()).is_ok()
}

fn field<'a>(plan: &'a Value, path: &str) -> &'a Value {
    let fields = plan["changes"][0]["fields"].as_array().unwrap();
    fields.iter().find(|field| field["path"] == path).unwrap_or_else(|| panic!("no {path} in {plan}"))
}

#[test]
fn a_list_of_the_tree_is_in_force_on_its_edge_and_stays_so_over_restarts() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("fra-01");
    let (echo, port) = (Echo::start(), ports(1));
    let web = rule("fra-01", "web", port, echo.port, "access = { allow_file = \"lists/office.txt\" }");
    world.write("lists/office.txt", "127.0.0.2 # the first\n");
    world.edit_and_apply("web.toml", &format!("[[edge]]\nname = \"fra-01\"\n{web}"));
    wait_until("the list to be in force", || reaches("127.0.0.2", port) && !reaches("127.0.0.3", port));

    // What would happen to a connection is asked among what serves, with the networks of the list.
    let trace = |from: &str| world.cli(&["trace", "fra-01", "--from", from, "--port", &port.to_string(), "-o", "json"]);
    wait_until("the verdict of the first connection", || {
        trace("127.0.0.2").exits(0).json()["dial_order"][0]["state"] == "up"
    });
    let admitted = trace("127.0.0.2").exits(0).json();
    let access = &admitted["access"];
    assert_eq!((&access["list"], &access["network"]), (&json!("allow_file"), &json!("127.0.0.2/32")), "{admitted}");
    assert_eq!(trace("127.0.0.3").exits(2).json()["refused"], "access");
    let asked = |query: &str| world.api("GET", &format!("/v1/trace?{query}"), "").unwrap();
    let (status, body) = asked(&format!("edge=fra-01&from=127.0.0.2&port={port}"));
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, admitted));
    let cases = [
        ("edge=fra-01&from=127.0.0.2&port=0", 400),
        ("edge=fra-01&from=127.0.0.2&port=1&protocol=sctp", 400),
        ("edge=fra-01&from=127.0.0.2&port=1&udp=true", 400),
        ("edge=nyc-01&from=127.0.0.2&port=1", 404),
    ];
    for (query, status) in cases {
        assert_eq!(asked(query).0, status, "{query}");
    }

    // Another order and comments change nothing; other networks do.
    world.edit("lists/office.txt", "# the same\n127.0.0.2/32\n");
    assert_eq!(world.plan()["changes"], json!([]));
    world.edit("lists/office.txt", "127.0.0.3\n127.0.0.4\n");
    let plan = world.plan();
    assert_eq!(plan["changes"][0]["action"], "update", "{plan}");
    assert_eq!(field(&plan, "access.allow_file.added")["after"], json!(["127.0.0.3/32", "127.0.0.4/32"]));
    assert_eq!(field(&plan, "access.allow_file.removed")["before"], json!(["127.0.0.2/32"]));
    // Who is refused is known from the last 24 hours, by networks of 24 bits.
    wait_until("the plan to say whom it refuses", || {
        let impact = world.plan()["changes"][0]["impact"].clone();
        impact["sources"][0]["network"] == "127.0.0.0/24" && impact["last_connection_at"].is_string()
    });
    world.edit("lists/office.txt", "127.0.0.0/24\n");
    let impact = world.plan()["changes"][0]["impact"].clone();
    assert!(impact.get("sources").is_none(), "nobody is refused: {impact}");
    world.edit("lists/office.txt", "127.0.0.3\n127.0.0.4\n");
    world.apply();
    wait_until("the new list to be in force", || reaches("127.0.0.3", port) && !reaches("127.0.0.2", port));

    // An edge without a server serves its last good state.
    server.kill();
    edge.kill();
    let edge = world.start_edge("fra-01", &[]);
    wait_until("the restarted edge to serve", || reaches("127.0.0.3", port));
    assert!(!reaches("127.0.0.2", port));
    // A server that restarts finds the networks in the tree that was applied, and an edge that lost its state gets them.
    edge.kill();
    std::fs::remove_file(world.path("fra-01-state").join("last-good")).unwrap();
    let _server = world.serve(&["--mode", "heal"]);
    let _edge = world.edge("fra-01");
    wait_until("the edge to get its list again", || reaches("127.0.0.4", port));
    assert!(!reaches("127.0.0.2", port));
    world.write("lists/office.txt", "127.0.0.300\n");
    let said = world.cli(&["validate", &world.tree_arg()]).exits(1);
    assert!(said.out.contains("lists/office.txt:1:1"), "{}", said.out);
}
