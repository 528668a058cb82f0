//! How connections end that neither side has ended whole. Pure.

use std::io::ErrorKind;

pub use schema::counters::Break;

use super::relaying::Side;

/// How a connection ended of which a side failed with this error.
pub fn broken_by(side: Side, error: ErrorKind) -> Break {
    let [reset, timeout, other] = match side {
        Side::Client => [Break::ClientReset, Break::ClientTimeout, Break::ClientOther],
        Side::Target => [Break::TargetReset, Break::TargetTimeout, Break::TargetOther],
    };
    match error {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => reset,
        ErrorKind::TimedOut => timeout,
        _ => other,
    }
}
