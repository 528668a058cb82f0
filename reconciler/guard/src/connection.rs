//! One accepted connection: it fails when its peer is silent for too long, and when its place is needed. I/O.
//!
//! Keeps: its place is free again as soon as it is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::places::Seat;
use crate::port::Arrival;

/// How long a connection is waited for.
#[derive(Debug)]
pub(crate) struct Patience {
    timer: Pin<Box<Sleep>>,
    /// Bytes of the greeting that are still to come.
    missing: usize,
    moved: Instant,
    idle: Duration,
}

impl Patience {
    pub(crate) fn new(missing: usize, opening: Duration, idle: Duration) -> Self {
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
    fn poll_end(&mut self, cx: &mut Context<'_>, seat: &Seat) -> Poll<io::Error> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            // The timer is not set again at every byte: it rings early and is set to what is left then.
            let (due, now) = (self.moved + self.idle, Instant::now());
            if self.missing == 0 && due > now {
                self.timer.as_mut().reset(due);
            } else if self.missing == 0 && seat.is_busy() && self.moved + self.idle * WITHIN_REQUEST > now {
                self.timer.as_mut().reset(now + self.idle);
            } else {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
            }
        }
    }
}

/// Within a request a connection may be silent for so many times as long: it is the server that is waited for, and the
/// plan of a very large tree can take minutes.
const WITHIN_REQUEST: u32 = 10;

/// What a connection is made of.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// On the heap: it is many times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The certificate that the peer proved to have the key of.
    fn certificate(&self) -> Option<CertificateDer<'static>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned()),
        }
    }
}

/// Calls the same function of either kind of stream.
macro_rules! of_stream {
    ($stream:expr, $function:ident $(, $argument:expr)*) => {
        match &mut $stream {
            Stream::Plain(stream) => Pin::new(stream).$function($($argument),*),
            Stream::Tls(stream) => Pin::new(&mut **stream).$function($($argument),*),
        }
    };
}

/// An accepted connection.
#[derive(Debug)]
pub struct Guarded {
    stream: Stream,
    patience: Patience,
    seat: Seat,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.seat.leave();
    }
}

impl Guarded {
    pub(crate) fn new(stream: Stream, patience: Patience, seat: Seat) -> Self {
        Self { stream, patience, seat }
    }

    /// How its requests arrive; `None` where the peer is gone already.
    pub(crate) fn arrival(&self) -> Option<Arrival> {
        let tcp = self.stream.tcp();
        let is_tls = matches!(self.stream, Stream::Tls(_));
        Some(Arrival { peer: tcp.peer_addr().ok()?, local: tcp.local_addr().ok()?, is_tls })
    }

    /// True if the peer chose HTTP/2 in its handshake.
    pub(crate) fn is_http2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Why a connection on which nothing moves must end, if it must.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.seat.poll_evicted(cx) {
            let reason = "the port is full, and this connection was without a complete request for longest";
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
        }
        self.patience.poll_end(cx, &self.seat)
    }

    fn after_write(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Pending => self.poll_end(cx).map(Err),
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
        match of_stream!(self.stream, poll_read, cx, buf) {
            Poll::Pending => self.poll_end(cx).map(Err),
            Poll::Ready(result) => {
                self.patience.read(buf.filled().len() - before);
                Poll::Ready(result)
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = of_stream!(self.stream, poll_write, cx, bytes);
        self.after_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = of_stream!(self.stream, poll_write_vectored, cx, parts);
        self.after_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self.stream, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(self.stream, poll_shutdown, cx)
    }
}

/// What a gRPC handler learns of the connection that its request came over.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its addresses.
    pub addresses: TcpConnectInfo,
    /// Its place.
    pub seat: Seat,
    /// The certificate that it proved to have the key of, if it showed one.
    pub certificate: Option<CertificateDer<'static>>,
}

impl Connected for Guarded {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            addresses: self.stream.tcp().connect_info(),
            seat: self.seat.clone(),
            certificate: self.stream.certificate(),
        }
    }
}
