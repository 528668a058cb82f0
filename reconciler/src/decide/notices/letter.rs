//! What waits in the store until its receiver has accepted it. Values.
//!
//! Keeps: a letter is bounded; what does not fit into it is counted in it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::News;

/// Prefix of the letters of all notifiers in the store: then the name, then the id.
pub const LETTER_PREFIX: &str = "notify/";
/// Prefix of what each notifier gave up.
pub const GIVEN_UP_PREFIX: &str = "notify-given-up/";
/// News that a letter lists. More than anybody reads in a chat; the rest is counted.
pub const MOST_NEWS: usize = 100;

/// The state of a commit on a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// It is being applied, or waits for that.
    Pending,
    /// It is live as a whole.
    Success,
    /// It is not, or not as a whole.
    Failure,
}

impl CommitState {
    /// As in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// The status of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// The full hash.
    pub sha: String,
    /// Its state.
    pub state: CommitState,
    /// In words.
    pub description: String,
}

/// What a letter says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterContent {
    /// News, oldest first.
    News {
        /// Those that are listed.
        items: Vec<News>,
        /// How many are not.
        #[serde(default)]
        more: u64,
    },
    /// The status of a commit.
    Commit(CommitStatus),
}

/// One letter to one notifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its number; later letters have higher ones.
    pub id: u64,
    /// When it was written: what it reports happened then.
    pub at: Timestamp,
    /// What it says.
    pub content: LetterContent,
}

/// A letter with the name of its notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The notifier.
    pub to: String,
    /// The letter.
    pub letter: Letter,
}

/// The key of a letter in the store.
pub fn letter_key(to: &str, id: u64) -> String {
    format!("{LETTER_PREFIX}{to}/{id:020}")
}

impl LetterContent {
    /// News within the bound of a letter.
    pub fn news(mut items: Vec<News>, more: u64) -> Self {
        let beyond = items.len().saturating_sub(MOST_NEWS) as u64;
        items.truncate(MOST_NEWS);
        Self::News { items, more: more + beyond }
    }

    /// How many things it reports.
    pub fn count(&self) -> u64 {
        match self {
            Self::News { items, more } => items.len() as u64 + more,
            Self::Commit(_) => 1,
        }
    }

    /// This and a later one in one; `None` where they cannot be.
    pub fn with(&self, later: &Self) -> Option<Self> {
        match (self, later) {
            (Self::News { items, more }, Self::News { items: others, more: beyond }) => {
                Some(Self::news(items.iter().chain(others).cloned().collect(), more + beyond))
            }
            _ => None,
        }
    }
}

/// What a notifier has given up, over all its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// How many letters.
    pub count: u64,
    /// When the last of them.
    pub at: Timestamp,
    /// Why it could not be delivered.
    pub error: String,
}
