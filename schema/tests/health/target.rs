//! One target: verdicts, operations, the passive window, probes and history.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use schema::health::{
    Admin, ChangeCause, Input, Layer, Mode, Operation, ResultCode, StateChange, TargetHealth, TargetState, Terms,
};

use crate::support::{
    active, any_life, any_operation, any_terms, config, operation, passive, secs, terms, thresholds, unchecked,
};

/// A target after these inputs, one second apart.
fn lived(mut target: TargetHealth, inputs: &[Input]) -> TargetHealth {
    for (number, input) in (1..).zip(inputs) {
        target.apply(input.clone(), secs(number));
    }
    target
}

fn checked() -> TargetHealth {
    TargetHealth::new(terms(2, 3, Mode::Snap), Duration::ZERO)
}

fn state_and_counter(target: &TargetHealth) -> (TargetState, u16) {
    (target.state(), target.counter().value())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn up_is_a_counter_from_rise_on_and_a_paused_one_is_zero(terms in any_terms(), life in any_life()) {
        let mut target = TargetHealth::new(terms, Duration::ZERO);
        let mut now = Duration::ZERO;
        for (wait, input) in life {
            now += Duration::from_millis(wait);
            target.apply(input, now);
            prop_assert!(target.counter().value() <= terms.thresholds.maximum());
            match target.state() {
                TargetState::Up => prop_assert!(target.counter().is_up()),
                TargetState::Down => prop_assert!(!target.counter().is_up()),
                TargetState::Unknown => prop_assert_eq!(target.counter().value() + 1, u16::from(terms.thresholds.rise.get())),
                TargetState::Paused => prop_assert_eq!(target.counter().value(), 0),
                TargetState::Disabled | TargetState::Removed => (),
            }
        }
    }

    #[test]
    fn paused_and_disabled_absorb_results(
        terms in any_terms(),
        life in any_life(),
        taken_out in select(vec![Operation::Pause, Operation::Disable, Operation::Remove]),
        results in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..20),
    ) {
        let mut target = TargetHealth::new(terms, Duration::ZERO);
        for (_, input) in life {
            target.apply(input, Duration::ZERO);
        }
        target.apply(operation(taken_out), secs(1));
        let before = target.clone();
        for (is_active, is_pass) in results {
            let input = if is_active { active(is_pass) } else { passive(is_pass) };
            prop_assert_eq!(target.apply(input, secs(2)), None);
        }
        prop_assert_eq!(target, before);
    }

    #[test]
    fn repeating_an_operation_changes_nothing(terms in any_terms(), life in any_life(), input in any_operation()) {
        let mut target = TargetHealth::new(terms, Duration::ZERO);
        for (_, input) in life {
            target.apply(input, Duration::ZERO);
        }
        target.apply(input.clone(), secs(1));
        let before = target.clone();
        prop_assert_eq!(target.apply(input, secs(2)), None);
        prop_assert_eq!(target, before);
    }

    #[test]
    fn a_time_shift_changes_nothing(terms in any_terms(), life in any_life(), shift in 0_u64..1_000_000) {
        let shift = Duration::from_millis(shift);
        let (mut one, mut other) = (TargetHealth::new(terms, Duration::ZERO), TargetHealth::new(terms, shift));
        let mut now = Duration::ZERO;
        for (wait, input) in life {
            now += Duration::from_millis(wait);
            let (change, shifted) = (one.apply(input.clone(), now), other.apply(input, now + shift));
            prop_assert_eq!(change.map(|change| StateChange { time: change.time + shift, ..change }), shifted);
            prop_assert_eq!(state_and_counter(&one), state_and_counter(&other));
            prop_assert_eq!(one.next_probe().map(|due| due + shift), other.next_probe());
            prop_assert_eq!(one.is_trial_due(now), other.is_trial_due(now + shift));
        }
    }

    #[test]
    fn history_is_the_last_changes_newest_first(terms in any_terms(), keep in 1_u8..=50, life in any_life()) {
        let terms = Terms { history: keep, ..terms };
        let mut target = TargetHealth::new(terms, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut all: Vec<StateChange> = target.history().iter().cloned().collect();
        prop_assert_eq!((all.len(), all[0].word(), all[0].to), (1, "start", target.state()));
        for (wait, input) in life {
            now += Duration::from_millis(wait);
            let before = target.state();
            let change = target.apply(input, now);
            prop_assert_eq!(change.is_some(), before != target.state());
            if let Some(change) = change {
                prop_assert_eq!((change.from, change.to, change.time), (before, target.state(), now));
                prop_assert_eq!(target.since(), now);
                all.insert(0, change);
            }
        }
        all.truncate(keep.into());
        prop_assert_eq!(target.history().iter().cloned().collect::<Vec<_>>(), all);
    }

    #[test]
    fn probes_are_due_exactly_where_there_is_a_check_and_the_target_is_in_use(terms in any_terms(), life in any_life()) {
        let mut target = TargetHealth::new(terms, Duration::ZERO);
        let mut now = Duration::ZERO;
        for (wait, input) in life {
            now += Duration::from_millis(wait);
            let is_probe = matches!(input, Input::Active(_));
            target.apply(input, now);
            prop_assert_eq!(target.next_probe().is_some(), terms.pace.is_some() && target.admin() == Admin::Enabled);
            if let (true, Some(due), Some(pace)) = (is_probe, target.next_probe(), terms.pace) {
                let maximum = terms.thresholds.maximum();
                let expected = match target.counter().value() {
                    value if value == maximum => pace.interval,
                    0 => pace.down,
                    _ => pace.fast,
                };
                prop_assert_eq!(due, now + expected);
            }
        }
    }

    #[test]
    fn awaiting_no_success_means_that_none_changes_anything(terms in any_terms(), life in any_life()) {
        let mut target = TargetHealth::new(terms, Duration::ZERO);
        for (_, input) in life {
            target.apply(input, Duration::ZERO);
        }
        if !target.awaits_success() {
            let before = (state_and_counter(&target), target.next_probe(), target.is_trial_due(secs(1)));
            prop_assert_eq!(target.apply(passive(true), secs(1)), None);
            prop_assert_eq!((state_and_counter(&target), target.next_probe(), target.is_trial_due(secs(1))), before);
        }
    }
}

#[test]
fn three_failed_connections_within_thirty_seconds_take_a_target_down_and_two_good_ones_bring_it_back() {
    let mut target = checked();
    target.apply(active(true), secs(1));
    for at in [2, 10] {
        assert_eq!(target.apply(passive(false), secs(at)), None);
    }
    let change = target.apply(passive(false), secs(32)).expect("thirty seconds are inside");
    assert_eq!((change.from, change.to), (TargetState::Up, TargetState::Down));
    assert_eq!(
        (change.layer(), change.code(), change.detail()),
        (Some(Layer::L4), Some(ResultCode::L4Con), "connection refused")
    );
    assert_eq!(target.apply(passive(true), secs(33)), None);
    assert!(target.apply(passive(true), secs(34)).is_some());
    assert_eq!(state_and_counter(&target), (TargetState::Up, 4));
    assert_eq!(target.next_probe(), Some(secs(32)), "connections do not put off the probe that they made due");
}

#[test]
fn a_failed_connection_never_uses_the_shortcut_of_an_unknown_target() {
    assert_eq!(state_and_counter(&lived(checked(), &[passive(false), passive(false)])), (TargetState::Unknown, 1));
    assert_eq!(lived(checked(), &[passive(false), passive(false), passive(false)]).state(), TargetState::Down);
    assert_eq!(lived(checked(), &[active(false)]).state(), TargetState::Down);
}

#[test]
fn good_connections_do_not_overrule_a_failing_check() {
    let failed = [active(false), passive(true), passive(true), passive(true)];
    assert_eq!(lived(checked(), &failed).state(), TargetState::Down);
    // Connections took it down, and then the check failed as well.
    let both = [passive(false), passive(false), passive(false), active(false), passive(true), passive(true)];
    assert_eq!(lived(checked(), &both).state(), TargetState::Down);
}

#[test]
fn the_check_recovers_what_connections_took_down_and_the_window_starts_empty_then() {
    let mut inputs = vec![active(true), passive(false), passive(false), passive(false), active(true), active(true)];
    assert_eq!(lived(checked(), &inputs).state(), TargetState::Up);
    inputs.extend([passive(false), passive(false)]);
    assert_eq!(lived(checked(), &inputs).state(), TargetState::Up);
}

#[test]
fn a_failed_connection_makes_a_probe_due_at_once_unless_the_target_is_down_already() {
    let mut target = checked();
    target.apply(active(true), secs(1));
    target.apply(passive(false), secs(5));
    assert_eq!(target.next_probe(), Some(secs(5)));
    target.apply(active(false), secs(5));
    target.apply(active(false), secs(6));
    target.apply(active(false), secs(7));
    assert_eq!((target.state(), target.next_probe()), (TargetState::Down, Some(secs(37))));
    target.apply(passive(false), secs(8));
    assert_eq!(target.next_probe(), Some(secs(37)));
}

#[test]
fn without_a_check_one_connection_after_thirty_seconds_is_the_trial() {
    let mut target =
        lived(TargetHealth::new(unchecked(), Duration::ZERO), &[passive(false), passive(false), passive(false)]);
    assert_eq!(target.state(), TargetState::Down);
    assert!(!target.take_trial(secs(32)), "29 s after the third failure");
    assert!(target.take_trial(secs(33)));
    assert!(!target.take_trial(secs(34)), "one connection, not two");
    target.apply(passive(false), secs(35));
    assert!(!target.take_trial(secs(64)), "a failed trial starts the wait anew");
    assert!(target.take_trial(secs(65)));
    target.apply(passive(true), secs(66));
    assert!(target.take_trial(secs(66)), "after a good one the second follows at once");
    target.apply(passive(true), secs(67));
    assert_eq!(target.state(), TargetState::Up);
    assert!(!target.take_trial(secs(600)));
}

#[test]
fn with_a_check_there_is_no_trial() {
    let mut target = lived(checked(), &[passive(false), passive(false), passive(false)]);
    assert_eq!(target.state(), TargetState::Down);
    assert!(!target.take_trial(secs(3600)));
}

#[test]
fn pause_empties_the_counter_disable_keeps_it_and_both_end_as_unknown() {
    let up = lived(checked(), &[active(true)]);
    let mut paused = up.clone();
    paused.apply(operation(Operation::Pause), secs(2));
    assert_eq!((state_and_counter(&paused), paused.next_probe()), ((TargetState::Paused, 0), None));
    paused.apply(operation(Operation::Resume), secs(3));
    assert_eq!((state_and_counter(&paused), paused.next_probe()), ((TargetState::Unknown, 1), Some(secs(4))));
    let mut disabled = up;
    disabled.apply(operation(Operation::Disable), secs(2));
    assert_eq!((state_and_counter(&disabled), disabled.next_probe()), ((TargetState::Disabled, 4), None));
    disabled.apply(operation(Operation::Pause), secs(2));
    disabled.apply(operation(Operation::Resume), secs(2));
    assert_eq!(disabled.state(), TargetState::Disabled, "only its own counterpart ends it");
    let change = disabled.apply(operation(Operation::Enable), secs(3)).expect("a change");
    assert_eq!((change.to, change.cause), (TargetState::Unknown, ChangeCause::Operation(Operation::Enable)));
}

#[test]
fn a_changed_check_starts_over_but_undoes_no_pause() {
    let mut target = lived(checked(), &[active(true)]);
    let change = target.change_terms(terms(5, 5, Mode::Leaky), secs(9)).expect("up becomes unknown");
    assert_eq!(
        (change.from, change.to, change.cause),
        (TargetState::Up, TargetState::Unknown, ChangeCause::CheckChanged)
    );
    assert_eq!((target.counter().value(), target.next_probe()), (4, Some(secs(9))));
    target.apply(operation(Operation::Pause), secs(10));
    assert_eq!(target.change_terms(terms(2, 3, Mode::Snap), secs(11)), None);
    assert_eq!((state_and_counter(&target), target.next_probe()), ((TargetState::Paused, 0), None));
    assert_eq!(target.counter().thresholds(), thresholds(2, 3, Mode::Snap));
}
