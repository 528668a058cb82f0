//! Quotas of an edge that was asked to stop: what its connections move while they drain is counted by the next one.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use edge::Edge;
use schema::quota::{OnExhausted, Period, Quota};
use schema::rule::Rule;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{
    LONG, config_without_server, connect, desired, echo, end, free_ports, is_reset, is_turned_away, ping, to,
    wait_until,
};

fn limited(port: u16, target: SocketAddr, bytes: u64) -> Arc<Rule> {
    to("web", port, target, |parts| {
        let bytes = NonZeroU64::new(bytes).unwrap();
        let quota = Quota { period: Period::Total, on_exhausted: OnExhausted::Stop, ..Quota::new(bytes) };
        parts.quota = Some(Box::new(quota));
    })
}

fn used(edge: &Edge) -> u64 {
    edge.runtime().quotas().borrow().iter().map(|quota| quota.used_bytes).sum()
}

/// An edge that was asked to stop, and stops once its connections have ended.
fn leaving(edge: Edge) -> JoinHandle<()> {
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    tokio::spawn(async move { edge.run(shutdown).await.unwrap() })
}

/// The next edge with the folder, once the former one has left it.
async fn next(folder: &Path) -> Edge {
    timeout(LONG, Edge::start(config_without_server(folder))).await.expect("the folder is left").unwrap()
}

#[tokio::test]
async fn what_drains_counts_for_an_edge_that_starts_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    edge.runtime().apply(desired(1, &[limited(port, target, 1 << 30)])).await.unwrap();
    let mut live = connect(port).await;
    ping(&mut live, &[7; 10_000]).await;
    let stopped = leaving(edge);
    wait_until(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await;
    ping(&mut live, &vec![7; 30_000]).await;
    drop(live);
    timeout(LONG, stopped).await.expect("it ends with its last connection").unwrap();
    let edge = next(folder.path()).await;
    wait_until(|| used(&edge) == 80_000).await;
    end(edge).await;
    // And once: the next one finds it among what was stored.
    let edge = next(folder.path()).await;
    wait_until(|| used(&edge) == 80_000).await;
    end(edge).await;
}

#[tokio::test]
async fn what_drains_counts_for_an_edge_that_runs_already() {
    let folder = tempfile::tempdir().unwrap();
    let (port, target) = (free_ports(1), echo("").await);
    let edge = Edge::start(config_without_server(folder.path())).await.unwrap();
    edge.runtime().apply(desired(1, &[limited(port, target, 100_000)])).await.unwrap();
    let mut live = connect(port).await;
    ping(&mut live, &[7; 10_000]).await;
    let stopped = leaving(edge);
    let edge = next(folder.path()).await;
    let mut new = connect(port).await;
    ping(&mut new, &[7; 5_000]).await;
    wait_until(|| used(&edge) == 30_000).await;
    // What the former one forwards is known within seconds, and exhausts the quota of both.
    ping(&mut live, &vec![7; 35_000]).await;
    wait_until(|| used(&edge) == 100_000).await;
    assert!(is_reset(&mut new).await);
    assert!(is_turned_away(port).await);
    drop(live);
    timeout(LONG, stopped).await.expect("it ends with its last connection").unwrap();
    end(edge).await;
}
