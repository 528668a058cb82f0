//! A port that rules share by name: they come and go, switch from and to a plain port, and take only their own.

use std::num::NonZeroU32;
use std::time::Duration;

use schema::codes::RuleCode;
use schema::net::PortRange;
use schema::rule::RuleParts;
use schema::state::RuleState;
use schema::testing::rule_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::sni::{SHORT, asks, hello, names, results, tls_error};
use crate::support::{
    LONG, apply, connect, echo, echo_at, free_ports, is_reset, let_pass, ping, runtime, target, to, wait_for,
    wait_until,
};

/// Asks for a name again and again; every client has to get its answer.
struct Asker {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<usize>,
}

impl Asker {
    fn start(port: u16, name: &'static str, tags: &'static str) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut count = 0;
            while !stopped.is_cancelled() {
                let (tag, _) = asks(port, name).await;
                assert!(tags.contains(tag), "{name} led to {tag}");
                count += 1;
            }
            count
        });
        Self { stop, task }
    }

    async fn stop(self) -> usize {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_port_goes_from_plain_to_names_and_back_without_a_refused_connect() {
    let edge = runtime().await;
    let (port, one, other) = (free_ports(1), echo("a").await, echo("b").await);
    let soon = |parts: &mut RuleParts| parts.drain_timeout = SHORT;
    let plain = [to("a", port, one, soon)];
    let shared = [
        to("a", port, one, |parts| {
            names(&["a.example"])(parts);
            soon(parts);
        }),
        to("b", port, other, |parts| {
            names(&["b.example", "*.b.example"])(parts);
            parts.drain_timeout = Duration::from_secs(3);
        }),
    ];
    apply(&edge, 1, &plain).await;
    let mut live = connect(port).await;
    ping(&mut live, b"").await;
    let asker = Asker::start(port, "a.example", "a");
    let (_, mut of_b) = {
        apply(&edge, 2, &shared).await;
        asks(port, "b.example").await
    };
    for round in 0..20 {
        let status = apply(&edge, 3 + round, if round % 2 == 0 { &plain } else { &shared }).await;
        assert_eq!(status.listeners, 1);
        let_pass(Duration::from_millis(20)).await;
    }
    assert!(edge.status().rules.iter().all(|rule| rule.state == RuleState::Active));
    // Past the drain timeout: who came when the port was plain has its rule still.
    let_pass(SHORT * 2).await;
    let mut tag = [0];
    live.read_exact(&mut tag).await.unwrap();
    assert_eq!(&tag, b"a");
    ping(&mut live, b"still here").await;
    // The rule of the other one went for a moment and came back in time.
    ping(&mut of_b, b"spared").await;
    assert!(asker.stop().await > 20);
    let status = apply(&edge, 100, &plain).await;
    assert_eq!(status.listeners, 1);
    assert!(is_reset(&mut of_b).await, "its rule does not come back");
    ping(&mut live, b"and here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rules_come_and_go_on_a_shared_port_and_take_only_their_own_connections() {
    let edge = runtime().await;
    let (port, one, other) = (free_ports(1), echo("a").await, echo("b").await);
    let with = |name: &str, server_name: &str, target| {
        to(name, port, target, |parts| {
            names(&[server_name])(parts);
            parts.drain_timeout = SHORT;
        })
    };
    let (a, b) = (with("a", "a.example", one), with("b", "b.example", one));
    apply(&edge, 1, &[a.clone(), b.clone()]).await;
    let asker = Asker::start(port, "b.example", "a");
    let (mut of_a, mut of_b) = (asks(port, "a.example").await.1, asks(port, "b.example").await.1);

    // Another rule with the same target has no claim to the connections of the first one.
    apply(&edge, 2, std::slice::from_ref(&b)).await;
    assert!(is_reset(&mut of_a).await);
    ping(&mut of_b, b"b").await;
    let refused = tls_error(port, "a.example").await;
    assert!(refused.contains("UnrecognisedName"), "{refused}");

    // A renamed one keeps them, and its counters.
    apply(&edge, 3, &[a, b]).await;
    let (mut of_a, total) = (asks(port, "a.example").await.1, results(&edge.status(), "a")[0]);
    apply(&edge, 4, &[with("new", "a.example", one), with("b", "b.example", one)]).await;
    ping(&mut of_a, b"renamed").await;
    let status = edge.status();
    assert_eq!((results(&status, "new")[0], status.rule("a").is_none()), (total, true));

    // A target that changes concerns one rule.
    apply(&edge, 5, &[with("new", "a.example", other), with("b", "b.example", one)]).await;
    assert!(is_reset(&mut of_a).await);
    assert_eq!(asks(port, "a.example").await.0, 'b');
    ping(&mut of_b, b"b").await;
    assert!(asker.stop().await > 0);
    let status = apply(&edge, 6, &[]).await;
    assert_eq!(status.listeners, 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_the_fallback_of_a_port_within_it_and_keeps_its_connections() {
    let edge = runtime().await;
    let (first, one) = (free_ports(3), echo("a").await);
    let targets = free_ports(3);
    for port in targets..targets + 3 {
        echo_at(([127, 0, 0, 1], port).into(), "r").await;
    }
    let range = rule_with("range", 1, 1, |parts| {
        parts.listen.ports = PortRange::new(first, first + 2).unwrap();
        parts.targets[0].ports = PortRange::new(targets, targets + 2).unwrap();
        parts.drain_timeout = SHORT;
    });
    let named = to("named", first + 1, one, |parts| {
        names(&["a.example"])(parts);
        parts.drain_timeout = SHORT;
    });
    apply(&edge, 1, std::slice::from_ref(&range)).await;
    let mut live = Vec::new();
    for port in first..first + 3 {
        live.push(asks(port, "other.example").await.1);
    }
    let status = apply(&edge, 2, &[range.clone(), named.clone()]).await;
    assert_eq!(status.listeners, 3);
    assert!(status.rules.iter().all(|rule| rule.state == RuleState::Active));
    for (port, name, tag) in [
        (first, "a.example", 'r'),
        (first + 1, "a.example", 'a'),
        (first + 1, "b.example", 'r'),
        (first + 2, "a.example", 'r'),
    ] {
        assert_eq!(asks(port, name).await.0, tag, "{name} on {port}");
    }
    assert_eq!(results(&edge.status(), "range"), [0, 0, 1], "only where it is a fallback");
    let mut of_a = asks(first + 1, "a.example").await.1;
    // The range goes: only its own connections do, and its port is open for the names.
    apply(&edge, 3, std::slice::from_ref(&named)).await;
    for stream in &mut live {
        assert!(is_reset(stream).await);
    }
    ping(&mut of_a, b"still here").await;
    let refused = tls_error(first + 1, "b.example").await;
    assert!(refused.contains("UnrecognisedName"), "{refused}");
    assert!(TcpStream::connect(("127.0.0.1", first)).await.is_err());
    // It comes back, and the names go.
    let status = apply(&edge, 4, &[range]).await;
    assert_eq!(status.listeners, 3);
    assert!(is_reset(&mut of_a).await);
    assert_eq!(asks(first + 1, "a.example").await.0, 'r');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_counters_are_each_rules_own() {
    let edge = runtime().await;
    let (port, one, other) = (free_ports(1), echo("a").await, echo("b").await);
    let one_only = |parts: &mut RuleParts| {
        names(&["a.example"])(parts);
        parts.max_connections = NonZeroU32::new(1);
    };
    apply(&edge, 1, &[to("a", port, one, one_only), to("b", port, other, names(&["b.example"]))]).await;
    let (_, _held) = asks(port, "a.example").await;
    let mut second = connect(port).await;
    second.write_all(&hello("a.example")).await.unwrap();
    assert!(is_reset(&mut second).await);
    let (_, _other) = asks(port, "b.example").await;
    let status = edge.status();
    let of = |rule: &str| status.rule(rule).unwrap().meter.as_ref().unwrap().figures();
    assert_eq!((of("a").active_connections, of("a").connections_refused), (1, 1));
    assert_eq!((of("b").active_connections, of("b").connections_refused), (1, 0));
    assert_eq!((of("a").connections_total, of("b").connections_total), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_share_a_port_in_use_all_fail_and_all_heal() {
    let edge = runtime().await;
    let (port, target) = (free_ports(2), echo("a").await);
    let stranger = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
    let rules = [to("a", port, target, names(&["a.example"])), to("b", port, target, names(&["b.example"]))];
    let status = apply(&edge, 1, &rules).await;
    let codes: Vec<_> = status.rules.iter().map(|rule| (rule.state, rule.code)).collect();
    assert_eq!(codes, [(RuleState::Failed, Some(RuleCode::PortInUse)); 2]);
    drop(stranger);
    let status = wait_for(&edge, |status| status.rules.iter().all(|rule| rule.state == RuleState::Active)).await;
    assert_eq!(status.listeners, 1);
    for name in ["a.example", "b.example"] {
        asks(port, name).await;
    }
    // One of them goes elsewhere, where it cannot; the name that it leaves is claimed by nobody meanwhile.
    let _stranger = std::net::TcpListener::bind(("0.0.0.0", port + 1)).unwrap();
    let moved = [to("a", port + 1, target, names(&["a.example"])), to("b", port, target, names(&["a.example"]))];
    let status = apply(&edge, 2, &moved).await;
    let failed = status.rule("b").unwrap();
    assert_eq!((failed.state, failed.code), (RuleState::Failed, Some(RuleCode::PortInUse)));
    assert!(failed.message.contains("a.example") && failed.message.contains("`a`"), "{}", failed.message);
    asks(port, "b.example").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_waits_for_its_rule_only_as_long_as_its_port_is_served() {
    let edge = runtime().await;
    let ((listener, address), port) = (target().await, free_ports(1));
    apply(&edge, 1, &[to("a", port, address, names(&["a.example"]))]).await;
    let (mut plain, mut released) = (connect(port).await, connect(port).await);
    wait_until(|| edge.connections().count() == 2).await;
    // It asks when no name is asked for any more.
    apply(&edge, 2, &[to("a", port, address, |_| ())]).await;
    plain.write_all(&hello("b.example")).await.unwrap();
    let (mut accepted, _) = timeout(LONG, listener.accept()).await.expect("a connection").unwrap();
    let mut got = vec![0; hello("b.example").len()];
    accepted.read_exact(&mut got).await.unwrap();
    assert_eq!(got, hello("b.example"));
    apply(&edge, 3, &[]).await;
    released.write_all(&hello("a.example")).await.unwrap();
    assert!(is_reset(&mut released).await);
}
