//! Copies bytes both ways between two connected sockets. I/O.
//!
//! Keeps: the end of one direction is passed on and leaves the other alone; every byte is counted when it is
//! written; a connection that waits owns no buffer.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::meter::Ticket;

/// Bytes per read: counters move at least twice as often as CONTRACT §8 asks (64 KiB).
const BUFFER: usize = 32 * 1024;

thread_local! {
    /// One per worker thread: it holds bytes only between a read and the write that follows at once.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// A connection that did not end by itself: an error on either side, or nothing moved for too long.
#[derive(Debug)]
pub(super) struct Broken;

/// When a byte moved last, in milliseconds since the start.
struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    fn mark(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Relaxed);
    }

    /// Ends when nothing has moved for that long.
    async fn ceased(&self, limit: Duration) {
        loop {
            let deadline = self.start + Duration::from_millis(self.last.load(Relaxed)) + limit;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// Copies until both directions have ended, or one of them breaks.
pub(super) async fn relay(
    client: &TcpStream,
    target: &TcpStream,
    ticket: &Ticket,
    idle_timeout: Option<Duration>,
) -> Result<(), Broken> {
    let activity = Activity { start: Instant::now(), last: AtomicU64::new(0) };
    let both = async {
        let inward = pump(client, target, &activity, |bytes| ticket.moved_in(bytes));
        let outward = pump(target, client, &activity, |bytes| ticket.moved_out(bytes));
        tokio::try_join!(inward, outward).map(|_| ()).map_err(|_| Broken)
    };
    let Some(limit) = idle_timeout else { return both.await };
    tokio::select! {
        biased;
        ended = both => ended,
        () = activity.ceased(limit) => Err(Broken),
    }
}

/// One direction, until its end.
async fn pump(from: &TcpStream, to: &TcpStream, activity: &Activity, count: impl Fn(usize)) -> io::Result<()> {
    let moved = |bytes| {
        count(bytes);
        activity.mark();
    };
    loop {
        from.readable().await?;
        match read_and_write(from, to, &moved) {
            Ok(Step::Moved) => {}
            Ok(Step::Blocked(rest)) => write_rest(to, &rest, &moved).await?,
            Ok(Step::End) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // Readiness alone would let one fast stream keep its worker for itself.
        tokio::task::consume_budget().await;
    }
    match SockRef::from(to).shutdown(Shutdown::Write) {
        Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

enum Step {
    Moved,
    /// The receiver takes no more for now; these bytes are owed to it.
    Blocked(Vec<u8>),
    End,
}

fn read_and_write(from: &TcpStream, to: &TcpStream, moved: &impl Fn(usize)) -> io::Result<Step> {
    SCRATCH.with_borrow_mut(|buffer| {
        let length = from.try_read(buffer)?;
        if length == 0 {
            return Ok(Step::End);
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match to.try_write(rest) {
                Ok(written) => {
                    moved(written);
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Blocked(rest.to_vec())),
                Err(error) => return Err(error),
            }
        }
        Ok(Step::Moved)
    })
}

async fn write_rest(to: &TcpStream, mut rest: &[u8], moved: &impl Fn(usize)) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => {
                moved(written);
                rest = &rest[written..];
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
