//! Sessions come and go; forwarding does not notice (invariant 3).

use std::sync::Arc;
use std::time::Duration;

use edge::{Edge, EdgeConfig, Endpoint};
use schema::capability::{Capabilities, Capability};
use schema::name::EdgeName;
use schema::proto::{Refusal, Welcome, server_message};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::server::{Link, Server};
use crate::support::{LONG, Prober, connect, desired_state, echo, free_ports, over_tcp, ping, to};

fn config(server: Endpoint) -> EdgeConfig {
    EdgeConfig {
        name: EdgeName::new("edge-01").unwrap(),
        server,
        state_dir: None,
        metrics_listen: None,
        process_listens: Vec::new(),
        disabled_capabilities: Capabilities::from([Capability::PortRange]),
        policy: schema::policy::Policy::default(),
        shutdown_drain: Duration::ZERO,
        names: edge::act::names::ResolverFiles::default(),
        log_lines_dropped: std::sync::Arc::default(),
        connection_log: None,
        inherited: guard::InheritedSockets::default(),
    }
}

async fn welcome(link: &Link) {
    let welcome = Welcome { lineage: "test".to_owned(), server_version: "0".to_owned() };
    link.send(server_message::Body::Welcome(welcome)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_stops_nothing_and_is_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::on(listener);
    let edge = Edge::start(config(over_tcp(address))).await.unwrap();
    let mut link = server.session().await;
    let hello = link.hello().await;
    assert_eq!(hello.edge, "edge-01");
    assert!(!hello.capabilities.contains(&"port_range".to_owned()));
    welcome(&link).await;
    let (port, target) = (free_ports(1), echo("x").await);
    let state = desired_state(1, &[to("web", port, target, |_| ())]);
    link.send(server_message::Body::Desired(state.clone())).await;
    let report = link.report().await;
    assert_eq!((report.answers, report.running_digest), (1, state.digest.clone()));

    let prober = Prober::start(port).await;
    server.kill().await;
    drop(link);
    prober.passes(20).await;
    let mut server = Server::at(address);
    let mut link = server.session().await;
    let hello = link.hello().await.report.unwrap();
    assert_eq!((hello.generation, hello.running_digest), (1, state.digest));
    welcome(&link).await;
    let state = desired_state(2, &[to("web", port, target, |parts| parts.description = "new".to_owned())]);
    link.send(server_message::Body::Desired(state.clone())).await;
    assert_eq!(link.report().await.running_digest, state.digest);
    prober.stop().await;

    let now = edge.end_now();
    now.cancel();
    timeout(LONG, edge.run(CancellationToken::new())).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_session_is_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::on(listener);
    let edge = Edge::start(config(over_tcp(address))).await.unwrap();
    for _ in 0..2 {
        let mut link = server.session().await;
        link.hello().await;
        let refusal = Refusal { code: "name_taken".to_owned(), message: "edge-01 is connected".to_owned() };
        link.send(server_message::Body::Refusal(refusal)).await;
    }
    let mut link = server.session().await;
    link.hello().await;
    welcome(&link).await;
    link.send(server_message::Body::Desired(desired_state(1, &[]))).await;
    assert_eq!(link.report().await.answers, 1);
    drop(edge);
}

#[tokio::test]
async fn a_disagreement_is_reported_before_the_session_ends_and_another_one_begins() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::on(listener);
    let edge = Edge::start(config(over_tcp(address))).await.unwrap();
    let mut link = server.session().await;
    link.hello().await;
    welcome(&link).await;
    let mut state = desired_state(1, &[]);
    state.digest[0] ^= 1;
    link.send(server_message::Body::Desired(state)).await;
    let refused = link.report().await.refused.unwrap();
    assert_eq!(refused.code, "invalid_rule");
    link.ended().await;
    server.session().await.hello().await;
    drop(edge);
}

#[tokio::test]
async fn a_session_in_the_same_process_needs_no_port() {
    let (streams, receiver) = mpsc::channel(4);
    let mut server = Server::in_process(receiver);
    let connector = Arc::new(move || {
        let (near, far) = tokio::io::duplex(64 << 10);
        streams.try_send(far).map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    });
    let edge = Edge::start(config(Endpoint::InProcess(connector))).await.unwrap();
    let mut link = server.session().await;
    link.hello().await;
    welcome(&link).await;
    let (port, target) = (free_ports(1), echo("").await);
    link.send(server_message::Body::Desired(desired_state(1, &[to("web", port, target, |_| ())]))).await;
    assert_eq!(link.report().await.answers, 1);
    ping(&mut connect(port).await, b"in process").await;
    drop(edge);
}
