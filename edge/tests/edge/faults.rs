//! Peers that refuse, reset, fall silent, never read or hardly write, and a name that is the edge itself: after each,
//! descriptors, connections and memory are where they were.

use std::time::Duration;

use edge::act::names::Names;
use edge::act::runtime::{self, RuntimeHandle};
use schema::rule::{Host, RuleParts};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dns::{Dns, Reply};
use crate::support::{
    LONG, alone, apply, connect, echo, free_ports, is_turned_away, let_pass, limits, ping, runtime, target, to,
};

/// Memory that allocators may keep, in KiB. A leak of a buffer or of a kibibyte per connection is more.
const KEPT: u64 = 4 << 10;
/// Processor time that a stretch without work may cost, in hundredths of a second; timers and the runtime take some.
const REST: u64 = 10;

/// Something to send.
static BULK: [u8; 1 << 20] = [7; 1 << 20];

/// Memory of this process, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Processor time of this process so far, in hundredths of a second.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn rests() {
    let start = processor_time();
    let_pass(Duration::from_millis(500)).await;
    let spent = processor_time() - start;
    assert!(spent < REST, "{spent} hundredths of a second with nothing to do");
}

/// Looks again after a while, until the edge holds nothing any more.
async fn wait_returned(edge: &RuntimeHandle, open: usize) {
    let waiting = async {
        while edge.connections().count() > 0 || descriptors() > open {
            let_pass(Duration::from_millis(50)).await;
        }
    };
    let is_back = timeout(LONG, waiting).await.is_ok();
    assert!(is_back, "{} connections, {} descriptors, {open} before", edge.connections().count(), descriptors());
}

/// Lets a fault happen once, so that what grows once has grown, and then again and again: all that it took comes back.
async fn comes_back(edge: &RuntimeHandle, mut fault: impl AsyncFnMut()) {
    const ROUNDS: usize = 3;
    // Each worker keeps the socket by which it asks the kernel what a peer has acknowledged, once it had to.
    let asking = std::thread::available_parallelism().map_or(1, usize::from);
    let open = descriptors() + asking;
    fault().await;
    wait_returned(edge, open).await;
    let before = memory();
    for _ in 0..ROUNDS {
        fault().await;
    }
    wait_returned(edge, open).await;
    let after = memory();
    assert!(after <= before + KEPT, "{before} KiB before, {after} KiB after");
}

/// Does something often, 50 at a time.
async fn often<F: Future<Output = ()> + Send + 'static>(times: usize, act: impl Fn() -> F) {
    let mut acts = JoinSet::new();
    for _ in 0..times {
        if acts.len() == 50 {
            acts.join_next().await.unwrap().unwrap();
        }
        acts.spawn(act());
    }
    acts.join_all().await;
}

/// Connect errors of a rule by their cause.
fn errors(edge: &RuntimeHandle, rule: &str) -> Vec<(String, u64)> {
    let figures = edge.status().rule(rule).unwrap().figures();
    figures.connect_errors.iter().map(|(cause, count)| (cause.to_owned(), count)).collect()
}

#[test]
fn targets_that_refuse_cost_nothing_that_stays() {
    alone("faults::targets_that_refuse_cost_nothing_that_stays", async {
        let edge = runtime().await;
        let port = free_ports(2);
        apply(&edge, 1, &[to("web", port, ([127, 0, 0, 1], port + 1).into(), |_| ())]).await;
        comes_back(&edge, async || often(1000, || async move { assert!(is_turned_away(port).await) }).await).await;
        assert_eq!(errors(&edge, "web"), [("refused".to_owned(), 4000)]);
    });
}

/// Reads to the end without keeping anything: what the test itself holds would be taken for a leak.
async fn drain(mut reader: impl AsyncRead + Unpin) -> std::io::Result<usize> {
    let (mut buffer, mut count) = ([0; 4096], 0);
    loop {
        match reader.read(&mut buffer).await? {
            0 => return Ok(count),
            more => count += more,
        }
    }
}

async fn resets_in_the_middle(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let some = drain((&mut stream).take(100_000)).await.unwrap();
            stream.write_all(&BULK[..some]).await.unwrap();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        });
    }
}

#[test]
fn targets_that_reset_in_the_middle_end_both_sides() {
    alone("faults::targets_that_reset_in_the_middle_end_both_sides", async {
        let edge = runtime().await;
        let (listener, address) = target().await;
        tokio::spawn(resets_in_the_middle(listener));
        let port = free_ports(1);
        apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
        let one = move || async move {
            let mut client = connect(port).await;
            let (mut reader, mut writer) = client.split();
            let both = async { tokio::join!(writer.write_all(&BULK), drain(&mut reader)) };
            let (written, read) = timeout(LONG, both).await.expect("both directions end");
            assert!(written.is_err() || read.is_err(), "one of them says that it was a reset");
        };
        comes_back(&edge, async || often(300, one).await).await;
    });
}

#[test]
fn a_target_that_is_a_black_hole_holds_up_nobody_else() {
    alone("faults::a_target_that_is_a_black_hole_holds_up_nobody_else", async {
        let edge = runtime().await;
        // A full accept queue: the kernel drops every further SYN.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let hole = silent.local_addr().unwrap().as_socket().unwrap();
        let _queued = std::net::TcpStream::connect(hole).unwrap();
        let (port, echo) = (free_ports(2), echo("").await);
        let soon = |parts: &mut RuleParts| parts.connect_timeout = Duration::from_millis(300);
        apply(&edge, 1, &[to("hole", port, hole, soon), to("web", port + 1, echo, |_| ())]).await;
        comes_back(&edge, async || {
            let mut lost = JoinSet::new();
            for _ in 0..200 {
                lost.spawn(is_turned_away(port));
            }
            while !lost.is_empty() {
                ping(&mut connect(port + 1).await, b"beside it").await;
                while let Some(is_reset) = lost.try_join_next() {
                    assert!(is_reset.unwrap());
                }
            }
        })
        .await;
        assert_eq!(errors(&edge, "hole"), [("timeout".to_owned(), 800)]);
        assert_eq!(errors(&edge, "web"), []);
    });
}

/// Writes until nothing moves any more.
async fn fill(stream: &mut TcpStream) {
    while timeout(Duration::from_millis(200), stream.write(&BULK[..64 << 10])).await.is_ok() {}
}

#[test]
fn targets_that_accept_and_never_read_cost_neither_processor_nor_memory() {
    const CLIENTS: u64 = 64;
    alone("faults::targets_that_accept_and_never_read_cost_neither_processor_nor_memory", async {
        let edge = runtime().await;
        let (listener, address) = target().await;
        let port = free_ports(1);
        apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
        let mut is_first = true;
        comes_back(&edge, async || {
            let mut filling = JoinSet::new();
            let (mut held, before) = (Vec::new(), memory());
            for _ in 0..CLIENTS {
                let mut client = connect(port).await;
                held.push(listener.accept().await.unwrap());
                filling.spawn(async move {
                    timeout(LONG, fill(&mut client)).await.expect("queues are bounded");
                    client
                });
            }
            let clients = filling.join_all().await;
            rests().await;
            let each = memory().saturating_sub(before) / CLIENTS;
            // The first ones bring the buffers of the workers and the stacks of threads.
            assert!(std::mem::take(&mut is_first) || each <= 16, "{each} KiB each, both peers of it included");
            for client in &clients {
                SockRef::from(client).set_linger(Some(Duration::ZERO)).unwrap();
            }
        })
        .await;
    });
}

#[test]
fn clients_that_send_a_byte_seldom_wait_for_nothing_and_cost_nothing_between() {
    const CLIENTS: usize = 500;
    alone("faults::clients_that_send_a_byte_seldom_wait_for_nothing_and_cost_nothing_between", async {
        let edge = runtime().await;
        let (port, echo) = (free_ports(1), echo("").await);
        apply(&edge, 1, &[to("web", port, echo, |_| ())]).await;
        comes_back(&edge, async || {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                clients.push(connect(port).await);
            }
            for byte in 0..3 {
                for client in &mut clients {
                    // One at a time: were it held back, the whole would take longer than anybody waits.
                    ping(client, &[byte]).await;
                }
                rests().await;
            }
        })
        .await;
    });
}

#[test]
fn a_name_that_is_the_edge_itself_makes_no_loop() {
    alone("faults::a_name_that_is_the_edge_itself_makes_no_loop", async {
        let dns = Dns::start().await;
        dns.say("self.test", Reply::Addresses(vec![[127, 0, 0, 1].into()], 60));
        let edge = runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
        let port = free_ports(1);
        let named = |parts: &mut RuleParts| parts.targets[0].host = Host::parse("self.test").unwrap();
        let status = apply(&edge, 1, &[to("web", port, ([127, 0, 0, 1], port).into(), named)]).await;
        comes_back(&edge, async || often(100, || async move { assert!(is_turned_away(port).await) }).await).await;
        // No hop through itself: every connection is counted once.
        let figures = status.rule("web").unwrap().meter.as_ref().unwrap().figures();
        assert_eq!((figures.connections_total, figures.dns_failures), (400, 0));
        assert_eq!(errors(&edge, "web"), [("loop".to_owned(), 400)]);
    });
}
