//! What connections live through beside HAProxy and nginx: the same scenario through each, in a network of its own.
//!
//! Keeps: whatever one of them delivers, the edge delivers as well.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use edge::act::liveness::hurry;
use edge::act::runtime::RuntimeHandle;
use schema::health::{HealthCheck, HealthKind};
use schema::rule::{ProxyProtocol, RuleParts};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connections::reset_on_close;
use crate::daemons::Daemon;
use crate::delivery::{acknowledged, pattern, read_all};
use crate::support::{LONG, alone_in_network, apply, connect, free_ports, let_pass, runtime, target, to, wait_for};

/// The edge.
const OWN: &str = "portunus";
/// A scenario that a forwarder has no end for is left after so long.
const ENOUGH: Duration = Duration::from_secs(3);

/// The edge and those beside it, all before one target.
struct Beside {
    _edge: RuntimeHandle,
    listener: TcpListener,
    all: Vec<(&'static str, u16)>,
    _daemons: Vec<Daemon>,
}

impl Beside {
    async fn start(change: impl FnOnce(&mut RuleParts), haproxy: &str) -> Self {
        let edge = runtime().await;
        let ((listener, address), port) = (target().await, free_ports(3));
        apply(&edge, 1, &[to("web", port, address, change)]).await;
        let (mut all, mut running) = (vec![(OWN, port)], Vec::new());
        let daemons = [
            ("haproxy", Daemon::haproxy(port + 1, address.port(), haproxy).await),
            ("nginx", Daemon::nginx(port + 2, address.port()).await),
        ];
        for ((who, daemon), port) in daemons.into_iter().zip(port + 1..) {
            if let Some(daemon) = daemon {
                all.push((who, port));
                running.push(daemon);
            }
        }
        Self { _edge: edge, listener, all, _daemons: running }
    }

    /// Both ends of a connection through one of them; the client has room for little where it is narrow.
    async fn pair(&self, port: u16, is_narrow: bool) -> (TcpStream, TcpStream) {
        let client = if is_narrow {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
            socket.set_nonblocking(true).unwrap();
            TcpStream::from_std(socket.into()).unwrap()
        } else {
            connect(port).await
        };
        (client, timeout(LONG, self.listener.accept()).await.expect("the target is dialled").unwrap().0)
    }
}

/// What came of each, the edge first: it delivers everything, and no other one more.
fn is_delivered(whole: &[u8], found: &[(&'static str, Vec<u8>)]) {
    let lengths: Vec<_> = found.iter().map(|(who, got)| (*who, got.len())).collect();
    assert!(found[0].0 == OWN && found[0].1 == whole, "of {}: {lengths:?}", whole.len());
    assert!(found.iter().all(|(_, got)| whole.starts_with(got)), "of {}: {lengths:?}", whole.len());
}

/// Reads until the connection ends, or nothing comes any more.
async fn read_what_comes(stream: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(Ok(length @ 1..)) = timeout(ENOUGH, stream.read(&mut buffer)).await {
        all.extend(&buffer[..length]);
    }
    all
}

#[test]
fn a_reset_takes_back_nothing_from_a_client_with_little_room() {
    const NAME: &str = "beside::a_reset_takes_back_nothing_from_a_client_with_little_room";
    alone_in_network(NAME, async {
        let beside = Beside::start(|_| (), "").await;
        let mut found = Vec::new();
        for (who, port) in &beside.all {
            let (mut client, mut server) = beside.pair(*port, true).await;
            client.write_all(b"x").await.unwrap();
            let sending = tokio::spawn(async move {
                server.peek(&mut [0; 1]).await.unwrap();
                server.write_all(&pattern(150_000)).await.unwrap();
                // Closed with a byte unread, which Linux makes a reset.
                acknowledged(&server).await;
            });
            found.push((*who, read_all(&mut client, Duration::from_millis(5)).await.0));
            sending.await.unwrap();
        }
        is_delivered(&pattern(150_000), &found);
    });
}

#[test]
fn a_reset_takes_back_nothing_from_a_client_that_reads_ten_megabytes_a_second() {
    const NAME: &str = "beside::a_reset_takes_back_nothing_from_a_client_that_reads_ten_megabytes_a_second";
    const LENGTH: usize = 5_000_000;
    alone_in_network(NAME, async {
        let beside = Beside::start(|_| (), "").await;
        let mut found = Vec::new();
        for (who, port) in &beside.all {
            let (mut client, mut server) = beside.pair(*port, false).await;
            let sending = tokio::spawn(async move {
                server.write_all(&pattern(LENGTH)).await.unwrap();
                acknowledged(&server).await;
                reset_on_close(&server);
            });
            found.push((*who, read_all(&mut client, Duration::from_micros(1600)).await.0));
            sending.await.unwrap();
        }
        is_delivered(&pattern(LENGTH), &found);
    });
}

/// As web servers do it: 413 and a close, while the client sends its body, and reads only once it has sent all of it or
/// cannot send any more. The answer may be larger than the client's window.
#[test]
fn an_answer_in_the_middle_of_an_upload_arrives_whole() {
    const NAME: &str = "beside::an_answer_in_the_middle_of_an_upload_arrives_whole";
    alone_in_network(NAME, async {
        let beside = Beside::start(|_| (), "").await;
        for (answer, upload, is_narrow) in [(60, 64 << 10, false), (30_000, 8 << 20, false), (200_000, 8 << 20, true)] {
            let mut found = Vec::new();
            for (who, port) in &beside.all {
                let (mut client, mut server) = beside.pair(*port, is_narrow).await;
                let answering = tokio::spawn(async move {
                    server.read_exact(&mut [0; 1000]).await.unwrap();
                    // Whoever takes no answer that its client does not read loses it by that.
                    _ = timeout(ENOUGH / 3, async {
                        server.write_all(&pattern(answer)).await.unwrap();
                        acknowledged(&server).await;
                    })
                    .await;
                });
                // Whether all of it went is not asked, for the target has not taken it; only that nobody waits for ever.
                let sent = timeout(LONG, client.write_all(&vec![7; upload])).await;
                assert!(*who != OWN || sent.is_ok(), "client and edge wait for each other");
                answering.await.unwrap();
                found.push((*who, read_what_comes(&mut client).await));
            }
            is_delivered(&pattern(answer), &found);
        }
    });
}

/// A client that sends for ever, and reads only what there is once that fails. HAProxy and nginx reset it at once; the
/// edge does so once the client has taken nothing of its answer for ten seconds (two here), for it may be about to.
#[test]
fn an_upload_without_an_end_ends_though_its_answer_is_larger_than_the_window() {
    const NAME: &str = "beside::an_upload_without_an_end_ends_though_its_answer_is_larger_than_the_window";
    const ANSWER: usize = 200_000;
    alone_in_network(NAME, async {
        hurry(5);
        let beside = Beside::start(|_| (), "").await;
        // How much is on its way when the end comes is a matter of moments: it is tried until nobody gets more.
        let mut tries = Vec::new();
        for _ in 0..5 {
            let mut found = Vec::new();
            for (who, port) in &beside.all {
                let (mut client, mut server) = beside.pair(*port, true).await;
                let answering = tokio::spawn(async move {
                    server.read_exact(&mut [0; 1000]).await.unwrap();
                    _ = timeout(ENOUGH / 3, server.write_all(&pattern(ANSWER))).await;
                });
                let upload = async { while client.write_all(&[7; 16 << 10]).await.is_ok() {} };
                timeout(LONG, upload).await.expect(who);
                answering.await.unwrap();
                found.push((*who, read_what_comes(&mut client).await));
            }
            let lengths: Vec<_> = found.iter().map(|(who, got)| (*who, got.len())).collect();
            assert!(found.iter().all(|(_, got)| pattern(ANSWER).starts_with(got)), "{lengths:?}");
            let is_most = lengths.iter().all(|(_, length)| *length <= lengths[0].1);
            tries.push(lengths);
            if is_most {
                return;
            }
        }
        panic!("others get more each time: {tries:?}");
    });
}

/// A little at a time is not nothing: five seconds long here, of which two in a row would be too many.
#[test]
fn a_client_that_reads_slowly_while_it_uploads_gets_its_whole_answer() {
    const NAME: &str = "beside::a_client_that_reads_slowly_while_it_uploads_gets_its_whole_answer";
    const ANSWER: usize = 200_000;
    alone_in_network(NAME, async {
        hurry(5);
        let beside = Beside::start(|_| (), "").await;
        let (client, mut server) = beside.pair(beside.all[0].1, true).await;
        let answering = tokio::spawn(async move {
            server.read_exact(&mut [0; 1000]).await.unwrap();
            server.write_all(&pattern(ANSWER)).await.unwrap();
            acknowledged(&server).await;
        });
        let (mut reader, mut writer) = client.into_split();
        let upload = tokio::spawn(async move { while writer.write_all(&[7; 16 << 10]).await.is_ok() {} });
        let (mut got, mut buffer) = (Vec::new(), [0_u8; 4096]);
        while let Ok(length @ 1..) = timeout(LONG, reader.read(&mut buffer)).await.expect("the connection ends") {
            got.extend_from_slice(&buffer[..length]);
            let_pass(Duration::from_millis(100)).await;
        }
        assert!(got == pattern(ANSWER), "{} of {ANSWER} bytes", got.len());
        timeout(LONG, upload).await.expect("the client learns that nobody takes its upload").unwrap();
        answering.await.unwrap();
    });
}

/// A forwarder that does not ask for urgent data in line loses the urgent byte itself: that one may be missing there.
#[test]
fn what_follows_urgent_data_arrives_at_once() {
    const NAME: &str = "beside::what_follows_urgent_data_arrives_at_once";
    alone_in_network(NAME, async {
        let beside = Beside::start(|_| (), "").await;
        let all = pattern(1001);
        for (who, port) in &beside.all {
            for from_target in [true, false] {
                let (client, server) = beside.pair(*port, false).await;
                let (mut sender, mut receiver) = if from_target { (server, client) } else { (client, server) };
                sender.write_all(&all[..500]).await.unwrap();
                SockRef::from(&sender).send_out_of_band(&all[500..=500]).unwrap();
                sender.write_all(&all[501..]).await.unwrap();
                let mut got = vec![0; if *who == OWN { 1001 } else { 1000 }];
                let whole = timeout(ENOUGH, receiver.read_exact(&mut got)).await;
                if *who == OWN {
                    whole.expect("what follows the mark comes without more behind it").unwrap();
                    assert!(got == all, "from target: {from_target}");
                } else if whole.is_ok() {
                    assert!(got[..500] == all[..500], "{who}, from target: {from_target}");
                }
            }
        }
    });
}

/// The times that the edge gives a peer, and those that it lets the kernel have, are twenty times shorter here: eight
/// seconds stand for 160, and a bound of two minutes would be over after six.
#[test]
fn a_reader_that_pauses_for_long_is_waited_for() {
    const NAME: &str = "beside::a_reader_that_pauses_for_long_is_waited_for";
    const LENGTH: usize = 8 << 20;
    alone_in_network(NAME, async {
        hurry(20);
        let beside = Beside::start(|parts| parts.idle_timeout = None, "").await;
        let (mut paused, mut sending) = (Vec::new(), Vec::new());
        for (who, port) in &beside.all {
            let (client, mut server) = beside.pair(*port, true).await;
            paused.push((*who, client));
            sending.push(tokio::spawn(async move {
                server.write_all(&pattern(LENGTH)).await.unwrap();
                server
            }));
        }
        let_pass(Duration::from_secs(8)).await;
        for (who, mut client) in paused {
            let mut got = vec![0; LENGTH];
            timeout(LONG, client.read_exact(&mut got)).await.expect(who).expect(who);
            assert!(got == pattern(LENGTH), "{who}");
        }
        for server in sending {
            drop(server.await.unwrap());
        }
    });
}

/// nginx has one timeout for everything, which would be another test.
#[test]
fn a_half_closed_connection_ends_as_with_the_client_fin_of_haproxy() {
    const NAME: &str = "beside::a_half_closed_connection_ends_as_with_the_client_fin_of_haproxy";
    alone_in_network(NAME, async {
        let one = |parts: &mut RuleParts| parts.half_closed_timeout = Some(Duration::from_secs(1));
        let beside = Beside::start(one, " timeout client-fin 1s\n timeout server-fin 1s\n").await;
        for (who, port) in beside.all.iter().filter(|(who, _)| *who != "nginx") {
            for from_target in [true, false] {
                let (client, server) = beside.pair(*port, false).await;
                let (mut one, mut other) = if from_target { (server, client) } else { (client, server) };
                let start = Instant::now();
                one.shutdown().await.unwrap();
                assert_eq!(timeout(LONG, other.read(&mut [0])).await.expect(who).unwrap(), 0, "the end is passed on");
                // The side that has not ended goes on meanwhile, and each byte counts.
                let_pass(Duration::from_millis(600)).await;
                other.write_all(b"more").await.unwrap();
                one.read_exact(&mut [0; 4]).await.unwrap();
                let between = start.elapsed();
                _ = timeout(LONG, one.read(&mut [0])).await.expect(who);
                let took = start.elapsed();
                assert!(took < between + Duration::from_secs(3), "{who}, from target: {from_target}: {took:?}");
                assert!(*who != OWN || took > between + Duration::from_millis(900), "{from_target}: {took:?}");
            }
        }
    });
}

/// A target that demands the header takes no request without it, so that a check passes by speaking it alone.
#[test]
fn a_check_of_a_haproxy_that_demands_the_proxy_header_passes_in_both_versions() {
    const NAME: &str = "beside::a_check_of_a_haproxy_that_demands_the_proxy_header_passes_in_both_versions";
    alone_in_network(NAME, async {
        let (edge, port) = (runtime().await, free_ports(4));
        let config = format!(
            "defaults\n mode http\n timeout client 9s\n timeout connect 9s\n timeout server 9s\n\
             frontend f\n bind 127.0.0.1:{port} accept-proxy\n http-request return status 200\n"
        );
        let Some(_daemon) = Daemon::start("haproxy", &config, &["-db", "-f"], port).await else { return };
        let check = HealthCheck { rise: 1, fall: 1, timeout_ms: 900, ..HealthCheck::new(HealthKind::Http, 1) };
        let demanded = |version| {
            let check = check.clone();
            move |parts: &mut RuleParts| {
                parts.targets[0].proxy_protocol = version;
                parts.health = Some(check);
            }
        };
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let rules = [
            to("none", port + 1, at, demanded(None)),
            to("v1", port + 2, at, demanded(Some(ProxyProtocol::V1))),
            to("v2", port + 3, at, demanded(Some(ProxyProtocol::V2))),
        ];
        apply(&edge, 1, &rules).await;
        wait_for(&edge, |status| {
            let state = |rule: &str| Some(status.rule(rule)?.health.as_ref()?.targets.first()?.state.as_str());
            (state("none"), state("v1"), state("v2")) == (Some("down"), Some("up"), Some("up"))
        })
        .await;
    });
}
