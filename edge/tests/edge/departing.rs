//! Clients that are gone before their target is reached: what they sent arrives, and then the way that they went.

use std::time::Duration;

use edge::act::runtime::RuntimeHandle;
use edge::decide::breaks::Break;
use schema::rule::{ProxyProtocol, RuleParts};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connections::{broken, reset_on_close};
use crate::delivery::{acknowledged, pattern, read_all};
use crate::proxied::{binary_of, text_of, with};
use crate::support::{BlackHole, LONG, apply, connect, free_ports, runtime, target, to, to_all, wait_until};

/// An edge whose connections wait at a silent target before they come to one that answers.
struct Scene {
    edge: RuntimeHandle,
    listener: TcpListener,
    port: u16,
    _hole: BlackHole,
}

impl Scene {
    async fn new(change: impl Fn(&mut RuleParts)) -> Self {
        let edge = runtime().await;
        let hole = BlackHole::at(([127, 0, 0, 1], 0).into());
        let ((listener, address), port) = (target().await, free_ports(1));
        let slowly = |parts: &mut RuleParts| {
            parts.connect_timeout = Duration::from_secs(1);
            change(parts);
        };
        apply(&edge, 1, &[to_all("web", port, &[hole.address, address], slowly)]).await;
        Self { edge, listener, port, _hole: hole }
    }

    /// Who broke connections, once none is left.
    async fn broken(&self) -> Vec<(Break, u64)> {
        let meter = self.edge.status().rule("web").unwrap().meter.clone().unwrap();
        wait_until(|| meter.active() == 0).await;
        broken(&meter)
    }
}

/// How a client goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Departure {
    Resets,
    EndsAndResets,
    Closes,
}

async fn depart(mut client: TcpStream, length: usize, departure: Departure) {
    client.write_all(&pattern(length)).await.unwrap();
    acknowledged(&client).await;
    if departure == Departure::EndsAndResets {
        client.shutdown().await.unwrap();
    }
    if departure != Departure::Closes {
        reset_on_close(&client);
    }
}

#[tokio::test]
async fn what_a_client_sent_before_it_went_reaches_the_target_that_is_found_later() {
    use Departure::{Closes, EndsAndResets, Resets};
    let scene = Scene::new(|_| ()).await;
    for departure in [Resets, EndsAndResets, Closes] {
        for length in [1, 900, 40_000] {
            depart(connect(scene.port).await, length, departure).await;
            let (mut server, _) = timeout(LONG, scene.listener.accept()).await.expect("the target is dialled").unwrap();
            let (got, is_reset) = read_all(&mut server, Duration::ZERO).await;
            assert!(got == pattern(length), "{} of {length} bytes, {departure:?}", got.len());
            assert_eq!(is_reset, departure == Resets, "{departure:?} after {length}");
        }
    }
    assert_eq!(scene.broken().await, [(Break::ClientReset, 6)]);
    let figures = scene.edge.status().rule("web").unwrap().meter.as_ref().unwrap().figures();
    assert_eq!((figures.bytes_in, figures.connections_total), (3 * (1 + 900 + 40_000), 9));
}

#[tokio::test]
async fn a_client_that_went_is_named_to_a_target_that_asks_for_it() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let scene = Scene::new(with(version)).await;
        let client = connect(scene.port).await;
        let header = if version == ProxyProtocol::V1 { text_of(&client) } else { binary_of(&client) };
        depart(client, 900, Departure::Resets).await;
        let (mut server, _) = timeout(LONG, scene.listener.accept()).await.expect("the target is dialled").unwrap();
        let (got, is_reset) = read_all(&mut server, Duration::ZERO).await;
        assert!(got == [header, pattern(900)].concat() && is_reset, "{version:?}: {got:?}");
    }
}

#[tokio::test]
async fn a_client_that_resets_and_has_sent_nothing_ends_its_dialling_at_once() {
    let scene = Scene::new(|parts| parts.connect_timeout = Duration::from_secs(9)).await;
    let start = std::time::Instant::now();
    let client = connect(scene.port).await;
    wait_until(|| scene.edge.connections().count() == 1).await;
    reset_on_close(&client);
    drop(client);
    assert_eq!(scene.broken().await, [(Break::ClientReset, 1)]);
    assert!(start.elapsed() < Duration::from_secs(9), "it waited for its target");
}

/// However long its target takes: nobody else would end it.
#[tokio::test]
async fn a_dialling_for_a_client_that_went_ends_like_any_other() {
    let edge = runtime().await;
    let (hole, port) = (BlackHole::at(([127, 0, 0, 1], 0).into()), free_ports(1));
    let slowly = |parts: &mut RuleParts| parts.connect_timeout = Duration::from_mins(1);
    apply(&edge, 1, &[to("web", port, hole.address, slowly)]).await;
    let start = std::time::Instant::now();
    depart(connect(port).await, 900, Departure::Resets).await;
    wait_until(|| edge.connections().count() == 0 && start.elapsed() > Duration::from_secs(1)).await;
    assert!((9..12).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
