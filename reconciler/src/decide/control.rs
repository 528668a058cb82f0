//! What the server does by itself, and what people decided about the fleet as a whole. Values, below planner and fleet.

use jiff::Timestamp;
use schema::canonical::Digest;
use serde::{Deserialize, Serialize};

/// What the server does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing.
    Off,
    /// Plans are recorded, `apply` releases them.
    Plan,
    /// Holds what was applied last.
    Heal,
    /// Follows the tree.
    #[default]
    Apply,
}

impl Mode {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Plan => "plan",
            Self::Heal => "heal",
            Self::Apply => "apply",
        }
    }
}

/// Nothing is applied while this stands, by people or by itself. What was applied goes on healing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Who froze the fleet.
    pub by: String,
    /// Why, in their words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// An old revision that was put in force again and stays: the followed tree does not undo it until it moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The revision.
    pub digest: Digest,
    /// Its commit.
    pub commit: Option<String>,
    /// Who rolled back.
    pub by: String,
    /// Why, in their words; may be empty.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// By which apply.
    pub apply_id: String,
    /// The followed tree at that time; `None` where none had been read.
    pub followed: Option<Followed>,
}

/// What tells one state of the followed tree from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Digest of its files.
    pub digest: Digest,
    /// Its commit.
    pub commit: Option<String>,
}
