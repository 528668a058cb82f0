//! Accepts from one socket until told to stop. I/O.
//!
//! Keeps: what the kernel accepted before the stop is served, not reset; a shortage of descriptors on one
//! socket stops no other.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use schema::net::Listener;
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Acceptor, Shared, connection};

/// How long a socket waits after the process ran out of descriptors: long enough for some to be closed.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);

/// No interface has this index: Linux numbers them from 1 and refuses only negative ones here.
const NO_INTERFACE: NonZeroU32 = NonZeroU32::new(i32::MAX as u32).expect("not zero");

/// Accepts until told to stop.
pub(super) async fn accept(listener: Listener, acceptor: Acceptor, stop: CancellationToken, shared: Arc<Shared>) {
    while let Some(accepted) = stop.run_until_cancelled(acceptor.0.accept()).await {
        match accepted {
            Ok((client, _)) => {
                shared.is_short_of_descriptors.store(false, Ordering::Relaxed);
                start(client, listener, &shared);
            }
            Err(error) => {
                if must_pause(&error, &shared)
                    && stop.run_until_cancelled(tokio::time::sleep(SHORTAGE_PAUSE)).await.is_none()
                {
                    break;
                }
            }
        }
    }
}

/// Hides a socket whose port another socket has too: bound to an interface that does not exist, it is found by no
/// new connection, while handshakes under way end in its queue. True if it shared its port.
pub(super) fn retire(listener: Listener, acceptor: &Acceptor) -> bool {
    let socket = acceptor.socket();
    if !socket.reuse_port().is_ok_and(|is_shared| is_shared) {
        return false;
    }
    if let Err(error) = socket.bind_device_by_index_v4(Some(NO_INTERFACE)) {
        tracing::debug!(%listener, %error, "an exchanged socket attracts connections to its end");
    }
    true
}

/// Starts what still waits, and closes the socket right behind it.
pub(super) fn close(listener: Listener, acceptor: Acceptor, shared: &Arc<Shared>) {
    let Some(socket) = Arc::into_inner(acceptor.0) else { return };
    let socket = match socket.into_std() {
        Ok(socket) => Socket::from(socket),
        Err(error) => return tracing::warn!(%listener, %error, "waiting connections were lost"),
    };
    loop {
        let accepted = socket.accept().and_then(|(client, _)| {
            client.set_nonblocking(true)?;
            TcpStream::from_std(client.into())
        });
        match accepted {
            Ok(client) => start(client, listener, shared),
            // The peer went away while it waited; the next one may be there still.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return tracing::warn!(%listener, %error, "waiting connections were lost"),
        }
    }
}

/// True where the process is short of something that comes back; logged once per shortage.
fn must_pause(error: &io::Error, shared: &Shared) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    let is_shortage = shortages.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    if is_shortage && !shared.is_short_of_descriptors.swap(true, Ordering::Relaxed) {
        tracing::error!(%error, "connections cannot be accepted for want of descriptors or memory");
    }
    is_shortage
}

/// Refuses or starts a connection. Limits are looked at before anything is allocated for it.
fn start(client: TcpStream, listener: Listener, shared: &Arc<Shared>) {
    let routing = shared.routing.load();
    let Some(route) = routing.find(&listener) else {
        return reset(&client);
    };
    // One target until balancing exists; the capability keeps rules with more of them away.
    let target = route.rule.targets.first().filter(|target| target.enabled && target.weight > 0);
    let ticket = target.and_then(|target| route.meter.admit(listener, target, route.rule.max_connections));
    let Some(ticket) = ticket else {
        route.meter.refused(listener.port);
        return reset(&client);
    };
    let rule = route.rule.clone();
    let guard = OpenGuard::new(shared.clone());
    shared.connections.spawn(async move {
        connection::serve(client, listener, rule, ticket, &guard.0).await;
    });
}

/// Makes the close of this socket a reset: the peer learns at once that nobody serves it.
pub(super) fn reset(client: &TcpStream) {
    if let Err(error) = SockRef::from(client).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection is closed instead of reset");
    }
}

/// Counts one live connection of the edge.
struct OpenGuard(Arc<Shared>);

impl OpenGuard {
    fn new(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
