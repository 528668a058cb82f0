//! Every field that concerns bytes, on every path that they take: one table, and a test that it names every key.
//! Long because every field has its check here.

mod ways;

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::decide::breaks::Break;
use schema::access::{Access, Enforcement};
use schema::counters::{ByteDirection, Lost, SniResult};
use schema::fields::{Concern, rule, target};
use schema::health::{HealthCheck, HealthKind, TargetState};
use schema::net::ListenAddress;
use schema::quota::{OnExhausted, Quota};
use schema::rate::{PerSource, RateLimit};
use schema::rule::{Balance, LastResort, OnTargetDown, OwnerLimits, ProxyProtocol, RuleParts};
use schema::sni::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connections::broken;
use crate::datagrams::client;
use crate::dns::Reply;
use crate::sni::hello;
use crate::support::{BlackHole, LONG, apply, connect, free_ports, is_reset, let_pass, skipped, wait_for, wait_until};
use ways::{Bench, Client, PATHS, Path, answer, target_at};

type Checking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keys, and what has to hold of them on one path.
struct Field(&'static [&'static str], fn(Bench) -> Checking);

static FIELDS: &[Field] = &[
    Field(&["targets.priority", "targets.weight", "targets.enabled", "last_resort"], |bench| {
        Box::pin(who_serves(bench))
    }),
    Field(&["balance"], |bench| Box::pin(balance(bench))),
    Field(&["max_connections"], |bench| Box::pin(max_connections(bench))),
    Field(&["access"], |bench| Box::pin(access(bench))),
    Field(&["accept_proxy"], |bench| Box::pin(accept_proxy(bench))),
    Field(&["rate_limit"], |bench| Box::pin(rate_limit(bench))),
    Field(&["quota"], |bench| Box::pin(quota(bench, false))),
    Field(&["owner_limits"], |bench| Box::pin(quota(bench, true))),
    Field(&["idle_timeout_secs"], |bench| Box::pin(idle_timeout(bench))),
    Field(&["half_closed_timeout_secs"], |bench| Box::pin(half_closed_timeout(bench))),
    Field(&["stalled_timeout_secs"], |bench| Box::pin(stalled_timeout(bench))),
    Field(&["connect_timeout_ms"], |bench| Box::pin(connect_timeout(bench))),
    Field(&["drain_timeout_secs"], |bench| Box::pin(drain_timeout(bench))),
    Field(&["listen_address"], |bench| Box::pin(listen_address(bench))),
    Field(&["health", "on_target_down"], |bench| Box::pin(on_target_down(bench))),
    Field(&["prefer_ipv6"], |bench| Box::pin(prefer_ipv6(bench))),
    Field(&["proxy_protocol", "targets.proxy_protocol"], |bench| Box::pin(proxy_protocol(bench))),
    Field(&["udp_max_flows"], |bench| Box::pin(udp_max_flows(bench))),
    Field(&["udp_flow_idle_secs"], |bench| Box::pin(udp_flow_idle(bench))),
    Field(&["sni", "sni_timeout_ms"], |bench| Box::pin(sni(bench))),
];

/// What the paths themselves are made of.
const PLACES: &[&str] =
    &["protocol", "listen_port", "listen_ports", "target", "targets", "targets.host", "targets.port", "targets.ports"];
/// Keys that the edge never sees, and other spellings of those in the table.
const ELSEWHERE: &[&str] = &[
    "name",
    "description",
    "owner",
    "edges",
    "edge_labels",
    "enabled",
    "protected",
    "src_ip_sticky",
    "health_check_interval_secs",
    "access_lists",
];
/// Keys of which no edge announces the capability yet.
const UNANNOUNCED: &[&str] = &[];

#[test]
fn every_key_of_a_rule_is_tried_or_said_to_concern_no_bytes() {
    let keys = rule::TABLE.fields.iter().map(|field| field.key.to_owned());
    let of_targets = target::TABLE.fields.iter().map(|field| format!("targets.{}", field.key));
    let mut all: Vec<String> = keys.chain(of_targets).collect();
    let tried = FIELDS.iter().flat_map(|field| field.0);
    let mut known: Vec<String> =
        tried.chain(PLACES).chain(ELSEWHERE).chain(UNANNOUNCED).map(|key| (*key).to_owned()).collect();
    all.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, all);
}

#[tokio::test]
async fn every_field_holds_on_every_path() {
    for Field(keys, check) in FIELDS {
        let mut checks = JoinSet::new();
        for path in PATHS.into_iter().filter(|path| concerns(keys[0], *path)) {
            let bench = Bench::new(path).await;
            checks.spawn(async move { tokio::spawn(check(bench)).await.map_err(|failed| (path, failed)) });
        }
        while let Some(checked) = checks.join_next().await {
            if let Err((path, failed)) = checked.unwrap() {
                panic!("{} on {path:?}: {failed}", keys[0]);
            }
        }
    }
}

/// As the language has it; a PROXY header on UDP is refused before any edge sees it.
fn concerns(key: &str, path: Path) -> bool {
    let field = rule::TABLE.fields.iter().find(|field| field.key == key);
    match field.map_or(Concern::All, |field| field.concern) {
        _ if key == "proxy_protocol" => path != Path::Datagrams,
        // A range has no names.
        _ if key == "sni" => !matches!(path, Path::Datagrams | Path::Range),
        Concern::All => true,
        Concern::Tcp => path != Path::Datagrams,
        Concern::Udp => path == Path::Datagrams,
    }
}

async fn who_serves(bench: Bench) {
    let disable = |parts: &mut RuleParts| parts.targets.iter_mut().for_each(|target| target.enabled = false);
    let weigh_nothing = |parts: &mut RuleParts| parts.targets.iter_mut().for_each(|target| target.weight = 0);
    bench.serve(|_| ()).await;
    assert_eq!(bench.served().await.0, 'a');
    bench.serve(|parts| parts.targets[0].priority = 1).await;
    assert_eq!(bench.served().await.0, 'b');
    bench.serve(|parts| parts.targets[0].weight = 0).await;
    assert_eq!(bench.served().await.0, 'b');
    bench.serve(|parts| parts.targets[0].enabled = false).await;
    assert_eq!(bench.served().await.0, 'b');
    bench.serve(disable).await;
    bench.turns_away().await;
    bench
        .serve(|parts| {
            parts.last_resort = LastResort::None;
            weigh_nothing(parts);
        })
        .await;
    bench.turns_away().await;
}

async fn balance(bench: Bench) {
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        bench.serve(|parts| parts.balance = balance).await;
        let (first, held) = bench.served().await;
        let (second, other) = bench.served().await;
        assert_ne!(first, second, "{balance:?}");
        drop((held, other));
    }
    bench.serve(|parts| parts.balance = Balance::SourceIp).await;
    let (first, _held) = bench.served().await;
    assert_eq!(bench.served().await.0, first);
}

async fn max_connections(bench: Bench) {
    bench.serve(|parts| parts.max_connections = NonZeroU32::new(1)).await;
    let (_, mut held) = bench.served().await;
    bench.turns_away().await;
    assert_eq!(refused(&bench), [("enforce_connections", 1)]);
    assert_eq!(bench.meter().figures().connections_refused, 1);
    bench.talk(&mut held).await;
    bench.serve(|parts| parts.max_connections = NonZeroU32::new(2)).await;
    bench.served().await;
}

/// Whom the rule refused or would have refused, by mode and reason.
fn refused(bench: &Bench) -> Vec<(&'static str, u64)> {
    bench.meter().figures().refused.iter().collect()
}

/// Whom a header names, and what becomes of its bytes, `announced.rs` tells.
async fn accept_proxy(bench: Bench) {
    let from = |network: &'static str| {
        move |parts: &mut RuleParts| parts.accept_proxy = [network.parse().expect("a network")].into_iter().collect()
    };
    bench.serve(from("10.0.0.0/8")).await;
    let (_, mut held) = bench.served().await;
    bench.serve(from("127.0.0.0/8")).await;
    bench.turns_away().await;
    assert_eq!(refused(&bench), [("enforce_proxy_header", 1)]);
    bench.talk(&mut held).await;
    bench.serve(|_| ()).await;
    bench.served().await;
}

async fn access(bench: Bench) {
    let listed = |allow: &[&str], deny: &[&str], mode| {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
        let access = Access { allow: networks(allow), deny: networks(deny), mode, ..Access::default() };
        move |parts: &mut RuleParts| parts.access = Some(Box::new(access))
    };
    bench.serve(listed(&["127.0.0.0/8"], &["127.9.0.0/16"], Enforcement::Enforce)).await;
    let (_, mut held) = bench.served().await;
    assert_eq!(refused(&bench), []);
    bench.serve(listed(&["10.0.0.0/8"], &[], Enforcement::Observe)).await;
    bench.served().await;
    assert_eq!(refused(&bench), [("observe_access", 1)]);
    bench.serve(listed(&[], &["127.0.0.1"], Enforcement::Enforce)).await;
    bench.turns_away().await;
    assert_eq!(refused(&bench), [("enforce_access", 1), ("observe_access", 1)]);
    bench.talk(&mut held).await;
    bench.serve(|_| ()).await;
    bench.served().await;
}

async fn rate_limit(bench: Bench) {
    let limited = |limit: RateLimit| move |parts: &mut RuleParts| parts.rate_limit = Some(Box::new(limit));
    let rate = |mode| RateLimit { new_connections: NonZeroU32::new(1), mode, ..RateLimit::default() };
    bench.serve(limited(rate(Enforcement::Enforce))).await;
    let (_, mut held) = bench.served().await;
    bench.turns_away().await;
    assert_eq!(refused(&bench), [("enforce_connection_rate", 1)]);
    bench.serve(limited(rate(Enforcement::Observe))).await;
    bench.served().await;
    bench.served().await;
    assert!(refused(&bench).iter().any(|(word, count)| *word == "observe_connection_rate" && *count > 0));
    let source = |most| PerSource { connections: NonZeroU32::new(most), ..PerSource::default() };
    bench.serve(limited(RateLimit { per_source: Some(source(1)), ..RateLimit::default() })).await;
    let (_, _other) = bench.served().await;
    bench.turns_away().await;
    assert!(refused(&bench).contains(&("enforce_source_connections", 1)));
    let bandwidth = |per_sec| RateLimit { bandwidth_in: NonZeroU64::new(per_sec), ..RateLimit::default() };
    if let Client::Datagrams(socket) = &held {
        bench.serve(limited(bandwidth(1))).await;
        let lost = || *bench.meter().figures().datagrams_dropped.of(Lost::Rate);
        let (before, at) = (lost(), ("127.0.0.1", bench.port));
        socket.send_to(b"12", at).await.expect("a datagram is sent");
        socket.send_to(b"34", at).await.expect("a datagram is sent");
        return wait_until(|| lost() > before).await;
    }
    let length = if bench.path == Path::Spliced { 1 << 20 } else { 100 };
    bench.serve(limited(bandwidth(2 * length))).await;
    let start = Instant::now();
    bench.talk(&mut held).await;
    assert!(start.elapsed() > Duration::from_millis(350), "{:?}", start.elapsed());
    assert!(*bench.meter().figures().throttled_micros.of(ByteDirection::In) > 300_000);
}

async fn quota(bench: Bench, is_owners: bool) {
    let quota = |on_exhausted| Quota { on_exhausted, ..Quota::new(NonZeroU64::MIN) };
    let limited = |quota: Quota| {
        move |parts: &mut RuleParts| {
            if is_owners {
                "team".clone_into(&mut parts.owner);
                parts.owner_limits = Some(Box::new(OwnerLimits { rate_limit: None, quota: Some(quota) }));
            } else {
                parts.quota = Some(Box::new(quota));
            }
        }
    };
    bench.serve(limited(quota(OnExhausted::Observe))).await;
    let (_, mut held) = bench.served().await;
    bench.served().await;
    assert_eq!(refused(&bench), [("observe_quota", 1)]);
    bench.talk(&mut held).await;
    bench.serve(limited(quota(OnExhausted::Stop))).await;
    Bench::is_ended(&bench.meter(), &mut held).await;
    bench.turns_away().await;
    assert!(refused(&bench).contains(&("enforce_quota", 1)));
}

async fn idle_timeout(bench: Bench) {
    bench.serve(|parts| parts.idle_timeout = Some(Duration::from_secs(1))).await;
    let (_, mut client) = bench.served().await;
    Bench::is_ended(&bench.meter(), &mut client).await;
}

/// A client and its target, both of which do as the test says.
async fn pair(bench: &Bench, change: impl FnOnce(&mut RuleParts)) -> (TcpStream, TcpStream) {
    let first = free_ports(2);
    let listener =
        TcpListener::bind(("127.0.0.1", first + u16::from(bench.path == Path::Range))).await.expect("a free port");
    bench
        .serve(|parts| {
            parts.targets = vec![target_at(bench.path, first)];
            change(parts);
        })
        .await;
    let client = TcpStream::connect(("127.0.0.1", bench.port)).await.expect("the rule serves");
    let (mut server, _) = timeout(LONG, listener.accept()).await.expect("the target is reached").expect("a connection");
    if bench.path == Path::Proxied {
        server.read_exact(&mut [0; 28]).await.expect("a header");
    }
    (client, server)
}

async fn half_closed_timeout(bench: Bench) {
    let (mut client, mut server) = pair(&bench, |parts| parts.half_closed_timeout = Some(Duration::from_secs(1))).await;
    let length = if bench.path == Path::Spliced { 1 << 20 } else { 100 };
    let start = Instant::now();
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    // What moves the other way keeps it open, for longer than the timeout.
    for _ in 0..4 {
        let (sent, mut read) = (vec![7; length], vec![0; length]);
        let moving = async { tokio::join!(server.write_all(&sent), client.read_exact(&mut read)) };
        let (sending, reading) = timeout(LONG, moving).await.expect("bytes move");
        sending.unwrap();
        reading.unwrap();
        let_pass(Duration::from_millis(500)).await;
    }
    assert!(is_reset(&mut client).await && start.elapsed() >= Duration::from_millis(2500));
    ends_with(&bench, Break::EdgeHalfClosed).await;
}

async fn stalled_timeout(bench: Bench) {
    let (client, mut server) = pair(&bench, |parts| parts.stalled_timeout = Some(Duration::from_secs(1))).await;
    // One that has nothing waiting is not stalled, however long it is idle.
    let_pass(Duration::from_secs(2)).await;
    let sending = tokio::spawn(async move { while server.write_all(&[7; 16 << 10]).await.is_ok() {} });
    ends_with(&bench, Break::EdgeStalled).await;
    timeout(LONG, sending).await.expect("the sender learns of it").unwrap();
    drop(client);
}

async fn ends_with(bench: &Bench, why: Break) {
    let meter = bench.meter();
    wait_until(|| meter.active() == 0).await;
    assert_eq!(broken(&meter), [(why, 1)]);
}

async fn connect_timeout(bench: Bench) {
    let hole = free_ports(2);
    let address = SocketAddr::from(([127, 0, 0, 1], hole + u16::from(bench.path == Path::Range)));
    let _hole = BlackHole::at(address);
    bench
        .serve(|parts| {
            parts.targets[0] = target_at(bench.path, hole);
            parts.connect_timeout = Duration::from_millis(400);
        })
        .await;
    let start = Instant::now();
    assert_eq!(bench.served().await.0, 'b');
    assert!(start.elapsed() >= Duration::from_millis(400));
}

async fn drain_timeout(bench: Bench) {
    bench.serve(|parts| parts.drain_timeout = Duration::from_secs(1)).await;
    let (_, mut client) = bench.served().await;
    let (meter, start) = (bench.meter(), Instant::now());
    apply(&bench.edge, 9, &[]).await;
    Bench::is_ended(&meter, &mut client).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
}

async fn listen_address(bench: Bench) {
    let other = IpAddr::from([127, 0, 0, 2]);
    bench.serve(|parts| parts.listen.address = ListenAddress::Ip(other)).await;
    let at = SocketAddr::from(([127, 0, 0, 1], bench.port));
    let refused = if bench.path == Path::Datagrams {
        let socket = client().await;
        socket.connect(at).await.unwrap();
        socket.send(b"?").await.unwrap();
        // What nobody listens for is answered by the kernel.
        timeout(LONG, socket.recv(&mut [0; 10])).await.expect("an error").map(drop)
    } else {
        TcpStream::connect(at).await.map(drop)
    };
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(bench.served_at(other).await.0, 'a');
}

/// Both targets are asked at one place, so both of them fail with it.
async fn on_target_down(bench: Bench) {
    for (after, live_ones_end) in [(OnTargetDown::Drain, false), (OnTargetDown::Reset, true)] {
        let checks = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = checks.local_addr().unwrap().port();
        bench
            .serve(|parts| {
                parts.on_target_down = after;
                parts.health = Some(HealthCheck {
                    rise: 1,
                    fall: 1,
                    timeout_ms: 900,
                    jitter_percent: 0,
                    port: Some(port),
                    ..HealthCheck::new(HealthKind::Tcp, 1)
                });
            })
            .await;
        let are = async |state: TargetState| {
            wait_for(&bench.edge, |status| {
                let view = status.rule("web").and_then(|rule| rule.health.as_ref());
                view.is_some_and(|view| view.targets.iter().all(|target| target.state == state.as_str()))
            })
            .await
        };
        are(TargetState::Up).await;
        let (tag, mut client) = bench.served().await;
        assert_eq!(tag, 'a');
        drop(checks);
        are(TargetState::Down).await;
        if live_ones_end {
            Bench::is_ended(&bench.meter(), &mut client).await;
        } else {
            bench.talk(&mut client).await;
            drop(client);
        }
        // The last resort is the most preferred target, which the check is wrong about.
        assert_eq!(bench.served().await.0, 'a');
        apply(&bench.edge, bench.edge.status().accepted.generation + 1, &[]).await;
    }
}

/// `c` listens at the IPv6 address of a name and `a` at its IPv4 address; an address has no other family to prefer.
async fn prefer_ipv6(bench: Bench) {
    let port = bench.targets[0].ports.first();
    let Ok(listener) = TcpListener::bind(("::1", port)).await else {
        return skipped("prefer_ipv6: this host has no IPv6 loopback");
    };
    tokio::spawn(answer(listener, "c", Arc::clone(&bench.header)));
    bench.dns.say("here.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()], 300));
    for (prefers, preferred) in [(false, 'a'), (true, 'c')] {
        bench.serve(|parts| parts.prefer_ipv6 = prefers).await;
        let expected = if bench.path == Path::Named { preferred } else { 'a' };
        assert_eq!(bench.served().await.0, expected, "prefer_ipv6 = {prefers}");
    }
}

async fn proxy_protocol(bench: Bench) {
    for version in [Some(ProxyProtocol::V1), None, Some(ProxyProtocol::V2)] {
        bench.serve(|parts| parts.targets.iter_mut().for_each(|target| target.proxy_protocol = version)).await;
        assert_eq!(bench.served().await.0, 'a', "{version:?}");
    }
}

async fn udp_max_flows(bench: Bench) {
    bench.serve(|parts| parts.udp_max_flows = 1).await;
    let (_, mut held) = bench.served().await;
    bench.turns_away().await;
    assert!(bench.meter().figures().flows_dropped_overflow >= 1);
    bench.talk(&mut held).await;
}

async fn udp_flow_idle(bench: Bench) {
    bench.serve(|parts| parts.udp_flow_idle = Duration::from_secs(1)).await;
    let (_, mut client) = bench.served().await;
    Bench::is_ended(&bench.meter(), &mut client).await;
}

async fn sni(bench: Bench) {
    bench
        .serve(|parts| {
            parts.sni = vec![ServerName::parse("a.example").unwrap()];
            parts.sni_timeout = Duration::from_millis(200);
        })
        .await;
    let hello = hello("a.example");
    let mut stream = connect(bench.port).await;
    stream.write_all(&hello).await.unwrap();
    let mut answer = vec![0; 1 + hello.len()];
    timeout(LONG, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!((answer[0], &answer[1..]), (b'a', &hello[..]));
    bench.talk(&mut ways::Client::Stream(stream)).await;
    assert!(is_reset(&mut connect(bench.port).await).await, "a client that says nothing");
    assert_eq!(*bench.meter().figures().sni.of(SniResult::Exact), 1);
}
