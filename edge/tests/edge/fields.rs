//! Every field that concerns connections, on every path that their bytes take.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::act::names::Names;
use edge::act::runtime::{self, RuntimeHandle};
use schema::net::{ListenAddress, PortRange};
use schema::rule::{Balance, Host, LastResort, ProxyProtocol, Rule, RuleParts, Target};
use schema::testing::rule_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dns::{Dns, Reply};
use crate::support::{BlackHole, LONG, apply, connect, free_ports, is_reset, is_turned_away, limits, wait_until};

/// A way that bytes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Copied,
    Spliced,
    Proxied,
    Range,
    Named,
}

const PATHS: [Path; 5] = [Path::Copied, Path::Spliced, Path::Proxied, Path::Range, Path::Named];

/// A rule under test: `a` is preferred to `b` unless a field says otherwise.
struct Bench {
    path: Path,
    edge: RuntimeHandle,
    _dns: Dns,
    /// Where clients connect.
    port: u16,
    targets: Vec<Target>,
}

impl Bench {
    async fn new(path: Path) -> Self {
        let dns = Dns::start().await;
        dns.say("here.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap()], 300));
        let edge = runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
        let mut targets = Vec::new();
        for tag in ["a", "b"] {
            let first = free_ports(2);
            for port in [first, first + 1] {
                tokio::spawn(answer(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), path, tag));
            }
            targets.push(target(path, first));
        }
        Self { path, edge, _dns: dns, port: free_ports(2) + u16::from(path == Path::Range), targets }
    }

    fn rule(&self, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
        let first = self.port - u16::from(self.path == Path::Range);
        rule_with("web", first, self.port, |parts| {
            parts.targets.clone_from(&self.targets);
            change(parts);
        })
    }

    async fn serve(&self, change: impl FnOnce(&mut RuleParts)) {
        apply(&self.edge, self.edge.status().accepted.generation + 1, &[self.rule(change)]).await;
    }

    /// Who serves the next connection, once bytes went both ways.
    async fn served(&self) -> (char, TcpStream) {
        let mut stream = connect(self.port).await;
        let tag = self.talk(&mut stream).await;
        (tag, stream)
    }

    async fn talk(&self, stream: &mut TcpStream) -> char {
        let length = if self.path == Path::Spliced { 1 << 20 } else { 100 };
        let sent: Vec<u8> = (0..length).map(|index| (index / 3) as u8).collect();
        let (mut reader, mut writer) = stream.split();
        let mut read = vec![0; length];
        let talking = async {
            let tag = reader.read_u8().await.unwrap();
            let (sending, reading) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut read));
            sending.unwrap();
            reading.unwrap();
            char::from(tag)
        };
        let tag = timeout(LONG, talking).await.expect("bytes go both ways");
        assert!(read == sent, "{:?}", self.path);
        tag
    }
}

fn target(path: Path, first: u16) -> Target {
    let host = if path == Path::Named { "here.test" } else { "127.0.0.1" };
    let last = first + u16::from(path == Path::Range);
    let mut target = Target::new(Host::parse(host).unwrap(), PortRange::new(first, last).unwrap());
    target.proxy_protocol = (path == Path::Proxied).then_some(ProxyProtocol::V2);
    target
}

/// Says its tag and echoes.
async fn answer(listener: TcpListener, path: Path, tag: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // The header of version 2 over IPv4.
            let mut header = vec![0; if path == Path::Proxied { 28 } else { 0 }];
            let (mut reader, mut writer) = stream.split();
            if reader.read_exact(&mut header).await.is_ok() && writer.write_all(tag.as_bytes()).await.is_ok() {
                // A connection that is reset ends by itself.
                _ = tokio::io::copy(&mut reader, &mut writer).await;
            }
        });
    }
}

async fn on_every_path<F: Future<Output = ()> + Send + 'static>(check: impl Fn(Bench) -> F) {
    let mut checks = JoinSet::new();
    for path in PATHS {
        checks.spawn(check(Bench::new(path).await));
    }
    while let Some(checked) = checks.join_next().await {
        checked.unwrap();
    }
}

#[tokio::test]
async fn priority_weight_and_enabled_say_who_serves() {
    on_every_path(async |bench: Bench| {
        bench.serve(|_| ()).await;
        assert_eq!(bench.served().await.0, 'a');
        bench.serve(|parts| parts.targets[0].priority = 1).await;
        assert_eq!(bench.served().await.0, 'b');
        bench.serve(|parts| parts.targets[0].weight = 0).await;
        assert_eq!(bench.served().await.0, 'b');
        bench.serve(|parts| parts.targets[0].enabled = false).await;
        assert_eq!(bench.served().await.0, 'b');
        bench.serve(|parts| parts.targets.iter_mut().for_each(|target| target.enabled = false)).await;
        assert!(is_turned_away(bench.port).await);
        bench
            .serve(|parts| {
                parts.last_resort = LastResort::None;
                parts.targets.iter_mut().for_each(|target| target.weight = 0);
            })
            .await;
        assert!(is_turned_away(bench.port).await);
    })
    .await;
}

#[tokio::test]
async fn balance_says_who_serves() {
    on_every_path(async |bench: Bench| {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            bench.serve(|parts| parts.balance = balance).await;
            let (first, held) = bench.served().await;
            let (second, other) = bench.served().await;
            assert_ne!(first, second, "{balance:?} on {:?}", bench.path);
            drop((held, other));
        }
        bench.serve(|parts| parts.balance = Balance::SourceIp).await;
        let (first, _held) = bench.served().await;
        assert_eq!(bench.served().await.0, first);
    })
    .await;
}

#[tokio::test]
async fn max_connections_turns_away_what_is_above_it() {
    on_every_path(async |bench: Bench| {
        bench.serve(|parts| parts.max_connections = NonZeroU32::new(1)).await;
        let (_, held) = bench.served().await;
        assert!(is_turned_away(bench.port).await);
        drop(held);
        let meter = bench.edge.status().rule("web").unwrap().meter.clone().unwrap();
        wait_until(|| meter.active() == 0).await;
        bench.served().await;
    })
    .await;
}

#[tokio::test]
async fn idle_timeout_resets_what_is_silent() {
    on_every_path(async |bench: Bench| {
        bench.serve(|parts| parts.idle_timeout = Some(Duration::from_secs(1))).await;
        let (_, mut stream) = bench.served().await;
        assert!(is_reset(&mut stream).await, "{:?}", bench.path);
    })
    .await;
}

#[tokio::test]
async fn connect_timeout_is_when_the_next_target_is_tried() {
    on_every_path(async |bench: Bench| {
        let hole = free_ports(2);
        let address: SocketAddr = ([127, 0, 0, 1], hole + u16::from(bench.path == Path::Range)).into();
        let _hole = BlackHole::at(address);
        bench
            .serve(|parts| {
                parts.targets[0] = target(bench.path, hole);
                parts.connect_timeout = Duration::from_millis(400);
            })
            .await;
        let start = Instant::now();
        assert_eq!(bench.served().await.0, 'b');
        assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", bench.path);
    })
    .await;
}

#[tokio::test]
async fn drain_timeout_is_when_connections_of_a_removed_rule_are_reset() {
    on_every_path(async |bench: Bench| {
        bench.serve(|parts| parts.drain_timeout = Duration::from_secs(1)).await;
        let (_, mut stream) = bench.served().await;
        let start = Instant::now();
        apply(&bench.edge, 9, &[]).await;
        assert!(is_reset(&mut stream).await && start.elapsed() >= Duration::from_secs(1), "{:?}", bench.path);
    })
    .await;
}

#[tokio::test]
async fn listen_address_is_the_only_one() {
    on_every_path(async |bench: Bench| {
        bench.serve(|parts| parts.listen.address = ListenAddress::Ip("127.0.0.2".parse().unwrap())).await;
        assert!(TcpStream::connect(("127.0.0.1", bench.port)).await.is_err());
        let mut stream = TcpStream::connect(("127.0.0.2", bench.port)).await.unwrap();
        assert_eq!(bench.talk(&mut stream).await, 'a');
    })
    .await;
}
