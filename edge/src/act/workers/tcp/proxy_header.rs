//! Tells a target who connects, before anything else (`proxy_protocol`). I/O.
//!
//! Keeps: a target that asks for the header gets no byte before it; its own address is asked for only then, so that
//! other connections pay nothing; a client that is gone is named like any other.

use std::net::SocketAddr;

use rustix::net::getsockname;
use schema::rule::ProxyProtocol;

use super::super::mailbox::ClientEnds;
use super::connection::Connection;
use super::relay::{RelayBuffers, open};
use crate::decide::proxy::Header;

/// Sends the header, and with it what the client has sent so far. False where this host does not know the connection.
pub(super) fn send(
    connection: &mut Connection,
    from: ClientEnds,
    version: ProxyProtocol,
    tools: &mut RelayBuffers,
) -> bool {
    let own = || getsockname(&connection.client.socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
    let Some(local) = from.local.or_else(own) else { return false };
    let header = Header::new(version, from.client, local);
    open(connection, header.as_bytes(), tools);
    true
}
