//! States as a word, a shape and a tone, so that no state is a colour alone. Pure.

use reconciler::decide::fleet::Notice;
use schema::health::{RuleHealth, TargetState};
use schema::state::RuleState;

use super::table::{Cell, Tone};

/// A state of a rule.
pub(crate) const fn of_rule(state: RuleState) -> (&'static str, Tone) {
    match state {
        RuleState::Active => ("▲", Tone::Good),
        RuleState::Failed | RuleState::Rejected => ("✖", Tone::Bad),
        RuleState::Pending => ("◌", Tone::Warn),
        RuleState::Draining => ("●", Tone::Warn),
        RuleState::Disabled => ("–", Tone::Faint),
        RuleState::Unknown => ("?", Tone::Warn),
    }
}

/// A state of a target.
pub(crate) const fn of_target(state: TargetState) -> (&'static str, Tone) {
    match state {
        TargetState::Up => ("▲", Tone::Good),
        TargetState::Down => ("▼", Tone::Bad),
        TargetState::Paused => ("‖", Tone::Warn),
        TargetState::Disabled | TargetState::Removed => ("–", Tone::Faint),
        TargetState::Unknown => ("?", Tone::Faint),
    }
}

/// The health of a rule, by its first word.
pub(crate) fn of_health(words: &str) -> Cell {
    let (mark, tone) = match words.split(' ').next().unwrap_or_default() {
        "" | "–" => return Cell::new(words, Tone::Faint),
        "up" if is_partly_up(words) => ("△", Tone::Warn),
        "up" => ("▲", Tone::Good),
        "down" => ("▼", Tone::Bad),
        _ => ("?", Tone::Faint),
    };
    Cell::new(&format!("{mark} {words}"), tone)
}

/// `up 1/2`
fn is_partly_up(words: &str) -> bool {
    let counts = words.rsplit(' ').next().and_then(|counts| counts.split_once('/'));
    counts.is_some_and(|(up, all)| up != all)
}

/// Whether an edge has a session and runs what it should.
pub(crate) const fn of_edge(connected: bool, is_revoked: bool, is_behind: bool) -> (&'static str, &'static str, Tone) {
    match (is_revoked, connected, is_behind) {
        (true, ..) => ("✖", "revoked", Tone::Bad),
        (false, false, _) => ("▼", "offline", Tone::Bad),
        (false, true, true) => ("●", "behind", Tone::Warn),
        (false, true, false) => ("▲", "connected", Tone::Good),
    }
}

/// How much an event asks for attention.
pub(crate) fn of_event(notice: &Notice) -> Tone {
    match notice {
        Notice::Edge { connected, .. } => {
            if *connected {
                Tone::Good
            } else {
                Tone::Bad
            }
        }
        Notice::Rule { state: Some(state), .. } => of_rule(*state).1,
        Notice::Health { to: Some(health), .. } => match health {
            RuleHealth::Up => Tone::Good,
            RuleHealth::Down => Tone::Bad,
            RuleHealth::Unknown => Tone::Plain,
        },
        Notice::Target { to, .. } => of_target(*to).1,
        Notice::Unsettled { .. } | Notice::Quota { .. } | Notice::Override { .. } | Notice::Freeze { .. } => Tone::Warn,
        Notice::Remote { error: Some(_), .. } => Tone::Bad,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_states_of_one_kind_look_alike_without_their_words() {
        let rules: Vec<&str> = RuleState::ALL.iter().map(|state| of_rule(*state).0).collect();
        // What failed and what was rejected are one shape with two words.
        let distinct: std::collections::BTreeSet<&str> = rules.iter().copied().collect();
        assert_eq!(distinct.len(), rules.len() - 1, "{rules:?}");
        assert_eq!(of_health("up 1/2").text, "△ up 1/2");
        assert_eq!(of_health("up 2/2").text, "▲ up 2/2");
        assert_eq!(of_health("–").text, "–");
    }
}
