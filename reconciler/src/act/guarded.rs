//! What the peers of the server's three ports may take: every figure of them in one place.
//!
//! The ports themselves are `guard`'s, which the edge shares. Keeps: what a peer that has not said who it is can make
//! the server hold is bounded per connection and per port, before anything is decoded or a task exists.

use std::time::Duration;

use guard::{GuardedListener, Limits};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::transport::Server;

/// An HTTP port has answered within milliseconds; more peers than this wait in the backlog of the kernel.
const HTTP_CAP: usize = 256;
/// Connections to the control port that have not said who they are: a hello takes milliseconds.
const STRANGERS_CAP: usize = 256;
/// Streams of one HTTP/2 connection: an edge has one session, and asks once in a while whether it still comes through.
const STREAMS: u32 = 16;
/// Bytes that a peer may send ahead of what is read, on one stream and on all of a connection. A report of 10,000 rules
/// over 50 ms takes a second.
const WINDOW: u32 = 256 << 10;
/// Bytes of the header list of one request.
const HEADER_LIST: u32 = 16 << 10;
/// Streams that a peer reset before they were taken, and that were reset because of its mistakes: beyond, the
/// connection ends. Twice what may be open, so that an edge that gives up on everything is none.
const RESETS: usize = 2 * STREAMS as usize;
/// How long an edge may take to answer a ping: with one every 10 s, a silent end is noticed within 30 s.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What peers of the three ports may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// Connections to the operator API at a time.
    pub operator_cap: usize,
    /// Connections to the metrics port at a time.
    pub metrics_cap: usize,
    /// Connections to the control port at a time.
    pub control_cap: usize,
    /// Of these, connections that have not said who they are.
    pub strangers_cap: usize,
    /// How soon a peer must begin: with its first byte, or with the whole HTTP/2 preface on the control port.
    pub opening: Duration,
    /// How long a connection may pass no byte in either direction.
    pub idle: Duration,
    /// How long the head of an HTTP request may take as a whole, and the wait for it on a kept connection.
    pub head: Duration,
    /// How often an edge is asked for a sign of life; less than `idle`, so a silent session is not taken for an idle
    /// peer.
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
            strangers_cap: part(16).min(STRANGERS_CAP),
            opening: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            head: Duration::from_secs(30),
            ping: Duration::from_secs(10),
        }
    }

    fn limits(&self, cap: usize) -> Limits {
        Limits { cap, opening: self.opening, idle: self.idle, head: self.head }
    }

    /// The operator API or metrics.
    pub(super) fn http(&self, listener: TcpListener, cap: usize) -> GuardedListener {
        GuardedListener::http(listener, self.limits(cap))
    }

    /// The control port.
    pub(super) fn control(&self, listener: TcpListener) -> GuardedListener {
        GuardedListener::http2(listener, self.limits(self.control_cap), self.strangers_cap)
    }

    /// HTTP/2 as edges of other processes speak it.
    pub(super) fn http2(&self) -> Server {
        self.alive()
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_max_header_list_size(HEADER_LIST)
            .http2_max_pending_accept_reset_streams(Some(RESETS))
            .http2_max_local_error_reset_streams(Some(RESETS))
    }

    /// HTTP/2 as an edge of this process speaks it.
    pub(super) fn alive(&self) -> Server {
        Server::builder().http2_keepalive_interval(Some(self.ping)).http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caps_leave_half_of_the_descriptors_and_are_never_none() {
        let caps = |descriptors| {
            let guards = Guards::within(descriptors);
            (guards.operator_cap, guards.metrics_cap, guards.control_cap, guards.strangers_cap)
        };
        assert_eq!(caps(1024), (128, 128, 256, 64));
        assert_eq!(caps(1 << 20), (256, 256, 1 << 18, 256));
        assert_eq!(caps(3), (1, 1, 1, 1));
        assert_eq!(caps(u64::MAX), (256, 256, Semaphore::MAX_PERMITS, 256));
    }
}
