//! The workloads: each measures one thing about the forwarder at one address. I/O.
//!
//! All but those of memory run closed loops: the next operation starts when the one before it is done.

pub mod bulk;
pub mod connections;
pub mod datagrams;
pub mod echo;
pub mod half_close;
pub mod memory;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::processes::Time;

/// What to measure and how long.
pub struct Work {
    /// Where the forwarder listens.
    pub address: SocketAddr,
    /// The forwarder; 0 where there is none.
    pub pid: u32,
    pub conns: usize,
    pub time: Duration,
    pub warm_up: Duration,
    /// Bytes of a message.
    pub size: usize,
    /// Datagrams under way.
    pub outstanding: usize,
    pub threads: usize,
    pub is_upload: bool,
    /// Connections begin with the hello of a TLS client.
    pub says_hello: bool,
}

/// Where a measurement is.
pub enum Phase {
    WarmingUp,
    /// It starts now: what was counted so far does not count.
    Starts,
    Measuring,
    /// It took so long, and so much time was used.
    Done(Duration, Time, Time),
}

/// Tells warming up from measuring.
pub struct Clock<'w> {
    work: &'w Work,
    begun: Instant,
    start: Option<(Instant, Time)>,
}

impl<'w> Clock<'w> {
    pub fn start(work: &'w Work) -> Self {
        Self { work, begun: Instant::now(), start: None }
    }

    pub fn is_measuring(&self) -> bool {
        self.start.is_some()
    }

    pub fn phase(&mut self, now: Instant) -> Phase {
        match self.start {
            None if now - self.begun < self.work.warm_up => Phase::WarmingUp,
            None => {
                let time = Time::now(self.work.pid);
                self.start = Some((Instant::now(), time));
                Phase::Starts
            }
            Some((start, _)) if now.saturating_duration_since(start) < self.work.time => Phase::Measuring,
            Some((start, time)) => Phase::Done(start.elapsed(), time, Time::now(self.work.pid)),
        }
    }
}
