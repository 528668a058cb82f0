//! The way to the server: connections to its control port, and whether a new one comes through. I/O.
//!
//! Keeps: a state on trial is confirmed only after a connection that began under it has reached the server that
//! confirms.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use guard::Port;
use hyper_util::rt::TokioIo;
use schema::proto::{self, ServerMessage, server_message};
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};
use tonic::transport::{self, Channel};

use crate::act::rpc::edge_control_client::EdgeControlClient;

/// How often a quiet connection is asked whether it still lives, and how long the answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// For the connection, and again for the server's first word.
pub(super) const GREETING: Duration = Duration::from_secs(5);
/// Between two attempts to come through: a trial is a matter of seconds.
const AGAIN: Duration = Duration::from_millis(500);

/// Makes one connection to a server in the same process.
pub type InProcessConnector = Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>;

/// Where the server is.
#[derive(Clone)]
pub enum Endpoint {
    /// Its control port, `http://127.0.0.1:7443`.
    Url(String),
    /// In the same process.
    InProcess(InProcessConnector),
}

/// `HOST:PORT` of an address.
fn place(uri: &tonic::transport::Uri) -> Option<String> {
    Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(80)))
}

/// How connections to the server are made.
#[derive(Clone)]
pub(super) struct ServerConnector {
    channel: transport::Endpoint,
    server: Endpoint,
}

impl ServerConnector {
    /// Checks the address of the server.
    pub(super) fn new(server: Endpoint) -> Result<Self, transport::Error> {
        let url = match &server {
            Endpoint::Url(url) => url.clone(),
            Endpoint::InProcess(_) => "http://in-process".to_owned(),
        };
        let channel = transport::Endpoint::from_shared(url)?
            .connect_timeout(GREETING)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(Self { channel, server })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Channel, transport::Error> {
        match &self.server {
            Endpoint::Url(_) => self.channel.connect().await,
            Endpoint::InProcess(connector) => {
                let connector = connector.clone();
                let service = tower::service_fn(move |_| {
                    let stream = connector();
                    async move { stream.map(TokioIo::new) }
                });
                self.channel.connect_with_connector(service).await
            }
        }
    }

    /// What the address of the server is instead of a control port, if it is another port of a server.
    pub(super) async fn mistaken(&self) -> Option<String> {
        let Endpoint::Url(url) = &self.server else { return None };
        let port = guard::port::recognised(&place(self.channel.uri())?).await?;
        (port != Port::Control).then(|| format!("{url}: {}", port.instead_of(Port::Control)))
    }

    /// Gives a confirmation back once a connection made from now on has reached the server that it is from; tries for
    /// as long as it is waited for. The session that brought it may be older than the state it is about, and live on
    /// where a new one could not begin.
    pub(super) async fn come_through(self, confirm: proto::Confirm) -> ServerMessage {
        loop {
            match timeout(GREETING, self.reach()).await {
                Ok(Ok(lineage)) if lineage == confirm.lineage => {
                    return ServerMessage { body: Some(server_message::Body::Confirm(confirm)) };
                }
                Ok(Ok(lineage)) => tracing::warn!(lineage, "a different server answers than the one that confirms"),
                Ok(Err(error)) => tracing::debug!(error, "no new connection reaches the server"),
                Err(_) => tracing::debug!("a new connection to the server is not answered"),
            }
            sleep(AGAIN).await;
        }
    }

    /// The lineage of the server at the end of a new connection.
    async fn reach(&self) -> Result<String, String> {
        let channel = self.connect().await.map_err(|error| error.to_string())?;
        let answer = EdgeControlClient::new(channel).reach(proto::ReachRequest {}).await;
        answer.map(|answer| answer.into_inner().lineage).map_err(|status| status.to_string())
    }
}
