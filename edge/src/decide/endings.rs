//! How connections and flows end, and the line that a log has of each. Pure.

use serde::Serialize;

use super::breaks::Break;
use super::entry::RefusalReason;

/// How a connection or flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Both sides have ended it; a flow had all of its answers, or nothing came for long.
    Closed,
    /// No target took it.
    NoTarget,
    /// Somebody broke it.
    Broken(Break),
    /// It was not taken in.
    Refused(RefusalReason),
}

impl ConnectionEnd {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::NoTarget => "no_target",
            Self::Broken(why) => why.as_str(),
            Self::Refused(reason) => reason.as_str(),
        }
    }
}

/// One line of the log.
#[derive(Debug, Serialize)]
pub struct ConnectionLine<'a> {
    /// When it came, as RFC 3339 has it.
    pub started_at: &'a str,
    /// How long it lived.
    pub duration_ms: u64,
    /// The rule.
    pub rule: &'a str,
    /// Its owner.
    pub owner: &'a str,
    /// `tcp` or `udp`
    pub protocol: &'a str,
    /// `IP:PORT` of the client.
    pub source: &'a str,
    /// Where it came in.
    pub listener: &'a str,
    /// The target; none where it was refused.
    pub target: Option<&'a str>,
    /// Bytes from the client to the target.
    pub bytes_in: u64,
    /// Bytes from the target to the client.
    pub bytes_out: u64,
    /// How it ended.
    pub end: &'a str,
}
