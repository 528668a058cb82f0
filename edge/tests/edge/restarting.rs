//! An edge without its server forwards, after its own restart too (invariant 3), and ends as it is told.

use edge::act::last_good::LastGood;
use edge::{Edge, EdgeConfig, EdgeError, StateError};
use schema::name::EdgeName;
use schema::state::RuleState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{LONG, apply, config_without_server, connect, desired, echo, end, free_ports, ping, range, to};

#[tokio::test]
async fn the_last_good_state_is_served_without_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let before = apply(edge.runtime(), 7, &[to("web", port, target, |_| ())]).await;
    end(edge).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());

    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let status = edge.runtime().status();
    assert_eq!(status.accepted, before.accepted);
    assert_eq!((status.accepted.lineage.as_str(), status.accepted.generation), ("test", 7));
    ping(&mut connect(port).await, b"alone").await;
    end(edge).await;
}

#[tokio::test]
async fn a_version_that_failed_before_the_restart_leaves_the_previous_one_serving_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(2), echo("").await);
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let previous = to("web", port, target, |_| ());
    apply(edge.runtime(), 1, std::slice::from_ref(&previous)).await;
    apply(edge.runtime(), 2, &[to("web", port + 1, target, |_| ())]).await;
    end(edge).await;

    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let status = edge.runtime().status();
    assert_eq!((status.accepted.generation, status.rules[0].state), (2, RuleState::Failed));
    assert_eq!(status.rules[0].running.as_ref(), Some(&previous));
    ping(&mut connect(port).await, b"previous").await;
    drop(stranger);
    end(edge).await;
}

#[tokio::test]
async fn a_previous_version_is_not_forgotten_where_it_cannot_be_bound_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(2), echo("").await);
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let previous = to("web", port, target, |_| ());
    apply(edge.runtime(), 1, std::slice::from_ref(&previous)).await;
    apply(edge.runtime(), 2, &[to("web", port + 1, target, |_| ())]).await;
    end(edge).await;

    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    assert_eq!(edge.runtime().status().rules[0].running, None);
    drop(squatter);
    let status = crate::support::wait_for(edge.runtime(), |status| status.rules[0].running.is_some()).await;
    assert_eq!((status.rules[0].state, status.rules[0].running.as_ref()), (RuleState::Failed, Some(&previous)));
    drop(stranger);
    end(edge).await;
}

#[tokio::test]
async fn a_damaged_state_is_moved_aside_and_the_edge_starts_empty() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("last-good"), "not a state").unwrap();
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    assert_eq!(edge.runtime().status().accepted.generation, 0);
    assert!(folder.path().join("last-good.corrupt").exists());
    end(edge).await;
}

#[tokio::test]
async fn a_second_edge_takes_over_while_the_connections_of_the_first_one_drain() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target, metrics) = (free_ports(1), echo("").await, free_ports(1));
    let config =
        EdgeConfig { metrics_listen: Some(([127, 0, 0, 1], metrics).into()), ..config_without_server(folder.path()) };
    let first = Edge::start(config.clone()).await.unwrap();
    apply(first.runtime(), 1, &[to("web", port, target, |_| ())]).await;
    let mut old = connect(port).await;
    ping(&mut old, b"before").await;
    let name = EdgeName::new("edge-01").unwrap();
    assert!(matches!(LastGood::open(folder.path(), &name), Err(StateError::Locked(_))));

    let second = tokio::spawn(Edge::start(config));
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(first.run(shutdown.clone()));
    shutdown.cancel();
    let second = timeout(LONG, second).await.unwrap().unwrap().unwrap();
    ping(&mut connect(port).await, b"after").await;
    ping(&mut old, b"still").await;
    assert!(!running.is_finished());
    drop(old);
    timeout(LONG, running).await.unwrap().unwrap().unwrap();
    end(second).await;
}

#[tokio::test]
async fn the_rules_of_another_edge_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    apply(edge.runtime(), 1, &[to("web", free_ports(1), echo("").await, |_| ())]).await;
    end(edge).await;
    let other = EdgeConfig { name: EdgeName::new("other").unwrap(), ..config_without_server(folder.path()) };
    let error = Edge::start(other).await.err().unwrap();
    assert!(matches!(error, EdgeError::State(StateError::Foreign { .. })), "{error}");
    assert!(error.to_string().contains("`edge-01`") && error.to_string().contains("`other`"), "{error}");
}

#[tokio::test]
async fn a_state_that_could_not_be_stored_says_so_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    // A file cannot be put where a folder is.
    let obstacle = folder.path().join("last-good");
    std::fs::create_dir(&obstacle).unwrap();
    let status = apply(edge.runtime(), 1, &[to("web", port, target, |_| ())]).await;
    let web = &status.rules[0];
    assert_eq!((web.state, web.code), (RuleState::Active, None));
    assert_eq!(web.message, "not stored on the edge's disk: Is a directory; a restart would lose this state");
    assert!(!folder.path().join("last-good.tmp").exists());

    std::fs::remove_dir(&obstacle).unwrap();
    let status = crate::support::wait_for(edge.runtime(), |status| status.rules[0].message.is_empty()).await;
    assert_eq!(status.rules[0].state, RuleState::Active);
    end(edge).await;
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    ping(&mut connect(port).await, b"kept").await;
    end(edge).await;
}

#[tokio::test]
async fn the_end_stores_what_could_not_be_stored_before() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    let obstacle = folder.path().join("last-good");
    std::fs::create_dir(&obstacle).unwrap();
    apply(edge.runtime(), 1, &[to("web", port, target, |_| ())]).await;
    std::fs::remove_dir(&obstacle).unwrap();
    end(edge).await;
    assert!(obstacle.is_file());
}

#[tokio::test]
async fn the_end_stops_accepting_at_once_and_lets_connections_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    apply(edge.runtime(), 1, &[to("web", port, target, |_| ())]).await;
    let mut stream = connect(port).await;
    ping(&mut stream, b"1").await;
    let shutdown = CancellationToken::new();
    let runtime = edge.runtime().clone();
    let running = tokio::spawn(edge.run(shutdown.clone()));
    shutdown.cancel();
    timeout(LONG, async { while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {} }).await.unwrap();
    ping(&mut stream, b"2").await;
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(runtime);
    timeout(LONG, running).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    apply(edge.runtime(), 1, &[to("web", port, target, |_| ())]).await;
    let mut stream = connect(port).await;
    ping(&mut stream, b"1").await;
    let (shutdown, now) = (CancellationToken::new(), edge.end_now());
    let running = tokio::spawn(edge.run(shutdown.clone()));
    shutdown.cancel();
    ping(&mut stream, b"2").await;
    now.cancel();
    timeout(LONG, running).await.unwrap().unwrap().unwrap();
    assert!(crate::support::is_reset(&mut stream).await);
}

#[tokio::test]
async fn the_process_says_how_it_is_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config_without_server(folder.path());
    config.metrics_listen = Some(([127, 0, 0, 1], 0).into());
    let (first, target) = (free_ports(3), free_ports(3));
    let edge = Edge::start(config).await.unwrap();
    let address = edge.metrics_address().unwrap();
    let get = |path: &'static str| async move {
        let mut stream = connect(address.port()).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 503"));
    edge.runtime().apply(desired(4, &[range("web", first, first + 2, target)])).await.unwrap();
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get("/metrics").await;
    for line in ["portunus_open_listeners 3", "portunus_session_generation 4", "portunus_session_connected 0"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains("portunus_rule_"));
    end(edge).await;
}
