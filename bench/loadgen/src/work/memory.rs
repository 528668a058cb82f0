//! What a forwarder keeps: by itself, for idle connections, for readers that do not read. I/O.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::Work;
use crate::pattern::{PERIOD, pattern};
use crate::processes::{Memory, Time};
use crate::report::Report;
use crate::sockets::connect;

/// Until buffers and descriptors that are given back a little later are given back.
const REST: Duration = Duration::from_millis(1500);
/// What a reader that did not read takes afterwards.
const READ: usize = 8 << 20;

fn per(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count.max(1) as f64
}

/// Memory and descriptors as they are.
pub fn now(work: &Work) -> io::Result<()> {
    let memory = Memory::now(work.pid);
    Report::default()
        .count("rss_kib", memory.rss)
        .count("pss_kib", memory.pss)
        .count("descriptors", memory.descriptors)
        .print();
    Ok(())
}

/// Connections that do nothing, each proved by one echo.
pub fn idle(work: &Work) -> io::Result<()> {
    let mut message = vec![b'.'; work.size];
    message[0] = b'E';
    let open = || {
        let mut stream = connect(work.address)?;
        stream.write_all(&message)?;
        stream.read_exact(&mut vec![0; work.size])?;
        io::Result::Ok(stream)
    };
    for _ in 0..3 {
        drop(open()?);
    }
    thread::sleep(Duration::from_millis(200));
    let before = Memory::now(work.pid);
    let begin = Instant::now();
    let (mut streams, mut error) = (Vec::new(), String::new());
    for _ in 0..work.conns {
        match open() {
            Ok(stream) => streams.push(stream),
            Err(failure) => {
                error = failure.to_string();
                break;
            }
        }
    }
    let opened = begin.elapsed();
    thread::sleep(Duration::from_millis(500));
    let open = Memory::now(work.pid);
    let used = Time::now(work.pid);
    thread::sleep(work.time);
    let used_later = Time::now(work.pid);
    let count = streams.len();
    drop(streams);
    thread::sleep(REST);
    let after = Memory::now(work.pid);
    let report = Report::default()
        .count("conns", count as u64)
        .number("open_s", opened.as_secs_f64())
        .count("rss_before_kib", before.rss)
        .count("pss_before_kib", before.pss)
        .count("rss_after_kib", after.rss)
        .number("rss_kib_each", per(before.rss, open.rss, count))
        .number("pss_kib_each", per(before.pss, open.pss, count))
        .number("descriptors_each", per(before.descriptors, open.descriptors, count))
        .count("descriptors_left", after.descriptors.saturating_sub(before.descriptors))
        .number("machine_kib_each", per(open.available, before.available, count))
        .text("error", &error);
    used.report_until(used_later, report).print();
    Ok(())
}

/// Reads so many bytes, which must be the pattern from its start.
pub fn check(stream: &mut TcpStream, length: usize, pattern: &[u8]) -> io::Result<()> {
    let (mut buffer, mut got) = (vec![0; 64 << 10], 0);
    while got < length {
        let most = buffer.len().min(length - got);
        let count = stream.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::other(format!("the end after {got} of {length} bytes")));
        }
        let place = got % PERIOD;
        if buffer[..count] != pattern[place..place + count] {
            return Err(io::Error::other(format!("other bytes near {got}")));
        }
        got += count;
    }
    Ok(())
}

/// Clients that ask for a stream and do not read it; later they check every byte of a part.
pub fn stall(work: &Work) -> io::Result<()> {
    let before = Memory::now(work.pid);
    let mut streams = Vec::new();
    for _ in 0..work.conns {
        let mut stream = connect(work.address)?;
        stream.write_all(b"S")?;
        streams.push(stream);
    }
    thread::sleep(Duration::from_secs(1));
    let used = Time::now(work.pid);
    thread::sleep(work.time);
    let (used_later, stalled) = (Time::now(work.pid), Memory::now(work.pid));
    let pattern = pattern(64 << 10);
    let checked: io::Result<()> = streams.iter_mut().try_for_each(|stream| check(stream, READ, &pattern));
    drop(streams);
    thread::sleep(REST);
    let after = Memory::now(work.pid);
    let report = Report::default()
        .count("conns", work.conns as u64)
        .count("rss_before_kib", before.rss)
        .count("rss_stalled_kib", stalled.rss)
        .count("rss_after_kib", after.rss)
        .number("rss_kib_each", per(before.rss, stalled.rss, work.conns))
        .text("data", &checked.map_or_else(|error| error.to_string(), |()| "intact".to_owned()));
    used.report_until(used_later, report).print();
    Ok(())
}
