//! Every byte arrives where it belongs, once and in order, on every path that bytes take.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use edge::act::names::Names;
use schema::counters::Figures;
use schema::rule::{Host, ProxyProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::timeout;

use crate::dns::{Dns, Reply};
use crate::support::{LONG, alone, apply, connect, free_ports, limits, range, runtime, target, to, wait_until};

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
        // Mostly small, so that many connections fit into little time; all sizes that change the way of copying.
        let length = match random.below(250) {
            0 => 1_000_000 + random.below(2_000_000) as usize,
            1..=10 => 30_000 + random.below(100_000) as usize,
            11..=40 => 0,
            _ => random.below(3_000) as usize,
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

    /// What a side sends that resets when it has sent it: one segment, for a reset takes back what is still on the side of
    /// its sender.
    fn before_a_reset(key: u64) -> Self {
        let part = Self::of(key);
        Self { length: part.length % 30_000, piece: 30_000, ..part }
    }

    /// Reads to the end, slowly at times, and returns how much came and whether a reset was the end. Whatever comes must
    /// be right.
    async fn receive(self, stream: &mut (impl AsyncReadExt + Unpin)) -> (usize, bool) {
        let mut pause = Random(self.key ^ 2);
        let mut buffer = vec![0; 64 << 10];
        let mut count = 0;
        loop {
            let length = match stream.read(&mut buffer).await {
                Ok(0) => return (count, false),
                Ok(length) => length,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                    return (count, true);
                }
            };
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
            assert_eq!(receives.receive(&mut reader).await, (receives.length, false));
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

/// Plays the other sides of connections, which begin with a header of that many bytes and their number.
struct Peers {
    accepting: JoinHandle<()>,
    playing: mpsc::UnboundedReceiver<JoinHandle<()>>,
}

impl Peers {
    fn start(listener: TcpListener, header: usize) -> Self {
        let (sender, playing) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(tokio::spawn(play(stream, header))).is_err() {
                    return;
                }
            }
        });
        Self { accepting, playing }
    }

    /// Ends with the connections so far, each of which must have been right.
    async fn ended(mut self) {
        self.accepting.abort();
        _ = self.accepting.await;
        while let Some(playing) = self.playing.recv().await {
            timeout(LONG, playing).await.expect("no peer hangs").unwrap();
        }
    }
}

/// Who ends a connection, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Both, each in its time.
    Whole,
    /// The client resets when it has sent everything.
    ClientResets,
    /// The target resets when it has sent everything.
    TargetResets,
    /// The target closes with something unread, which Linux makes a reset.
    TargetCloses,
}

impl End {
    fn of(number: u64) -> Self {
        match number % 16 {
            7 | 15 => Self::ClientResets,
            3 => Self::TargetResets,
            11 => Self::TargetCloses,
            _ => Self::Whole,
        }
    }
}

/// What a client sends that is not read where the target closes.
const UNREAD: &[u8] = b"unread";

async fn play(mut stream: TcpStream, header: usize) {
    let mut skipped = vec![0; header];
    stream.read_exact(&mut skipped).await.unwrap();
    assert!(header == 0 || skipped.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    let number = stream.read_u64().await.unwrap();
    match End::of(number) {
        End::Whole => side(stream, Part::of(number * 2 + 1), Part::of(number * 2)).await,
        End::ClientResets => {
            let part = Part::before_a_reset(number * 2);
            assert_eq!(part.receive(&mut stream).await, (part.length, true), "{part:?}");
        }
        end => {
            stream.set_nodelay(true).unwrap();
            Part::before_a_reset(number * 2 + 1).send(&mut stream).await.unwrap();
            if end == End::TargetResets {
                stream.read_exact(&mut [0; UNREAD.len()]).await.unwrap();
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
}

/// Returns what was sent each way.
async fn client(port: u16, number: u64) -> [usize; 2] {
    let mut stream = connect(port).await;
    let (sends, receives) = (Part::of(number * 2), Part::of(number * 2 + 1));
    match End::of(number) {
        End::Whole => {
            stream.write_u64(number).await.unwrap();
            side(stream, sends, receives).await;
            [8 + sends.length, receives.length]
        }
        End::ClientResets => {
            // It may be gone before its target was reached.
            stream.set_nodelay(true).unwrap();
            stream.write_u64(number).await.unwrap();
            let sends = Part::before_a_reset(number * 2);
            sends.send(&mut stream).await.unwrap();
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            [8 + sends.length, 0]
        }
        End::TargetResets | End::TargetCloses => {
            stream.write_all(&[&number.to_be_bytes(), UNREAD].concat()).await.unwrap();
            let receives = Part::before_a_reset(number * 2 + 1);
            assert_eq!(receives.receive(&mut stream).await, (receives.length, true), "{receives:?}");
            [8 + UNREAD.len(), receives.length]
        }
    }
}

/// The long form is asked for by the number of connections in the environment.
fn connections() -> u64 {
    std::env::var("PORTUNUS_TEST_CONNECTIONS").map_or(10_000, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_arrives_on_every_path_under_half_closes_resets_and_pauses() {
    /// Bytes of the binary header over IPv4.
    const HEADER: usize = 28;
    /// Megabytes in pieces of 700 bytes take many turns where others have the processors.
    const PATIENCE: Duration = Duration::from_mins(3);
    let dns = Dns::start().await;
    dns.say("here.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap()], 300));
    let edge = edge::act::runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
    let ((plain, plain_at), (told, told_at)) = (target().await, target().await);
    let (port, width) = (free_ports(5), free_ports(2));
    let ranged = [width, width + 1].map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    let rules = [
        to("single", port, plain_at, |_| ()),
        to("named", port + 1, plain_at, |parts| parts.targets[0].host = Host::parse("here.test").unwrap()),
        to("told", port + 2, told_at, |parts| parts.targets[0].proxy_protocol = Some(ProxyProtocol::V2)),
        range("range", port + 3, port + 4, width),
    ];
    let status = apply(&edge, 1, &rules).await;
    let mut peers = vec![Peers::start(plain, 0), Peers::start(told, HEADER)];
    for listener in ranged {
        listener.set_nonblocking(true).unwrap();
        peers.push(Peers::start(TcpListener::from_std(listener).unwrap(), 0));
    }
    let (mut clients, mut sent) = (JoinSet::new(), [0; 2]);
    let mut add = |[inward, outward]: [usize; 2]| sent = [sent[0] + inward as u64, sent[1] + outward as u64];
    for number in 0..connections() {
        clients.spawn(timeout(PATIENCE, client(port + (number % 5) as u16, number)));
        if clients.len() == 64 {
            add(clients.join_next().await.unwrap().unwrap().expect("no connection hangs"));
        }
    }
    while let Some(ended) = clients.join_next().await {
        add(ended.unwrap().expect("no connection hangs"));
    }
    wait_until(|| edge.connections().count() == 0).await;
    for peers in peers {
        peers.ended().await;
    }
    let figures: Vec<_> =
        rules.iter().map(|rule| status.rule(rule.name.as_str()).unwrap().meter.as_ref().unwrap().figures()).collect();
    assert_eq!(figures.iter().map(|figures| figures.connections_total).sum::<u64>(), connections());
    let moved = [|figures: &Figures| figures.bytes_in, |figures: &Figures| figures.bytes_out];
    assert_eq!(moved.map(|of| figures.iter().map(of).sum::<u64>()), sent);
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
        let processor = Processor::new();
        let start = processor.spent();
        crate::support::let_pass(Duration::from_millis(500)).await;
        assert!(processor.spent() - start < 10, "the workers are busy with nothing to do");
        drop(processor);
        for (key, mut reader) in (0..).zip(readers) {
            let part = Part { key, length: LENGTH, piece: 0, ends_first: true };
            assert_eq!(timeout(LONG, part.receive(&mut reader)).await.unwrap(), (LENGTH, false));
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

/// Tells what this process uses, also when it has no descriptor left.
pub(crate) struct Processor(std::fs::File);

impl Processor {
    pub(crate) fn new() -> Self {
        Self(std::fs::File::open("/proc/self/stat").unwrap())
    }

    /// Processor time so far, in hundredths of a second.
    pub(crate) fn spent(&self) -> u64 {
        let mut buffer = [0; 1024];
        let length = self.0.read_at(&mut buffer, 0).unwrap();
        let stat = String::from_utf8_lossy(&buffer[..length]);
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
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
