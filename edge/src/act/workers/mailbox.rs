//! What control and workers tell a worker: bounded queues with one wake-up for many messages. Shared memory.
//!
//! Keeps: nobody waits for a worker while holding something that it needs; a message is looked at after its wake-up,
//! and a wake-up costs a system call only where none is under way.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mio::unix::SourceFd;
use mio::{Registry, Waker};
use schema::net::Listener;
use tokio::sync::{mpsc, oneshot};

use super::acceptor::Acceptor;
use super::counting::admitted::Admitted;
use super::counting::drain::Drain;
use super::counting::meant::{Concerned, Overdue};
use super::counting::source::Source;
use super::counting::switch::Switch;
use super::live::{QuerySlice, SlabQuery};
use super::targets::question::{Resolved, SlabKind};

/// Commands that may wait: the runtime sends one at a time and most of them are awaited. Resolvers, the other senders,
/// wait for a place.
const COMMANDS: usize = 64;
/// Connections that may wait for their worker; above that the one that accepted keeps them.
const HANDED: usize = 1024;

/// What a worker is told.
pub(super) enum WorkerCommand {
    /// Accept from these.
    Adopt(Vec<(Listener, Acceptor)>),
    /// Stop accepting, start what waits, close. The sender has let go of the sockets.
    Release(Vec<(Listener, Acceptor)>, oneshot::Sender<()>),
    /// Say when everything that was accepted by an earlier routing is on its way to its worker.
    Fence(oneshot::Sender<()>),
    /// Other rules serve: every connection learns what that means for it.
    Note(Arc<Switch>, oneshot::Sender<()>),
    /// Reset what is left of a drain.
    Cut(Arc<Drain>),
    /// Reset the connections that are meant.
    Reset(Arc<Overdue>),
    /// Say how many ticks ago each of these connections came.
    Ages(Arc<Concerned>, oneshot::Sender<Vec<u32>>),
    /// Look at one slice of the connections or flows, from this place on.
    Survey(Arc<SlabQuery>, SlabKind, u32, oneshot::Sender<QuerySlice>),
    /// A name was looked up for a connection.
    Resolved(Resolved),
    /// Panic, as by a bug.
    #[cfg(feature = "testing")]
    Panic,
}

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientEnds {
    /// Where the client is.
    pub(super) client: SocketAddr,
    /// Where it connected to, if a load balancer in front names it; otherwise this host knows.
    pub(super) local: Option<SocketAddr>,
}

/// A connection on its way to its worker.
pub(super) struct Handed {
    pub(super) client: OwnedFd,
    /// Where it comes from.
    pub(super) source: Source,
    /// Both ends, if a target of its rule is to learn of them.
    pub(super) from: Option<Box<ClientEnds>>,
    pub(super) admitted: Admitted,
    /// The worker that has it hears of what happens to its client.
    pub(super) is_watched: bool,
}

impl Handed {
    /// Lets its client go, so that another worker can watch it.
    pub(super) fn stop_watching(&mut self, registry: &Registry) {
        if std::mem::take(&mut self.is_watched)
            && let Err(error) = registry.deregister(&mut SourceFd(&self.client.as_raw_fd()))
        {
            tracing::debug!(%error, "a client is watched by two workers");
        }
    }
}

/// The senders' end: the way to one worker.
pub(super) struct Mailbox {
    pub(super) commands: mpsc::Sender<WorkerCommand>,
    handed: mpsc::Sender<Handed>,
    waker: Waker,
    is_woken: AtomicBool,
    /// Its connections, those on their way included.
    load: AtomicUsize,
}

/// The worker's end.
pub(super) struct Incoming {
    pub(super) commands: mpsc::Receiver<WorkerCommand>,
    pub(super) handed: mpsc::Receiver<Handed>,
}

/// Both ends.
pub(super) fn mailbox(waker: Waker) -> (Mailbox, Incoming) {
    let (commands, received) = mpsc::channel(COMMANDS);
    let (handed, taken) = mpsc::channel(HANDED);
    let mailbox = Mailbox { commands, handed, waker, is_woken: AtomicBool::new(false), load: AtomicUsize::new(0) };
    (mailbox, Incoming { commands: received, handed: taken })
}

impl Mailbox {
    /// Sends a command as soon as there is room. False if the worker is gone.
    pub(super) async fn send(&self, command: WorkerCommand) -> bool {
        let is_sent = self.commands.send(command).await.is_ok();
        self.wake();
        is_sent
    }

    /// Hands a connection over, or gives it back.
    pub(super) fn hand(&self, handed: Handed) -> Result<(), Handed> {
        self.handed.try_send(handed).map_err(mpsc::error::TrySendError::into_inner)?;
        self.wake();
        Ok(())
    }

    /// Makes the worker look at its queues and at what it shares.
    pub(super) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker cannot be woken");
        }
    }

    /// To be called before the queues are looked at.
    pub(super) fn awoke(&self) {
        self.is_woken.swap(false, Ordering::AcqRel);
    }

    /// Its connections.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// One more.
    pub(super) fn began(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; true if it was the last.
    pub(super) fn ended(&self) -> bool {
        self.load.fetch_sub(1, Ordering::Relaxed) == 1
    }
}
