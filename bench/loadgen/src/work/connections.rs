//! Connections per second: connect, one byte or a TLS hello there and a byte back, close; so many at a time. I/O.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SocketType};

use super::Work;
use crate::latency::Latency;
use crate::processes::Time;
use crate::report::Report;
use crate::sockets::{Poll, READABLE, WRITABLE, receive, send, start};

/// What OpenSSL sends to a server of the name `openssl.example`.
const HELLO: &str = include_str!("../../../../edge/tests/hellos/openssl.hex");

#[derive(Default)]
struct Shared {
    /// What a connection begins with.
    opening: Vec<u8>,
    is_measuring: AtomicBool,
    is_over: AtomicBool,
    done: AtomicU64,
    errors: AtomicU64,
}

pub fn run(work: &Work) -> io::Result<()> {
    let opening = if work.says_hello { bytes(HELLO) } else { b"E".to_vec() };
    let shared = Shared { opening, ..Shared::default() };
    let each = (work.conns / work.threads).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..work.threads).map(|_| scope.spawn(|| Client::new(work.address, each, &shared)?.run())).collect();
        thread::sleep(work.warm_up);
        let before = Time::now(work.pid);
        let (first, begin) = (shared.done.load(Ordering::SeqCst), Instant::now());
        shared.is_measuring.store(true, Ordering::SeqCst);
        thread::sleep(work.time);
        let (count, time) = (shared.done.load(Ordering::SeqCst) - first, begin.elapsed());
        let after = Time::now(work.pid);
        shared.is_over.store(true, Ordering::SeqCst);
        let mut latency = Latency::new();
        for thread in threads {
            latency.extend(&thread.join().expect("a client ends with a result")?);
        }
        let report = Report::default()
            .count("n", count)
            .count("errors", shared.errors.load(Ordering::SeqCst))
            .number("per_s", count as f64 / time.as_secs_f64());
        before.report_until(after, latency.report(report)).print();
        Ok(())
    })
}

/// Bytes of a text of hexadecimal digits with comments.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::chars)
        .filter_map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

struct Slot {
    socket: OwnedFd,
    has_sent: bool,
    begun: Instant,
}

struct Client<'s> {
    address: SocketAddr,
    shared: &'s Shared,
    poll: Poll,
    slots: Vec<Option<Slot>>,
    latency: Latency,
}

impl<'s> Client<'s> {
    fn new(address: SocketAddr, count: usize, shared: &'s Shared) -> io::Result<Self> {
        let mut client = Self { address, shared, poll: Poll::new(128)?, slots: Vec::new(), latency: Latency::new() };
        for number in 0..count {
            let slot = client.open(number).ok();
            client.slots.push(slot);
        }
        Ok(client)
    }

    fn open(&self, number: usize) -> io::Result<Slot> {
        let begun = Instant::now();
        let socket = start(self.address, SocketType::STREAM)?;
        // On loopback the handshake is done when `connect` returns.
        let has_sent = send(&socket, &self.shared.opening).is_ok_and(|sent| sent.is_some());
        let more = if has_sent { EventFlags::empty() } else { WRITABLE };
        self.poll.add(&socket, number, READABLE | more | EventFlags::RDHUP | EventFlags::ET)?;
        Ok(Slot { socket, has_sent, begun })
    }

    fn run(mut self) -> io::Result<Latency> {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let count = self.poll.wait(Some(Duration::from_millis(100)))?;
            for place in 0..count {
                let (number, flags) = self.poll.event(place);
                let Some(slot) = &mut self.slots[number] else { continue };
                let Some(is_fine) = slot.turn(flags, &self.shared.opening) else { continue };
                if is_fine {
                    self.shared.done.fetch_add(1, Ordering::Relaxed);
                    if self.shared.is_measuring.load(Ordering::Relaxed) {
                        self.latency.add(slot.begun.elapsed());
                    }
                } else {
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                }
                self.slots[number] = None;
                self.slots[number] = self.open(number).ok();
            }
            if count == 0 {
                self.open_again();
            }
        }
        Ok(self.latency)
    }

    /// Those that could not even be opened have no event that would bring them back.
    fn open_again(&mut self) {
        for number in 0..self.slots.len() {
            if self.slots[number].is_none() {
                self.shared.errors.fetch_add(1, Ordering::Relaxed);
                self.slots[number] = self.open(number).ok();
            }
        }
    }
}

impl Slot {
    /// How it ended, once it did.
    fn turn(&mut self, flags: EventFlags, opening: &[u8]) -> Option<bool> {
        if !self.has_sent && flags.contains(WRITABLE) {
            match send(&self.socket, opening) {
                Ok(sent) => self.has_sent = sent.is_some(),
                Err(_) => return Some(false),
            }
        }
        match receive(&self.socket, &mut [0; 16], RecvFlags::empty()) {
            Ok(None) => None,
            Ok(Some(length)) => Some(length > 0),
            Err(_) => Some(false),
        }
    }
}
