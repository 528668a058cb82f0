//! The seam to what moves bytes: sockets and routing go in, counters come out. I/O.
//!
//! Everything that touches a connection lives below this module, on threads of its own: one worker per core, each with
//! its own events, connections, timers, pipes and counters. Control talks to them through bounded queues and one
//! routing value. ARCHITECTURE.md says why it is so.
//!
//! Keeps: routing changes as one value; a socket that stays is never touched; both sockets of a connection belong to
//! one worker; every worker is joined.

mod acceptor;
mod ages;
mod context;
mod counting;
mod limiting;
mod live;
mod logging;
mod mailbox;
mod room;
mod shared;
mod slab;
mod surveying;
mod targets;
mod tcp;
mod timers;
mod udp;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use guard::Supervisor;
use mio::{Poll, Waker};
use schema::counters::SniMiss;
use schema::ending::Endings;
use schema::net::{Listener, Protocol};
use schema::proto;
use socket2::Socket;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use counting::meant::Concerned;
pub(crate) use counting::switch::RulesByMeter;
use counting::switch::Switch;
use mailbox::WorkerCommand;
use shared::Shared;
use targets::resolver;
use worker::Worker;

use crate::act::connection_log::ConnectionLog;
use crate::act::names::Names;
use crate::act::parts::Part;
use crate::act::policy::PolicyInForce;

pub use acceptor::Acceptor;
pub use ages::Ages;
pub use counting::drain::Drain;
pub use counting::gate::Gate;
pub(crate) use counting::meant::{Overdue, Scope};
pub use counting::meter::{Meter, PlaceFigures, PortFigures, TargetFigures, TargetKey};
pub use counting::source::Source;
pub(crate) use counting::switch::Refusing;
pub use counting::tally::LastTimes;
pub(crate) use counting::tally::wall_clock;
pub(crate) use limiting::clock::now as limits_now;
pub(crate) use limiting::limits::{LimitScope, RuleLimits};
pub(crate) use limiting::quota::{QuotaCount, warns_at};
pub use live::{ConnectionQuery, LiveConnection, QueryResult};
pub use targets::choice::{Choice, Chosen, ConnectionOutcome, FEEDBACK, Feedback, Place, PortTrial};
pub use targets::routing::{NamedRoutes, PortPlan, Route, Routing};

/// How long a socket that was exchanged for another one on its port goes on accepting the handshakes that were under
/// way: a round trip to most of the world. Its successor accepts already.
const HANDSHAKE: Duration = Duration::from_millis(200);

/// The data plane of one edge.
pub struct Dataplane {
    shared: Arc<Shared>,
    acceptors: HashMap<Listener, Acceptor>,
    /// Released UDP sockets, which workers keep open while they have flows.
    lingering: HashMap<Listener, Weak<Socket>>,
    threads: Vec<JoinHandle<()>>,
    resolver: AbortHandle,
}

impl Dataplane {
    /// Starts one worker per core. Must run inside the runtime. Fails where the system has no descriptor left for them.
    ///
    /// # Panics
    /// Where the system has no thread left for a worker.
    pub fn start(
        names: Names,
        policy: PolicyInForce,
        log: Option<ConnectionLog>,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let workers = available_parallelism().map_or(1, usize::from);
        let polls: Vec<Poll> = (0..workers).map(|_| Poll::new()).collect::<io::Result<_>>()?;
        let waker = |poll: &Poll| Waker::new(poll.registry(), worker::WAKE);
        let wakers: Vec<Waker> = polls.iter().map(waker).collect::<io::Result<_>>()?;
        let (outsides, insides): (Vec<_>, Vec<_>) = wakers.into_iter().map(mailbox::mailbox).unzip();
        let (ask, questions) = mpsc::channel(resolver::QUESTIONS);
        let shared = Arc::new(Shared::new(outsides, ask, (names, policy), log));
        let resolver = supervisor.lasting(Part::Lookups, resolver::answer(questions, shared.clone()));
        let resolver = tokio::spawn(resolver).abort_handle();
        let start = |(index, (poll, inside))| {
            let shared = shared.clone();
            let work = move || Worker::new(index, shared, poll, inside).run();
            let thread = supervisor.thread(Part::Worker(index), format!("worker-{index}"), work);
            thread.expect("a process has threads left when it starts")
        };
        let threads = polls.into_iter().zip(insides).enumerate().map(start).collect();
        Ok(Self { shared, acceptors: HashMap::new(), lingering: HashMap::new(), threads, resolver })
    }

    /// A meter for a rule that is new here; it tells `emptied` whenever its last connection ends.
    pub fn meter(&self, emptied: Arc<Notify>) -> Arc<Meter> {
        Arc::new(Meter::new(self.shared.workers.len(), emptied))
    }

    /// Makes the routing valid for every connection that is accepted from now on.
    pub fn publish(&self, routing: Routing) {
        self.shared.routing.store(Arc::new(routing));
    }

    /// The worker that accepts from a socket.
    fn owner(&self, listener: &Listener) -> usize {
        usize::from(listener.port) % self.shared.workers.len()
    }

    /// Sockets by the worker that accepts from them.
    fn by_owner(&self, acceptors: Vec<(Listener, Acceptor)>) -> Vec<Vec<(Listener, Acceptor)>> {
        let mut shares: Vec<Vec<_>> = self.shared.workers.iter().map(|_| Vec::new()).collect();
        for (listener, acceptor) in acceptors {
            shares[self.owner(&listener)].push((listener, acceptor));
        }
        shares
    }

    /// Starts to accept from sockets.
    pub async fn adopt(&mut self, acceptors: Vec<(Listener, Acceptor)>) {
        for (listener, acceptor) in &acceptors {
            let replaced = self.acceptors.insert(*listener, acceptor.clone());
            debug_assert!(replaced.is_none(), "a socket has one owner");
            self.lingering.remove(listener);
        }
        for (worker, share) in self.by_owner(acceptors).into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
            self.command(worker, WorkerCommand::Adopt(share)).await;
        }
    }

    /// The socket of a listener that is accepted from.
    pub fn acceptor(&self, listener: &Listener) -> Option<Acceptor> {
        self.acceptors.get(listener).cloned()
    }

    /// Released UDP sockets that are open still and in the way of a listener: its own one, and others.
    pub fn lingering(&self, listener: &Listener) -> (Option<Acceptor>, Vec<Acceptor>) {
        let own = self.lingering.get(listener).and_then(Acceptor::of_trace);
        let others = self.lingering.iter().filter(|(other, _)| *other != listener && other.conflicts_with(listener));
        (own, others.filter_map(|(_, trace)| Acceptor::of_trace(trace)).collect())
    }

    /// Stops accepting, starts what the kernel has accepted already, and closes the sockets.
    pub async fn release(&mut self, listeners: &[Listener]) {
        let leaving: Vec<(Listener, Acceptor)> =
            listeners.iter().filter_map(|listener| self.acceptors.remove_entry(listener)).collect();
        self.linger(&leaving);
        let retired = leaving.iter().filter(|(listener, acceptor)| acceptor::retire(*listener, acceptor));
        if retired.count() > 0 {
            sleep(HANDSHAKE).await;
        }
        self.close(leaving).await;
    }

    /// Stops accepting everywhere.
    pub async fn release_all(&mut self) {
        let leaving: Vec<_> = self.acceptors.drain().collect();
        self.linger(&leaving);
        self.close(leaving).await;
    }

    fn linger(&mut self, leaving: &[(Listener, Acceptor)]) {
        self.lingering.retain(|_, trace| trace.strong_count() > 0);
        let flows = leaving.iter().filter(|(listener, _)| listener.protocol == Protocol::Udp);
        self.lingering.extend(flows.map(|(listener, acceptor)| (*listener, acceptor.trace())));
    }

    async fn close(&self, leaving: Vec<(Listener, Acceptor)>) {
        let mut closing = Vec::new();
        for (worker, share) in self.by_owner(leaving).into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
            let (done, wait) = oneshot::channel();
            self.command(worker, WorkerCommand::Release(share, done)).await;
            closing.push(wait);
        }
        for wait in closing {
            // A worker that is gone has closed its sockets.
            _ = wait.await;
        }
    }

    /// Waits until everything that an earlier routing took in is counted, and on its way to its worker.
    pub async fn settle(&self) {
        self.ask(WorkerCommand::Fence).await;
    }

    /// Lets every connection learn what a switch means for it: `endings` with the drain of each part, what new access
    /// lists refuse, and the rules `before` it. Nothing that an earlier routing took in may be under way (see
    /// [`Self::settle`]).
    pub(crate) async fn note_switch(
        &self,
        endings: Endings,
        drains: Vec<Arc<Drain>>,
        refusing: Vec<Refusing>,
        before: RulesByMeter,
    ) {
        let routing = self.shared.routing.load_full();
        let switch = Arc::new(Switch { endings, drains, refusing, before, routing });
        self.ask(|done| WorkerCommand::Note(switch.clone(), done)).await;
    }

    async fn ask(&self, command: impl Fn(oneshot::Sender<()>) -> WorkerCommand) {
        let mut answers = Vec::with_capacity(self.shared.workers.len());
        for worker in 0..self.shared.workers.len() {
            let (done, wait) = oneshot::channel();
            self.command(worker, command(done)).await;
            answers.push(wait);
        }
        for answer in answers {
            // A worker that is gone has no connections.
            _ = answer.await;
        }
    }

    /// Resets what is left of a drain.
    pub(crate) async fn cut(&self, drain: &Arc<Drain>) {
        for worker in 0..self.shared.workers.len() {
            self.command(worker, WorkerCommand::Cut(drain.clone())).await;
        }
    }

    /// Resets the connections that are meant.
    pub(crate) async fn reset(&self, meant: Overdue) {
        let meant = Arc::new(meant);
        for worker in 0..self.shared.workers.len() {
            self.command(worker, WorkerCommand::Reset(meant.clone())).await;
        }
    }

    async fn command(&self, worker: usize, command: WorkerCommand) {
        if !self.shared.workers[worker].send(command).await {
            tracing::error!(worker, "a worker ended because of a bug");
        }
    }

    /// How many sockets are accepted from.
    pub fn listeners(&self) -> usize {
        self.acceptors.len()
    }

    /// A handle on the live connections, which outlives the data plane.
    pub fn connections(&self) -> Connections {
        Connections(self.shared.clone())
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.resolver.abort();
        self.shared.is_stopping.store(true, Ordering::Release);
        self.shared.wake_all();
        for thread in self.threads.drain(..) {
            // A worker waits for nothing but its poll: it is back within a turn.
            if thread.join().is_err() {
                tracing::error!("a worker ended because of a bug");
            }
        }
    }
}

/// The live connections of an edge as a whole.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

impl Connections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.count()
    }

    /// How many connections no rule was for, by cause.
    pub fn sni_misses(&self) -> [u64; SniMiss::ALL.len()] {
        self.0.misses()
    }

    /// The same for a report, without causes that did not come about.
    pub fn sni_missed(&self) -> Vec<proto::CauseCount> {
        let counted = SniMiss::ALL.iter().zip(self.sni_misses()).filter(|(_, count)| *count > 0);
        counted.map(|(why, count)| proto::CauseCount { cause: why.as_str().to_owned(), count }).collect()
    }

    /// How many workers serve them.
    #[cfg(feature = "testing")]
    pub(crate) fn workers(&self) -> usize {
        self.0.workers.len()
    }

    /// Makes a worker panic.
    #[cfg(feature = "testing")]
    pub(crate) async fn kill(&self, worker: usize) {
        self.0.workers[worker].send(WorkerCommand::Panic).await;
    }

    /// Makes the writer of the log of connections panic.
    #[cfg(feature = "testing")]
    pub(crate) fn kill_log(&self) {
        self.0.log.iter().for_each(ConnectionLog::kill);
    }

    /// True while none is accepted for want of descriptors, and how often that came about.
    pub fn shortage(&self) -> (bool, u64) {
        (self.0.room.is_full(), self.0.room.shortages())
    }

    /// How old those of one rule are that this would end; `None` where it ends none. Looks at every connection of the
    /// edge.
    pub async fn ages(&self, meter: Arc<Meter>, endings: Endings) -> Option<Ages> {
        ages::ask(&self.0, Concerned { meter, endings }).await
    }

    /// Lists those that are meant, or ends them. No worker looks at many of them at once.
    pub async fn survey(&self, wanted: ConnectionQuery) -> QueryResult {
        surveying::ask(&self.0, wanted).await
    }

    /// Waits until none is left. Nothing may be accepted any more.
    pub async fn ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.0.emptied.notified());
            ended.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Resets all of them, and those that come.
    pub fn reset_all(&self) {
        self.0.is_resetting.store(true, Ordering::Release);
        self.0.wake_all();
    }
}
