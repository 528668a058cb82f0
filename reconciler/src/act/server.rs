//! The server as a whole: its state, its listeners, its tasks and their end. I/O.

mod config;
mod handles;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use guard::tls::Refused;
use guard::{Failed, InheritedSockets, Port, Supervisor, Tls};
use schema::join;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

pub use self::config::{ServerConfig, TrustConfig};
use super::driver::{Driver, FleetHandle};
use super::edges::EdgeControl;
use super::guarded::Guards;
use super::inflow::Inflow;
use super::metrics::MetricsSource;
use super::notify::{NotifyError, NotifyHandle, PostOffice};
use super::operator::{Webhook, WebhookError};
use super::operators::{Keeper, Operators, UnreadableOperators};
use super::parts::Part;
use super::remote;
use super::remote::follower::Follower;
use super::sessions::Sessions;
pub use super::state::TOKEN_FILE;
use super::state::{self, OpenedState, StateError};
use super::store::Store;
use super::timings::Timings;
use super::trust::TrustError;
use super::trust::enrolling::EnrolmentService;
use super::trust::refusals::EdgeRefusals;
use super::trust::registrar::{Registrar, TrustHandle};
use super::trust::serving::{self, ServerCertificate};
use super::trust::verifying::EdgeVerifier;
use super::wake::Wake;
use super::{continuing, directory_follower, metrics, operator, operator_port, page, upkeep};
use crate::decide::fleet::Fleet;

/// In-process sessions that wait to be served: there is one edge, and it has one attempt at a time.
const IN_PROCESS: usize = 4;
/// How long requests and sessions may take to end with the server: what they still have to say takes milliseconds.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes of an in-process session in either direction.
const DUPLEX: usize = 256 << 10;

/// Why the server cannot start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A listener could not be made.
    #[error("the {port} port cannot listen on {address}: {source}")]
    Listen {
        /// Which port.
        port: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The secret of webhooks could not be read.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The state could not be opened or read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The certificate authority, or the certificate of a port, cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A notifier cannot be used, or what waits for one cannot be read.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The operators or the audit could not be read.
    #[error("the operators cannot be read")]
    Operators(#[from] UnreadableOperators),
    /// The metrics could not be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
    /// A part that the rest relies on failed for good, or ended by a bug.
    #[error(transparent)]
    Part(#[from] Failed),
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    supervisor: Supervisor,
    config: ServerConfig,
    driver: Driver,
    store: Arc<Store>,
    timings: Timings,
    fleet: FleetHandle,
    control: TcpListener,
    operator: Vec<TcpListener>,
    operator_tls: Option<Tls>,
    metrics: TcpListener,
    guards: Guards,
    in_process: mpsc::Receiver<DuplexStream>,
    connector: InProcess,
    operators: Operators,
    sessions: Sessions,
    keeper: Keeper,
    notify: NotifyHandle,
    post: PostOffice,
    webhook: Option<Webhook>,
    wake: Wake,
    registrar: Registrar,
    trust: TrustHandle,
    certificate: Arc<ServerCertificate>,
    refused: Arc<Refused>,
}

/// Opens sessions to a server in the same process.
#[derive(Debug, Clone)]
pub struct InProcess(mpsc::Sender<DuplexStream>);

impl InProcess {
    /// A new connection; fails when the server has ended or is busy with others.
    pub fn connect(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(DUPLEX);
        let refused = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the server does not accept the session");
        self.0.try_send(theirs).map_err(refused)?;
        Ok(ours)
    }
}

impl Server {
    /// Raises the limit of descriptors, and opens the state and all listeners. Nothing is served before
    /// [`Server::run`].
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let guards = Guards::within(guard::descriptors::raise());
        let control = listen("control", config.control_listen, &config.inherited).await?;
        let mut operator = Vec::new();
        for address in &config.operator.listen {
            operator.push(listen("operator", *address, &config.inherited).await?);
        }
        let metrics = listen("metrics", config.metrics_listen, &config.inherited).await?;
        let state_dir = config.state_dir.clone();
        let opened = tokio::task::spawn_blocking(move || state::open(&state_dir)).await;
        let OpenedState { store, lineage, restored, kept, token } = match opened {
            Ok(opened) => opened?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let fleet = Fleet::new(lineage, config.mode, config.allow_dirty, restored)
            .allowing_non_descendants(config.allow_non_descendant);
        let wake = Wake::default();
        let secret_file = config.remote.as_ref().and_then(|remote| remote.webhook_secret_file.as_deref());
        let webhook = secret_file.map(|path| Webhook::new(path, wake.clone())).transpose()?;
        let store = Arc::new(store);
        let (registrar, trust) = open_trust(Arc::clone(&store), &config).await?;
        let addresses: Vec<SocketAddr> = operator.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let operator_tls = config.operator.tls(trust.authorities.clone(), &addresses)?;
        let (operators, keeper) = Operators::open(Arc::clone(&store), &token)?;
        let timings = Timings::new()?;
        let (driver, handle) = Driver::new(fleet, Arc::clone(&store), timings.clone());
        let notices = PostOffice::opened(Arc::clone(&store), config.notifiers.clone()).await?;
        let driver = driver.keeping(kept).notifying(notices.desk, notices.mailbag);
        let names = vec![join::SERVER_NAME.to_owned()];
        let certificate = ServerCertificate::new(trust.authorities.clone(), names);
        let (connector, in_process) = mpsc::channel(IN_PROCESS);
        Ok(Self {
            supervisor: Supervisor::new(),
            config,
            driver,
            store,
            timings,
            fleet: handle,
            control,
            operator,
            operator_tls,
            metrics,
            guards,
            in_process,
            connector: InProcess(connector),
            sessions: Sessions::new(operators.clone()),
            operators,
            keeper,
            notify: notices.handle,
            post: notices.office,
            webhook,
            wake,
            registrar,
            trust,
            certificate,
            refused: Arc::default(),
        })
    }

    /// The same with other limits for its peers.
    #[must_use]
    pub fn with_guards(self, guards: Guards) -> Self {
        Self { guards, ..self }
    }

    /// Serves until `shutdown` or a failure that cannot be lived with: a part that ends by a bug is one.
    #[expect(clippy::too_many_lines, reason = "every part is started once, in the order in which they need each other")]
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let tasks = TaskTracker::new();
        // Ends everything else as soon as one part ends, whichever way.
        let stop = CancellationToken::new();
        let _end = stop.clone().drop_guard();
        let supervisor = &self.supervisor;
        let stopped = || stop.clone().cancelled_owned();
        let advertised = self.advertised();
        let refusals = EdgeRefusals::new(self.operators.clone());
        let trust = || (self.trust.clone(), refusals.clone());
        let service = || EdgeControl::new(self.fleet.clone(), trust(), tasks.clone(), stop.clone()).into_server();
        let verifier = EdgeVerifier::new(self.trust.authorities.clone(), self.config.trust.edges.grace);
        let tls = Tls {
            config: Arc::new(serving::control(Arc::clone(&self.certificate), verifier)?),
            port: Port::Control,
            refused: Arc::clone(&self.refused),
        };
        let clone = self.config.state_dir.join(remote::CLONE_DIR);
        let streams = futures_util::StreamExt::map(ReceiverStream::new(self.in_process), Ok::<_, io::Error>);
        let control = self
            .guards
            .http2()
            .add_service(Inflow::new(service()))
            .add_service(EnrolmentService::server(self.trust.clone(), refusals.clone()))
            .serve_with_incoming_shutdown(self.guards.control(self.control).over_tls(tls).incoming(), stopped());
        let in_process = self.guards.alive().add_service(service()).serve_with_incoming_shutdown(streams, stopped());
        let api = page::router(operator::Context {
            fleet: self.fleet.clone(),
            store: Arc::clone(&self.store),
            state_dir: self.config.state_dir.clone(),
            trust: self.trust.clone(),
            advertised,
            timings: self.timings,
            operators: self.operators.on_a_port_with(self.guards.operator_cap),
            sessions: self.sessions,
            hosts: self.config.operator.hosts(),
            limits: self.config.limits,
            repository: self.config.remote.as_ref().map(|_| clone.clone()).or(self.config.rules.clone()),
            webhook: self.webhook.clone(),
            notify: self.notify.clone(),
            max_body: operator::MAX_BODY,
            shutdown: stop.clone(),
        });
        let metrics = self.guards.http(self.metrics, self.guards.metrics_cap);
        let tls = self.operator_tls.as_ref();
        let operators = self
            .operator
            .into_iter()
            .map(|listener| operator_port::guarded(&self.guards, listener, tls).serve(api.clone(), stop.clone()));
        let api = futures_util::future::join_all(operators);
        let api = async { _ = api.await };
        let source = MetricsSource {
            fleet: self.fleet.clone(),
            trust: self.trust.clone(),
            certificate: self.certificate.clone(),
            refusals: refusals.clone(),
            notify: self.notify,
            tls: std::iter::once(("control", Arc::clone(&self.refused)))
                .chain(self.operator_tls.iter().map(|tls| ("operator", Arc::clone(&tls.refused))))
                .collect(),
            log_lines_dropped: self.config.log_lines_dropped.clone(),
            connection_log_dropped: self.config.connection_log_dropped.clone(),
        };
        let metrics = metrics.serve(metrics::router(source), stop.clone());
        if let Some(dir) = self.config.rules.clone() {
            let (limits, fleet, wake) = (self.config.limits, self.fleet.clone(), self.wake.clone());
            let follower = directory_follower::follow(dir, limits, fleet, wake, stop.clone());
            tasks.spawn(supervisor.lasting(Part::Follower, follower));
        }
        if let Some(config) = self.config.remote.clone() {
            let (limits, fleet, wake) = (self.config.limits, self.fleet.clone(), self.wake.clone());
            let follower = Follower { config, dir: clone, limits, fleet, wake }.follow(stop.clone());
            tasks.spawn(supervisor.lasting(Part::RemoteFollower, follower));
        }
        let upkeep = upkeep::keep_small(self.store.clone(), self.fleet.clone(), stop.clone());
        tasks.spawn(supervisor.lasting(Part::Upkeep, upkeep));
        let rollout = continuing::go_on(self.fleet.clone(), self.store.clone(), self.config.limits, stop.clone());
        tasks.spawn(supervisor.lasting(Part::Rollout, rollout));
        // Owns every part: none outlives this function, so the state directory is free when it returns.
        let mut parts = JoinSet::new();
        parts.spawn(supervisor.serving(Part::Control.to_string(), control));
        parts.spawn(supervisor.serving(Part::InProcess.to_string(), in_process));
        parts.spawn(supervisor.lasting(Part::Operator, api));
        parts.spawn(supervisor.lasting(Part::Metrics, metrics));
        parts.spawn(supervisor.lasting(Part::Operators, self.keeper.run(stop.clone())));
        parts.spawn(supervisor.lasting(Part::Notices, self.post.run(stop.clone())));
        parts.spawn(supervisor.lasting(Part::Driver, self.driver.run(stop.clone())));
        parts.spawn(supervisor.lasting(Part::Registrar, self.registrar.run(self.fleet.clone(), stop.clone())));
        info!(mode = self.config.mode.as_str(), "server runs");
        let failed = tokio::select! {
            () = shutdown.cancelled() => None,
            failed = supervisor.failed() => Some(failed),
        };
        if let Some(error) = &failed {
            error!(%error, "server ends");
        }
        supervisor.ending();
        stop.cancel();
        let rest = async { while parts.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            debug!("connections that did not end in time are cut");
            parts.shutdown().await;
        }
        tasks.close();
        tasks.wait().await;
        failed.or_else(|| supervisor.has_failed()).map_or(Ok(()), |failed| Err(failed.into()))
    }
}

/// Opens the register of edges and the authority.
async fn open_trust(store: Arc<Store>, config: &ServerConfig) -> Result<(Registrar, TrustHandle), ServerError> {
    let (state_dir, trust) = (config.state_dir.clone(), config.trust.clone());
    let open = move || Registrar::open(store, state_dir, trust.authority.as_ref(), trust.edges);
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => Ok(opened?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn listen(
    port: &'static str,
    address: SocketAddr,
    inherited: &InheritedSockets,
) -> Result<TcpListener, ServerError> {
    let failed = |source| ServerError::Listen { port, address, source };
    match inherited.take_tcp(address).map_err(failed)? {
        Some(socket) => TcpListener::from_std(socket).map_err(failed),
        None => TcpListener::bind(address).await.map_err(failed),
    }
}
