//! The tasks and threads that an edge relies on, by name. Values.

use std::fmt;

#[cfg(feature = "testing")]
use guard::Supervisor;

#[cfg(feature = "testing")]
use crate::act::workers::Connections;

/// What an edge cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A thread of the data plane, by its number.
    Worker(usize),
    /// The task that looks up names for the data plane.
    Lookups,
    /// The task that owns rules and sockets.
    Runtime,
    /// The task that owns the verdicts about targets.
    Health,
    /// The task that resolves names.
    Names,
    /// The task that keeps a session with the server.
    Session,
    /// The port for metrics.
    Metrics,
    /// The task that remembers when rules were used.
    Usage,
    /// The thread that writes the log of connections.
    ConnectionLog,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker(index) => return write!(f, "worker {index} of the data plane"),
            Self::Lookups => "the data plane's lookup of names",
            Self::Runtime => "the owner of rules and sockets",
            Self::Health => "the owner of the targets' health",
            Self::Names => "the resolver of names",
            Self::Session => "the session with the server",
            Self::Metrics => "the metrics port",
            Self::Usage => "the memory of uses",
            Self::ConnectionLog => "the writer of the connection log",
        })
    }
}

/// Makes parts of an edge panic.
#[cfg(feature = "testing")]
pub struct Killer {
    pub(crate) supervisor: Supervisor,
    pub(crate) connections: Connections,
}

#[cfg(feature = "testing")]
impl Killer {
    /// Waits for the name of a part to kill, in a process whose test names one.
    pub(crate) fn start(supervisor: &Supervisor, connections: &Connections) {
        if std::env::var_os(guard::supervisor::KILL_FILE).is_some() {
            let (supervisor, connections) = (supervisor.clone(), connections.clone());
            tokio::spawn(Self { supervisor, connections }.obey());
        }
    }

    /// How many threads the data plane has.
    pub fn workers(&self) -> usize {
        self.connections.workers()
    }

    /// Makes the worker panic that a test of the whole process names.
    async fn obey(self) {
        let named = self.supervisor.killing().await;
        let worker = (0..self.workers()).find(|index| Part::Worker(*index).to_string() == named);
        if let Some(index) = worker {
            self.connections.kill(index).await;
        }
    }

    /// Makes a part panic as soon as it has its turn.
    pub async fn kill(&self, part: Part) {
        match part {
            Part::Worker(index) => self.connections.kill(index).await,
            Part::ConnectionLog => self.connections.kill_log(),
            part => self.supervisor.kill(part),
        }
    }
}
