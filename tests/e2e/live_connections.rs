//! Live connections: listed and ended across edges, by the command line and the API; and the log of those that ended.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use serde_json::{Value, json};

use crate::peers::{Client, Echo};
use crate::support::{LONG, World, ports, rule, wait_for};

/// A target that answers every datagram.
fn udp_echo() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            socket.send_to(&bytes[..length], from).ok();
        }
    });
    port
}

/// Two edges; the first has a TCP and a UDP rule.
fn world() -> (World, Echo, u16, u16) {
    let world = World::with_edges(&["fra-01", "nyc-01"]);
    let (echo, udp, port) = (Echo::start(), udp_echo(), ports(3));
    let rules = [
        rule("fra-01", "web", port, echo.port, "owner = \"team-a\""),
        rule("nyc-01", "web", port + 1, echo.port, ""),
        rule("fra-01", "dns", port + 2, udp, "protocol = \"udp\""),
    ];
    world.edit_and_apply("a.toml", &rules.concat());
    (world, echo, port, udp)
}

fn rows(document: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let place = |row: &Value| (format!("{}/{}", text(row, "edge"), text(row, "rule")), text(row, "source"));
    document["connections"].as_array().unwrap().iter().map(place).collect()
}

#[test]
fn live_connections_are_listed_with_what_they_moved() {
    let (world, echo, port, udp) = world();
    let mut first = Client::to(port);
    first.ping(1, 0, 5_000).unwrap();
    let second = Client::to(port + 1);
    let flow = UdpSocket::bind("127.0.0.1:0").unwrap();
    flow.set_read_timeout(Some(LONG)).unwrap();
    flow.send_to(b"ping", ("127.0.0.1", port + 2)).unwrap();
    flow.recv_from(&mut [0; 16]).unwrap();

    let list = |args: &[&str]| world.cli(&[&["connections", "-o", "json"], args].concat()).exits(0).json();
    let source = |address: SocketAddr| address.to_string();
    let (of_first, of_second) =
        (source(first.stream.local_addr().unwrap()), source(second.stream.local_addr().unwrap()));
    let of_flow = source(flow.local_addr().unwrap());
    let all = list(&[]);
    let place = |rule: &str, source: &str| (rule.to_owned(), source.to_owned());
    let expected = [place("fra-01/dns", &of_flow), place("fra-01/web", &of_first), place("nyc-01/web", &of_second)];
    assert_eq!((rows(&all), &all["total"]), (expected.to_vec(), &json!(3)), "{all}");

    let row = &all["connections"][1];
    assert_eq!(
        (&row["protocol"], &row["listener"], &row["target"]),
        (&json!("tcp"), &json!(format!("*:{port}")), &json!(format!("127.0.0.1:{}", echo.port))),
        "{row}"
    );
    assert!(row["bytes_in"].as_u64() >= Some(5_000) && row["bytes_out"].as_u64() >= Some(5_000), "{row}");
    assert!(row["since"].as_str().is_some_and(|at| at.ends_with('Z')) && row["idle_secs"].is_u64(), "{row}");
    let flow = &all["connections"][0];
    assert_eq!((&flow["bytes_in"], &flow["target"]), (&json!(4), &json!(format!("127.0.0.1:{udp}"))), "{flow}");

    // Each selector leaves what it names.
    let port_arg = (port + 1).to_string();
    let target = format!("127.0.0.1:{udp}");
    for (args, expected) in [
        (&["nyc-01"][..], &["nyc-01/web"][..]),
        (&["fra-01/web"], &["fra-01/web"]),
        (&["--owner", "team-a"], &["fra-01/web"]),
        (&["--port", &port_arg], &["nyc-01/web"]),
        (&["--target", &target], &["fra-01/dns"]),
        (&["--id", row["id"].as_str().unwrap()], &["fra-01/web"]),
        (&["--source", "127.0.0.0/8", "--sort", "bytes", "--limit", "1"], &["fra-01/web"]),
        (&["fra-01/web", "--since", "1h", "--sort", "age", "--limit", "1"], &["fra-01/web"]),
    ] {
        let found = list(args);
        assert_eq!(rows(&found).into_iter().map(|(rule, _)| rule).collect::<Vec<_>>(), expected, "{args:?}");
    }
    let limited = list(&["--limit", "1"]);
    assert_eq!((rows(&limited).len(), &limited["total"]), (1, &json!(3)));

    // What matches nothing is an error, and what cannot be read is one.
    world.cli(&["connections", "--source", "192.0.2.0/24"]).exits(1).says("no live connection matches");
    world.cli(&["connections", "--older", "1h"]).exits(1);
    world.cli(&["connections", "--source", "127.0.0.1/8"]).exits(64).says("127.0.0.0/8");
    world.cli(&["connections", "ams-01"]).exits(1).says("nothing matches --edge ams-01");
    for path in ["/v1/connections?per_port=true", "/v1/connections?limit=100001", "/v1/connections?sort=health"] {
        assert_eq!(world.api("GET", path, "").unwrap().0, 400, "{path}");
    }
    let text = world.cli(&["connections"]).exits(0);
    assert!(text.out.starts_with("3 connections\n") && text.out.contains(&of_first), "{text}");
}

#[test]
fn connections_that_an_operator_ends_are_reset_and_the_ledger_has_the_reason() {
    let (world, _echo, port, _) = world();
    let (mut first, mut second, mut third) = (Client::to(port), Client::to(port), Client::to(port + 1));
    world.cli(&["connections", "end", "--why", "no reason"]).exits(64).says("nothing says which connections to end");
    world.cli(&["connections", "end", "--source", "192.0.2.0/24", "--why", "x"]).exits(1);
    let answer = world.api("DELETE", "/v1/connections", r#"{"why": "all"}"#).unwrap();
    assert_eq!(answer.0, 400, "{}", answer.1);
    let answer = world.api("DELETE", "/v1/connections?edge=fra-01&limit=1", r#"{"why": "some"}"#).unwrap();
    assert_eq!(answer.0, 400, "{}", answer.1);
    let answer = world.api("DELETE", "/v1/connections?edge=fra-01", r#"{"why": " "}"#).unwrap();
    assert_eq!(answer.0, 400, "{}", answer.1);

    let listed = world.cli(&["connections", "fra-01/web", "-o", "json"]).exits(0).json();
    let of_first = first.stream.local_addr().unwrap().to_string();
    let row = listed["connections"].as_array().unwrap().iter().find(|row| row["source"] == json!(of_first)).unwrap();
    let id = row["id"].as_str().unwrap();
    let ended = world.cli(&["connections", "end", "--id", id, "--why", "stuck", "-o", "json"]).exits(0).json();
    assert_eq!(ended["ended"], 1, "{ended}");
    first.ping(1, 0, 10).expect_err("it was ended");
    second.ping(1, 0, 10).expect("another one lives");
    world.cli(&["connections", "end", "--id", id, "--why", "again"]).exits(1);

    let ended = world.cli(&["connections", "end", "--rule", "web", "--why", "maintenance"]).exits(0);
    assert_eq!(ended.out, "fra-01/web: 1 connection ended\nnyc-01/web: 1 connection ended\n");
    second.ping(2, 10, 10).expect_err("it was ended");
    third.ping(2, 0, 10).expect_err("it was ended");
    let empty = wait_for("no connection to be left", || {
        let list = world.cli(&["connections", "-o", "json"]).exits(0).json();
        if list["total"] == 0 { Ok(list) } else { Err(list.to_string()) }
    });
    assert_eq!(empty["connections"], json!([]));

    let history = world.cli(&["history", "--state", "connections_ended", "-o", "json"]).exits(0).json();
    let lines: Vec<_> = history.as_array().unwrap().iter().map(|line| (&line["why"], &line["note"])).collect();
    assert_eq!(lines[0].0, "stuck");
    assert_eq!(lines[0].1, &json!(format!("fra-01/web 1 connection (--id {id})")));
    assert_eq!(lines[1].0, "maintenance");
    assert_eq!(lines[1].1, "fra-01/web 1 connection, nyc-01/web 1 connection (--rule web)");
    world.cli(&["history", "--verify"]).exits(0);
}

/// The lines of a log of connections.
fn lines(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

fn wait_lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    wait_for("the lines of the log", || {
        let lines = lines(path);
        if lines.len() >= count { Ok(lines) } else { Err(format!("{lines:?}")) }
    })
}

/// No rule is for what is not TLS; and an operator's end is not an end by a change.
fn misses_and_orders_are_lines(world: &World, port: u16, log: &std::path::Path) {
    let mut lost = TcpStream::connect(("127.0.0.1", port + 4)).unwrap();
    lost.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let missed = &wait_lines(log, 2)[1];
    assert_eq!((&missed["rule"], &missed["end"]), (&Value::Null, &json!("sni_not_tls")), "{missed}");
    assert_eq!(missed["source"], json!(lost.local_addr().unwrap().to_string()), "{missed}");
    assert_eq!(missed["listener"], json!(format!("*:{}", port + 4)), "{missed}");
    let _ended = Client::to(port);
    world.cli(&["connections", "end", "fra-01/web", "--why", "maintenance"]).exits(0);
    assert_eq!(wait_lines(log, 3)[2]["end"], "edge_operator");
}

#[test]
fn each_connection_and_flow_that_ends_is_a_line_and_sighup_opens_the_log_again() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let (log, metrics) = (world.path("connections.log"), ports(1));
    let listen = format!("127.0.0.1:{metrics}");
    let args = ["--connection-log", &world.arg("connections.log"), "--metrics-listen", &listen];
    let edge = world.edge_with("fra-01", &args);
    let (echo, udp, port) = (Echo::start(), udp_echo(), ports(5));
    let rules = [
        rule("fra-01", "web", port, echo.port, "owner = \"team-a\"\nmax_connections = 1"),
        rule("fra-01", "dns", port + 1, udp, "protocol = \"udp\"\nudp_flow_idle_secs = 1"),
        rule("fra-01", "dead", port + 2, port + 3, ""),
        rule("fra-01", "tls", port + 4, echo.port, "sni = [\"www.example.org\"]"),
    ];
    world.edit_and_apply("a.toml", &rules.concat());

    let mut client = Client::to(port);
    client.ping(1, 0, 5_000).unwrap();
    let source = client.stream.local_addr().unwrap().to_string();
    assert!(Client::connect(("127.0.0.1", port)).is_err(), "the second is refused");
    let refused = &wait_lines(&log, 1)[0];
    assert_eq!((&refused["rule"], &refused["end"]), (&json!("web"), &json!("connections")), "{refused}");
    assert_eq!((&refused["target"], &refused["bytes_in"]), (&Value::Null, &json!(0)), "{refused}");
    drop(client);
    let closed = &wait_lines(&log, 2)[1];
    let target = format!("127.0.0.1:{}", echo.port);
    assert_eq!(
        (&closed["rule"], &closed["owner"], &closed["source"], &closed["target"]),
        (&json!("web"), &json!("team-a"), &json!(source), &json!(target)),
        "{closed}"
    );
    assert_eq!(
        (&closed["listener"], &closed["bytes_in"], &closed["bytes_out"], &closed["end"]),
        (&json!(format!("*:{port}")), &json!(5_000), &json!(5_002), &json!("closed")),
        "{closed}"
    );
    assert!(closed["duration_ms"].is_u64() && closed["started_at"].as_str().is_some_and(|at| at.ends_with('Z')));

    let flow = UdpSocket::bind("127.0.0.1:0").unwrap();
    flow.set_read_timeout(Some(LONG)).unwrap();
    flow.send_to(b"ping", ("127.0.0.1", port + 1)).unwrap();
    flow.recv_from(&mut [0; 16]).unwrap();
    let idle = &wait_lines(&log, 3)[2];
    assert_eq!((&idle["protocol"], &idle["bytes_out"], &idle["end"]), (&json!("udp"), &json!(4), &json!("closed")));
    assert!(Client::connect(("127.0.0.1", port + 2)).is_err(), "nobody is there");
    assert_eq!(wait_lines(&log, 4)[3]["end"], "no_target");

    // What was moved away stays as it is, and the next line is in a new file.
    let moved = world.path("connections.log.1");
    std::fs::rename(&log, &moved).unwrap();
    edge.signal("HUP");
    wait_for("the log to be opened again", || log.exists().then_some(()).ok_or_else(|| edge.log()));
    let broken = Client::to(port);
    socket2::SockRef::from(&broken.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(broken);
    assert_eq!(wait_lines(&log, 1)[0]["end"], "client_reset");
    assert_eq!(lines(&moved).len(), 4);
    let text = World::scrape(metrics);
    assert!(text.contains("portunus_connection_log_dropped_total 0"), "{text}");

    misses_and_orders_are_lines(&world, port, &log);

    // The last lines are written at the end.
    let open = Client::to(port);
    edge.signal("TERM");
    edge.signal("TERM");
    assert_eq!(wait_lines(&log, 4)[3]["end"], "edge_cut");
    drop(open);
}
