//! The way to a target: its addresses, and a connection to one of them. I/O.
//!
//! Keeps: each address has its share of the time that is left; a socket that is closed by a probe leaves nothing
//! waiting in the kernel.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use schema::health::{Outcome, ResultCode};
use schema::rule::Host;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::{EarlyEnd, Missed, ProbeContext, ProbeSpec, ProbeStep, Probed};
use crate::act::names::NameError;
use crate::act::{interfaces, wording};
use crate::decide::dial;
use crate::decide::faults::{ConnectCause, fault_of};

/// Addresses of a name that are tried: as many as a rule has targets.
const ADDRESSES: usize = 8;

/// The addresses of what is asked, or the end of the probe where there are none.
pub(super) async fn resolve(
    question: &ProbeSpec,
    tools: &ProbeContext,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Probed> {
    let name = match &question.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, question.port)]),
        Host::Scoped(scoped) => {
            let found = interfaces::socket_address(scoped, question.port);
            let none = || {
                Outcome::new(
                    ResultCode::L4Con,
                    &format!(
                        "this host does not have the interface of \
                {scoped}"
                    ),
                )
            };
            return found.map(|address| vec![address]).ok_or_else(|| Probed::Found(none()));
        }
        Host::Name(name) => name,
    };
    match Box::pin(timeout_at(deadline, tools.names.resolve(name.clone()))).await {
        Ok(Ok(found)) => {
            let mut ordered = dial::order(&found, question.prefer_ipv6, 0, |_| false);
            let policy = tools.policy.load();
            // Where none is allowed, the caller finds out.
            if ordered.iter().any(|ip| policy.allows_address(*ip)) {
                ordered.retain(|ip| policy.allows_address(*ip));
            }
            let ordered = ordered.into_iter().take(ADDRESSES);
            Ok(ordered.map(|ip| SocketAddr::new(ip, question.port)).collect())
        }
        Ok(Err(error @ NameError::NotFound)) => {
            Err(Probed::Nameless(Outcome::new(ResultCode::L4Con, &format!("`{name}`: {error}"))))
        }
        Ok(Err(NameError::Host(cause))) => {
            let detail = format!("`{name}` cannot be looked up: {}", cause.of_host());
            Err(Probed::Missed(Missed::Host { cause, detail }))
        }
        Ok(Err(error)) => Err(Probed::Missed(Missed::Names(format!("`{name}`: {error}")))),
        Err(_) => Err(Probed::Missed(Missed::Names(format!("`{name}`: the name was not resolved in time")))),
    }
}

/// A connection to the first address that takes one, with the target's header sent. Where this host was at fault at
/// any of them, what the others said is not a verdict about all.
pub(super) async fn connect(question: &ProbeSpec, addresses: &[SocketAddr], deadline: Instant) -> ProbeStep<TcpStream> {
    let mut last = EarlyEnd::Target(Outcome::new(ResultCode::L4Con, "the target has no address"));
    let mut missed = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        let error = match timeout(share, connect_to(*address, question.header())).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => ErrorKind::TimedOut.into(),
        };
        match failure(*address, &error) {
            failed @ EarlyEnd::Missed(_) => missed = Some(failed),
            failed @ EarlyEnd::Target(_) => last = failed,
        }
    }
    Err(missed.unwrap_or(last))
}

async fn connect_to(address: SocketAddr, header: &[u8]) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closed by a reset: thousands of probes in a minute shall leave no TIME_WAIT, and no target waits for an end.
    socket.set_zero_linger()?;
    // The port that it leaves from shall keep no rule from listening there.
    socket.set_reuseaddr(true)?;
    let mut stream = socket.connect(address).await?;
    if is_self(&stream) {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    if !header.is_empty() {
        // What is asked follows at once, in a segment of its own.
        stream.set_nodelay(true)?;
        stream.write_all(header).await?;
    }
    Ok(stream)
}

/// True of a connection that met itself: a port of this host where nothing listens, that the connection was given to
/// leave from, answers like a listener.
pub(super) fn is_self(socket: &TcpStream) -> bool {
    socket.peer_addr().is_ok_and(|peer| socket.local_addr().is_ok_and(|local| local == peer))
}

/// True if this host has no address of the family to ask from, for which the system has the error of a lack of ports:
/// the target cannot be reached from here, however long anybody waits.
pub(super) fn lacks_source(address: SocketAddr, error: &io::Error) -> bool {
    fault_of(error) == ConnectCause::SourcePorts && !interfaces::has_source(address)
}

/// What a connection that did not come about says: of its target, or of this host.
pub(super) fn failure(address: SocketAddr, error: &io::Error) -> EarlyEnd {
    let detail = match error.kind() {
        ErrorKind::TimedOut => format!("{address} did not answer the connect in time"),
        ErrorKind::ConnectionRefused => format!("{address} refused the connection: nothing listens there"),
        _ => format!("cannot connect to {address}: {}", wording::system(error)),
    };
    match fault_of(error) {
        _ if lacks_source(address, error) => {
            let detail = format!("cannot connect to {address}: this host has no address to connect from");
            EarlyEnd::Target(Outcome::new(ResultCode::L4Con, &detail))
        }
        ConnectCause::Timeout => EarlyEnd::Target(Outcome::new(ResultCode::L4Tout, &detail)),
        cause if cause.is_targets() => EarlyEnd::Target(Outcome::new(ResultCode::L4Con, &detail)),
        cause => EarlyEnd::Missed(Missed::Host { cause, detail }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_meets_itself_was_refused() {
        // A port to leave from that nobody listens at.
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut met = false;
        for _ in 0..8 {
            let address = free();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            // Both ends of it are the same socket.
            let Ok(stream) = socket.connect(address).await else { continue };
            met |= is_self(&stream);
        }
        assert!(met, "a connection to itself is known for one");
    }

    #[test]
    fn what_this_host_lacks_is_not_a_verdict() {
        let address: SocketAddr = ([127, 0, 0, 1], 9).into();
        for errno in [99, 24, 23, 105, 12, 11, 1, 13] {
            let failed = failure(address, &io::Error::from_raw_os_error(errno));
            assert!(matches!(failed, EarlyEnd::Missed(Missed::Host { .. })), "{errno}: {failed:?}");
            let failed = super::super::failed_by::<()>(ResultCode::L7Rsp, &io::Error::from_raw_os_error(errno), "");
            assert!(matches!(failed, Err(EarlyEnd::Missed(_))), "{errno}: {failed:?}");
        }
        for (errno, code) in [(111, ResultCode::L4Con), (110, ResultCode::L4Tout), (113, ResultCode::L4Con)] {
            let failed = failure(address, &io::Error::from_raw_os_error(errno));
            assert!(matches!(&failed, EarlyEnd::Target(outcome) if outcome.code() == code), "{errno}: {failed:?}");
        }
        // A library says that about the other side.
        let failed = super::super::failed_by::<()>(ResultCode::L6Rsp, &io::ErrorKind::PermissionDenied.into(), "");
        assert!(matches!(failed, Err(EarlyEnd::Target(_))), "{failed:?}");
    }
}
