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
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accept::reset;
use super::meter::Ticket;
use super::relay::{self, Broken};
use crate::act::sockets::keepalive;
use crate::decide::dial::{self, Cause};

/// The whole dialling of a connection, names included (CONTRACT §2, `connect_timeout_ms`).
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection to the target.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("the name does not resolve")]
    Resolve(#[source] Option<io::Error>),
    #[error("no address answered")]
    Connect(#[source] io::Error),
    #[error("dialling took longer than {} s", DIAL_TIMEOUT.as_secs())]
    Timeout,
}

pub(super) async fn serve(
    client: TcpStream,
    listener: Listener,
    rule: Arc<Rule>,
    ticket: Ticket,
    reset_all: &CancellationToken,
) {
    let mut target = None;
    let forwarded = async {
        match dial(&rule, listener.port, &ticket).await {
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
        () = reset_all.cancelled() => Err(Broken),
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

async fn dial(rule: &Rule, port: u16, ticket: &Ticket) -> Result<TcpStream, DialError> {
    let attempt = async {
        let addresses = resolve(rule, port, ticket).await?;
        let mut last = None;
        for address in addresses {
            match connect(address, rule.connect_timeout).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    ticket.connect_failed(cause_of(&error));
                    last = Some(error);
                }
            }
        }
        Err(last.map_or(DialError::Resolve(None), DialError::Connect))
    };
    let Ok(dialled) = timeout(DIAL_TIMEOUT, attempt).await else {
        ticket.connect_failed(Cause::Timeout);
        return Err(DialError::Timeout);
    };
    dialled
}

async fn resolve(rule: &Rule, port: u16, ticket: &Ticket) -> Result<Vec<SocketAddr>, DialError> {
    let target = rule.targets.first().expect("a rule has a target");
    let port = dial::target_port(rule.listen.ports, target.ports, port);
    let name = match &target.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        Host::Name(name) => name,
    };
    match lookup_host((&**name, port)).await {
        Ok(addresses) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() {
                ticket.dns_failed();
                return Err(DialError::Resolve(None));
            }
            Ok(dial::order(addresses, rule.prefer_ipv6))
        }
        Err(error) => {
            ticket.dns_failed();
            Err(DialError::Resolve(Some(error)))
        }
    }
}

async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&keepalive())?;
    timeout(limit, socket.connect(address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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
