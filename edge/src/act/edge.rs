//! The edge as one thing: start, run, end. I/O.
//!
//! Keeps: what ran before a restart is served before the server is asked; every task ends with the edge.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guard::{Failed, InheritedSockets, Supervisor};
use schema::canonical::Digest;
use schema::capability::{self, Capabilities};
use schema::name::{EdgeName, RuleName};
use schema::net::{ListenAddress, Listener, Protocol};
use schema::networks::Lists;
use schema::policy::Policy;
use schema::rule::Rule;
use schema::wire;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::act::agent::Agent;
use crate::act::connection_log::{self, ConnectionLog, ConnectionLogFile};
use crate::act::joining::FleetMember;
use crate::act::last_good::{Exception, LastGood, StateError, Stored};
use crate::act::metrics::{self, MetricsSource};
use crate::act::names::{self, Names};
#[cfg(feature = "testing")]
use crate::act::parts::Killer;
use crate::act::parts::Part;
use crate::act::runtime::{self, Before, Pending, Restarted, RuntimeBounds, RuntimeHandle, Stopped};
use crate::act::server_connector::{Endpoint, ServerConnector};
use crate::act::session::Offer;
use crate::act::steady::Steady;
use crate::act::{abilities, interfaces};
use crate::decide::admission::Accepted;
use crate::decide::desired::Desired;
use crate::decide::names::Limits;

/// How long tasks may take to notice that they were reset.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// How long a starting edge waits for one that is about to leave its state folder: it only has to stop accepting.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// How an edge is to run.
#[derive(Clone)]
pub struct EdgeConfig {
    /// Its name.
    pub name: EdgeName,
    /// Where the server is.
    pub server: Endpoint,
    /// Where the last good state is kept; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Where its own metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the same process listens besides: a server beside the edge. No rule may take these either.
    pub process_listens: Vec<SocketAddr>,
    /// What it must not do.
    pub disabled_capabilities: Capabilities,
    /// What its owner allows.
    pub policy: Policy,
    /// How long connections may go on after the end was asked for.
    pub shutdown_drain: Duration,
    /// Where it is written how targets' names are resolved.
    pub names: names::ResolverFiles,
    /// Log lines that the process has dropped, for its metrics.
    pub log_lines_dropped: Arc<AtomicU64>,
    /// Where connections that end are written down.
    pub connection_log: Option<ConnectionLogFile>,
    /// Sockets of the service manager, which are used instead of new ones on the same address.
    pub inherited: InheritedSockets,
}

/// Why an edge does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The address for metrics cannot be used.
    #[error("metrics cannot be served on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection log cannot be opened.
    #[error("the connection log {path} cannot be opened", path = path.display())]
    ConnectionLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has no directory for its membership.
    #[error("an edge of a fleet needs a state directory")]
    NoStateDirectory,
    /// The system has nothing left for the workers.
    #[error("the workers cannot be started: the limit of open files may be too low (`ulimit -n`, LimitNOFILE=)")]
    Workers(#[source] io::Error),
    /// A bug ended a part that the rest relies on.
    #[error(transparent)]
    Part(#[from] Failed),
    /// The part that owns the sockets is gone.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// A running edge. Dropping it ends it at once.
pub struct Edge {
    supervisor: Supervisor,
    runtime: RuntimeHandle,
    actor: JoinHandle<()>,
    tasks: TaskTracker,
    stop: DropGuard,
    now: CancellationToken,
    metrics_address: Option<SocketAddr>,
    connection_log: Option<ConnectionLog>,
    shutdown_drain: ShutdownDrain,
}

/// How long connections may go on after the end was asked for; it can be changed while the edge runs.
#[derive(Debug, Clone)]
pub struct ShutdownDrain(Arc<AtomicU64>);

impl ShutdownDrain {
    fn new(time: Duration) -> Self {
        let drain = Self(Arc::default());
        drain.set(time);
        drain
    }

    /// Changes it for an end that is still to come.
    pub fn set(&self, time: Duration) {
        self.0.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Edge {
    /// Opens the state, serves what it holds, and starts to connect.
    pub async fn start(config: EdgeConfig) -> Result<Self, EdgeError> {
        // Before any socket: the edge that leaves the folder has closed its own by then.
        let store = match &config.state_dir {
            Some(folder) => Some(LastGood::open_within(folder, &config.name, TAKE_OVER).await?),
            None => None,
        };
        let stored = store.as_ref().map(LastGood::read).transpose()?.flatten();
        let way = connector(config.server, &config.name, config.state_dir)?;
        let listener = match config.metrics_listen {
            Some(address) => Some(listen(address, &config.inherited).await?),
            None => None,
        };
        let metrics_address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let offer = Offer {
            name: config.name,
            capabilities: abilities::capabilities(&config.disabled_capabilities),
            limits: abilities::limits(stored.as_ref().map_or(0, Stored::listeners)),
            own_listeners: metrics_address.into_iter().chain(config.process_listens).map(own_listener).collect(),
        };
        let restored = stored.and_then(|stored| restore(stored, &offer));
        let supervisor = Supervisor::new();
        let names = Names::supervised(config.names, Limits::default(), &supervisor);
        let opened = config.connection_log.as_ref().map(|file| log_connections(file, &supervisor));
        let connection_log = opened.transpose()?;
        let bounds = RuntimeBounds {
            limits: offer.limits,
            policy: config.policy,
            inherited: config.inherited,
            connection_log: connection_log.clone(),
        };
        let (runtime, actor) = tokio::select! {
            started = runtime::try_start(bounds, names, store, restored, &supervisor) => started.map_err(EdgeError::Workers)?,
            failed = supervisor.failed() => return Err(failed.into()),
        };

        let (agent, session) = Agent::new(way, offer, runtime.clone());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(supervisor.serving(Part::Session.to_string(), agent.run(stop.clone())));
        let connection_log_dropped = config.connection_log.map(|file| file.dropped);
        let (runtime_of, log_lines_dropped) = (runtime.clone(), config.log_lines_dropped);
        let source = MetricsSource { runtime: runtime_of, session, log_lines_dropped, connection_log_dropped };
        if let Some(listener) = listener {
            tasks.spawn(supervisor.lasting(Part::Metrics, metrics::serve(listener, source, stop.clone())));
        }
        tasks.close();
        #[cfg(feature = "testing")]
        Killer::start(&supervisor, runtime.connections());
        Ok(Self {
            supervisor,
            runtime,
            actor,
            tasks,
            stop: stop.drop_guard(),
            now: CancellationToken::new(),
            metrics_address,
            connection_log,
            shutdown_drain: ShutdownDrain::new(config.shutdown_drain),
        })
    }

    /// Where metrics are served, with the port that the system chose for port 0.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The log of connections, if there is one.
    pub fn connection_log(&self) -> Option<ConnectionLog> {
        self.connection_log.clone()
    }

    /// The part that owns the sockets.
    pub fn runtime(&self) -> &RuntimeHandle {
        &self.runtime
    }

    /// Cancel it to end at once, without or during the drain: what a second signal does.
    pub fn end_now(&self) -> CancellationToken {
        self.now.clone()
    }

    /// How long its connections may go on after the end was asked for.
    pub fn shutdown_drain(&self) -> ShutdownDrain {
        self.shutdown_drain.clone()
    }

    /// What makes its parts panic.
    #[cfg(feature = "testing")]
    pub fn killer(&self) -> Killer {
        Killer { supervisor: self.supervisor.clone(), connections: self.runtime.connections().clone() }
    }

    /// Runs until `shutdown` is cancelled; then accepting stops at once, and connections drain. Fails at once where a
    /// part ends by a bug: what is left of the edge is not to be relied on, and a restart serves the last good state.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), EdgeError> {
        let supervisor = self.supervisor.clone();
        let failed = tokio::select! {
            failed = supervisor.failed() => failed,
            ended = self.until(shutdown) => match ended {
                // Whoever is not answered has noticed a panic before it is caught.
                Err(EdgeError::Stopped(stopped)) => {
                    timeout(LAST_BREATH, supervisor.failed()).await.map_err(|_| stopped)?
                }
                ended => return ended,
            },
        };
        tracing::error!(error = %failed, "the edge stops");
        Err(failed.into())
    }

    async fn until(self, shutdown: CancellationToken) -> Result<(), EdgeError> {
        let Self { supervisor, runtime, actor, tasks, stop, now, connection_log, shutdown_drain, .. } = self;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = now.cancelled() => {}
        }
        supervisor.ending();
        runtime.stop_accepting().await?;
        drop(stop);
        // Whoever takes over needs the name at the server and the metrics port too.
        if timeout(LAST_BREATH, tasks.wait()).await.is_err() {
            tracing::warn!("the session did not end in time");
        }
        runtime.leave_state().await?;
        let connections = runtime.connections().clone();
        tracing::info!(connections = connections.count(), "accepting has stopped, connections are draining");
        tokio::select! {
            () = connections.ended() => {}
            () = sleep(shutdown_drain.get()) => tracing::info!(connections = connections.count(), "drain timeout \
                expired, connections are reset"),
            () = now.cancelled() => {}
        }
        connections.reset_all();
        // Late tasks end with the process: they own nothing but their sockets.
        _ = timeout(LAST_BREATH, async {
            connections.ended().await;
            if let Some(log) = connection_log {
                log.flush().await;
            }
            tasks.wait().await;
            drop(runtime);
            _ = actor.await;
        })
        .await;
        Ok(())
    }
}

/// Opens the port of the edge's own metrics.
async fn listen(address: SocketAddr, inherited: &InheritedSockets) -> Result<TcpListener, EdgeError> {
    let failed = |source| EdgeError::Metrics { address, source };
    match inherited.take_tcp(address).map_err(failed)? {
        Some(socket) => TcpListener::from_std(socket).map_err(failed),
        None => TcpListener::bind(address).await.map_err(failed),
    }
}

fn connector(server: Endpoint, name: &EdgeName, state_dir: Option<PathBuf>) -> Result<ServerConnector, EdgeError> {
    Ok(match server {
        Endpoint::InProcess(connector) => ServerConnector::InProcess(connector),
        Endpoint::Fleet(access) => {
            let state_dir = state_dir.ok_or(EdgeError::NoStateDirectory)?;
            ServerConnector::Fleet(FleetMember::open(name.clone(), state_dir, access)?)
        }
    })
}

/// Starts the writer of the log of connections.
fn log_connections(file: &ConnectionLogFile, supervisor: &Supervisor) -> Result<ConnectionLog, EdgeError> {
    let failed = |source| EdgeError::ConnectionLog { path: file.path.clone(), source };
    let open = connection_log::open(file).map_err(failed)?;
    let log = open.log();
    // It ends with the process, which waits for its last lines.
    supervisor.thread(Part::ConnectionLog, "connection-log".to_owned(), move || open.write()).map_err(failed)?;
    Ok(log)
}

fn own_listener(address: SocketAddr) -> Listener {
    let ip = match address.ip() {
        // The host's default makes an IPv6 wildcard take IPv4 too.
        IpAddr::V6(ip) if ip.is_unspecified() => ListenAddress::Any,
        ip => ListenAddress::Ip(ip),
    };
    Listener { protocol: Protocol::Tcp, address: ip, port: address.port() }
}

fn restore(stored: Stored, offer: &Offer) -> Option<Before> {
    let (overrides, clock) = (stored.overrides.unwrap_or_default(), stored.clock);
    let desired = stored.desired?;
    let accepted = Accepted {
        lineage: desired.lineage,
        generation: desired.generation,
        digest: Digest::from_bytes(&desired.digest)?,
    };
    tracing::info!(generation = accepted.generation, rules = desired.rules.len(), "the last good state is served");
    // What the edge could do before its restart it may not be allowed to do now.
    let addresses = interfaces::addresses();
    let may_serve = |rule: &Arc<Rule>| {
        capability::rejection(rule, &offer.capabilities, &offer.limits).is_none()
            && capability::forwards_to_itself(rule, |ip| addresses.contains(&ip)).is_none()
    };
    let lists = stored.lists.into_iter().chain(desired.lists).collect();
    let lists = wire::entry::lists_from_wire(lists, &Lists::default()).unwrap_or_default();
    let restored = |exception: &Exception| {
        Some((RuleName::new(exception.name()).ok()?, exception.running(&lists).filter(may_serve)))
    };
    let exceptions = stored.exceptions.iter().filter_map(restored).collect();
    let desired = Desired::read(accepted, desired.rules, Some(&lists), &offer.capabilities, &offer.limits)
        .ending_as_kept(desired.ends);
    let desired = desired.on_host(&addresses);
    let trial = match stored.trial {
        Some(trial) if trial.is_missed => Some(Restarted::Missed),
        Some(trial) => {
            let now = Steady::start(clock.clone());
            let pending = Pending::restore(trial, &now, &offer.capabilities, &offer.limits);
            if pending.is_over() {
                tracing::warn!("no confirmation arrived in time, the previous state is served");
                let desired = pending.instead_of(desired);
                let trial = Some(Restarted::Missed);
                return Some(Before { desired, exceptions: Vec::new(), overrides, trial, clock });
            }
            Some(Restarted::Awaiting(pending))
        }
        None => None,
    };
    Some(Before { desired, exceptions, overrides, trial, clock })
}
