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
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::time::{sleep, timeout};
use tonic::transport::{self, Channel};

use crate::act::joining::{FleetAccess, FleetMember, MembershipError};
use crate::act::rpc::edge_control_client::EdgeControlClient;
use crate::act::server_tls::DialError;

/// How often a quiet connection is asked whether it still lives, and how long the answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// For the connection, and again for the server's first word.
pub(super) const GREETING: Duration = Duration::from_secs(5);
/// Between two attempts to come through: a trial is a matter of seconds.
const AGAIN: Duration = Duration::from_millis(500);

/// Makes one connection to a server in the same process.
pub type InProcessConnector = Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>;

/// Where the server is.
#[derive(Clone)]
pub enum Endpoint {
    /// On any host, over TLS.
    Fleet(FleetAccess),
    /// In the same process.
    InProcess(InProcessConnector),
}

/// HTTP/2 as an edge speaks it. The address is not used: the connection is there already.
fn http2() -> transport::Endpoint {
    transport::Endpoint::from_static("http://control.portunus.internal")
        .connect_timeout(GREETING)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
}

/// A channel over a connection; once it is lost, so is the channel.
pub(super) async fn channel_over<S>(stream: S) -> Result<Channel, transport::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut once = Some(stream);
    let service = tower::service_fn(move |_| {
        let stream = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { stream.map(TokioIo::new) }
    });
    http2().connect_with_connector(service).await
}

/// How connections to the server are made.
#[derive(Clone)]
pub(crate) enum ServerConnector {
    Fleet(FleetMember),
    InProcess(InProcessConnector),
}

impl ServerConnector {
    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Channel, MembershipError> {
        match self {
            Self::Fleet(member) => member.connect().await,
            Self::InProcess(connector) => {
                let stream = connector().map_err(DialError::Unreachable)?;
                Ok(channel_over(stream).await.map_err(DialError::from)?)
            }
        }
    }

    /// The membership, except in the same process.
    pub(super) const fn member(&self) -> Option<&FleetMember> {
        match self {
            Self::Fleet(member) => Some(member),
            Self::InProcess(_) => None,
        }
    }

    /// What the address of the server is instead of a control port, if it is another port of a server.
    pub(super) async fn mistaken(&self) -> Option<String> {
        let place = self.member()?.server()?;
        let port = guard::port::recognised(&place).await?;
        (port != Port::Control).then(|| format!("{place}: {}", port.instead_of(Port::Control)))
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
