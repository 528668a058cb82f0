//! The lines of a process that serves: queued by whoever has something to say, written to standard error by a thread of
//! their own. I/O.
//!
//! Keeps: whoever says something waits for nobody and cannot fail, whether the reader is slow, gone or a full disk. A
//! line that finds no room or cannot be written is dropped and counted.
//!
//! The writer of tracing-appender does nearly the same, but its end writes to standard error itself and would wait for
//! the reader that does not read.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

/// Bytes that may wait for the reader: some thousand lines, more than a burst over 10,000 rules leaves unread.
const ROOM: usize = 4 << 20;
/// What a line costs in memory beside its text.
const OVERHEAD: usize = 64;
/// How often a descriptor that another process made non-blocking is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// How often the end looks whether all is written.
const LOOK: Duration = Duration::from_millis(2);

static OF_THIS_PROCESS: OnceLock<Lines> = OnceLock::new();

/// The lines of this process, once it has become one that serves.
pub(crate) fn of_this_process() -> Option<&'static Lines> {
    OF_THIS_PROCESS.get()
}

/// Starts the writer. From now on nothing else may write to standard error.
pub(crate) fn start() -> io::Result<&'static Lines> {
    if let Some(lines) = of_this_process() {
        return Ok(lines);
    }
    // A descriptor of its own: the one of the standard library has a lock, which its panics would wait for.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let lines = Lines::to(stderr)?;
    Ok(OF_THIS_PROCESS.get_or_init(|| lines))
}

/// The way to the writer.
pub(crate) struct Lines {
    sender: Sender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// Lines that were queued.
    queued: AtomicU64,
    /// Those of them that are done with, written or not.
    done: AtomicU64,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = channel();
        let counts = Arc::new(Counts::default());
        let of_thread = counts.clone();
        // It lives as long as the process; the end waits for what it has to write, and no longer.
        thread::Builder::new().name("log-writer".to_owned()).spawn(move || write_all(out, &receiver, &of_thread))?;
        Ok(Self { sender, counts })
    }

    /// Queues a line, which ends with a line end, or drops it.
    pub(crate) fn push(&self, line: Vec<u8>) {
        let size = line.len() + OVERHEAD;
        if self.counts.waiting.fetch_add(size, Ordering::Relaxed) + size > ROOM {
            self.counts.waiting.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counts.queued.fetch_add(1, Ordering::Release);
        if self.sender.send(line).is_err() {
            self.counts.done.fetch_add(1, Ordering::Release);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was queued is written, at most so long.
    pub(crate) fn flush(&self, limit: Duration) {
        let (end, queued) = (Instant::now() + limit, self.counts.queued.load(Ordering::Acquire));
        while self.counts.done.load(Ordering::Acquire) < queued && Instant::now() < end {
            thread::sleep(LOOK);
        }
    }

    /// Lines that were dropped so far.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.counts.dropped.clone()
    }
}

fn write_all(mut out: impl Write, lines: &Receiver<Vec<u8>>, counts: &Counts) {
    let mut told = 0;
    for line in lines {
        let result = write_line(&mut out, &line);
        let waiting = counts.waiting.fetch_sub(line.len() + OVERHEAD, Ordering::Relaxed) - line.len() - OVERHEAD;
        if result.is_err() {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let dropped = counts.dropped.load(Ordering::Relaxed);
        // Once there is room again, so that this line itself is not dropped and counted.
        if result.is_ok() && dropped > told && waiting == 0 {
            warn!(lines = dropped - told, "log lines were dropped because standard error did not accept them");
            told = dropped;
        }
        counts.done.fetch_add(1, Ordering::Release);
    }
}

fn write_line(out: &mut impl Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => rest = &rest[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TRY_AGAIN),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Queues what is written to it in one piece.
pub(crate) struct LineWriter(pub(crate) &'static Lines);

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_gets_the_rest_once_it_does() {
        let (mut reader, writer) = io::pipe().expect("it works in a test");
        let lines = Lines::to(writer).expect("it works in a test");
        let text = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..2 * ROOM / text.len() {
            lines.push(text.clone());
        }
        lines.flush(Duration::from_millis(1));
        let dropped = lines.dropped().load(Ordering::Relaxed);
        assert!(dropped > 0, "there is no end to what is queued");
        let expected = (2 * ROOM / text.len()) as u64 - dropped;
        let read = thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).expect("it works in a test");
            text
        });
        lines.flush(LONG);
        drop(lines);
        assert_eq!(read.join().expect("it works in a test").len() as u64, expected * 1000);
    }

    #[test]
    fn a_writer_that_fails_is_counted_and_tried_again() {
        struct Failing(u32);
        impl Write for Failing {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(ErrorKind::StorageFull.into()),
                    2 => Err(ErrorKind::WouldBlock.into()),
                    3 => Err(ErrorKind::Interrupted.into()),
                    _ => Ok(bytes.len().min(2)),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::to(Failing(0)).expect("it works in a test");
        lines.push(b"first\n".to_vec());
        lines.push(b"second\n".to_vec());
        lines.flush(LONG);
        assert_eq!(lines.counts.done.load(Ordering::Relaxed), 2);
        assert_eq!(lines.dropped().load(Ordering::Relaxed), 1);
    }
}
