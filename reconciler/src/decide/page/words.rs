//! Times, counts and sizes as people read them, and the mark of a state. Pure.

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use schema::health::{RuleHealth, TargetState};
use schema::state::RuleState;

use crate::decide::render::words::count_with;

/// A moment: how long ago it was, and exactly when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// `3 min ago`, `in 2 h`
    pub relative: String,
    /// `2026-01-02 10:00:00 UTC`
    pub exact: String,
    /// For programs: RFC 3339.
    pub datetime: String,
}

impl Moment {
    /// A moment as it is seen now.
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        let exact = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        Self { relative: relative(now, at), exact, datetime: format!("{at:.0}") }
    }
}

/// How long ago something was, or how long it is until then, in one unit.
pub fn relative(now: Timestamp, then: Timestamp) -> String {
    let since = now.duration_since(then);
    match since.as_secs() {
        -1..=1 => "now".to_owned(),
        2.. => format!("{} ago", lasting(since)),
        _ => format!("in {}", lasting(-since)),
    }
}

/// How long something lasts, in one unit.
pub fn lasting(span: SignedDuration) -> String {
    match span.as_secs().max(0) {
        secs @ ..120 => format!("{secs} s"),
        secs @ ..7200 => format!("{} min", secs / 60),
        secs @ ..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} d", secs / 86_400),
    }
}

/// `1 rule`, `1,200 rules`.
pub fn count(number: u64, one: &str) -> String {
    count_with(number, one, grouped)
}

/// A number with commas between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary unit.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// The first digits of a commit, or of a digest behind its `sha256:`.
pub fn short_hash(hash: &str) -> &str {
    let digits = hash.strip_prefix("sha256:").unwrap_or(hash);
    digits.get(..12).unwrap_or(digits)
}

/// A state as the page shows it: a shape, a word and the CSS class of its colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    /// `state-up`, `state-down`, `state-warn`, `state-off` or `state-info`.
    pub class: &'static str,
    /// One character.
    pub mark: &'static str,
    /// The word.
    pub word: String,
}

impl Badge {
    /// Something that is well.
    pub fn up(word: impl Display) -> Self {
        Self { class: "state-up", mark: "▲", word: word.to_string() }
    }

    /// Something that failed.
    pub fn down(word: impl Display) -> Self {
        Self { class: "state-down", mark: "▼", word: word.to_string() }
    }

    /// Something that a person should look at.
    pub fn warn(word: impl Display) -> Self {
        Self { class: "state-warn", mark: "◆", word: word.to_string() }
    }

    /// Something that is off, or of which nothing is known.
    pub fn off(word: impl Display) -> Self {
        Self { class: "state-off", mark: "○", word: word.to_string() }
    }

    /// Something that goes on.
    pub fn info(word: impl Display) -> Self {
        Self { class: "state-info", mark: "●", word: word.to_string() }
    }

    /// The state of a rule.
    pub fn of_rule(state: RuleState) -> Self {
        match state {
            RuleState::Active => Self::up(state.as_str()),
            RuleState::Failed | RuleState::Rejected => Self::down(state.as_str()),
            RuleState::Pending | RuleState::Draining => Self::info(state.as_str()),
            RuleState::Disabled | RuleState::Unknown => Self::off(state.as_str()),
        }
    }

    /// The health of a rule.
    pub fn of_health(health: RuleHealth) -> Self {
        match health {
            RuleHealth::Up => Self::up("up"),
            RuleHealth::Down => Self::down("down"),
            RuleHealth::Unknown => Self::off("unknown"),
        }
    }

    /// The state of a target.
    pub fn of_target(state: TargetState) -> Self {
        match state {
            TargetState::Up => Self::up(state),
            TargetState::Down => Self::down(state),
            TargetState::Paused => Self { class: "state-warn", mark: "‖", word: state.to_string() },
            TargetState::Disabled | TargetState::Removed | TargetState::Unknown => Self::off(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    #[test]
    fn a_time_is_relative_in_one_unit_and_exact_beside() {
        let now = at(1_000_000);
        for (then, text) in [
            (999_999, "now"),
            (999_950, "50 s ago"),
            (999_000, "16 min ago"),
            (980_000, "5 h ago"),
            (100_000, "10 d ago"),
            (1_000_600, "in 10 min"),
        ] {
            assert_eq!(relative(now, at(then)), text);
        }
        let moment = Moment::new(at(0), now);
        assert_eq!(
            (moment.exact.as_str(), moment.datetime.as_str()),
            ("1970-01-01 00:00:00 UTC", "1970-01-01T00:00:00Z")
        );
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(
            (grouped(0), grouped(999), grouped(1000), grouped(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        );
        assert_eq!((count(1, "rule"), count(10_000, "rule")), ("1 rule".into(), "10,000 rules".into()));
        assert_eq!((bytes(1023), bytes(1536)), ("1023 B".into(), "1.5 KiB".into()));
    }
}
