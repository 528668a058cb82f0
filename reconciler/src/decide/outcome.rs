//! How applies end, as a whole and on one edge. Values.

use serde::{Deserialize, Serialize};

/// How an apply ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Edges are still to report.
    Running,
    /// Everything serves as desired.
    Applied,
    /// A rule was rejected or failed, or an edge did not answer or is not there.
    Partial,
    /// A newer tree was put in force before the edges had answered.
    Superseded,
    /// An edge did not hear in time that its state is good, and went back to what it ran before.
    Returned,
    /// The server ended before the edges had answered. What was decided is in force and goes on.
    Interrupted,
}

impl Outcome {
    /// Every outcome of an apply that is over.
    pub const ENDS: [Self; 5] = [Self::Applied, Self::Partial, Self::Superseded, Self::Returned, Self::Interrupted];

    /// Reads [`Outcome::as_str`] back; `None` for other words of the ledger.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ENDS.into_iter().chain([Self::Running]).find(|outcome| outcome.as_str() == text)
    }

    /// As in JSON, metrics and the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Applied => "applied",
            Self::Partial => "partial",
            Self::Superseded => "superseded",
            Self::Returned => "returned",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How it went on one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeOutcome {
    /// Its wave has not begun, or others of it are in front.
    Queued,
    /// It has not answered yet.
    Waiting,
    /// It reported the generation or a newer one, or had nothing to do.
    Done,
    /// It was not connected at the start, or went; it takes the state when it comes.
    Offline,
    /// It did not answer in time: what it runs is unknown.
    Timeout,
    /// It refused the state as a whole.
    Refused,
    /// It was not confirmed in time, and went back to what it ran before.
    Returned,
    /// A wave failed before its turn; it stays as it was.
    Skipped,
}

impl EdgeOutcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Waiting,
        Self::Done,
        Self::Offline,
        Self::Timeout,
        Self::Refused,
        Self::Returned,
        Self::Skipped,
    ];

    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Offline => "offline",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Returned => "returned",
            Self::Skipped => "skipped",
        }
    }

    /// As people read it behind the number or the name of edges.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Timeout => "without an answer",
            Self::Skipped => "not reached",
            other => other.as_str(),
        }
    }
}
