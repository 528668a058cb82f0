//! Turns of probes on made-up time.

use schema::health::{HealthCheck, HealthKind, Input, Outcome, ResultCode, TargetHealth, TargetState, Terms};

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn schedule() -> Schedule {
    Schedule::new(MOST_HANGING)
}

/// One that starts and ends none.
const fn starts(id: u64) -> Started {
    Started { id: ProbeId(id), evicted: None }
}

#[test]
fn what_is_due_first_starts_first_however_many_hang() {
    let mut schedule = schedule();
    for id in 0..1000 {
        schedule.set(ProbeId(id), Some(ms(0)));
    }
    // All hang, and none of them ends.
    for at in (0..).step_by(20).take(20) {
        while schedule.take(ms(at)).is_some() {}
    }
    assert_eq!(schedule.flying.len(), 1000);
    for id in 2000..2012 {
        schedule.set(ProbeId(id), Some(ms(2600 - id)));
    }
    assert_eq!((schedule.take(ms(588)), schedule.wakes_at()), (None, Some(ms(589))));
    let started: Vec<_> = std::iter::from_fn(|| schedule.take(ms(700))).map(|started| started.id.0).collect();
    assert_eq!(started, (2000..2012).rev().collect::<Vec<_>>());
    assert_eq!(schedule.wakes_at(), None);
}

#[test]
fn beyond_the_bound_the_probe_that_hung_longest_ends_for_the_next_one() {
    let mut schedule = Schedule::new(2);
    for id in 0..4 {
        schedule.set(ProbeId(id), Some(ms(id)));
    }
    assert_eq!((schedule.take(ms(1)), schedule.take(ms(1))), (Some(starts(0)), Some(starts(1))));
    assert_eq!(schedule.take(ms(9)), Some(Started { id: ProbeId(2), evicted: Some(ProbeId(0)) }));
    schedule.ended(ProbeId(0), true);
    schedule.ended(ProbeId(1), true);
    assert_eq!(schedule.take(ms(9)), Some(starts(3)), "there is room again");
    let bounds = [0, 1024, 20_000, u64::MAX].map(most_hanging);
    assert_eq!(bounds, [LEAST_HANGING, 256, 5000, MOST_HANGING]);
}

#[test]
fn what_is_due_at_once_begins_in_bursts_that_are_soon_over() {
    let mut schedule = schedule();
    for id in 0..10_000 {
        schedule.set(ProbeId(id), Some(ms(0)));
    }
    let burst = |schedule: &mut Schedule, at| std::iter::from_fn(|| schedule.take(ms(at))).count();
    assert_eq!((burst(&mut schedule, 5000), schedule.wakes_at()), (625, Some(ms(5020))));
    assert_eq!((burst(&mut schedule, 5019), burst(&mut schedule, 5020)), (0, 625));
    let all: usize = (2..100).map(|turn| burst(&mut schedule, 5000 + turn * 20)).take_while(|count| *count > 0).sum();
    assert_eq!((all, schedule.wakes_at()), (10_000 - 2 * 625, None));
}

/// When the target whose probes begin to fail at `dies` is found down, beside as many that hang.
fn detected(hanging: u64, dies: Duration) -> Duration {
    const TARGETS: u64 = 10_000;
    const TARGET: ProbeId = ProbeId(7777);
    let check = HealthCheck { fast_interval_secs: 1, ..HealthCheck::new(HealthKind::Http, 15) };
    let (interval, timeout) = (Duration::from_secs(15), Duration::from_secs(5));
    let mut schedule = schedule();
    let mut health = TargetHealth::new(Terms::of(Some(&check)), ms(0));
    let mut silent = BTreeSet::new();
    let gap = first_gap(TARGETS as usize, interval);
    (0..TARGETS).for_each(|id| schedule.set(ProbeId(id), Some(gap * id as u32)));
    for at in (0..).step_by(batch(TARGETS as usize).as_millis() as usize).map(ms) {
        while let Some((_, id)) = silent.first().copied().filter(|(end, _)| *end <= at) {
            silent.pop_first();
            schedule.ended(id, true);
            schedule.set(id, Some(at + interval));
        }
        while let Some(Started { id, evicted }) = schedule.take(at) {
            assert_eq!(evicted, None, "the bound is far away");
            if id.0 < hanging {
                silent.insert((at + timeout, id));
                continue;
            }
            schedule.ended(id, true);
            let mut next = Some(at + interval);
            if id == TARGET {
                let code = if at < dies { ResultCode::L7Ok } else { ResultCode::L4Con };
                health.apply(Input::Active(Outcome::new(code, "")), at);
                if health.state() == TargetState::Down {
                    return at;
                }
                next = health.next_probe();
            }
            schedule.set(id, next);
        }
    }
    unreachable!("it is found")
}

#[test]
fn when_a_target_is_found_down_does_not_depend_on_how_others_fail() {
    let dies = Duration::from_secs(61);
    let alone = detected(0, dies);
    assert!(alone <= dies + Duration::from_secs(15 + 2) + ms(100), "{alone:?}");
    assert_eq!(detected(1000, dies), alone);
    assert_eq!(detected(5000, dies), alone);
}

#[test]
fn a_probe_under_way_is_not_started_again_and_its_next_turn_comes_after_it() {
    let mut schedule = schedule();
    schedule.set(ProbeId(1), Some(ms(0)));
    assert_eq!(schedule.take(ms(0)), Some(starts(1)));
    schedule.set(ProbeId(1), Some(ms(10)));
    assert_eq!(schedule.take(ms(1000)), None);
    schedule.ended(ProbeId(1), true);
    assert_eq!(schedule.wakes_at(), Some(LEAST_GAP));
    schedule.hurry(ProbeId(1));
    assert_eq!(schedule.take(ms(20)), Some(starts(1)), "a person waits for nothing");
}

#[test]
fn a_probe_that_is_removed_leaves_no_trace_wherever_it_was() {
    let mut schedule = schedule();
    for id in [1, 2, 3] {
        schedule.set(ProbeId(id), Some(ms(id)));
    }
    schedule.set(ProbeId(3), None);
    schedule.take(ms(1));
    for id in [1, 2, 3] {
        schedule.remove(ProbeId(id));
    }
    schedule.ended(ProbeId(1), false);
    assert!(schedule.is_empty() && schedule.waiting.is_empty() && schedule.flying.is_empty());
}

#[test]
fn many_targets_are_spread_evenly_and_stay_so() {
    const TARGETS: u64 = 10_000;
    let interval = Duration::from_secs(15);
    let (mut schedule, mut tenths, mut chance) = (schedule(), [0_u32; 600], 1_u32);
    let gap = first_gap(TARGETS as usize, interval);
    (0..TARGETS).for_each(|id| schedule.set(ProbeId(id), Some(gap * id as u32)));
    let mut times = vec![0_u32; TARGETS as usize];
    // Batches take nothing away from evenness: in each of them there are a few.
    let step = batch(TARGETS as usize).as_millis() as usize;
    let mut most_together = 0;
    for at in (0..60_000).step_by(step).map(ms) {
        let mut together = 0;
        while let Some(Started { id, .. }) = schedule.take(at) {
            together += 1;
            tenths[at.as_millis() as usize / 100] += 1;
            times[id.0 as usize] += 1;
            schedule.ended(id, true);
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            schedule.set(id, Some(at + jittered(interval, 10, chance)));
        }
        most_together = most_together.max(together);
    }
    let (least, most) = (tenths.iter().min(), tenths.iter().max());
    // Where one round ends and the next one, made shorter by chance, has begun, both are under way for a while.
    let share = (TARGETS / interval.as_secs() / 10) as u32;
    assert!(
        least >= Some(&(share / 2)) && most <= Some(&(share * 5 / 2)),
        "{least:?} to {most:?} in 100 ms, {share} is even"
    );
    assert!(most_together <= share / 2, "{most_together} at once");
    assert!(times.iter().all(|count| (4..=5).contains(count)), "each in every period");
}

#[test]
fn chance_shortens_and_never_lengthens() {
    assert_eq!(jittered(ms(1000), 10, 0), ms(1000));
    assert_eq!(jittered(ms(1000), 10, u32::MAX), ms(900));
    assert_eq!(jittered(ms(1000), 0, u32::MAX), ms(1000));
    assert_eq!(first_gap(2, ms(15_000)), FIRST_GAP);
    assert_eq!(first_gap(15_000, ms(15_000)), ms(1));
}

#[test]
fn few_probes_start_by_themselves_and_many_in_batches_that_nobody_notices() {
    assert_eq!((batch(0), batch(999)), (Duration::ZERO, Duration::ZERO));
    assert_eq!((batch(1000), batch(5000)), (ms(2), ms(10)));
    assert_eq!((batch(10_000), batch(usize::MAX)), (LONGEST_BATCH, LONGEST_BATCH));
}
