//! Pools: which one carries weight, and how it moves.

use proptest::prelude::*;
use schema::health::{Pools, RuleHealth, Standing, TargetState};

use crate::support::{any_standings, config};

fn weights(standings: &[Standing]) -> Vec<u8> {
    let pools = Pools::new(standings);
    (0..standings.len()).map(|index| pools.effective_weight(standings, index)).collect()
}

/// The number of the active pool, with none as the worst.
fn number(standings: &[Standing]) -> u16 {
    Pools::new(standings).active().map_or(u16::MAX, u16::from)
}

fn standing(priority: u8, state: TargetState) -> Standing {
    Standing { priority, weight: 100, state, is_checked: true }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn at_most_one_pool_carries_weight_and_it_is_the_first_that_can(standings in any_standings()) {
        let pools = Pools::new(&standings);
        let weights = weights(&standings);
        for (index, standing) in standings.iter().enumerate() {
            if weights[index] > 0 {
                prop_assert_eq!(Some(standing.priority), pools.active());
                prop_assert_eq!(weights[index], standing.weight);
                prop_assert!(matches!(standing.state, TargetState::Up | TargetState::Unknown));
            }
            if pools.is_eligible(index) {
                prop_assert!(pools.active().is_some_and(|active| active <= standing.priority));
            }
        }
        prop_assert_eq!(pools.active().is_some(), weights.iter().any(|weight| *weight > 0));
        let is_any_up = standings.iter().any(|standing| standing.state == TargetState::Up && standing.weight > 0);
        prop_assert!(!is_any_up || pools.active().is_some());
    }

    #[test]
    fn failing_a_target_never_lowers_the_number_of_the_active_pool(standings in any_standings(), which in 0_usize..8) {
        let which = which % standings.len();
        prop_assume!(standings[which].state.is_in_use());
        let before = number(&standings);
        let mut after = standings;
        after[which].state = TargetState::Down;
        prop_assert!(number(&after) >= before);
    }

    #[test]
    fn recovering_a_target_never_raises_the_number_of_the_active_pool(standings in any_standings(), which in 0_usize..8) {
        let which = which % standings.len();
        let mut before = standings;
        before[which].state = TargetState::Down;
        let mut after = before.clone();
        after[which].state = TargetState::Up;
        prop_assert!(number(&after) <= number(&before));
    }

    #[test]
    fn a_rule_is_up_exactly_if_a_target_that_is_up_takes_connections(standings in any_standings()) {
        let is_up = standings.iter().any(|one| one.state == TargetState::Up && one.weight > 0);
        prop_assert_eq!(Pools::new(&standings).health() == RuleHealth::Up, is_up);
    }

    #[test]
    fn the_order_in_the_file_does_not_matter_for_weights(standings in any_standings()) {
        let mut reversed = standings.clone();
        reversed.reverse();
        let mut back = weights(&reversed);
        back.reverse();
        prop_assert_eq!(back, weights(&standings));
    }
}

#[test]
fn before_the_first_verdict_the_preferred_pool_carries_weight_and_the_rule_is_unknown() {
    let standings = [standing(1, TargetState::Unknown), standing(0, TargetState::Unknown)];
    assert_eq!(weights(&standings), [0, 100]);
    assert_eq!(Pools::new(&standings).health(), RuleHealth::Unknown);
}

#[test]
fn a_known_target_goes_before_an_unknown_one() {
    let standings = [standing(0, TargetState::Unknown), standing(1, TargetState::Up)];
    assert_eq!((weights(&standings), Pools::new(&standings).health()), (vec![0, 100], RuleHealth::Up));
}

#[test]
fn a_rule_whose_targets_have_failed_or_are_taken_out_is_down() {
    for states in [
        [TargetState::Down, TargetState::Down],
        [TargetState::Paused, TargetState::Disabled],
        [TargetState::Paused, TargetState::Down],
    ] {
        let standings = states.map(|state| standing(0, state));
        assert_eq!(Pools::new(&standings).health(), RuleHealth::Down, "{states:?}");
    }
    let no_weight = Standing { weight: 0, ..standing(0, TargetState::Up) };
    assert_eq!(Pools::new(&[no_weight]).health(), RuleHealth::Down);
}

#[test]
fn a_rule_that_a_target_without_a_verdict_serves_is_not_down() {
    let standings = [standing(0, TargetState::Down), standing(1, TargetState::Unknown)];
    assert_eq!((weights(&standings), Pools::new(&standings).health()), (vec![0, 0], RuleHealth::Unknown));
    // It takes no connections, so it serves none.
    let standings = [standings[0], Standing { weight: 0, ..standings[1] }];
    assert_eq!(Pools::new(&standings).health(), RuleHealth::Down);
}

#[test]
fn where_nobody_probes_a_target_without_a_verdict_is_used_beside_those_that_have_one() {
    let unchecked = |state| Standing { is_checked: false, ..standing(0, state) };
    assert_eq!(weights(&[unchecked(TargetState::Up), unchecked(TargetState::Unknown)]), [100, 100]);
    let behind = Standing { priority: 1, ..unchecked(TargetState::Up) };
    let standings = [unchecked(TargetState::Unknown), behind];
    assert_eq!((weights(&standings), Pools::new(&standings).health()), (vec![100, 0], RuleHealth::Up));
    let standings = [unchecked(TargetState::Down), unchecked(TargetState::Unknown)];
    assert_eq!((weights(&standings), Pools::new(&standings).health()), (vec![0, 100], RuleHealth::Unknown));
}
