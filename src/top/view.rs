//! The views of `top`: their names, their orders, and which selectors they understand. Pure.

use clap::ValueEnum;
use schema::health::TargetState;
use schema::state::RuleState;

/// What the body of the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// All edges, with what their rules come to.
    Edges,
    /// All rules, with their rates.
    Rules,
    /// All targets.
    Targets,
    /// The live connections.
    Connections,
    /// What is in force, what is followed, and what differs.
    Plan,
    /// What happened, the newest first.
    Events,
}

impl View {
    /// In the order of their keys.
    pub(crate) const ALL: [Self; 6] =
        [Self::Edges, Self::Rules, Self::Targets, Self::Connections, Self::Plan, Self::Events];

    /// Its place among them.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Its name on the screen.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Edges => "Edges",
            Self::Rules => "Rules",
            Self::Targets => "Targets",
            Self::Connections => "Connections",
            Self::Plan => "Plan",
            Self::Events => "Events",
        }
    }

    /// What one of its rows is.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Edges => "edge",
            Self::Rules => "rule",
            Self::Targets => "target",
            Self::Connections => "connection",
            Self::Plan => "line",
            Self::Events => "event",
        }
    }

    /// The orders that the API has for it; the first one is the usual one.
    pub(crate) const fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Rules => &["name", "state", "health", "connections", "rate", "bytes"],
            Self::Targets => &["name", "state", "health", "connections"],
            Self::Connections => &["name", "age", "bytes"],
            Self::Edges | Self::Plan | Self::Events => &[],
        }
    }

    /// The selectors that it understands, as the API names them.
    const fn selectors(self) -> &'static [&'static str] {
        match self {
            Self::Edges => &["edge", "label", "state"],
            Self::Rules | Self::Targets | Self::Connections => {
                &["edge", "label", "rule", "owner", "state", "health", "port"]
            }
            Self::Events => &["edge", "label", "rule", "owner", "state", "health", "port", "since"],
            Self::Plan => &[],
        }
    }

    /// True if the selector means something here. A state means one kind of thing in each view: `down` is a state of
    /// targets, `failed` one of rules.
    pub(crate) fn understands(self, selector: &str, value: &str) -> bool {
        self.selectors().contains(&selector) && (selector != "state" || self.has_state(value))
    }

    fn has_state(self, word: &str) -> bool {
        let of_rules = || {
            let mut states = RuleState::ALL.iter().chain([&RuleState::Unknown]);
            states.any(|state| state.as_str() == word)
        };
        match self {
            Self::Edges => ["connected", "offline", "revoked"].contains(&word),
            Self::Rules | Self::Connections => of_rules(),
            Self::Targets => TargetState::parse(word).is_some(),
            Self::Events => of_rules() || TargetState::parse(word).is_some(),
            Self::Plan => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_counts_only_where_it_is_one() {
        let views = |word: &str| View::ALL.iter().filter(|view| view.understands("state", word)).count();
        assert_eq!(views("failed"), 3, "rules, connections, events");
        assert_eq!(views("down"), 2, "targets, events");
        assert_eq!(views("offline"), 1, "edges");
        assert_eq!(views("asleep"), 0);
        assert!(!View::Edges.understands("owner", "team-a") && View::Rules.understands("owner", "team-a"));
    }
}
