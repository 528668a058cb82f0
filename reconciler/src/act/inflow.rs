//! What edges send at a time: large messages that are not complete yet share one budget of memory. I/O by polling only.
//!
//! Keeps: all messages together that are being received take no more than [`BUDGET`], whoever sends them over however
//! many connections; small ones never wait, and none that was begun holds its share for longer than [`ARRIVAL`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower::Service;

use super::edges::MAX_MESSAGE;

/// Two messages of the largest size, or all of an ordinary fleet that comes back at once.
const BUDGET: usize = 128 << 20;
/// A message up to this size takes no share: a hello of a hundred rules.
const SMALL: usize = 64 << 10;
/// How long a message with a share may take: 64 MiB at 20 Mbit/s.
const ARRIVAL: Duration = Duration::from_secs(30);
/// Shares are counted in KiB.
const UNIT: usize = 1 << 10;
/// Compression flag and length: what precedes each message of a gRPC stream.
const HEADER: usize = 5;

/// A service whose request bodies share the budget.
#[derive(Debug, Clone)]
pub(super) struct Inflow<S> {
    service: S,
    budget: Arc<Semaphore>,
}

impl<S> Inflow<S> {
    pub(super) fn new(service: S) -> Self {
        Self { service, budget: Arc::new(Semaphore::new(BUDGET / UNIT)) }
    }
}

impl<S: NamedService> NamedService for Inflow<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Inflow<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let budget = Arc::clone(&self.budget);
        self.service.call(request.map(|body| Body::new(Measured::new(body, budget))))
    }
}

type Acquire = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The lengths of messages as they pass.
#[derive(Debug, Default)]
struct Lengths {
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    known: usize,
    /// Bytes of the message that are to come.
    missing: usize,
}

/// What a piece of the stream held.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// A message came to its end.
    ended: bool,
    /// The largest message that began, if that is a large one.
    large: Option<usize>,
}

impl Lengths {
    fn pass(&mut self, mut piece: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !piece.is_empty() {
            if self.known < HEADER {
                let (taken, rest) = piece.split_at(piece.len().min(HEADER - self.known));
                self.header[self.known..self.known + taken.len()].copy_from_slice(taken);
                self.known += taken.len();
                piece = rest;
                if self.known < HEADER {
                    break;
                }
                let [_, length @ ..] = self.header;
                self.missing = u32::from_be_bytes(length) as usize;
                // What is above the limit is refused by its header and takes nothing.
                if (SMALL + 1..=MAX_MESSAGE).contains(&self.missing) {
                    seen.large = seen.large.max(Some(self.missing));
                }
            }
            let passed = piece.len().min(self.missing);
            self.missing -= passed;
            piece = &piece[passed..];
            if self.missing == 0 {
                self.known = 0;
                seen.ended = true;
            }
        }
        seen
    }
}

/// A request body that waits for its share before a large message is handed on.
struct Measured {
    body: Body,
    budget: Arc<Semaphore>,
    lengths: Lengths,
    share: Option<(OwnedSemaphorePermit, Pin<Box<Sleep>>)>,
    /// The large message that the share is for has been handed on as a whole.
    is_over: bool,
    /// The beginning of a large message, and the wait for its share.
    held: Option<(Frame<Bytes>, Acquire)>,
}

impl Measured {
    fn new(body: Body, budget: Arc<Semaphore>) -> Self {
        Self { body, budget, lengths: Lengths::default(), share: None, is_over: false, held: None }
    }
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if std::mem::take(&mut self.is_over) {
            // Asked for more, the reader has decoded what it was handed.
            self.share = None;
        }
        loop {
            if let Some((_, acquire)) = &mut self.held {
                let acquired = ready!(acquire.as_mut().poll(cx));
                let permit = acquired.map_err(|_| Status::unavailable("the server is stopping"))?;
                self.share = Some((permit, Box::pin(tokio::time::sleep(ARRIVAL))));
                return Poll::Ready(self.held.take().map(|(frame, _)| Ok(frame)));
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Pending => {
                    if let Some((_, deadline)) = &mut self.share {
                        ready!(deadline.as_mut().poll(cx));
                        let why = format!("a message took longer than {} s", ARRIVAL.as_secs());
                        return Poll::Ready(Some(Err(Status::deadline_exceeded(why))));
                    }
                    return Poll::Pending;
                }
                other @ Poll::Ready(_) => return other,
            };
            let seen = frame.data_ref().map(|data| self.lengths.pass(data)).unwrap_or_default();
            let Some(length) = seen.large else {
                self.is_over |= seen.ended;
                return Poll::Ready(Some(Ok(frame)));
            };
            // Never while holding another share: two that wait for each other would wait for ever.
            self.share = None;
            let shares = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX);
            let acquire = Arc::clone(&self.budget).acquire_many_owned(shares);
            self.held = Some((frame, Box::pin(acquire)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn header(length: usize) -> Vec<u8> {
        [&[0][..], &u32::try_from(length).expect("fits").to_be_bytes()].concat()
    }

    #[test]
    fn lengths_are_read_however_the_stream_is_cut() {
        let stream = [header(3), b"abc".to_vec(), header(0), header(SMALL + 1)].concat();
        for cut in 1..stream.len() {
            let mut lengths = Lengths::default();
            let seen: Vec<Seen> = stream.chunks(cut).map(|piece| lengths.pass(piece)).collect();
            assert_eq!(seen.iter().filter_map(|seen| seen.large).collect::<Vec<_>>(), [SMALL + 1], "{cut}");
            assert!(seen.iter().any(|seen| seen.ended));
            assert_eq!(lengths.missing, SMALL + 1);
        }
        assert_eq!(Lengths::default().pass(&header(MAX_MESSAGE + 1)).large, None, "refused by its header");
    }

    #[tokio::test]
    async fn large_messages_wait_for_their_share_and_small_ones_do_not() {
        let budget = Arc::new(Semaphore::new(BUDGET / UNIT));
        let measured = |bytes: Vec<u8>| {
            let body = Body::new(http_body_util::Full::new(Bytes::from(bytes)));
            Box::pin(Measured::new(body, Arc::clone(&budget)))
        };
        let mut bodies = [measured(header(MAX_MESSAGE)), measured(header(MAX_MESSAGE))];
        for body in &mut bodies {
            assert!(next(body).await.is_some());
        }
        let mut third = measured(header(MAX_MESSAGE));
        assert!(next(&mut third).now_or_never().is_none(), "it waits");
        assert!(next(&mut measured([header(1), vec![7]].concat())).await.is_some());
        drop(bodies);
        assert!(next(&mut third).await.is_some());
    }

    async fn next(body: &mut Pin<Box<Measured>>) -> Option<Result<Frame<Bytes>, Status>> {
        std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await
    }
}
