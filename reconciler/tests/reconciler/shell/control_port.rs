//! The control port: what a peer does wrong is an error to that peer, and the server serves the others.

use std::net::SocketAddr;

use reconciler::decide::fleet::{Event, Notice};
use schema::counters::Figures;
use schema::name::EdgeName;
use schema::proto::{self, edge_message, server_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::session::{Session, hello, message};
use super::{LONG, Running};

#[tokio::test]
async fn garbage_is_an_error_to_its_sender_only() {
    let server = Running::start().await;
    let mut stream = TcpStream::connect(server.control).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n\x00\xff garbage").await.unwrap();
    let mut answer = Vec::new();
    // An end or a reset: the peer is told nothing it could misuse.
    _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    server.session("a").await;
    server.stop().await;
}

#[tokio::test]
async fn a_first_message_that_is_no_valid_hello_is_refused() {
    let server = Running::start().await;
    let no_hello = message(edge_message::Body::Report(proto::Report::default()));
    let bad_name = hello("Not A Name");
    let mut bad_report = hello("a");
    if let Some(edge_message::Body::Hello(hello)) = &mut bad_report.body {
        hello.report = Some(proto::Report { running_digest: vec![1, 2, 3], ..proto::Report::default() });
    }
    for first in [proto::EdgeMessage { body: None }, no_hello, bad_name, bad_report] {
        let status = Session::begin(server.control, first).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    server.session("a").await;
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_message_ends_its_session_and_nothing_else() {
    let server = Running::start().await;
    let mut other = server.session("other").await;
    let mut session = server.session("a").await;
    let report = proto::Report { lineage: "x".repeat((64 << 20) + 1), ..proto::Report::default() };
    session.send(message(edge_message::Body::Report(report))).await;
    assert_eq!(session.receive().await, None);
    let mut notices = server.fleet.notices();
    server.session("a").await;
    assert!(timeout(LONG, notices.recv()).await.is_ok());
    other.send(hello("other")).await;
    assert_eq!(other.receive().await, None, "a second hello in a session ends it");
    server.stop().await;
}

#[tokio::test]
async fn a_second_session_is_refused_while_the_first_lives_and_welcome_after_it() {
    let server = Running::start().await;
    let first = server.session("a").await;
    first
        .send(message(edge_message::Body::Stats(proto::StatsReport {
            request_id: 0,
            rules: vec![proto::RuleStats {
                rule: "web".to_owned(),
                total: Some(Figures { bytes_in: 7, ..Figures::default() }.to_wire()),
                ..proto::RuleStats::default()
            }],
            ..proto::StatsReport::default()
        })))
        .await;
    let has_counters = || server.fleet.read(|view| !view.counters.rows().is_empty());
    while !has_counters().await.unwrap() {
        tokio::task::yield_now().await;
    }
    let mut second = Session::begin(server.control, hello("a")).await.unwrap();
    let answer = second.receive().await.expect("a refusal");
    assert!(matches!(&answer, server_message::Body::Refusal(refusal) if refusal.code == "already_connected"));
    assert_eq!(second.receive().await, None, "the refused session is over");
    // The end of the stranger's session, once more where it was noticed already.
    let gone = Event::Gone { session: 2, edge: EdgeName::new("a").unwrap() };
    server.fleet.event(gone).await.unwrap();
    assert!(has_counters().await.unwrap(), "the stranger's end forgets nothing of the first");
    let mut notices = server.fleet.notices();
    drop(first);
    timeout(LONG, notices.recv()).await.expect("the end of the first is noticed").unwrap();
    server.session("a").await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_sessions_and_frees_its_state() {
    let server = Running::start().await;
    let mut session = server.session("a").await;
    let token = server.token.clone();
    let dir = server.stop().await;
    assert_eq!(session.receive().await, None);
    let again = Running::start_in(dir).await;
    assert_eq!(again.token, token, "the token survives");
    again.session("a").await;
    again.stop().await;
}

/// Forwards one connection to the server, and on command nothing more, with both ends left open.
async fn lossy_way(server: SocketAddr) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = CancellationToken::new();
    let is_cut = cut.clone();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            () = is_cut.cancelled() => std::future::pending().await,
        }
    });
    (address, cut)
}

#[tokio::test]
async fn a_session_that_misses_its_keepalive_makes_room_for_another() {
    let server = Running::start().await;
    let (way, cut) = lossy_way(server.control).await;
    // The name joins once, by either address.
    super::tls::leads_to(way, server.control);
    let silent = Session::open(way, "a").await;
    let mut notices = server.fleet.notices();
    cut.cancel();
    // Without a word from either end; the server asks after 10 s and waits 20 s for the answer.
    let (.., notice) = timeout(3 * LONG, notices.recv()).await.expect("the silence is noticed").unwrap();
    assert!(matches!(*notice, Notice::Edge { connected: false, .. }), "{notice:?}");
    server.session("a").await;
    drop(silent);
    server.stop().await;
}
