//! Dial order and balancing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::select;
use schema::health::{DialOrder, Request, Rotation, Selection, Standing, TargetSeed, TargetState};
use schema::rule::{Balance, LastResort};

use crate::support::{any_standings, config};

const CLIENTS: u32 = 20_000;

fn client(number: u32) -> IpAddr {
    // Neighbours, as clients of one network are.
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn seed(index: usize) -> TargetSeed {
    TargetSeed::new(&format!("10.0.0.{index}:443"))
}

fn selection_of(standings: &[Standing], balance: Balance, last_resort: LastResort) -> Selection {
    let targets: Vec<_> = standings.iter().enumerate().map(|(index, one)| (*one, seed(index))).collect();
    Selection::new(&targets, balance, last_resort)
}

fn order(selection: &Selection, client: IpAddr, connections: &[u32], turn: &mut Rotation) -> DialOrder {
    selection.order(&mut Request { client, connections, turn, trial: None })
}

fn up(weights: &[u8]) -> Vec<Standing> {
    let standing = |weight| Standing { priority: 0, weight, state: TargetState::Up, is_checked: true };
    weights.iter().copied().map(standing).collect()
}

fn any_balance() -> impl Strategy<Value = Balance> {
    select(vec![Balance::Failover, Balance::SourceIp, Balance::RoundRobin, Balance::LeastConnections])
}

/// How many of many clients each target gets.
fn shares(selection: &Selection) -> BTreeMap<usize, u32> {
    let mut shares = BTreeMap::new();
    for number in 0..CLIENTS {
        let first = order(selection, client(number), &[], &mut Rotation::default()).first().expect("all are up");
        *shares.entry(first).or_default() += 1;
    }
    shares
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_dial_order_is_a_permutation_without_those_taken_out(
        standings in any_standings(),
        balance in any_balance(),
        last_resort in select(vec![LastResort::Top, LastResort::All, LastResort::None]),
        ip: Ipv4Addr,
        connections in proptest::collection::vec(0_u32..20, 0..9),
        trial in proptest::option::of(0_usize..8),
    ) {
        let selection = selection_of(&standings, balance, last_resort);
        let mut turn = Rotation::default();
        let request = &mut Request { client: ip.into(), connections: &connections, turn: &mut turn, trial };
        let mut dialled: Vec<usize> = selection.order(request).iter().collect();
        dialled.sort_unstable();
        let usable: Vec<usize> = (0..standings.len()).filter(|one| standings[*one].takes_connections()).collect();
        let is_all_failed = usable.iter().all(|one| standings[*one].state == TargetState::Down);
        let is_trial = trial.is_some_and(|trial| usable.contains(&trial));
        if is_all_failed && !is_trial && last_resort != LastResort::All {
            prop_assert_eq!(dialled.len(), usize::from(last_resort == LastResort::Top && !usable.is_empty()));
            prop_assert!(dialled.iter().all(|one| usable.contains(one)));
        } else {
            prop_assert_eq!(dialled, usable);
        }
    }

    #[test]
    fn the_shorter_way_of_a_rule_with_one_target_leads_to_the_same(
        standings in any_standings(),
        balance in any_balance(),
        last_resort in select(vec![LastResort::Top, LastResort::All, LastResort::None]),
        ip: Ipv4Addr,
        trial in proptest::option::of(0_usize..2),
    ) {
        // Beside a disabled one it takes the way of several.
        let disabled = Standing { state: TargetState::Disabled, ..standings[0] };
        let dialled = |standings: &[Standing]| {
            let selection = selection_of(standings, balance, last_resort);
            let request = &mut Request { client: ip.into(), connections: &[], turn: &mut Rotation::default(), trial };
            selection.order(request).iter().collect::<Vec<usize>>()
        };
        prop_assert_eq!(dialled(&standings[..1]), dialled(&[standings[0], disabled]));
    }

    #[test]
    fn the_order_goes_from_eligible_to_unknown_to_failed_and_from_pool_to_pool(
        standings in any_standings(),
        balance in any_balance(),
        ip: Ipv4Addr,
    ) {
        let selection = selection_of(&standings, balance, LastResort::All);
        let rank = |index: usize| {
            let standing = &standings[index];
            let group = match standing.state {
                _ if selection.pools().is_eligible(index) => 0,
                TargetState::Unknown => 1,
                _ => 2,
            };
            (group, standing.priority)
        };
        let ranks: Vec<_> = order(&selection, ip.into(), &[], &mut Rotation::default()).iter().map(rank).collect();
        prop_assert!(ranks.is_sorted(), "{:?}", ranks);
    }

    #[test]
    fn a_choice_depends_on_nothing_but_its_arguments(standings in any_standings(), balance in any_balance(), ip: Ipv4Addr) {
        let selection = selection_of(&standings, balance, LastResort::Top);
        let one = order(&selection, ip.into(), &[1, 2, 3], &mut Rotation::default());
        prop_assert_eq!(order(&selection, ip.into(), &[1, 2, 3], &mut Rotation::default()), one);
    }

    #[test]
    fn a_target_that_leaves_moves_only_its_own_clients(
        weights in proptest::collection::vec(1_u8..=100, 2..=8),
        leaving in 0_usize..8,
        clients in proptest::collection::vec(any::<IpAddr>(), 1..100),
    ) {
        let leaving = leaving % weights.len();
        let all = up(&weights);
        let mut rest = all.clone();
        rest[leaving].state = TargetState::Down;
        let before = selection_of(&all, Balance::SourceIp, LastResort::Top);
        let after = selection_of(&rest, Balance::SourceIp, LastResort::Top);
        for client in clients {
            let order_before: Vec<usize> = order(&before, client, &[], &mut Rotation::default()).iter().collect();
            let stay = order(&after, client, &[], &mut Rotation::default()).first();
            let expected = order_before.iter().copied().find(|one| *one != leaving);
            prop_assert_eq!(stay, expected, "and its clients go where they would have been dialled next");
        }
    }

    #[test]
    fn the_order_in_the_file_does_not_move_a_client(weights in proptest::collection::vec(1_u8..=100, 2..=8), ip: IpAddr) {
        let standings = up(&weights);
        let targets: Vec<_> = standings.iter().enumerate().map(|(index, one)| (*one, seed(index))).collect();
        let reversed: Vec<_> = targets.iter().rev().copied().collect();
        let first = |targets: &[(Standing, TargetSeed)]| {
            let selection = Selection::new(targets, Balance::SourceIp, LastResort::Top);
            order(&selection, ip, &[], &mut Rotation::default()).first().map(|place| targets[place].1)
        };
        prop_assert_eq!(first(&targets), first(&reversed));
    }

    #[test]
    fn a_trial_is_dialled_first_and_never_in_a_worse_pool(standings in any_standings(), trial in 0_usize..8) {
        let selection = selection_of(&standings, Balance::Failover, LastResort::None);
        let client = client(1);
        let order = selection.order(&mut Request { client, connections: &[], turn: &mut Rotation::default(), trial: Some(trial) });
        if selection.allows_trial(trial) {
            prop_assert_eq!(order.first(), Some(trial));
            prop_assert!(selection.pools().active().is_none_or(|active| standings[trial].priority <= active));
        } else if let Some(first) = order.first().filter(|first| *first == trial) {
            prop_assert!(standings[first].state != TargetState::Down);
        }
    }
}

#[test]
fn shares_of_clients_follow_the_weights() {
    for weights in
        [vec![100, 100], vec![100, 50, 50], vec![1, 2, 3, 4], vec![100, 1], vec![10, 20, 30, 40, 50, 60, 70, 80]]
    {
        let shares = shares(&selection_of(&up(&weights), Balance::SourceIp, LastResort::Top));
        let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        for (index, weight) in weights.iter().enumerate() {
            let expected = f64::from(CLIENTS) * f64::from(*weight) / f64::from(sum);
            let actual = f64::from(shares.get(&index).copied().unwrap_or(0));
            // Five standard deviations of a count; the clients are fixed, so this passes always or never.
            assert!((actual - expected).abs() < 5.0 * expected.sqrt(), "{weights:?} {index}: {actual} for {expected}");
        }
    }
}

#[test]
fn a_larger_weight_only_draws_clients_to_its_target() {
    let before = selection_of(&up(&[50, 50, 50]), Balance::SourceIp, LastResort::Top);
    let after = selection_of(&up(&[50, 80, 50]), Balance::SourceIp, LastResort::Top);
    let first = |selection, number| order(selection, client(number), &[], &mut Rotation::default()).first();
    let moved: Vec<_> = (0..CLIENTS).filter(|number| first(&before, *number) != first(&after, *number)).collect();
    assert!(!moved.is_empty());
    assert!(moved.iter().all(|number| first(&after, *number) == Some(1)));
}

#[test]
fn the_mapping_of_clients_is_written_down_so_that_no_release_changes_it() {
    let selection = selection_of(&up(&[100, 100, 50]), Balance::SourceIp, LastResort::Top);
    let choice = |text: &str| {
        let client = text.parse().expect("an address");
        order(&selection, client, &[], &mut Rotation::default()).iter().collect::<Vec<_>>()
    };
    let choices: Vec<_> =
        ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8:1::1", "::1"].map(choice).to_vec();
    assert_eq!(choices, MAPPING);
}

/// Made by another program, in floating point.
const MAPPING: [[usize; 3]; 6] = [[1, 2, 0], [0, 2, 1], [1, 2, 0], [2, 1, 0], [0, 1, 2], [1, 0, 2]];

#[test]
fn round_robin_gives_turns_by_weight() {
    let selection = selection_of(&up(&[3, 1, 2]), Balance::RoundRobin, LastResort::Top);
    let mut turn = Rotation::default();
    let firsts: Vec<_> =
        (0..12).filter_map(|number| order(&selection, client(number), &[], &mut turn).first()).collect();
    assert_eq!([0, 1, 2].map(|target| firsts.iter().filter(|first| **first == target).count()), [6, 2, 4]);
}

#[test]
fn least_connections_fills_by_weight_and_lets_equal_ones_take_turns() {
    let selection = selection_of(&up(&[100, 50]), Balance::LeastConnections, LastResort::Top);
    let mut connections = [0_u32; 2];
    let mut turn = Rotation::default();
    for _ in 0..30 {
        let first = order(&selection, client(1), &connections, &mut turn).first().expect("both are up");
        connections[first] += 1;
    }
    assert_eq!(connections, [20, 10]);
    // Connections that end at once leave nothing to count.
    let equal = selection_of(&up(&[100, 100, 100]), Balance::LeastConnections, LastResort::Top);
    let mut turn = Rotation::default();
    let firsts: Vec<_> = (0..6).filter_map(|_| order(&equal, client(1), &[0, 0, 0], &mut turn).first()).collect();
    assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn last_resort_decides_only_when_everything_has_failed() {
    let standing = |priority, state| Standing { priority, weight: 100, state, is_checked: true };
    let failed = [standing(1, TargetState::Down), standing(0, TargetState::Down), standing(2, TargetState::Down)];
    let dialled = |standings: &[Standing], last_resort| {
        let selection = selection_of(standings, Balance::Failover, last_resort);
        order(&selection, client(1), &[], &mut Rotation::default()).iter().collect::<Vec<_>>()
    };
    assert_eq!(dialled(&failed, LastResort::Top), [1]);
    assert_eq!(dialled(&failed, LastResort::All), [1, 0, 2]);
    assert_eq!(dialled(&failed, LastResort::None), [0_usize; 0]);
    let one_unknown = [failed[0], standing(0, TargetState::Unknown), failed[2]];
    assert_eq!(dialled(&one_unknown, LastResort::None), [1, 0, 2], "a target that nobody has asked is no failed one");
}
