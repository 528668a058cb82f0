//! TLS on a port: each connection from its first byte to the end of its handshake. I/O.
//!
//! Keeps: a peer that is silent costs a socket and a timer, but neither a task nor a buffer; handshakes are bounded in
//! time, and in number by the places of the port; what is not TLS ends with its first byte.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::connection::{Guarded, Patience, Stream};
use crate::listener::Limits;
use crate::places::Seat;
use crate::port::Port;

/// Type of the record that every TLS connection begins with (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// Bytes of a plain request that are taken before it is answered, so that the answer is not lost to a reset.
const REQUEST: usize = 4096;

/// Connections that ended before their handshake did, by reason.
#[derive(Debug, Default)]
pub struct Refused {
    /// They began with something else than TLS.
    pub not_tls: AtomicU64,
    /// The handshake failed: another protocol version, or a certificate that is not accepted.
    pub handshake: AtomicU64,
    /// The handshake was not complete in time.
    pub timeout: AtomicU64,
    /// The place was needed for another connection.
    pub crowded: AtomicU64,
}

impl Refused {
    /// Each reason with its count.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("not_tls", count(&self.not_tls)),
            ("handshake", count(&self.handshake)),
            ("timeout", count(&self.timeout)),
            ("crowded", count(&self.crowded)),
        ]
    }
}

/// How a port speaks TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificates, versions and protocols.
    pub config: Arc<ServerConfig>,
    /// Which port it is, for those that speak plain HTTP to it.
    pub port: Port,
    /// What is counted.
    pub refused: Arc<Refused>,
}

type FirstByte = Pin<Box<dyn Future<Output = Option<Opening>> + Send>>;

/// The connections of a port that are not open yet.
pub(crate) struct Openings {
    tls: Tls,
    acceptor: TlsAcceptor,
    limits: Limits,
    greeting: usize,
    /// Those that have said nothing.
    silent: FuturesUnordered<FirstByte>,
    /// Those within their handshake: cryptography is left to all processors.
    handshakes: JoinSet<Option<Guarded>>,
}

impl std::fmt::Debug for Openings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Openings").field("silent", &self.silent.len()).finish_non_exhaustive()
    }
}

impl Openings {
    pub(crate) fn new(tls: Tls, limits: Limits, greeting: usize) -> Self {
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        Self { tls, acceptor, limits, greeting, silent: FuturesUnordered::new(), handshakes: JoinSet::new() }
    }

    /// Takes an accepted connection with its place.
    pub(crate) fn begin(&mut self, stream: TcpStream, seat: Seat) {
        let opening = Opening { stream, place: Place(Some(seat)), due: Instant::now() + self.limits.opening };
        self.silent.push(Box::pin(opening.first_byte(self.tls.clone())));
    }

    /// The next connection whose handshake is complete; never where there are none. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Guarded {
        loop {
            tokio::select! {
                Some(spoken) = self.silent.next() => if let Some(opening) = spoken {
                    let (acceptor, tls) = (self.acceptor.clone(), self.tls.clone());
                    let (idle, greeting) = (self.limits.idle, self.greeting);
                    self.handshakes.spawn(async move {
                        let patience = |opening| Patience::new(greeting, opening, idle);
                        opening.handshake(acceptor, tls, patience).await
                    });
                },
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok(Some(guarded)) => return guarded,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a handshake ended in a panic"),
                },
                else => std::future::pending().await,
            }
        }
    }
}

/// A place that is free again when this is dropped.
struct Place(Option<Seat>);

impl Place {
    async fn taken_away(&self) {
        let Some(seat) = &self.0 else { return };
        poll_fn(|cx| if seat.poll_evicted(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(seat) = self.0.take() {
            seat.leave();
        }
    }
}

/// One accepted connection before its handshake is complete.
struct Opening {
    stream: TcpStream,
    place: Place,
    due: Instant,
}

impl Opening {
    /// The same once its peer has begun a handshake; `None` where it has not, and is gone.
    async fn first_byte(self, tls: Tls) -> Option<Self> {
        let mut first = [0];
        let peeked = tokio::select! {
            peeked = timeout_at(self.due, self.stream.peek(&mut first)) => peeked,
            () = self.place.taken_away() => {
                tls.refused.crowded.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        match peeked {
            Ok(Ok(1)) if first[0] == HANDSHAKE => return Some(self),
            Ok(Ok(1)) => {
                tls.refused.not_tls.fetch_add(1, Ordering::Relaxed);
                if first[0].is_ascii_uppercase() {
                    answer_plain(&self.stream, tls.port);
                }
            }
            Ok(_) => debug!("peer left before it said anything"),
            Err(_) => {
                tls.refused.timeout.fetch_add(1, Ordering::Relaxed);
            }
        }
        None
    }

    /// The connection after its handshake.
    async fn handshake(
        mut self,
        acceptor: TlsAcceptor,
        tls: Tls,
        patience: impl FnOnce(std::time::Duration) -> Patience,
    ) -> Option<Guarded> {
        let ended = tokio::select! {
            ended = timeout_at(self.due, acceptor.accept(self.stream)) => ended,
            () = self.place.taken_away() => {
                tls.refused.crowded.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        match ended {
            Ok(Ok(stream)) => {
                let rest = self.due.saturating_duration_since(Instant::now());
                let seat = self.place.0.take()?;
                Some(Guarded::new(Stream::Tls(Box::new(stream)), patience(rest), seat))
            }
            Ok(Err(error)) => {
                debug!(%error, "handshake failed");
                tls.refused.handshake.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(_) => {
                tls.refused.timeout.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Reports which port this is to a peer that speaks plain HTTP to it. Waits for nobody.
fn answer_plain(stream: &TcpStream, port: Port) {
    let mut request = [0; REQUEST];
    let text = format!("this is {}, and it speaks TLS only\n", port.in_words());
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nServer: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{text}",
        port.mark(),
        text.len()
    );
    let answered: io::Result<usize> = stream.try_read(&mut request).and_then(|_| stream.try_write(answer.as_bytes()));
    if let Err(error) = answered {
        debug!(%error, "plain request was not answered");
    }
}

#[cfg(test)]
mod tests;
