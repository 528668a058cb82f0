//! The ports of the server face strangers: what they send is an error to them and nothing else.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::peers::{Echo, answers, piece};
use crate::support::{LONG, World, edge_of, http, ports, rule, wait_for};

#[test]
fn a_second_edge_with_a_connected_name_is_refused() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    let (server, state) = (format!("http://127.0.0.1:{}", world.control), world.arg("second-state"));
    let second = world.start("second", &["edge", "--name", "edge-01", "--server", &server, "--state-dir", &state]);
    wait_for("the refusal", || {
        let log = second.log();
        if log.contains("already_connected") { Ok(()) } else { Err(log) }
    });
    assert!(second.has_ended().is_none(), "it goes on asking: the first may be gone one day");
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    assert_eq!(answers(port), Some(echo.port));
    let status = world.status();
    assert_eq!(status["edges"].as_array().unwrap().len(), 1);
    assert_eq!(edge_of(&status, "edge-01").unwrap()["connected"], true);
}

#[test]
fn garbage_on_any_port_leaves_the_server_serving() {
    let world = World::with_edges(&["edge-01"]);
    let garbage: [Vec<u8>; 5] = [
        piece(1, 0, 100_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{".to_vec(),
        Vec::new(),
    ];
    for port in [world.control, world.operator, world.metrics] {
        for bytes in &garbage {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.set_write_timeout(Some(LONG)).unwrap();
            // It may be cut off before all of it is said.
            stream.write_all(bytes).ok();
            stream.shutdown(Shutdown::Write).ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok();
        }
    }
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    assert_eq!(answers(port), Some(echo.port));
}

#[test]
fn bodies_that_are_no_trees_are_refused_with_a_problem_document() {
    let world = World::with_edges(&["edge-01"]);
    for (path, body, expected) in [
        ("/v1/plan", "not json", 400),
        ("/v1/plan", "{\"files\": 3}", 400),
        ("/v1/apply", "{}", 400),
        ("/v1/apply", "{\"files\": [{\"path\": \"../a.toml\", \"text\": \"\"}]}", 400),
        ("/v1/plan", "{\"files\": [{\"path\": \"/etc/a.toml\", \"text\": \"\"}]}", 400),
        ("/v1/plan", "{\"files\": [{\"path\": \"a.toml\", \"text\": \"[[rule]\"}]}", 422),
        ("/v1/apply", "{\"files\": []}", 422),
    ] {
        let (status, answer) = world.api("POST", path, body).unwrap();
        assert_eq!(status, expected, "{path} {body}: {answer}");
        let problem: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert!(problem["code"].is_string() && problem["status"] == expected, "{problem}");
    }
    assert_eq!(world.api("GET", "/v1/unheard-of", "").unwrap().0, 404);
    assert_eq!(world.api("DELETE", "/v1/status", "").unwrap().0, 405);
    assert_eq!(world.api("GET", "/v1/rules/edge-01/nothing/stats", "").unwrap().0, 404);
    assert_eq!(world.api("GET", "/v1/applies/a99", "").unwrap().0, 404);
    assert_eq!(world.generations("edge-01"), (0, 0));
}

#[test]
fn foreign_hosts_origins_tokens_and_content_types_are_refused() {
    let world = World::with_edges(&[]);
    let bearer = format!("Bearer {}", world.token());
    let auth = ("Authorization", bearer.as_str());
    let get = |headers: &[(&str, &str)]| http(world.operator, "GET", "/v1/status", headers, "").unwrap().0;
    assert_eq!(get(&[auth]), 200);
    assert_eq!(get(&[]), 401);
    assert_eq!(get(&[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(get(&[("Authorization", &bearer.replace("Bearer", "Basic"))]), 401);
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:7080", ""] {
        assert_eq!(get(&[auth, ("Host", host)]), 403, "{host}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]:7080"] {
        assert_eq!(get(&[auth, ("Host", host)]), 200, "{host}");
    }
    assert_eq!(get(&[auth, ("Origin", "http://evil.example")]), 403);
    assert_eq!(get(&[auth, ("Origin", "null")]), 403);
    let post = |kind: &str| {
        http(world.operator, "POST", "/v1/validate", &[auth, ("Content-Type", kind)], "{\"files\": []}").unwrap().0
    };
    assert_eq!(post("text/plain"), 415);
    assert_eq!(post("application/json; charset=utf-8"), 200);
    let huge = [auth, ("Content-Type", "application/json"), ("Content-Length", "268435457")];
    let mut stream = TcpStream::connect(("127.0.0.1", world.operator)).unwrap();
    let mut request = "POST /v1/plan HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for (name, value) in huge {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    stream.write_all((request + "\r\n").as_bytes()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[test]
fn an_edge_that_misses_its_keepalive_gives_its_name_to_the_next() {
    let world = World::with_edges(&[]);
    let first = world.edge("edge-01");
    first.signal("STOP");
    let (server, state) = (format!("http://127.0.0.1:{}", world.control), world.arg("second-state"));
    let second = world.start("second", &["edge", "--name", "edge-01", "--server", &server, "--state-dir", &state]);
    wait_for("the second session", || {
        let log = second.log();
        if log.contains("session established") { Ok(()) } else { Err(log) }
    });
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    assert_eq!(answers(port), Some(echo.port));
    first.signal("CONT");
    wait_for("the refusal of the first", || {
        let log = first.log();
        if log.contains("already_connected") { Ok(()) } else { Err(log) }
    });
    assert_eq!(answers(port), Some(echo.port));
}
