//! A deviation of a target from the tree, as an operator ordered it. Values, below the view of an edge.

use jiff::Timestamp;
use schema::name::RuleName;
use schema::proto;
use serde::{Deserialize, Serialize};

/// How a target deviates from the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "operation")]
pub enum Deviation {
    /// No new connections, live ones stay.
    Pause,
    /// No connections, live ones are reset.
    Disable,
    /// Another weight.
    Weight {
        /// 0..=100
        weight: u8,
    },
}

impl Deviation {
    /// As on the wire and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Disable => "disable",
            Self::Weight { .. } => "weight",
        }
    }

    /// `paused`, `disabled` or `weight 20`.
    pub fn in_words(self) -> String {
        match self {
            Self::Pause => "paused".to_owned(),
            Self::Disable => "disabled".to_owned(),
            Self::Weight { weight } => format!("weight {weight}"),
        }
    }

    /// True for another weight.
    pub(super) const fn is_weight(self) -> bool {
        matches!(self, Self::Weight { .. })
    }
}

/// One deviation that an operator ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOverride {
    /// The rule.
    pub rule: RuleName,
    /// The target, as its edge names it.
    pub target: String,
    /// What.
    #[serde(flatten)]
    pub deviation: Deviation,
    /// Who.
    pub actor: String,
    /// Why, empty where nobody said.
    #[serde(default)]
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself, if it does.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl TargetOverride {
    /// True once its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// `127.0.0.1:80 paused by ada until 2026-01-01T00:00:00Z: upgrade`
    pub fn in_words(&self) -> String {
        let until = self.until.map_or_else(|| ", without an expiry".to_owned(), |until| format!(" until {until:.0}"));
        let why = if self.why.is_empty() { String::new() } else { format!(": {}", self.why) };
        format!("{} {} by {}{until}{why}", self.target, self.deviation.in_words(), self.actor)
    }

    /// The message of it, without what is left of its time.
    pub fn to_wire(&self) -> proto::TargetOverride {
        proto::TargetOverride {
            rule: self.rule.to_string(),
            target: self.target.clone(),
            operation: self.deviation.as_str().to_owned(),
            weight: match self.deviation {
                Deviation::Weight { weight } => weight.into(),
                Deviation::Pause | Deviation::Disable => 0,
            },
            actor: self.actor.clone(),
            why: self.why.clone(),
            until_ms: self.until.and_then(|until| u64::try_from(until.as_millisecond()).ok()).unwrap_or(0),
            rest_ms: 0,
            at_ms: 0,
        }
    }

    /// Where it belongs in a list.
    pub(super) fn place(&self) -> (&RuleName, &str, bool) {
        (&self.rule, &self.target, self.deviation.is_weight())
    }
}
