//! Connections that are made only to see whether they come about: many at once, by few system calls. I/O.
//!
//! A connection is four calls where the answer is there at once, as that of a neighbour is, and five otherwise; looking
//! is one more for all of a batch. No task and no timer is made for any of them.
//!
//! Keeps: each ends within its timeout; a socket that is closed leaves nothing waiting in the kernel.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use schema::health::{Outcome, ResultCode};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::reach;
use crate::decide::probing::ProbeId;

/// Answers that are taken in with one call; more of them take another one.
const EVENTS: usize = 256;
/// A look does not wait.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// One that is to be made.
pub(in crate::act::health) struct Connect {
    pub(in crate::act::health) id: ProbeId,
    pub(in crate::act::health) address: SocketAddr,
    /// When it was begun, and when it has failed if nothing has come until then.
    pub(in crate::act::health) started: Duration,
    pub(in crate::act::health) deadline: Duration,
}

/// One that has ended.
pub(in crate::act::health) struct Connected {
    pub(in crate::act::health) id: ProbeId,
    pub(in crate::act::health) started: Duration,
    pub(in crate::act::health) outcome: Outcome,
}

/// Those under way.
pub(in crate::act::health) struct Connects {
    /// Nobody has looked at these yet.
    fresh: Vec<(Connect, Socket)>,
    /// What the readiness queue holds.
    waiting: HashMap<ProbeId, (Connect, Socket)>,
    deadlines: BTreeSet<(Duration, ProbeId)>,
    queue: AsyncFd<Poll>,
    events: Events,
    /// The queue has been ready since it was looked at last.
    has_news: bool,
    ended: Vec<Connected>,
    /// What most of them end with.
    success: Outcome,
}

impl Connects {
    /// None yet. Fails where the system has no descriptor for the queue.
    pub(in crate::act::health) fn new() -> io::Result<Self> {
        #[expect(deprecated, reason = "what replaces it is not safe; a `Poll` keeps its one descriptor for life")]
        let queue = AsyncFd::with_interest(Poll::new()?, tokio::io::Interest::READABLE)?;
        Ok(Self {
            fresh: Vec::new(),
            waiting: HashMap::new(),
            deadlines: BTreeSet::new(),
            queue,
            events: Events::with_capacity(EVENTS),
            has_news: false,
            ended: Vec::new(),
            success: Outcome::new(ResultCode::L4Ok, "connected"),
        })
    }

    /// Begins one. Its end is found by [`Self::look`], at the earliest by the next.
    pub(in crate::act::health) fn begin(&mut self, connect: Connect) {
        match begin(connect.address) {
            Ok(socket) => self.fresh.push((connect, socket)),
            Err(error) => self.end(&connect, Err(error)),
        }
    }

    /// True while some wait in the queue: only then [`Self::changed`] can end.
    pub(in crate::act::health) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The first time at which one has failed by silence.
    pub(in crate::act::health) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Waits until there is something to look at in the queue.
    pub(in crate::act::health) async fn changed(&mut self) {
        match self.queue.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            // The runtime ends, and everything with it.
            Err(_) => std::future::pending().await,
        }
        self.has_news = true;
    }

    /// Those that have ended since the last look.
    pub(in crate::act::health) fn look(&mut self, now: Duration) -> Vec<Connected> {
        self.look_at_fresh();
        if std::mem::take(&mut self.has_news) {
            self.look_at_queue();
        }
        while let Some((deadline, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.remove(&(deadline, id));
            if let Some((connect, _)) = self.waiting.remove(&id) {
                self.end(&connect, Err(io::ErrorKind::TimedOut.into()));
            }
        }
        std::mem::take(&mut self.ended)
    }

    fn look_at_fresh(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let mut asked: Vec<PollFd> =
            self.fresh.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT)).collect();
        // Where this fails, the queue will tell.
        _ = poll(&mut asked, Some(&AT_ONCE));
        let answers: Vec<PollFlags> = asked.iter().map(PollFd::revents).collect();
        for ((connect, socket), answer) in std::mem::take(&mut self.fresh).into_iter().zip(answers) {
            if !answer.is_empty() {
                let is_broken = answer.intersects(PollFlags::ERR | PollFlags::HUP);
                self.end(&connect, if is_broken { error_of(&socket) } else { Ok(()) });
                continue;
            }
            let token = Token(connect.id.0 as usize);
            let registry = self.queue.get_ref().registry();
            match registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::WRITABLE) {
                Ok(()) => {
                    self.deadlines.insert((connect.deadline, connect.id));
                    self.waiting.insert(connect.id, (connect, socket));
                }
                Err(error) => self.end(&connect, Err(error)),
            }
        }
    }

    fn look_at_queue(&mut self) {
        loop {
            // What a signal interrupts is asked again: nothing else tells of these events.
            while let Err(error) = self.queue.get_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(%error, "the answers of probes cannot be read");
                    return;
                }
            }
            let events: Vec<(ProbeId, bool)> = self
                .events
                .iter()
                .map(|event| (ProbeId(event.token().0 as u64), event.is_error() || event.is_write_closed()))
                .collect();
            for (id, is_broken) in &events {
                let Some((connect, socket)) = self.waiting.remove(id) else { continue };
                self.deadlines.remove(&(connect.deadline, *id));
                self.end(&connect, if *is_broken { error_of(&socket) } else { Ok(()) });
            }
            if events.len() < EVENTS {
                return;
            }
        }
    }

    fn end(&mut self, connect: &Connect, result: io::Result<()>) {
        let outcome = match result {
            Ok(()) => self.success.clone(),
            Err(error) => reach::failure(connect.address, &error),
        };
        self.ended.push(Connected { id: connect.id, started: connect.started, outcome });
    }
}

fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Closed by a reset: thousands of probes in a minute shall leave no TIME_WAIT, and no target waits for an end. The
    // call costs less than the farewells of both sides do.
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

/// What the system holds against a connection; nothing if it came about all the same.
fn error_of(socket: &Socket) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)
}
