//! When a peer that says nothing is asked whether it is there, and when it counts as gone. I/O: socket options.
//!
//! While nothing is under way to a peer the kernel asks by itself (keepalive). What is under way is watched by the
//! workers: TCP_USER_TIMEOUT would also end a peer that is alive and takes nothing.
//!
//! Keeps: a peer that is gone is found within three minutes (CONTRACT §2), with or without something under way to it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::decide::patience::Bounds;

/// Silence of a peer before it is asked whether it is there.
const SILENCE: Duration = Duration::from_mins(1);
/// Between two such questions.
const INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered questions that make a peer a dead one.
const RETRIES: u32 = 6;
/// The kernel counts the former two in seconds.
const LEAST: Duration = Duration::from_secs(1);
/// How long a connection moves nothing before its sockets begin to look for dead peers. They look after a minute, so
/// nothing is lost; short connections are spared system calls and timers of the kernel, and listeners options.
const SETTLE: Duration = Duration::from_secs(10);

/// How long a side may go on sending to one that failed, while it takes nothing of what it is owed itself. Such a sender
/// never learns that nobody gets its data; most that send so much read once they have sent it all, and that soon.
const DEAF: Duration = Duration::from_secs(10);

/// Makes a dead peer noticed within two minutes while nothing is under way to it.
pub(crate) fn look_for_dead_peers(socket: &SockRef<'_>) -> io::Result<()> {
    let scaled = |time: Duration| (time / haste()).max(LEAST);
    let keepalive =
        TcpKeepalive::new().with_time(scaled(SILENCE)).with_interval(scaled(INTERVAL)).with_retries(RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}

/// How long a connection moves nothing before its sockets begin to look.
pub(crate) fn settle() -> Duration {
    SETTLE / haste()
}

/// How long a side that takes nothing may send to one that failed.
pub(crate) fn deaf() -> Duration {
    DEAF / haste()
}

/// Until when a peer that takes nothing is waited for.
pub(crate) fn bounds() -> Bounds {
    let Bounds { period, gone, probe } = Bounds::REAL;
    Bounds { period: period / haste(), gone: gone / haste(), probe: probe / haste() }
}

/// By how much the times of this page are shorter than they are.
#[cfg(not(feature = "testing"))]
const fn haste() -> u32 {
    1
}

#[cfg(feature = "testing")]
use testing::haste;
#[cfg(feature = "testing")]
pub use testing::hurry;

#[cfg(feature = "testing")]
mod testing {
    use std::sync::atomic::{AtomicU32, Ordering};

    static HASTE: AtomicU32 = AtomicU32::new(1);

    /// Makes all times of this process that many times shorter, from now on.
    pub fn hurry(times: u32) {
        HASTE.store(times, Ordering::Relaxed);
    }

    pub(super) fn haste() -> u32 {
        HASTE.load(Ordering::Relaxed)
    }
}
