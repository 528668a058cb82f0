//! The seam to what moves bytes: sockets and routing go in, counters come out. I/O.
//!
//! Everything that touches a connection lives below this module, so that its engine can be replaced without the
//! rest of the edge noticing. The engine is tokio's for now: an accept task per socket, a task per connection.
//!
//! Keeps: routing changes as one value; a socket that stays is never touched; every task is joined or reset.

mod accept;
mod connection;
mod meter;
mod relay;
mod resolve;
mod routing;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use schema::net::Listener;
use socket2::{SockRef, Socket};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use meter::Scope;
pub use meter::{Figures, Meter, PortFigures, TargetFigures, TargetKey};
pub use routing::{Route, Routing};

/// How long a socket that was exchanged for another one on its port goes on accepting the handshakes that were under
/// way: a round trip to most of the world. Its successor accepts already.
const HANDSHAKE: Duration = Duration::from_millis(200);

/// A listening socket that the engine can accept from.
#[derive(Clone)]
pub struct Acceptor(Arc<TcpListener>);

impl Acceptor {
    /// Takes a listening, non-blocking socket. Must run inside the runtime.
    pub fn new(socket: Socket) -> io::Result<Self> {
        TcpListener::from_std(socket.into()).map(|listener| Self(Arc::new(listener)))
    }

    /// The socket, for its options.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&*self.0)
    }
}

/// What all tasks of the engine share.
pub(crate) struct Shared {
    routing: ArcSwap<Routing>,
    connections: TaskTracker,
    /// Ends every connection at once.
    reset_all: CancellationToken,
    open: AtomicUsize,
    resolver: resolve::Resolver,
    /// One log line per shortage of descriptors, not one per socket and attempt.
    is_short_of_descriptors: AtomicBool,
}

struct Accepting {
    acceptor: Acceptor,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The data plane of one edge.
pub struct Dataplane {
    shared: Arc<Shared>,
    accepting: HashMap<Listener, Accepting>,
}

impl Default for Dataplane {
    fn default() -> Self {
        let shared = Shared {
            routing: ArcSwap::default(),
            connections: TaskTracker::new(),
            reset_all: CancellationToken::new(),
            open: AtomicUsize::new(0),
            resolver: resolve::Resolver::default(),
            is_short_of_descriptors: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), accepting: HashMap::new() }
    }
}

impl Dataplane {
    /// Makes the routing valid for every connection that is accepted from now on.
    pub fn publish(&self, routing: Routing) {
        self.shared.routing.store(Arc::new(routing));
    }

    /// Starts to accept from a socket.
    pub fn adopt(&mut self, listener: Listener, acceptor: Acceptor) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept::accept(listener, acceptor.clone(), stop.clone(), self.shared.clone()));
        let replaced = self.accepting.insert(listener, Accepting { acceptor, stop, task });
        debug_assert!(replaced.is_none(), "a socket has one owner");
    }

    /// The socket of a listener that is accepted from.
    pub fn acceptor(&self, listener: &Listener) -> Option<Acceptor> {
        self.accepting.get(listener).map(|accepting| accepting.acceptor.clone())
    }

    /// Stops accepting, starts what the kernel has accepted already, and closes the sockets.
    pub async fn release(&mut self, listeners: &[Listener]) {
        let leaving: Vec<(Listener, Accepting)> =
            listeners.iter().filter_map(|listener| self.accepting.remove_entry(listener)).collect();
        let retired = leaving.iter().filter(|(listener, leaving)| accept::retire(*listener, &leaving.acceptor));
        if retired.count() > 0 {
            sleep(HANDSHAKE).await;
        }
        self.close(leaving).await;
    }

    /// Stops accepting everywhere.
    pub async fn release_all(&mut self) {
        let leaving = self.accepting.drain().collect();
        self.close(leaving).await;
    }

    async fn close(&self, mut leaving: Vec<(Listener, Accepting)>) {
        for (_, accepting) in &leaving {
            accepting.stop.cancel();
        }
        for (_, accepting) in &mut leaving {
            if let Err(error) = (&mut accepting.task).await {
                tracing::error!(%error, "an accept task failed");
            }
        }
        // No await from here on: what arrives between the last accept and the close is lost.
        for (listener, accepting) in leaving {
            accept::close(listener, accepting.acceptor, &self.shared);
        }
    }

    /// How many sockets are accepted from.
    pub fn listeners(&self) -> usize {
        self.accepting.len()
    }

    /// A handle on the live connections, which outlives the data plane.
    pub fn connections(&self) -> Connections {
        Connections(self.shared.clone())
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        for accepting in self.accepting.values() {
            accepting.task.abort();
        }
        self.shared.reset_all.cancel();
    }
}

/// The live connections of an edge as a whole.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

impl Connections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Waits until none is left. Nothing may be accepted any more.
    pub async fn ended(&self) {
        self.0.connections.close();
        self.0.connections.wait().await;
    }

    /// Resets all of them.
    pub fn reset_all(&self) {
        self.0.reset_all.cancel();
    }
}
