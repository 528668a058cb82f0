//! Accepts while there is a place, and serves HTTP with bounded heads. I/O.
//!
//! Keeps: a port has at most its cap of connections open, and each of them has spoken in time and goes on doing so.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::Request;
use futures_util::Stream;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, error, info, warn};

use crate::connection::{Guarded, Patience, Stream as Connection};
use crate::places::{Caps, Places, Seat};
use crate::tls::{Openings, Tls};

/// What an HTTP/2 peer says before anything else: the 24 bytes of RFC 9113, section 3.4.
const PREFACE: usize = 24;
/// How long accepting rests where the system has no descriptor or memory for another connection.
const REST: Duration = Duration::from_millis(100);
/// Bytes of the head of an HTTP/1 request, its path and query included: browsers and proxies send at most 8 KiB.
const HEAD: usize = 32 << 10;
/// Header lines of an HTTP/1 request.
const HEADERS: usize = 64;
/// Streams of one HTTP/2 connection: a command has few questions at once.
const STREAMS: u32 = 16;
/// Bytes that an HTTP/2 peer may send ahead of what is read, on one stream and on all of a connection.
const WINDOW: u32 = 256 << 10;
/// Streams that an HTTP/2 peer may reset before they are taken: beyond, the connection ends.
const RESETS: usize = 2 * STREAMS as usize;

/// How long accepting must have gone well before a shortage is over: near the limit it succeeds and fails by turns.
const SETTLED: Duration = Duration::from_mins(1);

/// Decides which of the failures to accept are logged: the first one, however often it fails and succeeds by turns.
#[derive(Debug, Default)]
struct Shortage {
    /// When accepting failed last, while that was logged and its end was not.
    failed: Option<Instant>,
}

impl Shortage {
    /// Accepting fails; true if that begins a shortage.
    fn begins(&mut self, now: Instant) -> bool {
        self.failed.replace(now).is_none()
    }

    /// Accepting works; true if that ends a shortage.
    fn is_over(&mut self, now: Instant) -> bool {
        self.failed.take_if(|failed| now.saturating_duration_since(*failed) >= SETTLED).is_some()
    }
}

/// What a connection over TLS has for its handshake and first request before it gives way: four round trips of 50 ms.
/// With 256 places, 1,280 connections a second that say nothing still leave room for others.
const GRACE: Duration = Duration::from_millis(200);

/// What the peers of one port may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub cap: usize,
    /// How soon a peer must begin: with its first byte, or with the whole HTTP/2 preface.
    pub opening: Duration,
    /// How long a connection may pass no byte in either direction.
    pub idle: Duration,
    /// How long the head of an HTTP/1 request may take as a whole, and the wait for it on a kept connection.
    pub head: Duration,
}

/// Takes connections from the kernel, each with a place.
#[derive(Debug)]
struct Entrance {
    listener: TcpListener,
    places: Arc<Places>,
    /// Accepted, and without a place so far.
    accepted: Option<TcpStream>,
    shortage: Shortage,
}

impl Entrance {
    /// The next connection with its place. May be dropped at any time without losing one.
    async fn next(&mut self) -> (TcpStream, Seat) {
        loop {
            if self.accepted.is_none() {
                self.accepted = Some(self.accept().await);
            }
            let seat = self.places.take().await;
            // Between the two awaits nobody else takes it.
            let Some(stream) = self.accepted.take() else { continue };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "TCP_NODELAY cannot be set");
            }
            return (stream, seat);
        }
    }

    async fn accept(&mut self) -> TcpStream {
        let stream = loop {
            match self.listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) if is_of_the_peer(&error) => debug!(%error, "peer left before it was accepted"),
                Err(error) => {
                    if self.shortage.begins(Instant::now()) {
                        warn!(%error, port = self.port(), "connections cannot be accepted");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        };
        if self.shortage.is_over(Instant::now()) {
            info!(port = self.port(), "connections are accepted again");
        }
        stream
    }

    fn port(&self) -> Option<u16> {
        self.listener.local_addr().as_ref().map(SocketAddr::port).ok()
    }
}

/// Accepts while there is a place.
#[derive(Debug)]
pub struct GuardedListener {
    entrance: Entrance,
    /// Bytes that a peer must have sent within `opening`.
    greeting: usize,
    limits: Limits,
    /// Where the port speaks TLS.
    openings: Option<Openings>,
}

impl GuardedListener {
    fn new(listener: TcpListener, limits: Limits, caps: Caps, greeting: usize) -> Self {
        let entrance = Entrance { listener, places: Places::new(caps), accepted: None, shortage: Shortage::default() };
        Self { entrance, greeting, limits, openings: None }
    }

    /// A port that speaks HTTP/1.
    pub fn http(listener: TcpListener, limits: Limits) -> Self {
        let cap = limits.cap;
        Self::new(listener, limits, Caps { open: cap, waiting: cap, guests: cap, grace: Duration::ZERO }, 1)
    }

    /// A port that speaks HTTP/2, with `strangers` places for connections that have not said who they are. Half of all
    /// places are for sessions of peers that something names.
    pub fn http2(listener: TcpListener, limits: Limits, strangers: usize) -> Self {
        let cap = limits.cap;
        let caps = Caps { open: cap, waiting: strangers.min(cap), guests: (cap / 2).max(1), grace: Duration::ZERO };
        Self::new(listener, limits, caps, PREFACE)
    }

    /// The same over TLS. A connection has its place from the moment it is accepted, and `opening` bounds its handshake
    /// and what follows together. A handshake takes a few round trips: were the oldest to give way at once, a fleet that
    /// comes back at the same time would keep itself out.
    #[must_use]
    pub fn over_tls(mut self, tls: Tls) -> Self {
        self.entrance.places = self.entrance.places.with_grace(GRACE);
        self.openings = Some(Openings::new(tls, self.limits, self.greeting));
        self
    }

    /// The next connection. May be dropped at any time without losing one.
    pub(crate) async fn accept(&mut self) -> Guarded {
        let Limits { opening, idle, .. } = self.limits;
        loop {
            let Some(openings) = &mut self.openings else {
                let (stream, seat) = self.entrance.next().await;
                return Guarded::new(Connection::Plain(stream), Patience::new(self.greeting, opening, idle), seat);
            };
            tokio::select! {
                guarded = openings.next() => return guarded,
                (stream, seat) = self.entrance.next() => openings.begin(stream, seat),
            }
        }
    }

    /// All connections, as tonic takes them.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Guarded>> + Send {
        futures_util::stream::unfold(self, |mut listener| async { Some((Ok(listener.accept().await), listener)) })
    }

    /// Serves HTTP/1, or HTTP/2 where a handshake chose it, until `stop`, then lets the requests that run come to their end. Dropped, it cuts them.
    pub async fn serve(mut self, router: Router, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                connection = self.accept() => {
                    connections.spawn(converse(connection, router.clone(), self.limits.head, stop.clone()));
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

/// One connection from its first request to its last.
async fn converse(connection: Guarded, router: Router, head: Duration, stop: CancellationToken) {
    let within = Arc::new(Requests { seat: connection.seat().clone(), open: AtomicUsize::new(0) });
    let (arrival, requests) = (connection.arrival(), Arc::clone(&within));
    let served = router.map_request(move |mut request: Request<hyper::body::Incoming>| {
        requests.begin();
        if let Some(arrival) = arrival {
            request.extensions_mut().insert(arrival);
        }
        request.map(Body::new)
    });
    let served = served.map_response(move |response: axum::response::Response| {
        let request = WithinRequest(Arc::clone(&within));
        response.map(|body| Answer { body, _request: request })
    });
    let (is_http2, service) = (connection.is_http2(), TowerToHyperService::new(served));
    let io = TokioIo::new(connection);
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEAD as u32)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS);
        let mut served = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = served.as_mut() => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    } else {
        // The idle rule would let a byte a minute through; this bounds a head as a whole.
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(HEAD).max_headers(HEADERS);
        let mut served = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            ended = served.as_mut() => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

/// The requests of one connection that are not answered yet: with HTTP/2 there may be several.
struct Requests {
    seat: Seat,
    open: AtomicUsize,
}

impl Requests {
    fn begin(&self) {
        if self.open.fetch_add(1, Ordering::AcqRel) == 0 {
            // Its place is its own until the last of them is answered.
            _ = self.seat.begin(true);
        }
    }

    fn end(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.seat.idle();
        }
    }
}

/// Ends with the answer to a request: the connection may give way again.
struct WithinRequest(Arc<Requests>);

impl Drop for WithinRequest {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer, which tells when it was given in full.
struct Answer {
    body: Body,
    _request: WithinRequest,
}

impl HttpBody for Answer {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_shortage_is_logged_once_while_accepting_fails_and_succeeds_by_turns() {
        let (mut shortage, start) = (Shortage::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert!(!shortage.is_over(at(0)), "there was none");
        assert!(shortage.begins(at(1)));
        for secs in 2..200 {
            assert!(!shortage.is_over(at(secs)) && !shortage.begins(at(secs)), "{secs} s");
        }
        assert!(!shortage.is_over(at(258)));
        assert!(shortage.is_over(at(259)), "a minute after the last failure");
        assert!(!shortage.is_over(at(260)), "once");
        assert!(shortage.begins(at(300)), "the next one");
    }

    #[test]
    fn a_lack_of_descriptors_or_memory_makes_accepting_rest() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_of_the_peer(&errno.into()), "{errno}");
        }
        assert!(is_of_the_peer(&Errno::CONNABORTED.into()));
    }
}
