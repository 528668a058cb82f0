//! Targets' names against a real name server: how long answers live, what failures cost, whose file is asked first.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use edge::act::names::{NameError, Names, ResolverFiles};
use edge::act::runtime;
use edge::decide::names::Limits;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use schema::rule::Host;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dns::{Dns, Reply};
use crate::support::{LONG, apply, connect, free_ports, is_turned_away, let_pass, limits, ping, to, wait_until};

const NAME: &str = "db.test";

/// Minutes as fractions of a second.
fn short() -> Limits {
    Limits {
        ttl_min: Duration::from_millis(200),
        ttl_max: Duration::from_millis(400),
        stale: Duration::from_millis(600),
        retry: Duration::from_millis(20),
        ..Limits::default()
    }
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

async fn resolve(names: &Names, name: &str) -> Result<Vec<IpAddr>, NameError> {
    timeout(LONG, names.resolve(name.into())).await.expect("an answer").map(|addresses| addresses.to_vec())
}

#[tokio::test]
async fn both_families_come_in_the_order_of_the_answer_and_cost_one_query_each() {
    let dns = Dns::start().await;
    let all = ips(&["2001:db8::9", "2001:db8::1", "10.0.0.3", "10.0.0.1", "10.0.0.2"]);
    dns.say(NAME, Reply::Addresses(all.clone(), 60));
    let names = Names::start(dns.source());
    assert_eq!(names.known(NAME), None);
    let mut askers = JoinSet::new();
    for _ in 0..100 {
        let names = names.clone();
        askers.spawn(async move { resolve(&names, NAME).await });
    }
    assert_eq!(askers.join_all().await, vec![Ok(all.clone()); 100]);
    assert_eq!(names.known(NAME).as_deref(), Some(&all[..]));
    assert_eq!(resolve(&names, NAME).await, Ok(all));
    assert_eq!((dns.asked(NAME, RecordType::A), dns.asked(NAME, RecordType::AAAA)), (1, 1));
}

#[tokio::test]
async fn an_answer_that_nobody_uses_lives_as_long_as_its_ttl_allows_and_is_not_fetched_again() {
    // Clamped both ways, and the shorter of an alias and what it stands for.
    let one = || ips(&["10.0.0.1"]);
    for (reply, lifetime) in
        [(Reply::Addresses(one(), 0), 200), (Reply::Addresses(one(), 86_400), 400), (Reply::Alias(one(), 0, 600), 200)]
    {
        let dns = Dns::start().await;
        dns.say(NAME, reply);
        let names = Names::with_limits(dns.source(), short());
        assert_eq!(resolve(&names, NAME).await, Ok(one()));
        // Looking would be using it.
        let_pass(Duration::from_millis(lifetime + 50)).await;
        assert_eq!((names.known(NAME), dns.asked(NAME, RecordType::A)), (None, 1), "{lifetime}");
    }
}

#[tokio::test]
async fn an_answer_in_use_is_fetched_in_the_background_and_never_missing() {
    let dns = Dns::start().await;
    dns.say(NAME, Reply::Addresses(ips(&["10.0.0.1"]), 0));
    let names = Names::with_limits(dns.source(), Limits { stale: LONG, ..short() });
    resolve(&names, NAME).await.unwrap();
    let is_known = || names.known(NAME).expect("known all the time");
    wait_until(|| !is_known().is_empty() && dns.asked(NAME, RecordType::A) == 4).await;
    dns.say(NAME, Reply::Addresses(ips(&["10.0.0.2"]), 0));
    wait_until(|| *is_known() == ips(&["10.0.0.2"])).await;
}

#[tokio::test]
async fn the_last_known_address_serves_while_the_name_servers_are_away() {
    let dns = Dns::start().await;
    dns.say(NAME, Reply::Addresses(ips(&["10.0.0.1"]), 0));
    let names = Names::with_limits(dns.source(), short());
    resolve(&names, NAME).await.unwrap();
    dns.say(NAME, Reply::Error(ResponseCode::ServFail));
    let asked = dns.asked(NAME, RecordType::A);
    // Its life and what comes after it are over many times.
    let_pass(Duration::from_millis(2500)).await;
    assert_eq!(resolve(&names, NAME).await, Ok(ips(&["10.0.0.1"])));
    wait_until(|| names.known(NAME).is_some() && dns.asked(NAME, RecordType::A) > asked + 1).await;
    dns.say(NAME, Reply::Addresses(ips(&["10.0.0.2"]), 60));
    wait_until(|| names.known(NAME) == Some(ips(&["10.0.0.2"]).into())).await;
}

#[tokio::test]
async fn an_answer_that_is_taken_back_is_used_for_a_while_and_not_for_longer() {
    {
        let failure = Reply::Error(ResponseCode::NXDomain);
        let dns = Dns::start().await;
        dns.say(NAME, Reply::Addresses(ips(&["10.0.0.1"]), 0));
        let names = Names::with_limits(dns.source(), short());
        let start = Instant::now();
        resolve(&names, NAME).await.unwrap();
        dns.say(NAME, failure);
        wait_until(|| names.known(NAME).is_none()).await;
        let elapsed = start.elapsed();
        assert!(elapsed >= Duration::from_millis(800), "{elapsed:?}");
        assert!(resolve(&names, NAME).await.is_err());
        // It comes back by itself for whoever asks.
        dns.say(NAME, Reply::Addresses(ips(&["10.0.0.2"]), 60));
        let back = async { while resolve(&names, NAME).await != Ok(ips(&["10.0.0.2"])) {} };
        timeout(LONG, back).await.unwrap();
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    let dns = Dns::start().await;
    dns.say("silent.test", Reply::Silence);
    dns.say("broken.test", Reply::Error(ResponseCode::ServFail));
    dns.say("refused.test", Reply::Error(ResponseCode::Refused));
    dns.say("empty.test", Reply::Addresses(Vec::new(), 60));
    let names = Names::start(dns.source());
    assert_eq!(resolve(&names, "missing.test.").await, Err(NameError::NotFound));
    assert_eq!(resolve(&names, "empty.test").await, Err(NameError::NotFound));
    assert_eq!(resolve(&names, "not a name.test").await, Err(NameError::NotFound));
    for name in ["broken.test", "refused.test"] {
        assert!(matches!(resolve(&names, name).await, Err(NameError::Failed(_))), "{name}");
    }
    assert_eq!(resolve(&names, "silent.test.").await, Err(NameError::Timeout));
}

#[tokio::test]
async fn a_cut_answer_is_fetched_over_tcp() {
    let dns = Dns::start().await;
    let many: Vec<IpAddr> = (1..=200).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    dns.say(NAME, Reply::Cut(many.clone(), 60));
    let names = Names::start(dns.source());
    assert_eq!(resolve(&names, NAME).await, Ok(many));
}

#[tokio::test]
async fn one_family_that_gets_no_answer_does_not_hold_up_the_other() {
    let dns = Dns::start().await;
    dns.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n");
    dns.say(NAME, Reply::DeafToIpv6(ips(&["10.0.0.1"]), 60));
    let names = Names::start(dns.source());
    let start = Instant::now();
    assert_eq!(resolve(&names, NAME).await, Ok(ips(&["10.0.0.1"])));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_search_domains_in_their_order() {
    let dns = Dns::start().await;
    dns.write("hosts", "127.0.0.1 localhost\n10.9.0.1 listed Listed.too # a comment\n2001:db8::1 listed\n");
    for name in ["listed.one.test", "both.one.test", "both.two.test", "second.two.test", "dotted.name"] {
        let last = u8::try_from(name.len()).unwrap();
        dns.say(name, Reply::Addresses(vec![[10, 0, 0, last].into()], 60));
    }
    let names = Names::start(dns.source());
    assert_eq!(resolve(&names, "listed").await, Ok(ips(&["2001:db8::1", "10.9.0.1"])));
    assert_eq!(resolve(&names, "listed.too").await, Ok(ips(&["10.9.0.1"])));
    assert_eq!(resolve(&names, "localhost").await, Ok(ips(&["127.0.0.1"])));
    assert_eq!(dns.asked("listed.one.test", RecordType::A), 0);
    assert_eq!(resolve(&names, "both").await, Ok(ips(&["10.0.0.13"])));
    assert_eq!(resolve(&names, "second").await, Ok(ips(&["10.0.0.15"])));
    assert_eq!(resolve(&names, "dotted.name").await, Ok(ips(&["10.0.0.11"])));
    assert_eq!(dns.asked("dotted.name.one.test", RecordType::A), 0);
}

#[tokio::test]
async fn changed_files_are_read_again_and_missing_ones_are_missed_by_nobody_else() {
    let dns = Dns::start().await;
    std::fs::remove_file(dns.path("resolv.conf")).unwrap();
    dns.write("hosts", "10.0.0.1 listed\n");
    dns.say(NAME, Reply::Addresses(ips(&["10.0.0.3"]), 60));
    let names = Names::with_limits(dns.source(), short());
    assert_eq!(resolve(&names, "listed").await, Ok(ips(&["10.0.0.1"])));
    assert_eq!(resolve(&names, NAME).await, Err(NameError::NoServer));
    // RFC 6761: it needs no file at all.
    assert_eq!(resolve(&names, "localhost").await, Ok(ips(&["::1", "127.0.0.1"])));
    dns.write("hosts", "10.0.0.22 listed\n");
    wait_until(|| names.known("listed").is_none_or(|addresses| *addresses == ips(&["10.0.0.22"]))).await;
    assert_eq!(resolve(&names, "listed").await, Ok(ips(&["10.0.0.22"])));
    dns.write("resolv.conf", "nameserver 127.0.0.1\n");
    let back = async { while resolve(&names, NAME).await != Ok(ips(&["10.0.0.3"])) {} };
    timeout(LONG, back).await.unwrap();
}

/// A target that greets with its tag, on the same port of another loopback address.
async fn greeter(address: (&str, u16), tag: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                // A client that resets ends its own connection only.
                _ = tokio::io::AsyncWriteExt::write_all(&mut writer, tag).await;
                _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    port
}

async fn greeted(port: u16) -> (tokio::net::TcpStream, u8) {
    let mut stream = connect(port).await;
    let tag = timeout(LONG, stream.read_u8()).await.unwrap().unwrap();
    (stream, tag)
}

#[tokio::test]
async fn a_changed_answer_moves_new_connections_only_and_failures_are_counted_apart() {
    let dns = Dns::start().await;
    dns.say(NAME, Reply::Addresses(ips(&["127.0.0.1"]), 0));
    let names = Names::with_limits(dns.source(), short());
    let edge = runtime::start(limits(), names, None, None).await.0;
    let port = free_ports(2);
    let target = greeter(("127.0.0.1", 0), b"1").await;
    greeter(("127.0.0.2", target), b"2").await;
    let named = |name: &'static str| {
        move |parts: &mut schema::rule::RuleParts| parts.targets[0].host = Host::parse(name).unwrap()
    };
    let address = ([127, 0, 0, 1], target).into();
    let rules = [to("web", port, address, named(NAME)), to("gone", port + 1, address, named("gone.test"))];
    let status = apply(&edge, 1, &rules).await;

    let (mut old, tag) = greeted(port).await;
    assert_eq!(tag, b'1');
    dns.say(NAME, Reply::Addresses(ips(&["127.0.0.2"]), 0));
    let moved = async { while greeted(port).await.1 != b'2' {} };
    timeout(LONG, moved).await.unwrap();
    ping(&mut old, b"still there").await;

    for _ in 0..3 {
        assert!(is_turned_away(port + 1).await);
    }
    let figures = |name: &str| status.rule(name).unwrap().meter.as_ref().unwrap().figures();
    assert_eq!((figures("gone").dns_failures, figures("gone").connect_errors.sum()), (3, 0));
    assert_eq!((figures("web").dns_failures, figures("web").connect_errors.sum()), (0, 0));
}

#[test]
fn a_source_is_this_hosts_unless_said_otherwise() {
    let ResolverFiles { resolv_conf, hosts, port } = ResolverFiles::default();
    assert_eq!((resolv_conf.to_str(), hosts.to_str(), port), (Some("/etc/resolv.conf"), Some("/etc/hosts"), 53));
}
