//! A task or thread that ends by a panic ends the edge with an error that names it, and the next start serves at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::act::connection_log::ConnectionLogFile;
use edge::{Edge, EdgeConfig, EdgeError, Part};
use guard::supervisor::How;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{LONG, apply, config_without_server, connect, echo, end, free_ports, ping, to};

/// Within this an edge that starts again serves what it served before.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The part after this one; a new part does not compile before it is in here.
fn next(part: Part, workers: usize) -> Option<Part> {
    match part {
        Part::Worker(index) if index + 1 < workers => Some(Part::Worker(index + 1)),
        Part::Worker(_) => Some(Part::Lookups),
        Part::Lookups => Some(Part::Runtime),
        Part::Runtime => Some(Part::Health),
        Part::Health => Some(Part::Names),
        Part::Names => Some(Part::Session),
        Part::Session => Some(Part::Metrics),
        Part::Metrics => Some(Part::Usage),
        Part::Usage => Some(Part::ConnectionLog),
        Part::ConnectionLog => None,
    }
}

fn config(folder: &std::path::Path) -> EdgeConfig {
    let metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let connection_log = Some(ConnectionLogFile { path: folder.join("connections.log"), dropped: Arc::default() });
    EdgeConfig { metrics_listen, connection_log, ..config_without_server(folder) }
}

/// What the edge ends with once the part has panicked.
async fn killed(edge: Edge, part: Part, shutdown: CancellationToken) -> EdgeError {
    let killer = edge.killer();
    let run = tokio::spawn(edge.run(shutdown));
    killer.kill(part).await;
    timeout(LONG, run).await.expect("the edge stops").unwrap().expect_err("with an error")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_that_panics_ends_the_edge_which_serves_at_once_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let mut edge = Edge::start(config(folder.path())).await.unwrap();
    apply(edge.runtime(), 7, &[to("web", port, target, |_| ())]).await;
    let workers = edge.killer().workers();
    let mut part = Some(Part::Worker(0));
    while let Some(killing) = part {
        ping(&mut connect(port).await, b"before").await;
        let error = killed(edge, killing, CancellationToken::new()).await;
        let EdgeError::Part(failed) = &error else { panic!("{killing}: {error}") };
        assert_eq!(failed.part, killing.to_string());
        assert_eq!(failed.how, How::Panicked("killed by a test".to_owned()), "{killing}");
        assert!(error.to_string().starts_with(&format!("{killing} panicked")), "{error}");
        let start = Instant::now();
        edge = Edge::start(config(folder.path())).await.unwrap();
        ping(&mut connect(port).await, b"after").await;
        assert!(start.elapsed() < AT_ONCE, "{killing}: {:?}", start.elapsed());
        part = next(killing, workers);
    }
    end(edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_while_connections_drain_ends_the_edge_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config(folder.path())).await.unwrap();
    apply(edge.runtime(), 1, &[to("web", port, target, |_| ())]).await;
    let mut client = connect(port).await;
    ping(&mut client, b"alive").await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let error = killed(edge, Part::Worker(0), shutdown).await;
    assert!(error.to_string().starts_with("worker 0 of the data plane panicked"), "{error}");
}
