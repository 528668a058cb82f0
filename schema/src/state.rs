//! The states that a rule can have on an edge. Pure.

use serde::{Deserialize, Serialize};

/// What a rule does on its edge (CONTRACT §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// Sent, and not reported yet.
    Pending,
    /// Serves as desired.
    Active,
    /// The desired version does not serve; it is retried.
    Failed,
    /// The edge cannot do it; it is not retried.
    Rejected,
    /// Removed; its connections end.
    Draining,
    /// Declared with `enabled = false`.
    Disabled,
    /// Its edge is offline: what it does now is not known.
    Unknown,
}

impl RuleState {
    /// Every state that a rule can have on an edge that is there.
    pub const ALL: &'static [Self] =
        &[Self::Pending, Self::Active, Self::Failed, Self::Rejected, Self::Draining, Self::Disabled];

    /// As in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for RuleState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
