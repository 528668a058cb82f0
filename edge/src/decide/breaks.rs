//! How connections end that neither side has ended whole. Pure.

use std::io::ErrorKind;

use super::relaying::Side;

/// Who broke a connection, and how; one that a target never took counts as broken only where its client went or the
/// edge cut it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Break {
    /// The client reset it, or took no more.
    ClientReset,
    /// The client's host gave no answer for too long.
    ClientTimeout,
    /// Anything else on the client's side.
    ClientOther,
    /// The target reset it, or took no more.
    TargetReset,
    /// The target's host gave no answer for too long.
    TargetTimeout,
    /// Anything else on the target's side.
    TargetOther,
    /// Nothing moved for the rule's idle timeout.
    EdgeIdle,
    /// One side had ended its direction, and nothing moved for the rule's half-closed timeout.
    EdgeHalfClosed,
    /// A peer that is alive took nothing of what waited for it for the rule's stalled timeout.
    EdgeStalled,
    /// The edge cut it: its drain was over, its target failed or was disabled, or the edge ended.
    EdgeCut,
}

impl Break {
    /// Every one, in the order of the counters.
    pub const ALL: [Self; 10] = [
        Self::ClientReset,
        Self::ClientTimeout,
        Self::ClientOther,
        Self::TargetReset,
        Self::TargetTimeout,
        Self::TargetOther,
        Self::EdgeIdle,
        Self::EdgeHalfClosed,
        Self::EdgeStalled,
        Self::EdgeCut,
    ];

    /// Of a side that failed with this error.
    pub fn of(side: Side, error: ErrorKind) -> Self {
        let [reset, timeout, other] = match side {
            Side::Client => [Self::ClientReset, Self::ClientTimeout, Self::ClientOther],
            Side::Target => [Self::TargetReset, Self::TargetTimeout, Self::TargetOther],
        };
        match error {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => reset,
            ErrorKind::TimedOut => timeout,
            _ => other,
        }
    }

    /// `SIDE_CAUSE`, as in the protocol; the two are labels of `portunus_rule_connections_broken_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientReset => "client_reset",
            Self::ClientTimeout => "client_timeout",
            Self::ClientOther => "client_other",
            Self::TargetReset => "target_reset",
            Self::TargetTimeout => "target_timeout",
            Self::TargetOther => "target_other",
            Self::EdgeIdle => "edge_idle",
            Self::EdgeHalfClosed => "edge_half_closed",
            Self::EdgeStalled => "edge_stalled",
            Self::EdgeCut => "edge_cut",
        }
    }
}
