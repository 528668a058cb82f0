//! One target of a rule as a row, and how many targets are in which state. Values.

use schema::health::TargetState;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

use super::target::TargetView;

/// One target of one rule on one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRow {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// The owner of the rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// As its edge sees it. Its state is `unknown` while the edge is offline, or has not reported the target.
    #[serde(flatten)]
    pub target: TargetView,
    /// The last known state of a target whose edge is offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<TargetState>,
    /// True if the rule has a health check.
    #[serde(default)]
    pub checked: bool,
}

impl TargetRow {
    /// True if nothing checks the target and no connection was made to it: there is nothing to know yet.
    pub fn is_unchecked(&self) -> bool {
        let is_known_once = self.target.last.is_some() || self.last_state.is_some();
        self.target.state == TargetState::Unknown && !self.checked && !is_known_once
    }
}

/// How many targets are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetTotals {
    /// All of them.
    pub all: u64,
    /// Those that are up.
    pub up: u64,
    /// Those that are down.
    pub down: u64,
    /// Those without a verdict, and those of edges that are offline.
    pub unknown: u64,
    /// Those that an operator paused.
    pub paused: u64,
    /// Those that the tree or an operator disabled.
    pub disabled: u64,
    /// Of the unknown ones, those that nothing checks and that no connection was made to.
    pub unchecked: u64,
}

impl TargetTotals {
    /// Counts rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a TargetRow>) -> Self {
        let mut totals = Self::default();
        for row in rows {
            let count = match row.target.state {
                TargetState::Up => &mut totals.up,
                TargetState::Down => &mut totals.down,
                TargetState::Unknown => &mut totals.unknown,
                TargetState::Paused => &mut totals.paused,
                TargetState::Disabled => &mut totals.disabled,
                TargetState::Removed => continue,
            };
            *count += 1;
            totals.all += 1;
            totals.unchecked += u64::from(row.is_unchecked());
        }
        totals
    }

    /// By state, as metrics show them.
    pub fn by_state(&self) -> [(TargetState, u64); 5] {
        [
            (TargetState::Up, self.up),
            (TargetState::Down, self.down),
            (TargetState::Unknown, self.unknown),
            (TargetState::Paused, self.paused),
            (TargetState::Disabled, self.disabled),
        ]
    }
}
