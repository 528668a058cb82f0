//! Listeners whose peers cannot hold on to what they do not use. I/O.
//! Keeps: a port has at most its cap of connections open, and each of them has spoken in time and goes on doing so.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures_util::Stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::ServiceExt;
use tracing::{debug, error, info, warn};

/// An HTTP port has answered within milliseconds; more peers than this wait in the backlog of the kernel.
const HTTP_CAP: usize = 256;
/// What an HTTP/2 peer says before anything else: the 24 bytes of RFC 9113, section 3.4.
const PREFACE: usize = 24;
/// How long accepting rests where the system has no descriptor or memory for another connection.
const REST: Duration = Duration::from_millis(100);

/// What peers of the three ports may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// Connections to the operator API at a time.
    pub operator_cap: usize,
    /// Connections to the metrics port at a time.
    pub metrics_cap: usize,
    /// Connections to the control port at a time.
    pub control_cap: usize,
    /// How soon a peer must begin: with its first byte, or with the whole HTTP/2 preface on the control port.
    pub opening: Duration,
    /// How long a connection may pass no byte in either direction.
    pub idle: Duration,
    /// How long the head of an HTTP request may take as a whole, and the wait for it on a kept connection.
    pub head: Duration,
    /// How often an edge is asked for a sign of life; less than `idle`, so a silent session is not taken for an idle peer.
    pub ping: Duration,
}

impl Guards {
    /// What suits a process with that many descriptors: at least half of them stay for everything else.
    pub fn within(descriptors: u64) -> Self {
        // A port with no room at all would serve nobody.
        let part = |divisor: u64| usize::try_from(descriptors / divisor).unwrap_or(usize::MAX).max(1);
        Self {
            operator_cap: part(8).min(HTTP_CAP),
            metrics_cap: part(8).min(HTTP_CAP),
            control_cap: part(4).min(Semaphore::MAX_PERMITS),
            opening: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            head: Duration::from_secs(30),
            ping: Duration::from_secs(10),
        }
    }

    /// The operator API or metrics.
    pub(super) fn http(&self, listener: TcpListener, cap: usize) -> GuardedListener {
        GuardedListener::new(listener, cap, 1, self)
    }

    /// The control port.
    pub(super) fn control(&self, listener: TcpListener) -> GuardedListener {
        GuardedListener::new(listener, self.control_cap, PREFACE, self)
    }
}

/// Raises the limit of descriptors as far as it goes without privileges, and says what it is then.
pub(super) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        debug!(%error, "limit of descriptors stays");
    }
    // No figure means no limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Accepts while there is room.
#[derive(Debug)]
pub(super) struct GuardedListener {
    listener: TcpListener,
    room: Arc<Semaphore>,
    /// Bytes that a peer must have sent within `opening`.
    greeting: usize,
    opening: Duration,
    idle: Duration,
    head: Duration,
    failing: bool,
}

impl GuardedListener {
    fn new(listener: TcpListener, cap: usize, greeting: usize, guards: &Guards) -> Self {
        let room = Arc::new(Semaphore::new(cap));
        let Guards { opening, idle, head, .. } = *guards;
        Self { listener, room, greeting, opening, idle, head, failing: false }
    }

    /// The next connection. May be dropped at any time without losing one.
    async fn accept(&mut self) -> Guarded {
        let permit = Arc::clone(&self.room).acquire_owned().await.expect("the semaphore is never closed");
        let stream = loop {
            match self.listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) if is_of_the_peer(&error) => debug!(%error, "peer left before it was accepted"),
                Err(error) => {
                    if !self.failing {
                        warn!(%error, port = self.port(), "connections cannot be accepted");
                    }
                    self.failing = true;
                    tokio::time::sleep(REST).await;
                }
            }
        };
        if self.failing {
            info!(port = self.port(), "connections are accepted again");
        }
        self.failing = false;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY cannot be set");
        }
        Guarded { stream, patience: Patience::new(self.greeting, self.opening, self.idle), _permit: permit }
    }

    fn port(&self) -> Option<u16> {
        self.listener.local_addr().as_ref().map(SocketAddr::port).ok()
    }

    /// All connections, as tonic takes them.
    pub(super) fn incoming(self) -> impl Stream<Item = io::Result<Guarded>> + Send {
        futures_util::stream::unfold(self, |mut listener| async { Some((Ok(listener.accept().await), listener)) })
    }

    /// Serves HTTP/1 until `stop`, then lets the requests that run come to their end. Dropped, it cuts them.
    pub(super) async fn serve(mut self, router: Router, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                connection = self.accept() => {
                    connections.spawn(converse(connection, router.clone(), self.head, stop.clone()));
                }
                Some(ended) = connections.join_next() => log_panic(ended),
                () = stop.cancelled() => break,
            }
        }
        drop(self);
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    }
}

/// A handler that panics ends its connection and no other.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "connection ended in a panic");
    }
}

/// Whether accepting failed because of one peer, and may go on with the next at once.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// One HTTP/1 connection from its first request to its last.
async fn converse(connection: Guarded, router: Router, head: Duration, stop: CancellationToken) {
    let service =
        TowerToHyperService::new(router.map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new)));
    // The idle rule would let a byte a minute through; this bounds a head as a whole.
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

/// How long a connection is waited for.
#[derive(Debug)]
struct Patience {
    timer: Pin<Box<Sleep>>,
    /// Bytes of the greeting that are still to come.
    missing: usize,
    moved: Instant,
    idle: Duration,
}

impl Patience {
    fn new(missing: usize, opening: Duration, idle: Duration) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(opening)), missing, moved: Instant::now(), idle }
    }

    fn read(&mut self, bytes: usize) {
        let rest = self.missing.saturating_sub(bytes);
        let was_missing = std::mem::replace(&mut self.missing, rest) > 0;
        self.wrote(bytes);
        if was_missing && self.missing == 0 {
            self.timer.as_mut().reset(self.moved + self.idle);
        }
    }

    fn wrote(&mut self, bytes: usize) {
        if bytes > 0 {
            self.moved = Instant::now();
        }
    }

    /// Ready when the peer has been waited for long enough; until then the task is woken when it may be so.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            // The timer is not set again at every byte: it rings early and is set to what is left then.
            let due = self.moved + self.idle;
            if self.missing > 0 || due <= Instant::now() {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
            }
            self.timer.as_mut().reset(due);
        }
    }
}

/// An accepted connection: it fails when its peer is silent for too long, and makes room when it is dropped.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    patience: Patience,
    _permit: OwnedSemaphorePermit,
}

impl Guarded {
    fn after_write(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Pending => self.patience.poll_end(cx).map(Err),
            Poll::Ready(Ok(bytes)) => {
                self.patience.wrote(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.patience.poll_end(cx).map(Err),
            Poll::Ready(result) => {
                self.patience.read(buf.filled().len() - before);
                Poll::Ready(result)
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.after_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Guarded {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_caps_leave_half_of_the_descriptors_and_are_never_none() {
        let caps = |descriptors| {
            let guards = Guards::within(descriptors);
            (guards.operator_cap, guards.metrics_cap, guards.control_cap)
        };
        assert_eq!(caps(1024), (128, 128, 256));
        assert_eq!(caps(1 << 20), (256, 256, 1 << 18));
        assert_eq!(caps(3), (1, 1, 1));
        assert_eq!(caps(u64::MAX), (256, 256, Semaphore::MAX_PERMITS));
    }

    #[test]
    fn a_lack_of_descriptors_or_memory_makes_accepting_rest() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_the_peer(&errno.into()), "{errno}");
        }
        assert!(is_of_the_peer(&Errno::CONNABORTED.into()));
    }
}
