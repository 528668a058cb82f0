//! What a message can be about, as in the `events` of a notifier. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// An apply ended.
    Apply,
    /// The followed tree is not applied, or cannot be read.
    Held,
    /// An edge runs something that was not applied, or does not run what was.
    Drift,
    /// A rule or a target went down, or is up again.
    Health,
    /// An edge is offline, or connected again.
    Edge,
    /// A quota is nearly used up, used up, or available again.
    Quota,
    /// An operator rolled back, or the hold of a rollback ended.
    Rollback,
    /// Applying was frozen, or is allowed again.
    Freeze,
    /// A certificate nears its end, has ended, or was renewed.
    Certificate,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 9] = [
        Self::Apply,
        Self::Held,
        Self::Drift,
        Self::Health,
        Self::Edge,
        Self::Quota,
        Self::Rollback,
        Self::Freeze,
        Self::Certificate,
    ];

    /// As in `server.toml` and in the body of a webhook.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Held => "held",
            Self::Drift => "drift",
            Self::Health => "health",
            Self::Edge => "edge",
            Self::Quota => "quota",
            Self::Rollback => "rollback",
            Self::Freeze => "freeze",
            Self::Certificate => "certificate",
        }
    }

    /// True for what happens to many rules or edges at once, so that a message waits a moment for the rest of it.
    pub const fn gathers(self) -> bool {
        matches!(self, Self::Drift | Self::Health | Self::Edge | Self::Quota | Self::Certificate)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Topic {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == text).ok_or(())
    }
}
