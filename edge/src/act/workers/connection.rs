//! One connection from its admission to its end: dial, relay, close or reset. I/O.
//!
//! Keeps: a connection that did not end by itself on both sides ends as a reset on both.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use schema::net::Listener;
use schema::rule::{Host, Rule};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::accept::reset;
use super::meter::Ticket;
use super::relay::{self, Broken};
use super::resolve::Resolver;
use crate::act::sockets::keepalive;
use crate::decide::dial::{self, Cause};

/// The whole dialling of a connection, names included (CONTRACT §2, `connect_timeout_ms`).
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection to the target.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("the name does not resolve")]
    Resolve(#[source] io::Error),
    #[error("no address answered")]
    Connect(#[source] io::Error),
}

pub(super) async fn serve(client: TcpStream, listener: Listener, rule: Arc<Rule>, ticket: Ticket, shared: &Shared) {
    let mut target = None;
    let forwarded = async {
        match dial(&rule, listener.port, &ticket, &shared.resolver).await {
            Ok(stream) => {
                let stream = target.insert(stream);
                relay::relay(&client, stream, &ticket, rule.idle_timeout).await
            }
            Err(error) => {
                tracing::debug!(rule = %rule.name, %listener, error = &error as &dyn std::error::Error, "not connected");
                Err(Broken)
            }
        }
    };
    let ended = tokio::select! {
        biased;
        () = shared.reset_all.cancelled() => Err(Broken),
        () = ticket.reset.cancelled() => Err(Broken),
        ended = forwarded => ended,
    };
    if ended.is_err() {
        reset(&client);
        target.iter().for_each(reset);
    }
    // The sockets close before the ticket is given back: a rule without connections has no open one.
    drop((client, target));
}

async fn dial(rule: &Rule, port: u16, ticket: &Ticket, resolver: &Resolver) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let target = rule.targets.first().expect("a rule has a target");
    let port = dial::target_port(rule.listen.ports, target.ports, port);
    let addresses = match &target.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, port)],
        Host::Name(name) => {
            let resolved = timeout_at(deadline, resolver.resolve(name, port)).await;
            let resolved = resolved.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let addresses = resolved.inspect_err(|_| ticket.dns_failed()).map_err(DialError::Resolve)?;
            dial::order(addresses, rule.prefer_ipv6)
        }
    };
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for address in addresses {
        let limit = deadline.min(Instant::now() + rule.connect_timeout);
        match timeout_at(limit, connect(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                ticket.connect_failed(cause_of(&error));
                last = error;
            }
        }
        if deadline <= Instant::now() {
            break;
        }
    }
    Err(DialError::Connect(last))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&keepalive())?;
    socket.connect(address).await
}

fn cause_of(error: &io::Error) -> Cause {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::Refused,
        io::ErrorKind::TimedOut => Cause::Timeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Cause::Unreachable,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Cause::Reset,
        _ if is(Errno::MFILE) || is(Errno::NFILE) => Cause::Descriptors,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_a_cause_of_its_own() {
        let error = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert_eq!(cause_of(&error), Cause::Descriptors);
        assert_eq!(cause_of(&io::ErrorKind::ConnectionRefused.into()), Cause::Refused);
    }
}
