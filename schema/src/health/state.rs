//! The two axes of a target, what an operator says and what the results say, and the one name that shows both. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the results say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Can be used.
    Up,
    /// Has failed.
    Down,
}

/// What an operator or the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Admin {
    /// In use.
    #[default]
    Enabled,
    /// No probes and no new connections; live ones stay.
    Paused,
    /// No probes and no connections; live ones are reset.
    Disabled,
    /// No target of the rule any more.
    Removed,
}

/// What an operator does to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Take it out of use gently.
    Pause,
    /// End a pause.
    Resume,
    /// Take it out of use at once.
    Disable,
    /// End that.
    Enable,
    /// It leaves the rule; nothing comes after that.
    Remove,
}

impl Operation {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Remove => "remove",
        }
    }
}

impl Operation {
    /// What has happened to the target then, as the history has it.
    pub const fn past(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Disable => "disabled",
            Self::Enable => "enabled",
            Self::Remove => "removed",
        }
    }
}

impl Admin {
    /// What it is after an operation. Resume ends a pause only and enable a disable only, and a pause does not
    /// soften a disable: what is in force stays until its own counterpart ends it.
    #[must_use]
    pub const fn after(self, operation: Operation) -> Self {
        match (self, operation) {
            (Self::Removed, _) | (_, Operation::Remove) => Self::Removed,
            (Self::Enabled, Operation::Pause) => Self::Paused,
            (Self::Enabled | Self::Paused, Operation::Disable) => Self::Disabled,
            (Self::Paused, Operation::Resume) | (Self::Disabled, Operation::Enable) => Self::Enabled,
            (same, _) => same,
        }
    }
}

/// Both in one name, what an operator says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// In use, and nothing is known about it.
    Unknown,
    /// In use and well.
    Up,
    /// In use and failed.
    Down,
    /// An operator paused it.
    Paused,
    /// An operator or the rule disabled it.
    Disabled,
    /// It is no longer a target of the rule.
    Removed,
}

impl TargetState {
    /// Every state.
    pub const ALL: &'static [Self] =
        &[Self::Unknown, Self::Up, Self::Down, Self::Paused, Self::Disabled, Self::Removed];

    /// Both axes in one.
    pub const fn of(admin: Admin, verdict: Verdict) -> Self {
        match (admin, verdict) {
            (Admin::Paused, _) => Self::Paused,
            (Admin::Disabled, _) => Self::Disabled,
            (Admin::Removed, _) => Self::Removed,
            (Admin::Enabled, Verdict::Unknown) => Self::Unknown,
            (Admin::Enabled, Verdict::Up) => Self::Up,
            (Admin::Enabled, Verdict::Down) => Self::Down,
        }
    }

    /// As in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        }
    }

    /// The state that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }

    /// True if no operator took it out of use.
    pub const fn is_in_use(self) -> bool {
        matches!(self, Self::Unknown | Self::Up | Self::Down)
    }

    /// True if it is in use and the results say something.
    pub const fn has_verdict(self) -> bool {
        matches!(self, Self::Up | Self::Down)
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
