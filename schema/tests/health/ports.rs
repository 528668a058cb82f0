//! The ports of a range: what connections meet at one of them says nothing about the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use schema::health::{
    DialOrder, HealthCheck, HealthKind, Outcome, PortChange, Request, ResultCode, Rotation, RuleEvent, RuleHealth,
    Selection, TRIAL_AFTER, TargetGroup, TargetHealth, TargetKey, TargetState,
};
use schema::net::PortRange;
use schema::rule::{Balance, Host, Rule, Target};
use schema::testing::rule_with;

use crate::support::{active, config, secs};

const FIRST: u16 = 9000;
const WIDTH: u16 = 6;

fn rule(priorities: &[u8], balance: Balance, check: Option<HealthCheck>) -> Arc<Rule> {
    rule_with("web", 8000, 8000 + WIDTH - 1, |parts| {
        let ports = PortRange::new(FIRST, FIRST + WIDTH - 1).expect("a range");
        let host = |last: usize| Host::parse(&format!("10.0.0.{last}")).expect("an address");
        let target = |(last, priority): (usize, &u8)| Target { priority: *priority, ..Target::new(host(last), ports) };
        parts.targets = priorities.iter().enumerate().map(target).collect();
        parts.balance = balance;
        parts.health = check;
    })
}

fn check() -> HealthCheck {
    HealthCheck { rise: 1, fall: 1, ..HealthCheck::new(HealthKind::Tcp, 15) }
}

fn result(is_pass: bool) -> Outcome {
    Outcome::new(if is_pass { ResultCode::L4Ok } else { ResultCode::L4Con }, "")
}

fn key(rule: &Rule, place: usize) -> TargetKey {
    TargetKey::of(&rule.targets[place % rule.targets.len()])
}

fn order(selection: &Selection) -> DialOrder {
    let client: IpAddr = "192.0.2.1".parse().expect("an address");
    selection.order(&mut Request { client, connections: &[], turn: &mut Rotation::default(), trial: None })
}

fn state(group: &TargetGroup, key: &TargetKey) -> Option<TargetState> {
    group.target(key).map(TargetHealth::state)
}

fn meet(group: &mut TargetGroup, key: &TargetKey, offset: u16, results: &[bool], now: Duration) -> Vec<RuleEvent> {
    results.iter().flat_map(|is_pass| group.met(key, FIRST + offset, result(*is_pass), now)).collect()
}

#[derive(Debug, Clone)]
enum Happening {
    Met(usize, u16, bool),
    Probed(usize, bool),
    Turn,
}

fn any_life(ports: u16) -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let happening = prop_oneof![
        12 => (0_usize..3, 0..ports, proptest::bool::weighted(0.3)).prop_map(|(place, offset, is_pass)| Happening::Met(place, offset, is_pass)),
        1 => (0_usize..3, any::<bool>()).prop_map(|(place, is_pass)| Happening::Probed(place, is_pass)),
        2 => Just(Happening::Turn),
    ];
    vec((prop_oneof![4 => Just(0), 2 => 1_u64..20, 1 => Just(30), 1 => 1_u64..900], happening), 0..120)
}

fn any_rule() -> impl Strategy<Value = Arc<Rule>> {
    let balance = proptest::sample::select(vec![Balance::Failover, Balance::SourceIp, Balance::RoundRobin]);
    let check = prop_oneof![Just(None), Just(Some(check()))];
    (vec(0_u8..3, 1..=3), balance, check).prop_map(|(priorities, balance, check)| rule(&priorities, balance, check))
}

fn take(group: &mut TargetGroup, rule: &Rule, happening: &Happening, now: Duration) -> Vec<RuleEvent> {
    match happening {
        Happening::Met(place, offset, is_pass) => meet(group, &key(rule, *place), *offset, &[*is_pass], now),
        Happening::Probed(place, is_pass) => group.apply(&key(rule, *place), active(*is_pass), now),
        Happening::Turn => group.turn(now).1,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_connections_meet_at_some_ports_the_others_are_dialled_as_if_nothing_was(
        rule in any_rule(), life in any_life(WIDTH - 1)
    ) {
        let (mut group, mut twin) = (TargetGroup::new(&rule, secs(0)), TargetGroup::new(&rule, secs(0)));
        // Where nobody probes, a first success decides; here it has.
        for place in 0..rule.targets.len() {
            meet(&mut group, &key(&rule, place), WIDTH - 1, &[true], secs(0));
            meet(&mut twin, &key(&rule, place), WIDTH - 1, &[true], secs(0));
        }
        let mut now = secs(0);
        for (wait, happening) in &life {
            now += secs(*wait);
            take(&mut group, &rule, happening, now);
            if matches!(happening, Happening::Probed(..)) {
                take(&mut twin, &rule, happening, now);
            }
            prop_assert_eq!(group.selections().at(WIDTH - 1), twin.selection());
            prop_assert_eq!(order(group.selections().at(WIDTH - 1)), order(twin.selection()));
            prop_assert_eq!(group.snapshot(), twin.snapshot());
            prop_assert_eq!(group.health(), twin.health());
        }
    }

    #[test]
    fn a_rule_is_down_only_where_no_target_is_left_for_any_of_its_ports(rule in any_rule(), life in any_life(WIDTH)) {
        let mut group = TargetGroup::new(&rule, secs(0));
        let mut seen = group.snapshot();
        let mut now = secs(0);
        for (wait, happening) in &life {
            now += secs(*wait);
            for event in take(&mut group, &rule, happening, now) {
                seen.apply(&event);
            }
            prop_assert_eq!(&seen, &group.snapshot());
            let health = |offset: u16| group.selections().at(offset).pools().health();
            let best = [RuleHealth::Up, RuleHealth::Unknown, RuleHealth::Down]
                .into_iter()
                .find(|one| (0..WIDTH).any(|offset| health(offset) == *one));
            prop_assert_eq!(Some(group.health()), best);
            for place in 0..rule.targets.len() {
                let key = key(&rule, place);
                let failing: Vec<u16> = group.failing_ports(place).collect();
                // All of its ports, or the whole by its check: never for a few ports.
                if state(&group, &key) == Some(TargetState::Down) {
                    prop_assert!(failing.len() == usize::from(WIDTH) || failing.is_empty() && rule.health.is_some());
                } else {
                    prop_assert!(failing.len() < usize::from(WIDTH));
                }
                for offset in 0..WIDTH {
                    let fails = group.selections().failing_at(offset) & (1 << place) != 0;
                    prop_assert_eq!(fails, failing.contains(&(FIRST + offset)));
                }
            }
        }
    }

    #[test]
    fn two_successes_recover_a_port_and_time_gives_it_a_trial(rule in any_rule(), life in any_life(WIDTH), offset in 0..WIDTH) {
        let mut group = TargetGroup::new(&rule, secs(0));
        let mut now = secs(0);
        for (wait, happening) in &life {
            now += secs(*wait);
            take(&mut group, &rule, happening, now);
        }
        for place in 0..rule.targets.len() {
            let mut one = group.clone();
            let key = key(&rule, place);
            let is_heard = one.target(&key).is_some_and(TargetHealth::hears_ports);
            meet(&mut one, &key, offset, &[false, false, false], now);
            prop_assert_eq!(one.failing_ports(place).any(|port| port == FIRST + offset), is_heard);
            if is_heard {
                one.turn(now + TRIAL_AFTER);
                let allowed = one.selections().at(offset).allows_trial(place);
                let offered = one.port_trial(offset);
                prop_assert_eq!(offered.is_some(), allowed || offered.is_some());
                meet(&mut one, &key, offset, &[true, true], now + TRIAL_AFTER);
                prop_assert!(!one.failing_ports(place).any(|port| port == FIRST + offset));
            }
        }
    }
}

#[test]
fn a_port_fails_over_alone_and_comes_back_by_its_trial() {
    for check in [None, Some(check())] {
        let rule = rule(&[0, 1], Balance::Failover, check);
        let mut group = TargetGroup::new(&rule, secs(0));
        let (preferred, spare) = (key(&rule, 0), key(&rule, 1));
        for key in [&preferred, &spare] {
            group.apply(key, active(true), secs(1));
            meet(&mut group, key, 5, &[true], secs(1));
        }
        let events = meet(&mut group, &preferred, 2, &[false, false, false], secs(2));
        assert!(matches!(&events[..], [RuleEvent::Port { port: 9002, change: PortChange::Failed, .. }]), "{events:?}");
        let first = |group: &TargetGroup, offset| order(group.selections().at(offset)).first();
        assert_eq!([first(&group, 1), first(&group, 2), first(&group, 3)], [Some(0), Some(1), Some(0)]);
        // The check goes on passing: it asks another port.
        group.apply(&preferred, active(true), secs(17));
        assert_eq!((first(&group, 2), group.next_turn()), (Some(1), Some(secs(32))));
        assert!(group.turn(secs(32)).0);
        assert_eq!((group.port_trial(2), group.port_trial(3)), (Some(0), None));
        group.port_trial_begun(&preferred, 9002, secs(33));
        assert_eq!(group.port_trial(2), None);
        meet(&mut group, &preferred, 2, &[true], secs(33));
        assert!(group.turn(secs(33)).0 && group.port_trial(2) == Some(0));
        let events = meet(&mut group, &preferred, 2, &[true], secs(34));
        assert!(matches!(&events[..], [RuleEvent::Port { change: PortChange::Recovered, .. }]), "{events:?}");
        assert_eq!((first(&group, 2), group.next_turn()), (Some(0), None));
    }
}

#[test]
fn a_target_all_of_whose_ports_fail_is_down_and_comes_back_with_the_first_of_them() {
    let rule = rule(&[0], Balance::Failover, None);
    let mut group = TargetGroup::new(&rule, secs(0));
    let key = key(&rule, 0);
    for offset in 0..WIDTH {
        assert_ne!(group.health(), RuleHealth::Down);
        meet(&mut group, &key, offset, &[false, false, false], secs(1));
    }
    assert_eq!((group.health(), state(&group, &key)), (RuleHealth::Down, Some(TargetState::Down)));
    // However long nobody comes, its ports are asked again.
    for hours in 0..3 {
        group.turn(secs(hours * 3600));
    }
    assert!((0..WIDTH).all(|offset| group.port_trial(offset) == Some(0)));
    meet(&mut group, &key, 3, &[true, true], secs(9000));
    assert_eq!((group.health(), state(&group, &key)), (RuleHealth::Up, Some(TargetState::Up)));
    assert_eq!(group.failing_ports(0).count(), usize::from(WIDTH) - 1);
}

#[test]
fn a_check_that_takes_the_whole_target_down_and_up_again_begins_anew() {
    let rule = rule(&[0, 1], Balance::Failover, Some(check()));
    let mut group = TargetGroup::new(&rule, secs(0));
    let preferred = key(&rule, 0);
    group.apply(&preferred, active(true), secs(1));
    meet(&mut group, &preferred, 2, &[false, false, false], secs(2));
    group.apply(&preferred, active(false), secs(3));
    assert_eq!(group.failing_ports(0).count(), 0);
    assert!(meet(&mut group, &preferred, 3, &[false, false, false], secs(4)).is_empty());
    group.apply(&preferred, active(true), secs(5));
    assert_eq!(order(group.selections().at(2)).first(), Some(0));
}

#[test]
fn verdicts_of_ports_stay_with_their_places_where_a_range_slides() {
    let slid = |by: u16| {
        rule_with("web", 8000 + by, 8000 + by + WIDTH - 1, |parts| {
            let host = Host::parse("10.0.0.1").expect("an address");
            let ports = PortRange::new(FIRST + by, FIRST + by + WIDTH - 1).expect("a range");
            parts.targets = vec![Target::new(host, ports)];
        })
    };
    let mut group = TargetGroup::new(&slid(0), secs(0));
    let key = TargetKey::of(&slid(0).targets[0]);
    meet(&mut group, &key, 0, &[false, false, false], secs(1));
    meet(&mut group, &key, 4, &[false, false, false], secs(1));
    group.reload(&slid(2), secs(2));
    assert_eq!(group.failing_ports(0).collect::<Vec<_>>(), [FIRST + 4]);
    assert_eq!(group.selections().failing_at(2), 1);
}
