//! The rails that a plan is measured against, and the flags that allow what they hold back. Values.

use std::fmt;

/// Which rail it is (CONTRACT §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RailKind {
    /// Removed rules of an edge, in percent.
    MaxRemovedPercent,
    /// Removed rules in all.
    MaxRemovedRules,
    /// Edges that would have no rule left.
    LastRule,
    /// Rules of an edge whose listeners change, in percent.
    MaxReboundPercent,
    /// Live connections that would be cut.
    MaxConnectionsDropped,
    /// Protected rules that would be removed.
    Protected,
    /// Files that held rules and are empty.
    EmptyFile,
    /// A commit that does not descend from the one in force.
    NonDescendant,
}

impl RailKind {
    /// Every rail, in the order in which a plan shows them.
    pub const ALL: [Self; 8] = [
        Self::MaxRemovedPercent,
        Self::MaxRemovedRules,
        Self::LastRule,
        Self::MaxReboundPercent,
        Self::MaxConnectionsDropped,
        Self::Protected,
        Self::EmptyFile,
        Self::NonDescendant,
    ];

    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxRemovedPercent => "max_removed_percent",
            Self::MaxRemovedRules => "max_removed_rules",
            Self::LastRule => "last_rule",
            Self::MaxReboundPercent => "max_rebound_percent",
            Self::MaxConnectionsDropped => "max_connections_dropped",
            Self::Protected => "protected",
            Self::EmptyFile => "empty_file",
            Self::NonDescendant => "non_descendant",
        }
    }

    /// The rail of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// True if its figures are shares.
    pub const fn is_percent(self) -> bool {
        matches!(self, Self::MaxRemovedPercent | Self::MaxReboundPercent)
    }

    /// True if its message says it all, so that a limit of 0 would only puzzle.
    pub const fn speaks_alone(self) -> bool {
        matches!(self, Self::LastRule | Self::Protected | Self::EmptyFile)
    }
}

/// The flag that allows exactly what a rail found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowFlag {
    /// So many removals.
    Removals(u64),
    /// So many rebinds.
    Rebinds(u64),
    /// So many dropped connections.
    Drops(u64),
    /// An empty file or tree.
    Empty,
    /// A commit that does not descend from the last applied one.
    NonDescendant,
}

impl AllowFlag {
    /// Parses what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |flag: &str| text.strip_prefix(flag)?.strip_prefix(' ')?.parse().ok();
        match text {
            "--allow-empty" => Some(Self::Empty),
            "--allow-non-descendant" => Some(Self::NonDescendant),
            _ => number("--allow-removals")
                .map(Self::Removals)
                .or_else(|| number("--allow-rebinds").map(Self::Rebinds))
                .or_else(|| number("--allow-drops").map(Self::Drops)),
        }
    }
}

impl fmt::Display for AllowFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removals(count) => write!(f, "--allow-removals {count}"),
            Self::Rebinds(count) => write!(f, "--allow-rebinds {count}"),
            Self::Drops(count) => write!(f, "--allow-drops {count}"),
            Self::Empty => f.write_str("--allow-empty"),
            Self::NonDescendant => f.write_str("--allow-non-descendant"),
        }
    }
}

/// One rail and whether the plan trips it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rail {
    /// Which one.
    pub kind: RailKind,
    /// What it allows.
    pub limit: u64,
    /// What the plan does, on the worst edge where it is per edge.
    pub actual: u64,
    /// True if that is too much and no flag allows it.
    pub tripped: bool,
    /// The flag that would allow it; `None` where nothing does.
    pub allow: Option<AllowFlag>,
    /// Which edges or rules, in words.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rails_and_flags_parse_back() {
        for kind in RailKind::ALL {
            assert_eq!(RailKind::parse(kind.as_str()), Some(kind));
        }
        let flags = [
            AllowFlag::Removals(3),
            AllowFlag::Rebinds(0),
            AllowFlag::Drops(70_000),
            AllowFlag::Empty,
            AllowFlag::NonDescendant,
        ];
        for flag in flags {
            assert_eq!(AllowFlag::parse(&flag.to_string()), Some(flag));
        }
        for bad in ["", "--allow-removals", "--allow-removals x", "--allow-drops -1", "--allow-emptyx"] {
            assert_eq!(AllowFlag::parse(bad), None, "{bad}");
        }
    }
}
