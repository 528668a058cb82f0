//! What a server is started with. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use guard::InheritedSockets;
use schema::check::CheckLimits;

use crate::act::operator_port::OperatorPort;
use crate::act::remote::RemoteConfig;
use crate::act::trust::registrar::EdgeTerms;
use crate::decide::fleet::Mode;
use crate::decide::notices::Notifier;

/// Everything that `serve` can be told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The directory to follow, if any.
    pub rules: Option<PathBuf>,
    /// The remote repository to follow, if any; not both.
    pub remote: Option<RemoteConfig>,
    /// Where revisions, the ledger and the token live.
    pub state_dir: PathBuf,
    /// The control port for edges.
    pub control_listen: SocketAddr,
    /// The operator API.
    pub operator: OperatorPort,
    /// Metrics.
    pub metrics_listen: SocketAddr,
    /// What the server does by itself.
    pub mode: Mode,
    /// Follow a tree that differs from its commit.
    pub allow_dirty: bool,
    /// Follow a tree whose commit does not descend from the one in force.
    pub allow_non_descendant: bool,
    /// Limits of the rule language.
    pub limits: CheckLimits,
    /// Who may take part.
    pub trust: TrustConfig,
    /// Who receives notices.
    pub notifiers: Vec<Notifier>,
    /// Log lines that the process has dropped, for its metrics.
    pub log_lines_dropped: Arc<AtomicU64>,
    /// Lines that the connection log of an edge in this process has dropped, if there is such a log.
    pub connection_log_dropped: Option<Arc<AtomicU64>>,
    /// Sockets of the service manager, which are used instead of new ones on the same address.
    pub inherited: InheritedSockets,
}

/// How edges join and prove who they are.
#[derive(Debug, Clone)]
pub struct TrustConfig {
    /// `HOST:PORT` by which edges reach the control port, where that is not its own address.
    pub advertise: Option<String>,
    /// Certificate and key of an authority that the operator gave.
    pub authority: Option<(PathBuf, PathBuf)>,
    /// How long certificates of edges are valid.
    pub edges: EdgeTerms,
}

impl Default for TrustConfig {
    fn default() -> Self {
        let edges = EdgeTerms { ttl: Duration::from_hours(24), grace: Duration::from_hours(30 * 24) };
        Self { advertise: None, authority: None, edges }
    }
}
