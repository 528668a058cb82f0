//! Why an apply does not begin, and what people read about it. Pure.
//!
//! Keeps: server and command say the same in the same words: the server when it refuses, a command where it knows from
//! the plan that the server would.

use jiff::Timestamp;
use schema::canonical::Digest;
use serde::{Deserialize, Serialize};

use crate::decide::codes::ProblemCode;
use crate::decide::control::Freeze;
use crate::decide::operators::Denied;
use crate::decide::plan::{RailVerdict, Uncommitted};

/// Why an apply did not begin; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// Rails are tripped.
    Rails {
        /// All of them.
        rails: Vec<RailVerdict>,
        /// Why the tree does not count as committed, where that would be the next refusal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uncommitted: Option<Uncommitted>,
    },
    /// The tree is not committed.
    Uncommitted {
        /// In which way.
        why: Uncommitted,
    },
    /// The server follows another tree.
    NotFollowed {
        /// Digest of the tree that it follows.
        followed: Option<Digest>,
    },
    /// The plan does not fit the present any more.
    Stale {
        /// Why.
        reason: String,
    },
    /// Another apply runs.
    Locked {
        /// Who holds it.
        holder: String,
        /// Since when.
        since: Timestamp,
        /// When it lapses unless its holder says in the meantime that they are still there.
        until: Timestamp,
    },
    /// The plan has changes outside of the operator's limits.
    OutsideGrant {
        /// Which.
        changes: Vec<String>,
        /// Whose limits they are, and what they allow.
        reason: String,
    },
    /// The operator's role does not allow it.
    Forbidden {
        /// Which role it needs.
        reason: String,
    },
    /// Nothing is applied for the time being.
    Frozen {
        /// By whom, and why.
        freeze: Freeze,
    },
    /// Every change of the plan is one that its edge rejects.
    Rejected {
        /// The first code.
        reason: String,
        /// What the edge cannot do, in words.
        message: String,
    },
    /// What was decided could not be written down; everything is as it was before.
    StateNotWritable {
        /// What the disk said.
        reason: String,
    },
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let reason = denied.to_string();
        match denied {
            Denied::OutsideGrant { changes, .. } => Self::OutsideGrant { changes, reason },
            Denied::Role { .. } => Self::Forbidden { reason },
        }
    }
}

impl Refusal {
    /// As in a problem document.
    pub fn code(&self) -> &str {
        match self {
            Self::Rails { .. } => ProblemCode::Rails.as_str(),
            Self::Uncommitted { why } => why.code(),
            Self::NotFollowed { .. } => ProblemCode::NotFollowed.as_str(),
            Self::Stale { .. } => ProblemCode::Stale.as_str(),
            Self::Locked { .. } => ProblemCode::Locked.as_str(),
            Self::OutsideGrant { .. } => ProblemCode::OutsideGrant.as_str(),
            Self::Forbidden { .. } => ProblemCode::Forbidden.as_str(),
            Self::Frozen { .. } => ProblemCode::Frozen.as_str(),
            Self::Rejected { reason, .. } => reason,
            Self::StateNotWritable { .. } => ProblemCode::StateNotWritable.as_str(),
        }
    }

    /// The same for people, in a few words.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Rails { .. } => "Rails are tripped",
            Self::Uncommitted { why } => why.title(),
            Self::NotFollowed { .. } => "The server follows another tree",
            Self::Stale { .. } => "The plan is stale",
            Self::Locked { .. } => "Another apply runs",
            Self::OutsideGrant { .. } => "Outside of the operator's limits",
            Self::Forbidden { .. } => "The role does not allow it",
            Self::Frozen { .. } => "Applying is frozen",
            Self::Rejected { .. } => "The edge cannot do what the plan asks for",
            Self::StateNotWritable { .. } => "The server cannot write its state",
        }
    }

    /// What is wrong, in a sentence without its full stop.
    pub fn message(&self, now: Timestamp) -> String {
        match self {
            Self::Rails { rails, uncommitted } => {
                let names: Vec<&str> = rails.iter().map(|rail| rail.name.as_str()).collect();
                let also = uncommitted.as_ref().map_or_else(String::new, |why| {
                    format!("; it also needs `--allow-dirty`, because {}", why.message())
                });
                format!("the plan trips {}{also}", names.join(", "))
            }
            Self::Uncommitted { why } => why.message(),
            Self::NotFollowed { followed: Some(digest) } => {
                format!("in mode apply only the followed tree can be applied; its digest is {digest}")
            }
            Self::NotFollowed { followed: None } => {
                "in mode apply only the followed tree can be applied; none has been read yet".to_owned()
            }
            Self::Stale { reason } | Self::OutsideGrant { reason, .. } | Self::Forbidden { reason } => reason.clone(),
            Self::Locked { holder, since, until } => format!(
                "{holder} has applied for {} s, since {since:.0}; the lock lapses at {until:.0} unless it is renewed",
                now.duration_since(*since).as_secs().max(0)
            ),
            Self::Frozen { freeze } => {
                let until =
                    freeze.until.map_or_else(|| "until it is lifted".to_owned(), |until| format!("until {until:.0}"));
                format!("{} froze the fleet at {:.0}, {until}: {}", freeze.by, freeze.since, freeze.why)
            }
            Self::Rejected { message, .. } => message.clone(),
            Self::StateNotWritable { reason } => format!("the server cannot write its state: {reason}"),
        }
    }
}
