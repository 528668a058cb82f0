//! Messages there and back over connections that stay, one under way on each. I/O.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;

use super::{Clock, Phase, Work};
use crate::latency::Latency;
use crate::report::Report;
use crate::sockets::{Poll, READABLE, connect, receive};

pub fn run(work: &Work) -> io::Result<()> {
    let mut message = vec![b'.'; work.size];
    message[0] = b'E';
    let mut buffer = vec![0; work.size];
    let mut streams = Vec::new();
    for _ in 0..work.conns {
        let mut stream = connect(work.address)?;
        stream.write_all(&message)?;
        stream.read_exact(&mut buffer)?;
        streams.push(stream);
    }
    if work.conns == 1 { one(work, streams.remove(0), &message) } else { many(work, &streams, &message) }
}

fn report(latency: Latency, count: u64, phase: &Phase) -> bool {
    let Phase::Done(time, before, after) = phase else { return false };
    let report = Report::default().count("n", count).number("per_s", count as f64 / time.as_secs_f64());
    before.report_until(*after, latency.report(report)).print();
    true
}

fn one(work: &Work, mut stream: TcpStream, message: &[u8]) -> io::Result<()> {
    let (mut latency, mut buffer, mut count) = (Latency::new(), vec![0; message.len()], 0);
    let mut clock = Clock::start(work);
    loop {
        let sent = Instant::now();
        stream.write_all(message)?;
        stream.read_exact(&mut buffer)?;
        let now = Instant::now();
        if clock.is_measuring() {
            latency.add(now - sent);
            count += 1;
        }
        let phase = clock.phase(now);
        if matches!(phase, Phase::Done(..)) {
            report(latency, count, &phase);
            return Ok(());
        }
    }
}

fn many(work: &Work, streams: &[TcpStream], message: &[u8]) -> io::Result<()> {
    let mut poll = Poll::new(512)?;
    let mut slots = Vec::new();
    for (number, mut stream) in streams.iter().enumerate() {
        stream.set_nonblocking(true)?;
        poll.add(stream, number, READABLE)?;
        slots.push((Instant::now(), 0));
        stream.write_all(message)?;
    }
    let (mut latency, mut buffer, mut count) = (Latency::new(), vec![0; message.len()], 0);
    let mut clock = Clock::start(work);
    loop {
        for place in 0..poll.wait(Some(Duration::from_secs(1)))? {
            let (number, _) = poll.event(place);
            let (sent, got) = &mut slots[number];
            match receive(&streams[number], &mut buffer[*got..], RecvFlags::empty())? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(length) => *got += length,
                None => {}
            }
            if *got == message.len() {
                let now = Instant::now();
                if clock.is_measuring() {
                    latency.add(now - *sent);
                    count += 1;
                }
                (*sent, *got) = (now, 0);
                let mut stream = &streams[number];
                stream.write_all(message)?;
            }
        }
        let phase = clock.phase(Instant::now());
        if matches!(phase, Phase::Done(..)) {
            report(latency, count, &phase);
            return Ok(());
        }
    }
}
