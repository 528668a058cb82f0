//! A real client of the real edge and a real operator, and how long each waits; measured all the time.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::arena::{Arena, Place};
use crate::support::http;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);
/// What counts as served.
pub(super) const SERVED: Duration = Duration::from_secs(1);
/// Where a look ends without an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How one of them was served.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) name: &'static str,
    pub(super) looks: usize,
    pub(super) failed: Vec<String>,
    /// Above [`SERVED`].
    pub(super) late: usize,
    pub(super) longest: Duration,
    pub(super) median: Duration,
}

/// Somebody who looks over and over.
struct Looker {
    name: &'static str,
    /// Even while what is looked at runs: looks that a power cut overtakes count for nothing.
    epoch: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Result<Duration, String>>>,
}

impl Looker {
    fn start(
        name: &'static str,
        stop: &Arc<AtomicBool>,
        mut look: impl FnMut() -> Result<(), String> + Send + 'static,
    ) -> Self {
        let epoch = Arc::new(AtomicU64::new(0));
        let (stop, at) = (stop.clone(), epoch.clone());
        let thread = thread::spawn(move || {
            let mut looks = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (before, started) = (at.load(Ordering::SeqCst), Instant::now());
                let result = look();
                if before.is_multiple_of(2) && at.load(Ordering::SeqCst) == before {
                    looks.push(result.map(|()| started.elapsed()));
                }
                thread::sleep(PAUSE);
            }
            looks
        });
        Self { name, epoch, thread }
    }

    fn finish(self) -> Served {
        let looks = self.thread.join().unwrap();
        let mut times: Vec<Duration> = looks.iter().filter_map(|look| look.as_ref().ok().copied()).collect();
        times.sort_unstable();
        Served {
            name: self.name,
            looks: looks.len(),
            failed: looks.iter().filter_map(|look| look.as_ref().err().cloned()).collect(),
            late: times.iter().filter(|time| **time > SERVED).count(),
            longest: times.last().copied().unwrap_or_default(),
            median: times.get(times.len() / 2).copied().unwrap_or_default(),
        }
    }
}

pub(super) struct Witness {
    stop: Arc<AtomicBool>,
    edge: Looker,
    operator: Looker,
}

impl Witness {
    pub(super) fn start(arena: &Arena) -> Self {
        let stop = Arc::default();
        let (place, tag) = (arena.place(), arena.echo.port);
        let edge = Looker::start("clients of the edge", &stop, move || connect(&place, tag));
        let place = arena.place();
        let operator = Looker::start("operators", &stop, move || ask(&place));
        Self { stop, edge, operator }
    }

    /// Does something during which no operator is answered.
    pub(super) fn without_operator<T>(&self, work: impl FnOnce() -> T) -> T {
        without(&self.operator, work)
    }

    /// Does something during which no client is served.
    pub(super) fn without_edge<T>(&self, work: impl FnOnce() -> T) -> T {
        without(&self.edge, work)
    }

    pub(super) fn finish(self) -> [Served; 2] {
        self.stop.store(true, Ordering::Relaxed);
        [self.edge.finish(), self.operator.finish()]
    }
}

fn without<T>(looker: &Looker, work: impl FnOnce() -> T) -> T {
    looker.epoch.fetch_add(1, Ordering::SeqCst);
    let done = work();
    looker.epoch.fetch_add(1, Ordering::SeqCst);
    done
}

fn connect(place: &Place, tag: u16) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], place.rule).into(), PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).map_err(failed)?;
    if u16::from_be_bytes(greeting) == tag { Ok(()) } else { Err("somebody else answers".to_owned()) }
}

fn ask(place: &Place) -> Result<(), String> {
    let token = format!("Bearer {}", place.token);
    match http(place.operator, "GET", "/v1/status", &[("Authorization", &token)], "") {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(format!("{status}: {body}")),
        Err(error) => Err(error.to_string()),
    }
}
