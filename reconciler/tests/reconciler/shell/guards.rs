//! Peers that hold on to connections: the silent and the slow lose them, the living keep them.

use std::net::SocketAddr;
use std::time::Duration;

use reconciler::act::guarded::Guards;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};

use super::http::Client;
use super::{LONG, RULES, Running};

/// Long enough for a busy machine, short enough to be waited for a few times.
const SHORT: Duration = Duration::from_millis(500);

/// Limits that no test reaches by accident.
fn wide() -> Guards {
    Guards { opening: 4 * LONG, idle: 4 * LONG, head: 4 * LONG, ..Guards::within(1024) }
}

async fn start(guards: Guards) -> Running {
    Running::start_with(TempDir::new().unwrap(), guards).await
}

/// Opens a connection and says something.
async fn say(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Waits until the server ends the connection.
async fn is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // An end or a reset; either frees the server.
    _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection ends");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_on_every_port() {
    let server = start(Guards { opening: SHORT, ..wide() }).await;
    for port in [server.control, server.operator, server.metrics] {
        let begun = Instant::now();
        is_closed(say(port, b"").await).await;
        assert!(begun.elapsed() >= SHORT, "{port} was closed at once");
    }
    // On the control port only the whole preface of HTTP/2 counts as a word.
    is_closed(say(server.control, b"PRI * HTTP/2.0\r\n").await).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_closed_on_every_port() {
    let server = start(Guards { idle: SHORT, ..wide() }).await;
    for port in [server.operator, server.metrics] {
        is_closed(say(port, b"GET /healthz HTTP/1.1\r\nho").await).await;
        is_closed(say(port, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await).await;
    }
    is_closed(say(server.control, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await).await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_may_take_longer_than_a_connection_may_be_silent() {
    let server = start(Guards { idle: SHORT, ..wide() }).await;
    let body = json!({ "files": [] }).to_string();
    let head = format!(
        "POST /v1/validate HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        server.token,
        body.len()
    );
    let mut stream = say(server.operator, head.as_bytes()).await;
    // Nothing passes in either direction for several times the limit.
    let mut byte = [0];
    assert!(timeout(4 * SHORT, stream.read(&mut byte)).await.is_err(), "the connection lives");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(LONG, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Once it has its answer, the limit is the usual one.
    is_closed(stream).await;
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_drips_is_closed_though_it_never_falls_silent() {
    let server = start(Guards { head: SHORT, ..wide() }).await;
    for port in [server.operator, server.metrics] {
        let (mut from_server, mut to_server) = say(port, b"GET / HTTP/1.1\r\nx: ").await.into_split();
        let begun = Instant::now();
        let drip = async {
            let mut drops = interval(SHORT / 10);
            loop {
                drops.tick().await;
                if to_server.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        let mut rest = Vec::new();
        let ended = async {
            tokio::select! {
                () = drip => {}
                _ = from_server.read_to_end(&mut rest) => {}
            }
        };
        timeout(LONG, ended).await.expect("the connection ends");
        assert!(begun.elapsed() >= SHORT / 2, "{port} was closed at once");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_of_events_outlives_the_limits_while_something_passes() {
    let server = start(Guards { opening: SHORT, idle: 2 * SHORT, head: SHORT, ..wide() }).await;
    let mut events = server.api().events("/v1/events").await;
    let begun = Instant::now();
    while begun.elapsed() < 6 * SHORT {
        let session = server.session("a").await;
        assert_eq!(events.named("edge").await.data["connected"], json!(true));
        drop(session);
        assert_eq!(events.named("edge").await.data["connected"], json!(false));
    }
    // Comments that keep a stream alive come every 15 s, far too late for this limit.
    assert!(events.next().await.is_none(), "silence ends it");
    server.stop().await;
}

#[tokio::test]
async fn a_session_with_nothing_to_say_outlives_the_limits_by_its_pings() {
    let server = start(Guards { opening: SHORT, idle: 2 * SHORT, head: SHORT, ping: SHORT / 4, ..wide() }).await;
    let mut notices = server.fleet.notices();
    let mut session = server.session("local").await;
    timeout(LONG, notices.recv()).await.expect("the edge is noticed").unwrap();
    assert!(timeout(6 * SHORT, notices.recv()).await.is_err(), "the session goes on");
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    assert_eq!(session.desired().await.rules.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_port_at_its_cap_serves_the_next_where_the_oldest_has_asked_for_nothing() {
    let server = start(Guards { operator_cap: 2, metrics_cap: 2, control_cap: 4, strangers_cap: 2, ..wide() }).await;
    for (port, said) in [(server.operator, "GET / HTTP/1.1\r\nhost: lo"), (server.metrics, "")] {
        let oldest = say(port, said.as_bytes()).await;
        let _newer = say(port, said.as_bytes()).await;
        let client = Client { address: port, ..server.api() };
        assert_eq!(client.get("/healthz").await.status, if port == server.metrics { 200 } else { 404 });
        is_closed(oldest).await;
    }
    let oldest = say(server.control, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let _newer = say(server.control, b"").await;
    server.session("a").await;
    is_closed(oldest).await;
    server.stop().await;
}

#[tokio::test]
async fn silence_holds_no_place_while_others_ask() {
    let server = start(Guards { operator_cap: 8, metrics_cap: 8, strangers_cap: 8, ..wide() }).await;
    let mut session = server.session("a").await;
    let mut held = Vec::new();
    for _ in 0..25 {
        for port in [server.control, server.operator, server.metrics] {
            for _ in 0..8 {
                held.push(say(port, b"").await);
            }
        }
        assert_eq!(server.api().get("/v1/status").await.status, 200);
        assert_eq!(Client::new(server.metrics, None).get("/healthz").await.status, 200);
        server.session("b").await;
    }
    let tree = json!({ "files": [{ "path": "a.toml", "text": "[defaults]\nedges = [\"a\"]\n".to_owned() + RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    assert_eq!(session.desired().await.rules.len(), 1, "a session that lived before lives on");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_within_a_request_keeps_its_place_and_the_next_waits_for_its_end() {
    let server = start(Guards { operator_cap: 1, ..wide() }).await;
    let events = server.api().events("/v1/events").await;
    let client = server.api();
    let next = tokio::spawn(async move { client.get("/v1/status").await.status });
    let mut next = std::pin::pin!(next);
    assert!(timeout(SHORT, next.as_mut()).await.is_err(), "the second waits");
    drop(events);
    assert_eq!(timeout(LONG, next).await.expect("room").unwrap(), 200);
    server.stop().await;
}

#[tokio::test]
async fn edges_that_a_tree_names_have_places_that_no_other_edge_takes() {
    let server = start(Guards { control_cap: 4, strangers_cap: 2, ..wide() }).await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": "[defaults]\nedges = [\"named\"]\n".to_owned() + RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let mut guests = Vec::new();
    for name in ["x1", "x2"] {
        guests.push(server.session(name).await);
    }
    let refused = super::Session::begin(server.control, super::session::hello("x3")).await.expect_err("no place");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    let mut named = server.session("named").await;
    assert_eq!(named.desired().await.rules.len(), 1);
    drop(guests.pop());
    while super::Session::begin(server.control, super::session::hello("x3")).await.is_err() {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}
