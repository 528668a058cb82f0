//! What errors on the way of a datagram mean. Pure.
//!
//! Keeps: what this host lacks or forbids costs datagrams, and is never taken for a target that is not there.

use rustix::io::Errno;
use schema::counters::Lost;

use crate::decide::faults::ConnectCause;

/// What an error on the way to a target means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// These datagrams did not leave, and the next ones may.
    Lost(Lost),
    /// A queue is full.
    Full,
    /// The target is not there.
    Failed(ConnectCause),
}

pub(super) fn judge(error: Errno) -> SendError {
    match error {
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => SendError::Full,
        Errno::MSGSIZE => SendError::Lost(Lost::TooLarge),
        Errno::CONNREFUSED => SendError::Failed(ConnectCause::Refused),
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN => {
            SendError::Failed(ConnectCause::Unreachable)
        }
        // A firewall of this host.
        Errno::PERM | Errno::ACCESS => SendError::Lost(Lost::Unreachable),
        _ => SendError::Lost(Lost::Other),
    }
}

/// True where the way takes no pieces, and may take their datagrams one by one.
pub(super) fn refuses_pieces(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::IO | Errno::MSGSIZE | Errno::OPNOTSUPP | Errno::NOPROTOOPT)
}
