//! How connections and flows end, and the line that a log has of each. Pure.

use schema::counters::SniMiss;
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
    /// No rule of its port was for it.
    Missed(SniMiss),
}

impl ConnectionEnd {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::NoTarget => "no_target",
            Self::Broken(why) => why.as_str(),
            Self::Refused(reason) => reason.as_str(),
            // A word of its own for each: `timeout` alone would say nothing about what was waited for.
            Self::Missed(SniMiss::NoMatch) => "sni_no_match",
            Self::Missed(SniMiss::NoName) => "sni_no_name",
            Self::Missed(SniMiss::NotTls) => "sni_not_tls",
            Self::Missed(SniMiss::Timeout) => "sni_timeout",
            Self::Missed(SniMiss::TooLarge) => "sni_too_large",
            Self::Missed(SniMiss::Overflow) => "sni_overflow",
            Self::Missed(SniMiss::Other) => "sni_other",
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
    /// The rule; none where no rule of the port was for it.
    pub rule: Option<&'a str>,
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
