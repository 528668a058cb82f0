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
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }] });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    assert_eq!(session.desired().await.rules.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_port_at_its_cap_takes_the_next_connection_when_one_ends() {
    let server = start(Guards { operator_cap: 2, metrics_cap: 2, control_cap: 2, ..wide() }).await;
    let client = Client::new(server.metrics, None);
    let first = say(server.metrics, b"").await;
    let _second = say(server.metrics, b"").await;
    let third = tokio::spawn(async move { client.get("/healthz").await.status });
    let mut third = std::pin::pin!(third);
    assert!(timeout(SHORT, third.as_mut()).await.is_err(), "the third waits");
    assert_eq!(server.api().get("/v1/status").await.status, 200, "each port has a cap of its own");
    drop(first);
    assert_eq!(timeout(LONG, third).await.expect("room").unwrap(), 200);
    let first = say(server.control, b"").await;
    let _second = say(server.control, b"").await;
    let (address, edge) = (server.control, "a");
    let session = tokio::spawn(async move { super::Session::open(address, edge).await });
    let mut session = std::pin::pin!(session);
    assert!(timeout(SHORT, session.as_mut()).await.is_err(), "the session waits");
    drop(first);
    timeout(LONG, session).await.expect("room").unwrap();
    server.stop().await;
}
