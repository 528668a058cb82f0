//! The channel to one edge, which its session reads. Values.

use std::net::SocketAddr;

use schema::proto;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

/// The way to one edge. Dropping it ends the session.
#[derive(Debug)]
pub struct SessionChannel {
    /// Its messages.
    pub(super) outgoing: mpsc::Sender<proto::ServerMessage>,
    /// Ends the session's own task when it is dropped with this channel.
    pub(super) ends: DropGuard,
    /// Where the edge speaks from; none in the same process.
    pub(super) address: Option<SocketAddr>,
}

impl SessionChannel {
    /// A channel whose end cancels a token.
    pub fn new(outgoing: mpsc::Sender<proto::ServerMessage>, ends: DropGuard) -> Self {
        Self { outgoing, ends, address: None }
    }

    /// The same of an edge that speaks from there.
    #[must_use]
    pub fn from_address(self, address: Option<SocketAddr>) -> Self {
        Self { address, ..self }
    }

    /// Ends the session.
    pub(super) fn close(self) {
        drop(self.ends);
    }
}
