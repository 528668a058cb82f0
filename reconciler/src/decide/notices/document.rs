//! Notifiers as the API and the tool show them. Values.
//!
//! Keeps: no document has a secret; of a URL it shows the host.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Forge, NotifierKind, Topic};
use crate::decide::render::clean::clean;
use crate::decide::render::words::{ago, count};

/// Something that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDocument {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub message: String,
}

/// A notifier, with what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifierDocument {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub kind: NotifierKind,
    /// The forge, of a commit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<Forge>,
    /// Where it is: scheme, host and port, for the rest of a URL may be a secret.
    pub receiver: String,
    /// What it receives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Topic>,
    /// Notices that wait.
    pub pending: u64,
    /// When the oldest of them was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// When the next attempt is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// Messages that were accepted since the server started.
    pub sent: u64,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent: Option<Timestamp>,
    /// Attempts that failed since the server started.
    pub failed: u64,
    /// The last attempt, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<FailureDocument>,
    /// Notices that could not be delivered for a day.
    pub given_up: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_given_up: Option<FailureDocument>,
    /// Notices that were merged because too many waited, since the server started.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub condensed: u64,
}

impl NotifierDocument {
    /// True if somebody should look: something waits after a failure, or was given up.
    pub fn is_ailing(&self) -> bool {
        self.last_error.is_some() || self.given_up > 0
    }

    /// What waits, what was given up, and why.
    pub fn trouble(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        if let Some(error) = &self.last_error {
            let waits = self.oldest.filter(|_| self.pending > 0).map_or_else(String::new, |oldest| {
                let verb = if self.pending == 1 { "waits" } else { "wait" };
                format!("{} {verb}, the oldest from {}; ", count(self.pending, "notice"), ago(oldest, now))
            });
            let at = ago(error.at, now);
            parts.push(format!("{waits}the last attempt failed {at}: {}", clean(&error.message)));
        }
        if let Some(last) = &self.last_given_up {
            let why = if last.message.is_empty() { String::new() } else { format!(": {}", clean(&last.message)) };
            let (notices, at) = (count(self.given_up, "notice"), ago(last.at, now));
            parts.push(format!("{notices} given up after a day, the last {at}{why}"));
        }
        format!("{}: {}", clean(&self.name), parts.join("; "))
    }
}

/// The result of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyTestAnswer {
    /// The notifier.
    pub name: String,
    /// What it speaks.
    pub kind: NotifierKind,
    /// Where it is.
    pub receiver: String,
    /// True if the receiver accepted the message.
    pub delivered: bool,
    /// The status of its answer, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of its answer, or why there is none.
    pub answer: String,
}
