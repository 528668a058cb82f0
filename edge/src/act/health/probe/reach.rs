//! The way to a target: its addresses, and a connection to one of them. I/O.
//!
//! Keeps: each address has its share of the time that is left; a socket that is closed by a probe leaves nothing
//! waiting in the kernel.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use schema::health::{Outcome, ResultCode};
use schema::rule::Host;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::{EarlyEnd, Missed, ProbeContext, ProbeSpec, ProbeStep, Probed};
use crate::act::names::NameError;
use crate::act::{interfaces, wording};
use crate::decide::dial;
use crate::decide::faults::{ConnectCause, fault_at_once, fault_of};

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

/// Why an address was not reached.
#[derive(Debug)]
pub(super) struct NotConnected {
    pub(super) error: io::Error,
    /// The call that connects reported it itself: nothing was sent.
    is_at_once: bool,
}

impl From<io::Error> for NotConnected {
    fn from(error: io::Error) -> Self {
        Self { error, is_at_once: false }
    }
}

impl NotConnected {
    pub(super) fn at_once(error: io::Error) -> Self {
        Self { error, is_at_once: true }
    }

    /// Whose fault it is.
    pub(super) fn cause(&self, address: SocketAddr) -> ConnectCause {
        if self.is_at_once { fault_at_once(&self.error, address) } else { fault_of(&self.error) }
    }
}

/// What the addresses of a target said that did not answer. Where this host was at fault at any of them, what the others
/// said is not a verdict about all; but an address without a route, as those of IPv6 are on many hosts, leaves the
/// verdict to the others.
#[derive(Default)]
pub(super) struct Failures {
    missed: Option<EarlyEnd>,
    target: Option<EarlyEnd>,
    without_route: Option<EarlyEnd>,
}

impl Failures {
    pub(super) fn add(&mut self, failed: EarlyEnd) {
        let place = match &failed {
            EarlyEnd::Target(_) => &mut self.target,
            EarlyEnd::Missed(Missed::Host { cause: ConnectCause::Route, .. }) => &mut self.without_route,
            EarlyEnd::Missed(_) => &mut self.missed,
        };
        *place = Some(failed);
    }

    pub(super) fn verdict(self) -> EarlyEnd {
        let none = || EarlyEnd::Target(Outcome::new(ResultCode::L4Con, "the target has no address"));
        self.missed.or(self.target).or(self.without_route).unwrap_or_else(none)
    }
}

/// A connection to the first address that takes one, with the target's header sent.
pub(super) async fn connect(question: &ProbeSpec, addresses: &[SocketAddr], deadline: Instant) -> ProbeStep<TcpStream> {
    let mut failures = Failures::default();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        let error = match timeout(share, connect_to(*address, question.header())).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::from(ErrorKind::TimedOut).into(),
        };
        failures.add(failure(*address, &error));
    }
    Err(failures.verdict())
}

/// A socket that leaves by a reset: thousands of probes in a minute shall leave no TIME_WAIT, and no target waits for
/// an end. Saying so costs less than the farewells of both sides do.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    // The port that it leaves from shall keep no rule from listening there.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Starts to connect, with a socket that is there already or with a new one.
pub(super) fn begin(address: SocketAddr, spare: Option<Socket>) -> Result<Socket, NotConnected> {
    let socket = spare.map_or_else(|| socket(address), Ok)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(NotConnected::at_once(error))
        }
        _ => Ok(socket),
    }
}

async fn connect_to(address: SocketAddr, header: &[u8]) -> Result<TcpStream, NotConnected> {
    let mut stream = TcpStream::from_std(begin(address, None)?.into())?;
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error.into());
    }
    if is_self(&stream) {
        return Err(io::Error::from(ErrorKind::ConnectionRefused).into());
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
pub(super) fn failure(address: SocketAddr, failed: &NotConnected) -> EarlyEnd {
    let error = &failed.error;
    let detail = match error.kind() {
        ErrorKind::TimedOut => format!("{address} did not answer the connect in time"),
        ErrorKind::ConnectionRefused => format!("{address} refused the connection: nothing listens there"),
        _ => format!("cannot connect to {address}: {}", wording::system(error)),
    };
    match failed.cause(address) {
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
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            // Both ends of it are the same socket.
            let Ok(stream) = socket.connect(address).await else { continue };
            met |= is_self(&stream);
        }
        assert!(met, "a connection to itself is known for one");
    }

    #[test]
    fn an_address_without_a_route_is_not_a_verdict_and_spares_no_other_address_one() {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 80);
        let without_route = || failure(at("2001:db8::1"), &NotConnected::at_once(io::Error::from_raw_os_error(101)));
        let refused = || failure(at("192.0.2.1"), &io::Error::from(ErrorKind::ConnectionRefused).into());
        let verdict = |all: [EarlyEnd; 2]| {
            let mut failures = Failures::default();
            for failed in all {
                failures.add(failed);
            }
            failures.verdict()
        };
        assert!(matches!(verdict([without_route(), without_route()]), EarlyEnd::Missed(_)));
        assert!(matches!(verdict([without_route(), refused()]), EarlyEnd::Target(_)));
        assert!(matches!(verdict([refused(), without_route()]), EarlyEnd::Target(_)));
        let from_a_router = failure(at("192.0.2.1"), &io::Error::from_raw_os_error(101).into());
        assert!(matches!(from_a_router, EarlyEnd::Target(_)), "{from_a_router:?}");
    }

    #[test]
    fn what_this_host_lacks_is_not_a_verdict() {
        let address: SocketAddr = ([127, 0, 0, 1], 9).into();
        for errno in [99, 24, 23, 105, 12, 11, 1, 13] {
            let failed = failure(address, &io::Error::from_raw_os_error(errno).into());
            assert!(matches!(failed, EarlyEnd::Missed(Missed::Host { .. })), "{errno}: {failed:?}");
            let failed = super::super::failed_by::<()>(ResultCode::L7Rsp, &io::Error::from_raw_os_error(errno), "");
            assert!(matches!(failed, Err(EarlyEnd::Missed(_))), "{errno}: {failed:?}");
        }
        for (errno, code) in [(111, ResultCode::L4Con), (110, ResultCode::L4Tout), (113, ResultCode::L4Con)] {
            let failed = failure(address, &io::Error::from_raw_os_error(errno).into());
            assert!(matches!(&failed, EarlyEnd::Target(outcome) if outcome.code() == code), "{errno}: {failed:?}");
        }
        // A library says that about the other side.
        let failed = super::super::failed_by::<()>(ResultCode::L6Rsp, &io::ErrorKind::PermissionDenied.into(), "");
        assert!(matches!(failed, Err(EarlyEnd::Target(_))), "{failed:?}");
    }
}
