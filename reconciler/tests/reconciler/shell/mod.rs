//! The server over real sockets on loopback: its three ports, its start and its end.

mod asking;
mod bounds;
mod control_port;
mod event_streams;
mod guards;
mod http;
mod joins;
mod metrics_port;
mod notices;
mod operator_api;
mod operators;
mod page;
mod page_changes;
mod page_views;
mod paging;
mod parts;
mod proposals;
mod session;
mod starting;
mod strangers;
mod targets;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reconciler::act::driver::FleetHandle;
use reconciler::act::guarded::Guards;
use reconciler::act::operator_port::OperatorPort;
use reconciler::act::server::{Server, ServerConfig, ServerError, TOKEN_FILE, TrustConfig};
use reconciler::act::sessions::Sessions;
use reconciler::decide::fleet::Mode;
use schema::check::CheckLimits;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use http::Client;
use session::Session;

/// Far above anything that a test waits for; reached only where it fails.
const LONG: Duration = Duration::from_secs(20);

const RULES: &str = "[[rule]]\nname = \"web\"\nowner = \"team\"\nlisten_port = 18080\ntarget = \"127.0.0.1:80\"\n";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn config(state_dir: &Path) -> ServerConfig {
    ServerConfig {
        rules: None,
        remote: None,
        state_dir: state_dir.to_owned(),
        control_listen: any_port(),
        operator: OperatorPort { listen: vec![any_port()], ..OperatorPort::default() },
        metrics_listen: any_port(),
        mode: Mode::Heal,
        allow_dirty: false,
        allow_non_descendant: false,
        limits: CheckLimits::default(),
        trust: TrustConfig::default(),
        notifiers: Vec::new(),
        log_lines_dropped: std::sync::Arc::default(),
        connection_log_dropped: None,
        inherited: guard::InheritedSockets::default(),
    }
}

/// A server that runs.
struct Running {
    /// Holds the state directory, which is `state` in it.
    dir: TempDir,
    control: SocketAddr,
    operator: SocketAddr,
    metrics: SocketAddr,
    fleet: FleetHandle,
    token: String,
    sessions: Sessions,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap()).await
    }

    async fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, Guards::within(1024)).await
    }

    async fn start_with(dir: TempDir, guards: Guards) -> Self {
        Self::start_as(dir, guards, |_| {}).await
    }

    /// With another configuration.
    async fn start_as(dir: TempDir, guards: Guards, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let state = dir.path().join("state");
        let mut config = config(&state);
        change(&mut config);
        let server = Server::start(config).await.unwrap().with_guards(guards);
        let (control, operator) = (server.control_address().unwrap(), server.operator_address().unwrap());
        let (metrics, fleet) = (server.metrics_address().unwrap(), server.fleet());
        let token = std::fs::read_to_string(state.join(TOKEN_FILE)).unwrap().trim().to_owned();
        let sessions = server.sessions();
        tls::serves(control, server.trust());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { dir, control, operator, metrics, fleet, token, sessions, stop, task }
    }

    async fn stop(self) -> TempDir {
        self.stop.cancel();
        tokio::time::timeout(LONG, self.task).await.expect("the server ends").unwrap().unwrap();
        self.dir
    }

    fn api(&self) -> Client {
        Client::new(self.operator, Some(self.token.clone()))
    }

    async fn session(&self, edge: &str) -> Session {
        Session::open(self.control, edge).await
    }
}
