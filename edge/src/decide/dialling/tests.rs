//! The laws of dialling, on made-up time.

mod world;

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use world::{Fate, Log, Lookup, Model, World, address, run, world};

fn steps(log: &Log) -> impl Iterator<Item = Do> {
    log.steps.iter().map(|(_, _, step)| *step)
}

proptest! {
    #[test]
    fn every_address_is_tried_at_most_once_and_in_order(world in world()) {
        let log = run(&world);
        let tried: Vec<SocketAddr> = steps(&log).filter_map(|step| match step {
            Do::Connect(_, address) => Some(address),
            _ => None,
        }).collect();
        prop_assert!(tried.is_sorted_by(|one, next| one < next), "{tried:?}");
    }

    #[test]
    fn two_sockets_are_open_at_most_and_none_but_the_one_that_serves_at_the_end(world in world()) {
        let log = run(&world);
        prop_assert!(log.most_open <= 2);
        prop_assert_eq!(log.left_open, usize::from(log.served.is_some()));
    }

    #[test]
    fn a_dialling_is_over_within_ten_seconds_and_ends_in_one_way(world in world()) {
        let log = run(&world);
        prop_assert!(log.end <= world.start + ticks(DIALLING));
        let ends = steps(&log).filter(|step| matches!(step, Do::Serve(_) | Do::GiveUp | Do::Abandon)).count();
        prop_assert_eq!(ends, 1);
        prop_assert!(matches!(log.steps.last(), Some((_, _, Do::Serve(_) | Do::GiveUp | Do::Abandon))));
    }

    #[test]
    fn each_failure_is_counted_once_with_its_cause(world in world()) {
        let log = run(&world);
        let counted: Vec<ConnectCause> = steps(&log).filter_map(|step| match step {
            Do::Count(DialFailure::Connect(cause)) => Some(cause),
            _ => None,
        }).collect();
        prop_assert_eq!(counted, log.caused);
    }

    #[test]
    fn health_hears_of_a_target_once_and_of_no_fault_of_this_host(world in world()) {
        let log = run(&world);
        let mut told = HashSet::new();
        for (_, step, answer) in &log.steps {
            let Do::Tell(failure) = answer else { continue };
            prop_assert!(told.insert(*step), "told of target {} twice", step);
            let counted: Vec<DialFailure> = log.steps.iter().filter_map(|(_, of, answer)| match answer {
                Do::Count(failure) if of == step => Some(*failure),
                _ => None,
            }).collect();
            prop_assert!(counted.contains(failure));
            let is_targets = |failure: &DialFailure| match failure {
                DialFailure::Connect(cause) => cause.is_targets(),
                DialFailure::Name => true,
            };
            // An address without a route says nothing, and leaves the verdict to the others.
            let is_silent = |failure: &DialFailure| *failure == DialFailure::Connect(ConnectCause::Route);
            prop_assert!(is_targets(failure), "{failure:?}");
            prop_assert!(counted.iter().all(|failure| is_targets(failure) || is_silent(failure)), "{counted:?}");
            if *failure == DialFailure::Name {
                let name = world.targets[usize::from(*step)].name;
                prop_assert!(matches!(name, Some(Lookup::Unresolved(_, true))), "{:?}", name);
            }
        }
    }

    #[test]
    fn a_withdrawn_target_is_passed_over_without_a_word(mut world in world()) {
        world.targets[0].gone = Some(0);
        let log = run(&world);
        let is_quiet = |answer: &Do| matches!(answer, Do::Approach(_) | Do::GiveUp);
        prop_assert!(log.steps.iter().all(|(_, step, answer)| *step != 0 || is_quiet(answer)));
        let mut rest = world.clone();
        rest.targets.remove(0);
        if !rest.targets.is_empty() {
            let same = run(&rest);
            prop_assert_eq!((log.end, log.served), (same.end, same.served));
        }
    }

    #[test]
    fn a_rival_that_loses_is_closed_and_an_overtaken_address_is_deferred(world in world()) {
        let log = run(&world);
        let mut connected: Vec<(Lane, SocketAddr)> = Vec::new();
        for (at, (_, _, answer)) in log.steps.iter().enumerate() {
            match *answer {
                Do::Connect(lane, address) => connected.push((lane, address)),
                Do::Close(lane) => {
                    if let Some(index) = connected.iter().position(|(other, _)| *other == lane) {
                        let (_, address) = connected.remove(index);
                        let is_won = matches!(log.steps.last(), Some((_, _, Do::Serve(winner))) if *winner != lane)
                            && log.steps[at..].iter().all(|(_, _, answer)| !matches!(answer, Do::Connect(..) | Do::Count(_)));
                        let is_first = connected.first().is_some_and(|(_, other)| address < *other);
                        if is_won && is_first {
                            prop_assert!(steps(&log).any(|answer| answer == Do::Defer(address)));
                        }
                    }
                }
                Do::Serve(lane) => prop_assert!(connected.iter().all(|(other, _)| *other == lane)),
                _ => {}
            }
        }
    }

    #[test]
    fn a_target_that_has_sent_something_serves_whatever_became_of_its_socket(world in world()) {
        let log = run(&world);
        if let Some(lane) = log.sent {
            prop_assert_eq!(log.served, Some(lane));
        }
    }

    #[test]
    fn a_client_that_is_gone_gets_its_target_where_it_has_sent_something_and_ends_it_at_once_otherwise(
        mut world in world(), at in 0_u64..700,
    ) {
        world.client_gone = None;
        let stayed = run(&world);
        world.client_gone = Some((at, true));
        let sent = run(&world);
        prop_assert_eq!(&stayed.steps, &sent.steps);
        world.client_gone = Some((at, false));
        let silent = run(&world);
        let at = world.start + at;
        if stayed.end < at {
            prop_assert_eq!(&stayed.steps, &silent.steps);
        } else if let Some((now, _, Do::Abandon)) = silent.steps.last() {
            prop_assert_eq!((*now, silent.left_open), (at, 0));
            // What happened before is as it was, and nobody is blamed for the end.
            let before = stayed.steps.iter().zip(&silent.steps).take_while(|(one, other)| one == other).count();
            prop_assert!(silent.steps[before..].iter().all(|(_, _, step)| matches!(step, Do::Close(_) | Do::Abandon)));
        } else {
            prop_assert_eq!(stayed.end, at, "only what ended at the same time comes first");
        }
    }

    #[test]
    fn a_flow_opens_one_address_after_the_other(mut world in world()) {
        (world.is_flow, world.client_gone) = (true, None);
        for fate in world.targets.iter_mut().flat_map(|target| &mut target.fates) {
            // A connect of a flow ends at once.
            *fate = match *fate {
                Fate::Fails(_, cause) | Fate::Breaks(_, cause, _) => Fate::Fails(0, cause),
                Fate::Opens(_) | Fate::Silent => Fate::Opens(0),
            };
        }
        prop_assert!(run(&world).most_open <= 1);
    }
}

fn silent_name(count: usize) -> World {
    let named = Model { name: Some(Lookup::Known), fates: vec![Fate::Silent; count], gone: None };
    World { targets: vec![named], each: Duration::from_secs(3), start: 7, is_flow: false, client_gone: None }
}

fn connects(log: &Log) -> Vec<(Tick, u8)> {
    let connect = |(at, _, step): &(Tick, u8, Do)| match step {
        Do::Connect(_, SocketAddr::V4(to)) => Some((*at, to.ip().octets()[3])),
        _ => None,
    };
    log.steps.iter().filter_map(connect).collect()
}

#[test]
fn addresses_of_one_name_join_after_their_head_start_whatever_their_family() {
    let mut world = silent_name(2);
    world.targets[0].fates[1] = Fate::Opens(1);
    let log = run(&world);
    let second = world.start + ticks(HEAD_START);
    assert_eq!(connects(&log), [(world.start, 0), (second, 1)]);
    assert_eq!((log.end, log.served), (second + 1, Some(Lane::Second)));
    assert!(steps(&log).any(|step| step == Do::Defer(address(0, 0))));
    assert!(steps(&log).any(|step| step == Do::Trust(address(0, 1))));
    assert!(!steps(&log).any(|step| matches!(step, Do::Count(_) | Do::Tell(_))), "the overtaken one did not fail");
}

#[test]
fn an_address_that_fails_is_followed_at_once() {
    let mut world = silent_name(3);
    world.targets[0].fates[0] = Fate::Fails(2, ConnectCause::Refused);
    let tried = connects(&run(&world));
    assert_eq!(tried[..2], [(7, 0), (9, 1)]);
    assert_eq!(tried[2], (9 + ticks(HEAD_START), 2));
}

#[test]
fn a_shortage_of_this_host_is_counted_and_the_next_target_is_tried() {
    let alone = |fate| Model { name: None, fates: vec![fate], gone: None };
    let world = World {
        targets: vec![alone(Fate::Fails(0, ConnectCause::Descriptors)), alone(Fate::Opens(3))],
        each: Duration::from_secs(3),
        start: 0,
        is_flow: false,
        client_gone: None,
    };
    let log = run(&world);
    assert_eq!(log.served, Some(Lane::First));
    assert!(steps(&log).any(|step| step == Do::Count(DialFailure::Connect(ConnectCause::Descriptors))));
    assert!(!steps(&log).any(|step| matches!(step, Do::Tell(_))));
}

#[test]
fn what_waits_for_a_descriptor_has_all_of_its_time_once_it_has_one() {
    let each = Duration::from_secs(1);
    let begun = |addresses: Vec<SocketAddr>| {
        let mut dialling = Dialling::new(DialTerms { targets: 1, first: 0, each, is_flow: false }, 0);
        dialling.hear(Heard::Name, 0);
        dialling.hear(Heard::Addresses(addresses), 0);
        dialling.hear(Heard::Wanting(Lane::First), 0);
        dialling
    };
    let late = ticks(Duration::from_secs(5));
    for addresses in [vec![address(0, 0)], vec![address(0, 0), address(0, 1)]] {
        let mut dialling = begun(addresses.clone());
        assert_eq!(dialling.due(), Some(ticks(DIALLING)), "nothing is due but the end of all");
        assert_eq!(dialling.hear(Heard::Tick, late).into_iter().count(), 0);
        dialling.hear(Heard::Begun(Lane::First), late);
        let next = if addresses.len() > 1 { HEAD_START } else { each };
        assert_eq!(dialling.due(), Some(late + ticks(next)));
        assert!(
            dialling.hear(Heard::Opened(Lane::First), late + 1).into_iter().any(|step| step == Do::Serve(Lane::First))
        );
    }
    let mut dialling = begun(vec![address(0, 0)]);
    let end = Heard::Failed(Lane::First, ConnectCause::Descriptors);
    let steps: Vec<Do> = dialling.hear(end, ticks(DIALLING)).into_iter().collect();
    let counted = Do::Count(DialFailure::Connect(ConnectCause::Descriptors));
    assert_eq!(steps, [Do::Close(Lane::First), counted, Do::GiveUp], "the target is not blamed");
    assert!(!dialling.has_time(ticks(DIALLING)));
}

#[test]
fn a_flow_goes_on_with_its_next_datagram_and_ends_once_nothing_is_left() {
    let terms = DialTerms { targets: 2, first: 0, each: Duration::from_secs(3), is_flow: true };
    let mut flow = Dialling::new(terms, 0);
    let mut hear = |heard, now| flow.hear(heard, now).into_iter().collect::<Vec<_>>();
    hear(Heard::Name, 0);
    let (one, two, three) = (address(0, 0), address(0, 1), address(1, 0));
    let refused = DialFailure::Connect(ConnectCause::Refused);
    let failed = || Heard::Failed(Lane::First, ConnectCause::Refused);
    assert_eq!(hear(Heard::Addresses(vec![one, two]), 0), [Do::Connect(Lane::First, one)]);
    assert_eq!(hear(Heard::Opened(Lane::First), 0), [Do::Serve(Lane::First)]);
    // Long after the time of a dialling.
    assert_eq!(hear(failed(), 9999), [Do::Close(Lane::First), Do::Count(refused), Do::Defer(one)]);
    assert_eq!(hear(Heard::Wanted, 9999), [Do::Connect(Lane::First, two)]);
    assert_eq!(hear(Heard::Opened(Lane::First), 9999), [Do::Serve(Lane::First)]);
    let last = [Do::Close(Lane::First), Do::Count(refused), Do::Defer(two), Do::Tell(refused)];
    assert_eq!(hear(failed(), 9999), last);
    assert_eq!(hear(Heard::Wanted, 10_000), [Do::Approach(1)]);
    assert_eq!(hear(Heard::Address(three), 10_000), [Do::Connect(Lane::First, three)]);
    assert_eq!(hear(Heard::Opened(Lane::First), 10_000), [Do::Serve(Lane::First)]);
    let end = [Do::Close(Lane::First), Do::Count(refused), Do::Tell(refused), Do::GiveUp];
    assert_eq!(hear(failed(), 20_000), end);
}

#[test]
fn what_every_connection_carries_is_small() {
    assert!(size_of::<Dialling>() <= 48, "{}", size_of::<Dialling>());
}
