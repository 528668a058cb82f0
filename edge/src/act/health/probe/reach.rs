//! The way to a target: its addresses, and a connection to one of them. I/O.
//!
//! Keeps: each address has its share of the time that is left; a socket that is closed by a probe leaves nothing waiting
//! in the kernel.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use schema::health::ResultCode;
use schema::rule::Host;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Asked, Question, failed};
use crate::act::wording;
use crate::decide::dial;

/// Addresses of a name that are tried: as many as a rule has targets.
const ADDRESSES: usize = 8;

/// Lookups at once: the host's resolver blocks a thread for each, up to half a minute where no server answers, and
/// connections need some of tokio's 512 too.
const LOOKUPS: usize = 32;

/// The host's resolver, for probes.
pub(super) struct Names(Arc<Semaphore>);

impl Default for Names {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Names {
    /// The addresses of what is asked, or why there are none.
    pub(super) async fn resolve(&self, question: &Question, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
        let name = match &question.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, question.port)]),
            Host::Name(name) => name,
        };
        let Ok(found) = timeout_at(deadline, self.look_up(name.clone(), question.port)).await else {
            return Err(format!("no answer about the name `{name}` in time"));
        };
        if found.is_empty() {
            return Err(format!("the name `{name}` does not resolve"));
        }
        let mut ordered = dial::order(found, question.prefer_ipv6);
        ordered.truncate(ADDRESSES);
        Ok(ordered)
    }

    async fn look_up(&self, name: Arc<str>, port: u16) -> Vec<SocketAddr> {
        let Ok(permit) = self.0.clone().acquire_owned().await else { return Vec::new() };
        let found = spawn_blocking(move || {
            let found = (&*name, port).to_socket_addrs();
            // Not before: a lookup that nobody waits for any more has its thread still.
            drop(permit);
            found
        });
        found.await.map_or_else(|_| Vec::new(), |found| found.map_or_else(|_| Vec::new(), Iterator::collect))
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
            Ok(Err(error)) => failed(ResultCode::L4Con, &refused(*address, &error)),
            Err(_) => failed(ResultCode::L4Tout, &format!("{address} did not answer the connect in time")),
        };
    }
    last
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closed by a reset: thousands of probes in a minute shall leave no TIME_WAIT, and no target waits for an end.
    socket.set_zero_linger()?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn refused(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => format!("{address} refused the connection: nothing listens there"),
        _ => format!("{address} cannot be connected to: {}", wording::system(error)),
    }
}
