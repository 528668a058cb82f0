//! The way to a target: its addresses, and a connection to one of them. I/O.
//!
//! Keeps: each address has its share of the time that is left; a socket that is closed by a probe leaves nothing waiting
//! in the kernel.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use schema::health::{Outcome, ResultCode};
use schema::rule::Host;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Asked, Question, failed};
use crate::act::names::Names;
use crate::act::wording;
use crate::decide::dial;

/// Addresses of a name that are tried: as many as a rule has targets.
const ADDRESSES: usize = 8;

/// The addresses of what is asked, or why there are none.
pub(super) async fn resolve(question: &Question, names: &Names, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
    let name = match &question.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, question.port)]),
        Host::Name(name) => name,
    };
    match Box::pin(timeout_at(deadline, names.resolve(name.clone()))).await {
        Ok(Ok(found)) => {
            let ordered = dial::order(&found, question.prefer_ipv6, 0).into_iter().take(ADDRESSES);
            Ok(ordered.map(|ip| SocketAddr::new(ip, question.port)).collect())
        }
        Ok(Err(error)) => Err(format!("`{name}`: {error}")),
        Err(_) => Err(format!("`{name}`: no answer about the name in time")),
    }
}

/// A connection to the first address that takes one.
pub(super) async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Asked<TcpStream> {
    let mut last = failed(ResultCode::L4Con, "the target has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        last = match timeout(share, connect_to(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Err(failure(*address, &error)),
            Err(_) => Err(failure(*address, &ErrorKind::TimedOut.into())),
        };
    }
    last
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closed by a reset: thousands of probes in a minute shall leave no TIME_WAIT, and no target waits for an end.
    socket.set_zero_linger()?;
    socket.connect(address).await
}

/// What a connection that did not come about says of its target.
pub(super) fn failure(address: SocketAddr, error: &io::Error) -> Outcome {
    let (code, detail) = match error.kind() {
        ErrorKind::TimedOut => (ResultCode::L4Tout, format!("{address} did not answer the connect in time")),
        ErrorKind::ConnectionRefused => {
            (ResultCode::L4Con, format!("{address} refused the connection: nothing listens there"))
        }
        _ => (ResultCode::L4Con, format!("{address} cannot be connected to: {}", wording::system(error))),
    };
    Outcome::new(code, &detail)
}
