//! Tells a target who connects, before anything else (`proxy_protocol`). I/O.
//!
//! Keeps: a target that asks for the header gets no byte before it; the addresses are asked for only then, so that
//! other connections pay nothing.

use std::net::SocketAddr;

use rustix::net::{getpeername, getsockname};
use schema::rule::ProxyProtocol;

use super::relay::{Tools, open};
use super::tcp::Connection;
use crate::decide::breaks::Break;
use crate::decide::proxy::Header;

/// Sends the header, and with it what the client has sent so far. Fails where the client is gone.
pub(super) fn send(connection: &mut Connection, version: ProxyProtocol, tools: &mut Tools) -> Result<(), Break> {
    let gone = Break::ClientReset;
    let socket = &connection.client.socket;
    let ends = (getpeername(socket).ok().flatten(), getsockname(socket).ok());
    let (Some(client), Some(local)) = ends else { return Err(gone) };
    let end = |address| SocketAddr::try_from(address).map_err(|_| gone);
    let header = Header::new(version, end(client)?, end(local)?);
    open(connection, header.as_bytes(), tools);
    Ok(())
}
