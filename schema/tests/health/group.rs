//! The targets of a rule together: events, reloads, trials.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use schema::health::{
    HealthCheck, HealthKind, Input, Operation, RuleEvent, RuleHealth, TargetGroup, TargetKey, TargetState,
};
use schema::net::PortRange;
use schema::rule::{Host, Rule, Target};
use schema::testing::rule_with;

use crate::support::{active, any_input, config, operation, passive, secs};

fn target(last: u8, priority: u8, weight: u8) -> Target {
    let host = Host::parse(&format!("10.0.0.{last}")).expect("an address");
    let ports = PortRange::new(80, 80).expect("a port");
    Target { priority, weight, ..Target::new(host, ports) }
}

fn rule(targets: &[Target], check: Option<HealthCheck>) -> Arc<Rule> {
    rule_with("web", 80, 80, |parts| {
        parts.targets = targets.to_vec();
        parts.health = check;
    })
}

fn tcp_check() -> HealthCheck {
    HealthCheck::new(HealthKind::Tcp, 15)
}

fn any_rule() -> impl Strategy<Value = Arc<Rule>> {
    let one = (1_u8..6, 0_u8..3, prop_oneof![Just(0_u8), Just(50), Just(100)], proptest::bool::weighted(0.8));
    let check = prop_oneof![
        Just(None),
        (1_u8..4, 1_u8..4).prop_map(|(rise, fall)| Some(HealthCheck { rise, fall, ..tcp_check() }))
    ];
    (vec(one, 1..=5), check).prop_map(|(drawn, check)| {
        let mut targets: Vec<Target> = Vec::new();
        for (last, priority, weight, enabled) in drawn {
            let target = Target { enabled, ..target(last, priority, weight) };
            if !targets.iter().any(|other| other.host == target.host) {
                targets.push(target);
            }
        }
        rule(&targets, check)
    })
}

#[derive(Debug, Clone)]
enum Happening {
    Input(u8, Input),
    Weight(u8, Option<u8>),
    Reload(Arc<Rule>),
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => (1_u8..6, any_input()).prop_map(|(last, input)| Happening::Input(last, input)),
        1 => (1_u8..6, proptest::option::of(0_u8..=100)).prop_map(|(last, weight)| Happening::Weight(last, weight)),
        1 => any_rule().prop_map(Happening::Reload),
    ]
}

fn key(last: u8) -> TargetKey {
    TargetKey::of(&target(last, 0, 0))
}

fn take(group: &mut TargetGroup, happening: Happening, now: Duration) -> Vec<RuleEvent> {
    match happening {
        Happening::Input(last, input) => group.apply(&key(last), input, now),
        Happening::Weight(last, weight) => group.override_weight(&key(last), weight),
        Happening::Reload(rule) => group.reload(&rule, now),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_snapshot_and_the_events_after_it_are_the_state(first in any_rule(), life in vec((0_u64..20, any_happening()), 0..60)) {
        let mut group = TargetGroup::new(&first, Duration::ZERO);
        let mut subscriber = group.snapshot();
        let mut now = Duration::ZERO;
        for (wait, happening) in life {
            now += secs(wait);
            let events = take(&mut group, happening, now);
            let before = subscriber.clone();
            for event in &events {
                subscriber.apply(event);
            }
            prop_assert_eq!(&subscriber, &group.snapshot());
            prop_assert!(events.is_empty() == (before == subscriber) || has_passing_change(&events));
        }
    }

    #[test]
    fn a_reload_of_the_same_rule_changes_nothing(first in any_rule(), life in vec((0_u64..20, any_happening()), 0..60)) {
        let mut group = TargetGroup::new(&first, Duration::ZERO);
        let mut rule = first;
        let mut now = Duration::ZERO;
        for (wait, happening) in life {
            now += secs(wait);
            if let Happening::Reload(next) = &happening {
                rule = Arc::clone(next);
            }
            take(&mut group, happening, now);
        }
        let before = group.clone();
        prop_assert_eq!(group.reload(&rule, now + secs(1)), vec![]);
        prop_assert_eq!(group, before);
    }
}

/// A reload can take a target from one state through another back to the first.
fn has_passing_change(events: &[RuleEvent]) -> bool {
    events.iter().filter(|event| matches!(event, RuleEvent::Changed { .. })).count() > 1
}

#[test]
fn a_failover_says_who_changed_what_carries_weight_and_how_the_rule_is() {
    let mut group = TargetGroup::new(&rule(&[target(1, 1, 100), target(2, 0, 100)], Some(tcp_check())), Duration::ZERO);
    assert_eq!((group.health(), group.snapshot().weights), (RuleHealth::Unknown, vec![0, 100]));
    group.apply(&key(1), active(true), secs(1));
    let events = group.apply(&key(2), active(true), secs(1));
    assert!(
        matches!(&events[..], [
        RuleEvent::Changed { change, .. },
        RuleEvent::Weights { active_pool: Some(0), weights },
    ] if change.to == TargetState::Up && *weights == [0, 100]),
        "{events:?}"
    );
    for at in 2..4 {
        assert_eq!(group.apply(&key(2), active(false), secs(at)), vec![]);
    }
    let events = group.apply(&key(2), active(false), secs(4));
    assert!(matches!(&events[1..], [RuleEvent::Weights { active_pool: Some(1), weights }] if *weights == [100, 0]));
    for at in 5..8 {
        group.apply(&key(1), passive(false), secs(at));
    }
    assert_eq!((group.health(), group.snapshot().weights), (RuleHealth::Down, vec![0, 0]));
    group.apply(&key(2), active(true), secs(9));
    let events = group.apply(&key(2), active(true), secs(10));
    assert!(events.contains(&RuleEvent::Health { from: RuleHealth::Down, to: RuleHealth::Up }), "{events:?}");
}

#[test]
fn a_reload_keeps_what_is_known_of_targets_that_stay_and_says_who_left() {
    let mut group = TargetGroup::new(&rule(&[target(1, 0, 100), target(2, 0, 100)], Some(tcp_check())), Duration::ZERO);
    group.apply(&key(1), active(true), secs(1));
    group.apply(&key(2), operation(Operation::Pause), secs(1));
    let before = group.target(&key(1)).cloned();
    let events =
        group.reload(&rule(&[target(3, 0, 100), target(2, 5, 9), target(1, 1, 10)], Some(tcp_check())), secs(2));
    assert_eq!(group.target(&key(1)).cloned(), before);
    assert_eq!(group.target(&key(2)).map(schema::health::TargetHealth::state), Some(TargetState::Paused));
    assert_eq!(group.target(&key(3)).map(schema::health::TargetHealth::state), Some(TargetState::Unknown));
    assert!(matches!(events[0], RuleEvent::Membership { .. }));
    let events = group.reload(&rule(&[target(2, 5, 9), target(1, 1, 10)], Some(tcp_check())), secs(3));
    assert!(
        matches!(&events[0], RuleEvent::Changed { key: gone, change } if *gone == key(3) && change.to == TargetState::Removed)
    );
    assert_eq!(group.place(&key(3)), None);
}

#[test]
fn a_changed_check_starts_over_as_unknown_and_connections_go_on() {
    let targets = [target(1, 0, 100), target(2, 1, 100)];
    let mut group = TargetGroup::new(&rule(&targets, Some(tcp_check())), Duration::ZERO);
    group.apply(&key(1), active(true), secs(1));
    group.apply(&key(2), active(true), secs(1));
    group.reload(&rule(&targets, Some(HealthCheck { rise: 4, ..tcp_check() })), secs(2));
    assert_eq!((group.health(), group.snapshot().weights), (RuleHealth::Unknown, vec![100, 0]));
    assert!(group.targets().all(|(_, target)| target.next_probe() == Some(secs(2))));
}

#[test]
fn a_weight_at_runtime_survives_a_reload_and_ends_when_it_is_taken_back() {
    let both = |weight| rule(&[target(1, 0, weight), target(2, 0, 100)], Some(tcp_check()));
    let mut group = TargetGroup::new(&both(100), Duration::ZERO);
    assert!(!group.override_weight(&key(1), Some(0)).is_empty());
    group.reload(&both(70), secs(1));
    assert_eq!(group.snapshot().weights, [0, 100]);
    group.override_weight(&key(1), None);
    assert_eq!(group.snapshot().weights, [70, 100]);
}

#[test]
fn the_trial_of_a_failed_target_is_one_connection_and_not_to_a_worse_pool() {
    let mut group = TargetGroup::new(&rule(&[target(1, 0, 100), target(2, 1, 100)], None), Duration::ZERO);
    for last in [1, 2] {
        for _ in 0..3 {
            group.apply(&key(last), passive(false), secs(1));
        }
    }
    assert_eq!(group.health(), RuleHealth::Down);
    assert_eq!(group.take_trial(secs(30)), None);
    assert_eq!(
        [group.take_trial(secs(31)), group.take_trial(secs(31)), group.take_trial(secs(31))],
        [Some(0), Some(1), None]
    );
    group.apply(&key(1), passive(true), secs(32));
    group.apply(&key(1), passive(true), secs(32));
    assert_eq!(group.target(&key(1)).map(schema::health::TargetHealth::state), Some(TargetState::Up));
    assert_eq!(group.take_trial(secs(3600)), None, "the backup is not tried while the preferred one serves");
}

#[test]
fn a_change_of_membership_comes_with_all_weights_even_if_they_stay_the_same() {
    let with_backup = |priority| rule(&[target(1, 0, 100), target(2, priority, 100)], Some(tcp_check()));
    let mut group = TargetGroup::new(&with_backup(1), Duration::ZERO);
    let events = group.reload(&with_backup(2), secs(1));
    assert!(
        matches!(&events[..], [
        RuleEvent::Membership { .. },
        RuleEvent::Weights { active_pool: Some(0), weights },
    ] if *weights == [100, 0]),
        "{events:?}"
    );
}
