//! Short names and strategies for the laws.

use std::num::NonZeroU8;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use schema::health::{
    DEFAULT_HISTORY, Initial, Input, Mode, Operation, Outcome, Pace, ResultCode, Standing, TargetState, Terms,
    Thresholds,
};

/// A failure is shown with its smallest input, which then becomes a test of its own; no file is left behind.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn thresholds(rise: u8, fall: u8, mode: Mode) -> Thresholds {
    let count = |number| NonZeroU8::new(number).expect("the test counts from one");
    Thresholds { rise: count(rise), fall: count(fall), mode }
}

/// Every 15 s, 1 s when fast, 30 s when down, so that each is told from the others.
pub(crate) fn terms(rise: u8, fall: u8, mode: Mode) -> Terms {
    let pace = Pace { interval: secs(15), fast: secs(1), down: secs(30) };
    Terms {
        thresholds: thresholds(rise, fall, mode),
        pace: Some(pace),
        initial: Initial::Probe,
        history: DEFAULT_HISTORY,
    }
}

pub(crate) fn unchecked() -> Terms {
    Terms::of(None)
}

pub(crate) fn outcome(is_pass: bool) -> Outcome {
    Outcome::new(if is_pass { ResultCode::L7Ok } else { ResultCode::L7Sts }, "status 503")
}

pub(crate) fn active(is_pass: bool) -> Input {
    Input::Active(outcome(is_pass))
}

pub(crate) fn passive(is_pass: bool) -> Input {
    Input::Passive(Outcome::new(if is_pass { ResultCode::L4Ok } else { ResultCode::L4Con }, "connection refused"))
}

pub(crate) fn operation(operation: Operation) -> Input {
    Input::Operation(operation)
}

pub(crate) fn any_mode() -> impl Strategy<Value = Mode> {
    select(vec![Mode::Snap, Mode::Leaky])
}

pub(crate) fn any_thresholds() -> impl Strategy<Value = Thresholds> {
    let small = (1_u8..=5, 1_u8..=5);
    let any = (1_u8..=255, 1_u8..=255);
    (prop_oneof![4 => small, 1 => any], any_mode()).prop_map(|((rise, fall), mode)| thresholds(rise, fall, mode))
}

pub(crate) fn any_terms() -> impl Strategy<Value = Terms> {
    let pace = (1_u64..60, 1_u64..60, 1_u64..60).prop_map(|(interval, fast, down)| Pace {
        interval: secs(interval),
        fast: secs(fast),
        down: secs(down),
    });
    (any_thresholds(), proptest::option::weighted(0.8, pace), select(vec![Initial::Probe, Initial::Optimistic]))
        .prop_map(|(thresholds, pace, initial)| Terms { thresholds, pace, initial, history: DEFAULT_HISTORY })
}

pub(crate) fn any_operation() -> impl Strategy<Value = Input> {
    select(vec![Operation::Pause, Operation::Resume, Operation::Disable, Operation::Enable]).prop_map(operation)
}

/// Results most of the time; operations now and then.
pub(crate) fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => any::<bool>().prop_map(active),
        6 => any::<bool>().prop_map(passive),
        3 => any_operation(),
        1 => Just(Input::Tick),
    ]
}

/// What happens, each with the milliseconds since the one before.
pub(crate) fn any_life() -> impl Strategy<Value = Vec<(u64, Input)>> {
    vec((prop_oneof![Just(0), 1_u64..20_000, Just(15_000), Just(30_000)], any_input()), 0..60)
}

pub(crate) fn any_state() -> impl Strategy<Value = TargetState> {
    select(vec![TargetState::Unknown, TargetState::Up, TargetState::Down, TargetState::Paused, TargetState::Disabled])
}

/// One to eight targets in few pools, all checked or none, as in a rule.
pub(crate) fn any_standings() -> impl Strategy<Value = Vec<Standing>> {
    let one = (0_u8..4, prop_oneof![Just(0_u8), Just(100), 0_u8..=100], any_state());
    (vec(one, 1..=8), any::<bool>()).prop_map(|(standings, is_checked)| {
        let standing = |(priority, weight, state)| Standing { priority, weight, state, is_checked };
        standings.into_iter().map(standing).collect()
    })
}
