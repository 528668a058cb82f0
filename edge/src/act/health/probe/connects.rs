//! Connections that are made only to see whether they come about: many at once, by few system calls. I/O.
//!
//! Where the answer is there at once, as that of a neighbour is, a connection is two calls: its socket is used again.
//! Otherwise it is five. Looking is one more for all of a batch. No task and no timer is made for any of them.
//!
//! Keeps: each ends within its timeout; one that came about ends by a reset, which leaves nothing waiting in the
//! kernel.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::connect_unspec;
use schema::health::{Outcome, ResultCode};
use socket2::Socket;
use tokio::io::unix::AsyncFd;

use super::reach::{self, NotConnected};
use super::{EarlyEnd, Probed};
use crate::decide::faults::{ConnectCause, fault_of};
use crate::decide::probe_schedule::ProbeId;

/// Answers that are taken in with one call; more of them take another one.
const EVENTS: usize = 256;
/// Sockets that are kept for later: as many as a batch of neighbours uses where 10,000 are asked every few seconds.
const SPARE: usize = 32;
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
    pub(in crate::act::health) probed: Probed,
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
    /// Sockets to be used again, of IPv4 and of IPv6.
    spare: [Vec<Socket>; 2],
    keeps: bool,
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
            spare: [Vec::new(), Vec::new()],
            keeps: false,
            success: Outcome::new(ResultCode::L4Ok, "connected"),
        })
    }

    /// Begins one. Its end is found by [`Self::look`], at the earliest by the next.
    pub(in crate::act::health) fn begin(&mut self, connect: Connect) {
        let spare = self.spare[usize::from(connect.address.is_ipv6())].pop();
        match reach::begin(connect.address, spare) {
            Ok(socket) => self.fresh.push((connect, socket)),
            Err(error) => self.conclude(&connect, Err(error)),
        }
    }

    /// Ends one early. It is not among those that [`Self::look`] returns.
    pub(in crate::act::health) fn cancel(&mut self, id: ProbeId) {
        self.fresh.retain(|(connect, _)| connect.id != id);
        if let Some((connect, _)) = self.waiting.remove(&id) {
            self.deadlines.remove(&(connect.deadline, id));
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

    /// Sockets are kept for later from now on, or not: for few targets they only cost descriptors.
    pub(in crate::act::health) fn keep_sockets(&mut self, keeps: bool) {
        self.keeps = keeps;
        if !keeps {
            self.spare = [Vec::new(), Vec::new()];
        }
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
        let mut asked: Vec<PollFd> = self.fresh.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT)).collect();
        // Where this fails, the queue will tell.
        _ = poll(&mut asked, Some(&AT_ONCE));
        let answers: Vec<PollFlags> = asked.iter().map(PollFd::revents).collect();
        for ((connect, socket), answer) in std::mem::take(&mut self.fresh).into_iter().zip(answers) {
            if !answer.is_empty() {
                let is_broken = answer.intersects(PollFlags::ERR | PollFlags::HUP);
                let result = if is_broken { error_of(&socket) } else { established(&socket) };
                let spare = &mut self.spare[usize::from(connect.address.is_ipv6())];
                // A connection that is dissolved is reset, as by closing it: only the socket stays.
                if result.is_ok() && self.keeps && spare.len() < SPARE && connect_unspec(&socket).is_ok() {
                    spare.push(socket);
                }
                self.end(&connect, result);
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
                    tracing::error!(%error, "the results of probes cannot be read");
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
                self.end(&connect, if *is_broken { error_of(&socket) } else { established(&socket) });
            }
            if events.len() < EVENTS {
                return;
            }
        }
    }

    fn end(&mut self, connect: &Connect, result: io::Result<()>) {
        self.conclude(connect, result.map_err(NotConnected::from));
    }

    fn conclude(&mut self, connect: &Connect, result: Result<(), NotConnected>) {
        let probed = match result {
            Ok(()) => Probed::Found(self.success.clone()),
            Err(error) => match reach::failure(connect.address, &error) {
                EarlyEnd::Target(outcome) => Probed::Found(outcome),
                EarlyEnd::Missed(missed) => Probed::Missed(missed),
            },
        };
        self.ended.push(Connected { id: connect.id, started: connect.started, probed });
    }
}

/// What the system holds against a connection; nothing if it was established. One that was reset had been: the answer
/// to a handshake that is not wanted is a refusal. What it says does not depend on how soon anybody looks.
fn error_of(socket: &Socket) -> io::Result<()> {
    socket.take_error()?.filter(|error| fault_of(error) != ConnectCause::Reset).map_or(Ok(()), Err)
}

/// An established connection, unless it met itself: a port of this host where nothing listens, that the connection was
/// given to leave from, answers like a listener.
fn established(socket: &Socket) -> io::Result<()> {
    // A target that was reset meanwhile has no address any more; it had taken the connection.
    let is_own = socket.peer_addr().is_ok_and(|peer| socket.local_addr().is_ok_and(|local| local == peer));
    if is_own { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Type};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn begin(connects: &mut Connects, id: u64, address: SocketAddr, timeout: Duration) {
        connects.begin(Connect { id: ProbeId(id), address, started: Duration::ZERO, deadline: timeout });
    }

    fn outcome(ended: &Connected) -> &Outcome {
        match &ended.probed {
            Probed::Found(outcome) => outcome,
            other => panic!("a result is expected, not {other:?}"),
        }
    }

    fn codes(ended: &[Connected]) -> Vec<(u64, ResultCode)> {
        ended.iter().map(|ended| (ended.id.0, outcome(ended).code())).collect()
    }

    /// A listener whose queue is full: nothing answers a connect to it until somebody accepts.
    fn full() -> (Socket, Socket, SocketAddr) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let first = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        first.connect(&address).unwrap();
        (listener, first, address.as_socket().unwrap())
    }

    #[tokio::test]
    async fn an_answer_that_is_there_at_once_is_found_by_the_next_look() {
        let mut connects = Connects::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        begin(&mut connects, 1, listener.local_addr().unwrap(), LONG);
        begin(&mut connects, 2, free, LONG);
        let ended = connects.look(Duration::ZERO);
        assert_eq!(codes(&ended), [(1, ResultCode::L4Ok), (2, ResultCode::L4Con)]);
        assert!(outcome(&ended[1]).detail().contains("nothing listens there"), "{:?}", ended[1].probed);
        assert!(!connects.is_waiting() && connects.deadline().is_none());
        let (mut stream, _) = listener.accept().unwrap();
        let end = std::io::Read::read(&mut stream, &mut [0]).map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "it left by a reset");
    }

    #[tokio::test]
    async fn a_target_that_has_reset_the_connection_before_anybody_looks_had_taken_it() {
        let mut connects = Connects::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        begin(&mut connects, 1, listener.local_addr().unwrap(), LONG);
        let stream = Socket::from(listener.accept().unwrap().0);
        stream.set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        assert_eq!(codes(&connects.look(Duration::ZERO)), [(1, ResultCode::L4Ok)]);
    }

    #[tokio::test]
    async fn a_socket_that_is_used_again_leaves_each_target_by_a_reset_and_takes_nothing_along() {
        let mut connects = Connects::new().unwrap();
        connects.keep_sockets(true);
        let listeners = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for round in 0..3 {
            for (id, listener) in (0..).zip(&listeners) {
                begin(&mut connects, round * 10 + id, listener.local_addr().unwrap(), LONG);
                let ended = connects.look(Duration::ZERO);
                assert_eq!(codes(&ended), [(round * 10 + id, ResultCode::L4Ok)]);
                let (mut stream, _) = listener.accept().unwrap();
                let end = std::io::Read::read(&mut stream, &mut [0]).map_err(|error| error.kind());
                assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "round {round}");
            }
            assert_eq!(connects.spare.each_ref().map(Vec::len), [1, 1], "one of each kind serves all");
        }
        begin(&mut connects, 100, free, LONG);
        assert_eq!(codes(&connects.look(Duration::ZERO)), [(100, ResultCode::L4Con)]);
        assert_eq!(connects.spare.each_ref().map(Vec::len), [0, 1], "one that failed is not used again");
        connects.keep_sockets(false);
        assert!(connects.spare.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_connection_that_met_itself_was_refused() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.connect(&address.into()).expect("both ends are the same socket");
        assert_eq!(established(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.connect(&listener.local_addr().unwrap().into()).unwrap();
        assert!(established(&socket).is_ok());
    }

    #[tokio::test]
    async fn silence_ends_at_its_deadline_and_a_late_answer_is_told_by_the_queue() {
        let mut connects = Connects::new().unwrap();
        let (listener, _first, address) = full();
        begin(&mut connects, 1, address, Duration::from_secs(3));
        begin(&mut connects, 2, address, LONG);
        assert!(connects.look(Duration::ZERO).is_empty() && connects.is_waiting());
        assert_eq!(connects.deadline(), Some(Duration::from_secs(3)));
        assert!(connects.look(Duration::from_millis(2999)).is_empty());
        assert_eq!(codes(&connects.look(Duration::from_secs(3))), [(1, ResultCode::L4Tout)]);
        // The kernel asks again, and finds room.
        listener.accept().unwrap();
        tokio::time::timeout(LONG, connects.changed()).await.expect("an answer");
        assert_eq!(codes(&connects.look(Duration::from_secs(4))), [(2, ResultCode::L4Ok)]);
        assert!(!connects.is_waiting() && connects.deadline().is_none());
    }
}
