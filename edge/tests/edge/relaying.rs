//! Every byte arrives where it belongs, once and in order, on every path that bytes take.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::support::{LONG, alone, apply, connect, free_ports, runtime, target, to, wait_until};

/// A small generator of its own, so that a failure can be repeated (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The bytes of a direction are its own: one that shows up elsewhere, or at another place, differs.
fn pattern(key: u64, from: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    for index in from / 8..(from + length).div_ceil(8) {
        bytes.extend(Random(key ^ (index as u64).rotate_left(32)).next().to_le_bytes());
    }
    bytes.truncate(from % 8 + length);
    bytes.drain(..from % 8);
    bytes
}

/// What one side of a connection does.
#[derive(Debug, Clone, Copy)]
struct Part {
    key: u64,
    length: usize,
    /// Bytes per write, so that small ones and large ones are seen.
    piece: usize,
    /// Ends its direction when it is done, without waiting for the other one.
    ends_first: bool,
}

impl Part {
    fn of(key: u64) -> Self {
        let random = &mut Random(key);
        let length = match random.below(10) {
            0 => 0,
            1..=6 => random.below(3_000) as usize,
            7..=8 => 30_000 + random.below(100_000) as usize,
            _ => 1_000_000 + random.below(2_000_000) as usize,
        };
        let piece = [700, 16 << 10, 300 << 10][random.below(3) as usize];
        Self { key, length, piece, ends_first: random.below(2) == 0 }
    }

    async fn send(self, stream: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<()> {
        let mut pause = Random(self.key ^ 1);
        for start in (0..self.length).step_by(self.piece) {
            let length = self.piece.min(self.length - start);
            stream.write_all(&pattern(self.key, start, length)).await?;
            for _ in 0..pause.below(4) {
                yield_now().await;
            }
        }
        Ok(())
    }

    /// Reads to the end, slowly at times, and returns how much came. Whatever comes must be right.
    async fn receive(self, stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<usize> {
        let mut pause = Random(self.key ^ 2);
        let mut buffer = vec![0; 64 << 10];
        let mut count = 0;
        loop {
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return Ok(count);
            }
            assert!(buffer[..length] == pattern(self.key, count, length), "wrong bytes after {count} of {self:?}");
            count += length;
            for _ in 0..pause.below(20) {
                yield_now().await;
            }
        }
    }
}

async fn side(mut stream: TcpStream, sends: Part, receives: Part) {
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        sends.send(&mut writer).await.unwrap();
        if sends.ends_first {
            writer.shutdown().await.unwrap();
        }
    };
    let receiving = async {
        if receives.ends_first {
            assert_eq!(receives.receive(&mut reader).await.unwrap(), receives.length);
        } else {
            let mut all = vec![0; receives.length];
            reader.read_exact(&mut all).await.unwrap();
            assert!(all == pattern(receives.key, 0, receives.length), "wrong bytes of {receives:?}");
        }
    };
    tokio::join!(sending, receiving);
    writer.shutdown().await.unwrap();
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
}

/// Accepts connections that begin with their number, and plays the other side of each.
async fn peers(listener: TcpListener, connections: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().await.unwrap();
        tasks.spawn(async move {
            let Ok(number) = stream.read_u64().await else { return };
            if number % 8 == 7 {
                // That client resets at some point: what came until then is right.
                let length = Part::of(number * 2).receive(&mut stream).await;
                assert!(length.is_err(), "a reset came as an end");
            } else {
                side(stream, Part::of(number * 2 + 1), Part::of(number * 2)).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn client(port: u16, number: u64) -> usize {
    let mut stream = connect(port).await;
    stream.write_u64(number).await.unwrap();
    let part = Part::of(number * 2);
    if number % 8 == 7 {
        part.send(&mut stream).await.unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        return 0;
    }
    side(stream, part, Part::of(number * 2 + 1)).await;
    8 + part.length
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_arrives_under_half_closes_resets_and_pauses() {
    const CONNECTIONS: usize = 400;
    let edge = runtime().await;
    let (listener, address) = target().await;
    let port = free_ports(1);
    apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
    let peers = tokio::spawn(peers(listener, CONNECTIONS));
    let mut clients = JoinSet::new();
    let mut whole = 0;
    for number in 0..CONNECTIONS as u64 {
        clients.spawn(timeout(LONG, client(port, number)));
        if clients.len() == 32 {
            whole += clients.join_next().await.unwrap().unwrap().expect("no connection hangs");
        }
    }
    while let Some(ended) = clients.join_next().await {
        whole += ended.unwrap().expect("no connection hangs");
    }
    timeout(LONG, peers).await.expect("no peer hangs").unwrap();
    let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
    wait_until(|| meter.active() == 0 && edge.connections().count() == 0).await;
    let figures = meter.figures();
    assert_eq!(figures.connections_total, CONNECTIONS as u64);
    assert!(figures.bytes_in >= whole as u64);
    assert_eq!(meter.per_port(), [(port, figures)]);
}

/// Counts what its process uses, so it has one for itself.
#[test]
fn stalled_readers_cost_no_processor_lose_nothing_and_leave_no_descriptor() {
    const READERS: u64 = 64;
    const LENGTH: usize = 3 << 20;
    alone("relaying::stalled_readers_cost_no_processor_lose_nothing_and_leave_no_descriptor", async {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let edge = runtime().await;
        let (listener, address) = target().await;
        let port = free_ports(1);
        apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
        let before = open();
        let meter = edge.status().rule("web").unwrap().meter.clone().unwrap();
        let mut senders = JoinSet::new();
        let mut readers = Vec::new();
        for key in 0..READERS {
            readers.push(connect(port).await);
            let (mut sender, _) = listener.accept().await.unwrap();
            senders.spawn(async move {
                let part = Part { key, length: LENGTH, piece: 256 << 10, ends_first: true };
                part.send(&mut sender).await.unwrap();
            });
        }
        // Nobody reads: all queues fill up, and then nothing happens any more.
        let mut last = u64::MAX;
        wait_until_async(async || {
            let moved = meter.figures().bytes_out;
            std::mem::replace(&mut last, moved) == moved && moved > 0
        })
        .await;
        let spent = || processor_time();
        let start = spent();
        crate::support::let_pass(Duration::from_millis(500)).await;
        assert!(spent() - start < 10, "the workers are busy with nothing to do");
        for (key, mut reader) in (0..).zip(readers) {
            let part = Part { key, length: LENGTH, piece: 0, ends_first: true };
            assert_eq!(timeout(LONG, part.receive(&mut reader)).await.unwrap().unwrap(), LENGTH);
        }
        senders.join_all().await;
        wait_until(|| meter.active() == 0 && open() == before).await;
        assert_eq!(meter.figures().bytes_out, READERS * LENGTH as u64);
    });
}

/// Looks again after a while, until it is so.
async fn wait_until_async(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            crate::support::let_pass(Duration::from_millis(300)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it comes to rest");
}

/// Processor time of this process so far, in hundredths of a second.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn what_is_reset_while_it_waits_to_be_written_is_reset_on_the_other_side() {
    let edge = runtime().await;
    let (listener, address): (TcpListener, SocketAddr) = target().await;
    let port = free_ports(1);
    apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
    let mut client = connect(port).await;
    let (mut server, _) = listener.accept().await.unwrap();
    // More than all queues hold, and nobody reads it.
    let flood = tokio::spawn(async move {
        let chunk = vec![0; 1 << 20];
        while server.write_all(&chunk).await.is_ok() {}
    });
    client.read_exact(&mut [0; 4096]).await.unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    timeout(LONG, flood).await.expect("the sender learns of it").unwrap();
    wait_until(|| edge.connections().count() == 0).await;
}
