//! What stands on both ends of a forwarded connection: upstreams that say who they are, clients that check each byte.
//!
//! Keeps: every byte follows from a key and its place, so that a lost, doubled, moved or foreign one is noticed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{LONG, ports, wait_for, wait_until};

/// The byte of a pattern at a place. The period is a prime above any buffer size, so that a shift shows.
pub(crate) fn pattern(key: u8, at: u64) -> u8 {
    let place = (at % 65_521) as u32;
    (place.wrapping_mul(2_654_435_761).rotate_left(9) >> 3) as u8 ^ key
}

/// A piece of a pattern.
pub(crate) fn piece(key: u8, from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64).map(|at| pattern(key, at)).collect()
}

/// An upstream that greets with two bytes of its own port (or tag) and echoes.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) port: u16,
}

impl Echo {
    /// On a port of its own.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        serve(listener, move |stream| echo(stream, port));
        Self { port }
    }

    /// On ports in a row; returns the first.
    pub(crate) fn range(count: u16) -> u16 {
        let bound = |first: u16| -> io::Result<Vec<TcpListener>> {
            (first..first + count).map(|port| TcpListener::bind(("127.0.0.1", port))).collect()
        };
        // A row that was free may be so no more: other programs of this machine take ports, too.
        let (first, listeners) = wait_for("ports in a row", || {
            let first = ports(count);
            bound(first).map(|listeners| (first, listeners)).map_err(|error| error.to_string())
        });
        for (port, listener) in (first..).zip(listeners) {
            serve(listener, move |stream| echo(stream, port));
        }
        first
    }
}

/// Serves each connection on a thread of its own, for as long as the test binary runs.
pub(crate) fn serve(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let serve = Arc::new(serve);
    let accepting = move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::Builder::new().stack_size(128 << 10).spawn(move || serve(stream)).unwrap();
        }
    };
    thread::Builder::new().stack_size(64 << 10).spawn(accepting).unwrap();
}

/// Greets with a tag and sends back what comes.
pub(crate) fn echo(mut stream: TcpStream, tag: u16) {
    // A client that goes away ends its own connection only.
    let relayed = stream.write_all(&tag.to_be_bytes()).and_then(|()| {
        let mut reader = stream.try_clone()?;
        io::copy(&mut reader, &mut stream)
    });
    if relayed.is_ok() {
        stream.shutdown(Shutdown::Write).ok();
    }
}

/// A client of an [`Echo`].
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Which upstream answered.
    pub(crate) tag: u16,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) fn connect(to: impl ToSocketAddrs) -> io::Result<Self> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_write_timeout(Some(LONG))?;
        stream.set_nodelay(true)?;
        let mut tag = [0; 2];
        stream.read_exact(&mut tag)?;
        Ok(Self { stream, tag: u16::from_be_bytes(tag) })
    }

    /// Connects to a port of this machine.
    #[track_caller]
    pub(crate) fn to(port: u16) -> Self {
        Self::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("port {port}: {error}"))
    }

    /// Sends a piece of a pattern and expects it back.
    pub(crate) fn ping(&mut self, key: u8, from: u64, length: usize) -> io::Result<()> {
        let sent = piece(key, from, length);
        self.stream.write_all(&sent)?;
        let mut back = vec![0; length];
        self.stream.read_exact(&mut back)?;
        if back == sent { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidData, "other bytes came back")) }
    }

    /// True if the connection ends as a reset or an early end instead of going on.
    pub(crate) fn is_cut(&mut self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.read(&mut byte), Ok(1))
    }
}

/// Who answers on a port, if anybody does.
pub(crate) fn answers(port: u16) -> Option<u16> {
    Client::connect(("127.0.0.1", port)).ok().map(|client| client.tag)
}

/// True if nobody listens there.
pub(crate) fn refuses(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Something done over and over on a thread until it is told to stop; the first failure ends it.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), String>>,
}

impl Steady {
    fn start(mut round: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), rounds.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                round()?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let steady = Self { stop, rounds, thread };
        steady.more(3);
        steady
    }

    /// Transfers a pattern over one connection.
    pub(crate) fn transfer(port: u16, key: u8) -> Self {
        let mut client = Client::to(port);
        let mut at = 0;
        Self::start(move || {
            client.ping(key, at, 60_000).map_err(|error| format!("after {at} bytes on {port}: {error}"))?;
            at += 60_000;
            Ok(())
        })
    }

    /// Opens a new connection each time; one of the tags must answer.
    pub(crate) fn probe(port: u16, tags: Vec<u16>) -> Self {
        Self::start(move || {
            let mut client = Client::connect(("127.0.0.1", port)).map_err(|error| format!("port {port}: {error}"))?;
            if !tags.contains(&client.tag) {
                return Err(format!("port {port} was answered by {}", client.tag));
            }
            client.ping(7, 0, 1).map_err(|error| format!("port {port}: {error}"))?;
            // Leaves the processors some time for what is being probed.
            thread::sleep(Duration::from_micros(200));
            Ok(())
        })
    }

    /// Waits for that many more rounds.
    #[track_caller]
    pub(crate) fn more(&self, count: u64) {
        let until = self.rounds.load(Ordering::Relaxed) + count;
        wait_until("more rounds", || self.thread.is_finished() || self.rounds.load(Ordering::Relaxed) >= until);
    }

    /// Ends it; panics with the failure if there was one. Returns the number of rounds.
    #[track_caller]
    pub(crate) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join().unwrap() {
            Ok(()) => self.rounds.load(Ordering::Relaxed),
            Err(failure) => panic!("{failure}"),
        }
    }
}
