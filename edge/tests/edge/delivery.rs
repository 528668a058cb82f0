//! What was received is delivered: a side that fails takes nothing away from the other one.

use std::net::SocketAddr;
use std::time::Duration;

use edge::act::runtime::RuntimeHandle;
use edge::decide::breaks::Break;
use schema::rule::RuleParts;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connections::{broken, reset_on_close};
use crate::support::{LONG, apply, connect, free_ports, let_pass, runtime, target, to, wait_until};

/// An edge with one rule, and both ends of one connection through it.
struct Scene {
    edge: RuntimeHandle,
    listener: TcpListener,
    port: u16,
}

impl Scene {
    async fn new(change: impl FnOnce(&mut RuleParts)) -> Self {
        let edge = runtime().await;
        let (listener, address): (TcpListener, SocketAddr) = target().await;
        let port = free_ports(1);
        apply(&edge, 1, &[to("web", port, address, change)]).await;
        Self { edge, listener, port }
    }

    async fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.port).await;
        (client, self.listener.accept().await.unwrap().0)
    }

    /// With a client that has room for little.
    async fn narrow_pair(&self) -> (TcpStream, TcpStream) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], self.port)).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let client = TcpStream::from_std(socket.into()).unwrap();
        (client, self.listener.accept().await.unwrap().0)
    }

    /// Who broke connections since the start, once none is left.
    async fn broken(&self) -> Vec<(Break, u64)> {
        let meter = self.edge.status().rule("web").unwrap().meter.clone().unwrap();
        wait_until(|| meter.active() == 0).await;
        broken(&meter)
    }
}

/// Bytes that show where they belong.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

/// Waits until the peer's host has acknowledged everything that was sent.
pub(crate) async fn acknowledged(stream: &TcpStream) {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(address) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
        }
        SocketAddr::V6(_) => unreachable!("the tests use IPv4"),
    };
    let ends = [hex(stream.local_addr().unwrap()), hex(stream.peer_addr().unwrap())];
    let waiting = async {
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
            let row = rows.find(|row| row[1] == ends[0] && row[2] == ends[1]).expect("the connection is there");
            if row[4].starts_with("00000000:") {
                return;
            }
            let_pass(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, waiting).await.expect("what was sent is acknowledged");
}

/// Reads until the connection ends, and how it ended.
pub(crate) async fn read_all(stream: &mut TcpStream, pause: Duration) -> (Vec<u8>, bool) {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    let reading = async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return false,
                Ok(length) => all.extend(&buffer[..length]),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                    return true;
                }
            }
            if !pause.is_zero() {
                let_pass(pause).await;
            }
        }
    };
    let is_reset = timeout(LONG, reading).await.expect("the connection ends");
    (all, is_reset)
}

/// How a side fails that has sent something.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    /// It resets: the edge meets it while it reads.
    Reset,
    /// It closes with a byte unread, which Linux makes a reset.
    Unread,
    /// It ends its direction first, and closes with a byte unread.
    EndedAndUnread,
    /// It resets while the edge has more to write to it than fits.
    Flooded,
}

/// Copied at once, held in memory or in a pipe, left in the kernel: what is sent is small, large, and more than a slow
/// receiver with little room takes before the sender is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_side_sent_before_it_failed_arrives_whole_and_then_the_failure() {
    use Failure::{EndedAndUnread, Flooded, Reset, Unread};
    let scene = &Scene::new(|_| ()).await;
    for from_target in [true, false] {
        let mut cases = tokio::task::JoinSet::new();
        let mut expected = 0;
        for failure in [Reset, Unread, EndedAndUnread, Flooded] {
            for length in [0, 900, 150_000, 700_000] {
                for is_slow in [false, true] {
                    let (client, server) = if is_slow { scene.narrow_pair().await } else { scene.pair().await };
                    let (sender, receiver) = if from_target { (server, client) } else { (client, server) };
                    expected += 1;
                    cases.spawn(async move {
                        let got = fail(failure, sender, receiver, length, is_slow).await;
                        (failure, length, is_slow, got)
                    });
                }
            }
        }
        while let Some(case) = cases.join_next().await {
            let (failure, length, is_slow, (got, is_reset)) = case.unwrap();
            let case = format!("{failure:?} after {length} from target: {from_target}, slow: {is_slow}");
            assert!(got == pattern(length), "{} bytes of {case}", got.len());
            // The end that was received is passed on as one.
            assert_eq!(is_reset, failure != EndedAndUnread, "{case}");
        }
        let by = if from_target { Break::TargetReset } else { Break::ClientReset };
        let count = scene.broken().await.iter().find(|(why, _)| *why == by).map(|(_, count)| *count);
        assert_eq!(count, Some(expected), "{:?}", scene.broken().await);
    }
}

async fn fail(
    failure: Failure,
    mut sender: TcpStream,
    mut receiver: TcpStream,
    length: usize,
    is_slow: bool,
) -> (Vec<u8>, bool) {
    if failure != Failure::Reset {
        receiver.write_all(b"unread").await.unwrap();
        // Readiness alone may be a false alarm, and a close before the bytes have come would be an end.
        sender.peek(&mut [0; 1]).await.unwrap();
    }
    if failure == Failure::Flooded {
        // As much as fits anywhere, with more to come.
        while timeout(Duration::from_millis(200), receiver.write_all(&[7; 16 << 10])).await.is_ok() {}
    }
    sender.write_all(&pattern(length)).await.unwrap();
    if failure == Failure::EndedAndUnread {
        sender.shutdown().await.unwrap();
    }
    acknowledged(&sender).await;
    if failure == Failure::Reset {
        reset_on_close(&sender);
    }
    drop(sender);
    read_all(&mut receiver, if is_slow { Duration::from_millis(1) } else { Duration::ZERO }).await
}

/// As web servers do it: 413 and a close, while the client sends its body and reads nothing yet.
#[tokio::test]
async fn an_answer_during_an_upload_arrives_though_the_upload_fails() {
    let scene = Scene::new(|_| ()).await;
    for ends in [true, false] {
        for length in [60, 30_000] {
            let (mut client, mut server) = scene.pair().await;
            let upload = vec![7; 64 << 10];
            client.write_all(&upload).await.unwrap();
            server.read_exact(&mut [0; 1000]).await.unwrap();
            server.write_all(&pattern(length)).await.unwrap();
            if ends {
                server.shutdown().await.unwrap();
            }
            acknowledged(&server).await;
            drop(server);
            let sending = async { while client.write_all(&upload).await.is_ok() {} };
            timeout(LONG, sending).await.expect("the client learns that nobody takes its upload");
            let (got, _) = read_all(&mut client, Duration::ZERO).await;
            assert!(got == pattern(length), "{} of {length} bytes, ends: {ends}", got.len());
        }
    }
    assert_eq!(scene.broken().await, [(Break::TargetReset, 4)]);
}

/// At 10 MB/s, so that most of it is under way or held somewhere when the sender is gone.
#[tokio::test]
async fn a_long_answer_arrives_whole_though_its_sender_resets_long_before() {
    const LENGTH: usize = 5_000_000;
    let scene = Scene::new(|_| ()).await;
    let (mut client, mut server) = scene.pair().await;
    let sending = tokio::spawn(async move {
        server.write_all(&pattern(LENGTH)).await.unwrap();
        acknowledged(&server).await;
        reset_on_close(&server);
    });
    let (got, is_reset) = read_all(&mut client, Duration::from_micros(1600)).await;
    assert!(got == pattern(LENGTH) && is_reset, "{} bytes", got.len());
    sending.await.unwrap();
    assert_eq!(scene.broken().await, [(Break::TargetReset, 1)]);
}

/// A read stops at the mark of urgent data, and splicing does: what is behind it comes at once even so.
#[tokio::test]
async fn urgent_data_and_what_follows_it_arrive_at_their_place() {
    let scene = Scene::new(|_| ()).await;
    for from_target in [true, false] {
        for (before, after) in [(0, 3), (3, 0), (500, 500), (300_000, 300_000), (64 << 10, 9)] {
            for ends in [false, true] {
                let (client, server) = scene.pair().await;
                let (mut sender, mut receiver) = if from_target { (server, client) } else { (client, server) };
                let all = pattern(before + 1 + after);
                let marked = all.clone();
                let sending = tokio::spawn(async move {
                    sender.write_all(&marked[..before]).await.unwrap();
                    while SockRef::from(&sender).send_out_of_band(&marked[before..=before]).is_err() {
                        sender.writable().await.unwrap();
                    }
                    sender.write_all(&marked[before + 1..]).await.unwrap();
                    if ends {
                        sender.shutdown().await.unwrap();
                    }
                    sender
                });
                let mut got = vec![0; all.len()];
                let case = format!("{before} and {after} bytes, from target: {from_target}, ends: {ends}");
                timeout(LONG, receiver.read_exact(&mut got)).await.expect(&case).expect(&case);
                assert!(got == all, "{case}");
                drop(sending.await.unwrap());
            }
        }
    }
}

/// Longer than the kernel would let a peer leave something unacknowledged, where the environment asks for the long form.
#[tokio::test]
async fn a_reader_that_pauses_is_waited_for() {
    const LENGTH: usize = 8 << 20;
    let pause = std::env::var("PORTUNUS_TEST_PAUSE_SECS").map_or(4, |secs| secs.parse().expect("a number"));
    // A bound that is far away makes the looks more frequent: many within a short pause.
    let scene = Scene::new(|parts| {
        parts.stalled_timeout = (pause < 60).then(|| Duration::from_mins(1));
        parts.idle_timeout = None;
    })
    .await;
    let (mut client, mut server) = scene.narrow_pair().await;
    let sending = tokio::spawn(async move {
        server.write_all(&pattern(LENGTH)).await.unwrap();
        server
    });
    let_pass(Duration::from_secs(pause)).await;
    let mut got = vec![0; LENGTH];
    timeout(LONG * 3, client.read_exact(&mut got)).await.expect("everything comes").unwrap();
    assert!(got == pattern(LENGTH));
    drop((sending.await.unwrap(), client));
    assert_eq!(scene.broken().await, []);
}
