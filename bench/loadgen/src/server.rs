//! The target that every forwarder points at. I/O.
//!
//! The first byte that a client sends picks what its connection does: `E` echoes, the `E` included; `S` sends an endless
//! pattern; `D` discards; `H` reads to the end, waits, and sends ten mebibytes and its count; `R` sends four bytes, ends
//! its side and counts what still comes; `Q` answers with the last count of an `R`. A record of TLS is read, and whatever
//! comes is answered with one byte. UDP on the same port echoes.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvFlags, SocketFlags, accept_with};

use crate::pattern::{PERIOD, pattern};
use crate::server_udp;
use crate::sockets::{Poll, READABLE, WRITABLE, listen, receive, send};

/// What `H` sends and `R` expects.
pub const BIG: usize = 10 << 20;
/// The first byte of a record of the handshake.
const TLS_HANDSHAKE: u8 = 0x16;
const LISTENER: usize = usize::MAX;
const BUFFER: usize = 256 << 10;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    New,
    Echo,
    Source,
    Discard,
    Answer,
}

struct Connection {
    socket: OwnedFd,
    mode: Mode,
    offset: usize,
    pending: Vec<u8>,
}

/// What becomes of a connection after an event.
enum Next {
    Keep,
    Close,
    Detach(u8),
}

/// Serves until it is killed. Prints `ready` once it listens.
pub fn serve(port: u16, threads: usize) -> io::Result<()> {
    let last_count = Arc::new(AtomicU64::new(0));
    let mut running = Vec::new();
    for _ in 0..threads {
        let (listener, last_count) = (listen(port)?, last_count.clone());
        running.push(thread::spawn(move || Server::new(listener, last_count)?.run()));
    }
    let socket = server_udp::bind(port)?;
    running.push(thread::spawn(move || server_udp::echo(&socket)));
    println!("ready");
    for thread in running {
        thread.join().expect("a thread ends with a result")?;
    }
    Ok(())
}

struct Server {
    listener: OwnedFd,
    last_count: Arc<AtomicU64>,
    poll: Poll,
    connections: HashMap<usize, Connection>,
    buffer: Vec<u8>,
    pattern: Vec<u8>,
}

impl Server {
    fn new(listener: OwnedFd, last_count: Arc<AtomicU64>) -> io::Result<Self> {
        let poll = Poll::new(256)?;
        poll.add(&listener, LISTENER, READABLE)?;
        let (buffer, pattern) = (vec![0; BUFFER], pattern(BUFFER));
        Ok(Self { listener, last_count, poll, connections: HashMap::new(), buffer, pattern })
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            for place in 0..self.poll.wait(None)? {
                let (number, _) = self.poll.event(place);
                if number == LISTENER {
                    self.accept()?;
                } else {
                    self.turn(number)?;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..16 {
            let Ok(socket) = accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) else { break };
            let number = socket.as_raw_fd() as usize;
            self.poll.add(&socket, number, READABLE)?;
            self.connections.insert(number, Connection { socket, mode: Mode::New, offset: 0, pending: Vec::new() });
        }
        Ok(())
    }

    fn turn(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(()) };
        // A connection that breaks concerns its client only.
        let next = connection.turn(&self.poll, number, &mut self.buffer, &self.pattern).unwrap_or(Next::Close);
        let first = match next {
            Next::Keep => return Ok(()),
            Next::Close => None,
            Next::Detach(first) => Some(first),
        };
        let connection = self.connections.remove(&number).expect("it was there just now");
        if let Some(first) = first {
            self.poll.remove(&connection.socket)?;
            let (stream, last_count) = (TcpStream::from(connection.socket), self.last_count.clone());
            stream.set_nonblocking(false)?;
            // Its client tells what it misses.
            thread::spawn(move || half_close(first, stream, &last_count).ok());
        }
        Ok(())
    }
}

impl Connection {
    fn turn(&mut self, poll: &Poll, number: usize, buffer: &mut [u8], pattern: &[u8]) -> io::Result<Next> {
        if self.mode == Mode::New {
            let mut first = [0; 1];
            match receive(&self.socket, &mut first, RecvFlags::PEEK)? {
                Some(0) => return Ok(Next::Close),
                Some(_) => {}
                None => return Ok(Next::Keep),
            }
            match first[0] {
                b'E' => self.mode = Mode::Echo,
                b'D' => self.mode = Mode::Discard,
                TLS_HANDSHAKE => self.mode = Mode::Answer,
                b'S' => {
                    receive(&self.socket, &mut first, RecvFlags::empty())?;
                    self.mode = Mode::Source;
                    poll.modify(&self.socket, number, WRITABLE)?;
                    return Ok(Next::Keep);
                }
                what @ (b'H' | b'R' | b'Q') => {
                    receive(&self.socket, &mut first, RecvFlags::empty())?;
                    return Ok(Next::Detach(what));
                }
                _ => return Ok(Next::Close),
            }
        }
        match self.mode {
            Mode::Echo => self.echo(poll, number, buffer),
            Mode::Source => {
                let sent = send(&self.socket, &pattern[self.offset..self.offset + BUFFER])?;
                self.offset = (self.offset + sent.unwrap_or(0)) % PERIOD;
                Ok(Next::Keep)
            }
            Mode::Discard => match receive(&self.socket, buffer, RecvFlags::TRUNC)? {
                Some(0) => Ok(Next::Close),
                _ => Ok(Next::Keep),
            },
            Mode::Answer => match receive(&self.socket, buffer, RecvFlags::empty())? {
                Some(0) => Ok(Next::Close),
                Some(_) => send(&self.socket, b"E").map(|_| Next::Keep),
                None => Ok(Next::Keep),
            },
            Mode::New => Ok(Next::Keep),
        }
    }

    fn echo(&mut self, poll: &Poll, number: usize, buffer: &mut [u8]) -> io::Result<Next> {
        if !self.pending.is_empty() {
            let sent = send(&self.socket, &self.pending)?.unwrap_or(0);
            self.pending.drain(..sent);
            if self.pending.is_empty() {
                poll.modify(&self.socket, number, READABLE)?;
            }
            return Ok(Next::Keep);
        }
        match receive(&self.socket, buffer, RecvFlags::empty())? {
            Some(0) => Ok(Next::Close),
            None => Ok(Next::Keep),
            Some(length) => {
                let sent = send(&self.socket, &buffer[..length])?.unwrap_or(0);
                if sent < length {
                    self.pending.extend_from_slice(&buffer[sent..length]);
                    poll.modify(&self.socket, number, WRITABLE)?;
                }
                Ok(Next::Keep)
            }
        }
    }
}

fn half_close(what: u8, mut stream: TcpStream, last_count: &AtomicU64) -> io::Result<()> {
    let count = |stream: &mut TcpStream| {
        let (mut buffer, mut sum) = (vec![0; 64 << 10], 0);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            sum += length as u64;
        }
        sum
    };
    match what {
        b'H' => {
            let sum = count(&mut stream);
            // Long enough for a forwarder that takes one end for both to close.
            thread::sleep(Duration::from_millis(500));
            stream.write_all(&pattern(BIG)[..BIG])?;
            stream.write_all(&sum.to_le_bytes())
        }
        b'R' => {
            last_count.store(0, Ordering::SeqCst);
            stream.write_all(b"RDY!")?;
            stream.shutdown(Shutdown::Write)?;
            last_count.store(count(&mut stream), Ordering::SeqCst);
            Ok(())
        }
        _ => stream.write_all(&last_count.load(Ordering::SeqCst).to_le_bytes()),
    }
}
