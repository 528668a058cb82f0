//! Streams: from the target to clients, or from clients to the target. I/O.
//!
//! Receivers let the kernel drop what comes (`MSG_TRUNC`): a copy of their own would hide what the forwarder costs.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::{Clock, Phase, Work};
use crate::pattern::pattern;
use crate::report::Report;
use crate::sockets::{Poll, READABLE, WRITABLE, connect, receive, send};

const SENT: usize = 256 << 10;
const RECEIVED: usize = 1 << 20;

pub fn run(work: &Work) -> io::Result<()> {
    let mut poll = Poll::new(64)?;
    let mut sockets = Vec::new();
    for number in 0..work.conns {
        let mut stream = connect(work.address)?;
        stream.write_all(if work.is_upload { b"D" } else { b"S" })?;
        // One alone waits in its calls.
        if work.conns > 1 {
            stream.set_nonblocking(true)?;
            poll.add(&stream, number, if work.is_upload { WRITABLE } else { READABLE })?;
        }
        sockets.push(OwnedFd::from(stream));
    }
    let (pattern, mut buffer) = (pattern(SENT), vec![0; RECEIVED]);
    let mut move_some = |socket: &OwnedFd| -> io::Result<u64> {
        if work.is_upload {
            return Ok(send(socket, &pattern[..SENT])?.unwrap_or(0) as u64);
        }
        match receive(socket, &mut buffer, RecvFlags::TRUNC)? {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(length) => Ok(length as u64),
            None if work.conns == 1 => Err(io::ErrorKind::TimedOut.into()),
            None => Ok(0),
        }
    };
    let (mut clock, mut bytes) = (Clock::start(work), 0);
    loop {
        if let [socket] = &sockets[..] {
            bytes += move_some(socket)?;
        } else {
            for place in 0..poll.wait(Some(Duration::from_secs(1)))? {
                bytes += move_some(&sockets[poll.event(place).0])?;
            }
        }
        match clock.phase(Instant::now()) {
            Phase::WarmingUp | Phase::Measuring => {}
            Phase::Starts => bytes = 0,
            Phase::Done(time, before, after) => {
                let gib = bytes as f64 / f64::from(1 << 30);
                let report = Report::default().number("gib", gib).number("gib_s", gib / time.as_secs_f64());
                before.report_until(after, report).print();
                return Ok(());
            }
        }
    }
}
