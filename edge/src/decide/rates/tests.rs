//! Buckets on made-up time: what passes, who shares it, and what a change keeps.

use proptest::prelude::*;

use super::*;

const MS: u64 = SECOND / 1000;

/// Connections that always have something to move, on workers that wake them at ticks of their own.
struct World {
    rate: Rate,
    empty_at: Moment,
    /// Of each: up to when it has used its part, when it is woken, and what it moved.
    connections: Vec<(Option<Moment>, Moment, u64)>,
}

impl World {
    fn new(rate: Rate, connections: usize) -> Self {
        Self { rate, empty_at: EPOCH, connections: vec![(None, EPOCH, 0); connections] }
    }

    fn waiting(&self) -> u32 {
        self.connections.iter().filter(|(own, ..)| own.is_some()).count() as u32
    }

    /// The next turn of a connection. `phase` is when the ticks of its worker begin.
    fn turn(&mut self, index: usize, phase: u64) {
        let shared = SharedRate { rate: self.rate, empty_at: self.empty_at, waiting: self.waiting() };
        let (own, now, moved) = &mut self.connections[index];
        match shared.grant(*own, *now, 1 << 20) {
            Grant::Bytes(bytes) => {
                self.empty_at = self.rate.after(self.empty_at, *now, bytes);
                *own = own.map(|own| shared.own_after(own, *now, bytes));
                *moved += bytes;
            }
            Grant::Wait(until) => {
                own.get_or_insert(*now);
                // A tick is 16 ms, and a wait ends at the beginning of the second one.
                *now = (until - phase).div_ceil(16 * MS) * 16 * MS + phase + 16 * MS;
            }
        }
    }

    /// Lets all move until then.
    fn run(&mut self, until: Moment) {
        loop {
            let (index, (_, now, _)) =
                self.connections.iter().enumerate().min_by_key(|(_, (_, now, _))| *now).expect("there are some");
            if *now >= until {
                return;
            }
            self.turn(index, if index % 2 == 0 { 0 } else { MS });
        }
    }

    fn moved(&self) -> Vec<u64> {
        self.connections.iter().map(|(_, _, moved)| *moved).collect()
    }
}

#[test]
fn a_bandwidth_is_right_and_fair_for_one_connection_and_for_a_hundred_on_two_workers() {
    for per_sec in [20_000, 1_000_000, 125_000_000, 1_250_000_000] {
        for count in [1, 2, 3, 30, 100] {
            let mut world = World::new(Rate { per_sec, burst: per_sec / 10 }, count);
            world.run(EPOCH + 10 * SECOND);
            let (sum, most) = (world.moved().iter().sum::<u64>(), per_sec * 10);
            assert!(sum <= most + per_sec / 10, "{per_sec} {count}: {sum}");
            assert!(sum * 100 >= most * 98, "{per_sec} {count}: {sum}");
            let fair = most / count as u64;
            let worst = world.moved().into_iter().map(|one| one.abs_diff(fair)).max().unwrap_or(0);
            assert!(worst <= fair / 10 + 2 * PORTION, "{per_sec} {count}: {:?}", world.moved());
        }
    }
}

#[test]
fn what_others_leave_is_there_for_all() {
    // One of ten waits and never comes back: it ended without a word.
    let mut world = World::new(Rate { per_sec: 1_000_000, burst: 100_000 }, 10);
    world.connections[0] = (Some(EPOCH), Moment::MAX, 0);
    world.run(EPOCH + 10 * SECOND);
    let sum: u64 = world.moved().iter().sum();
    assert!((9_700_000..=10_100_000).contains(&sum), "{sum}");
}

#[test]
fn a_connection_that_comes_late_gets_its_part_and_no_more() {
    let mut world = World::new(Rate { per_sec: 1_000_000, burst: 100_000 }, 2);
    world.connections[1].1 = EPOCH + 5 * SECOND;
    world.run(EPOCH + 5 * SECOND);
    let before = world.moved()[0];
    world.run(EPOCH + 10 * SECOND);
    let after = [world.moved()[0] - before, world.moved()[1]];
    assert!(after.iter().all(|moved| (2_300_000..=2_700_000).contains(moved)), "{after:?}");
}

#[test]
fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
    let rate = Rate { per_sec: 5, burst: 3 };
    let mut empty_at = 0;
    let mut passed = 0;
    for step in 0..=100 {
        if let Some(after) = rate.take_one(empty_at, EPOCH + step * SECOND / 100) {
            (empty_at, passed) = (after, passed + 1);
        }
        if step == 0 {
            assert_eq!(passed, 1);
        }
    }
    assert_eq!(passed, 8);
}

#[test]
fn a_change_keeps_what_is_in_the_bucket_and_what_is_owed() {
    let (slow, fast) = (Rate { per_sec: 10, burst: 100 }, Rate { per_sec: 1000, burst: 50 });
    let full = slow.carried(fast, 0, EPOCH);
    assert_eq!(fast.held(full, EPOCH), 50);
    let some = slow.after(0, EPOCH, 80);
    assert_eq!(fast.held(slow.carried(fast, some, EPOCH), EPOCH), 20);
    assert_eq!(slow.held(fast.carried(slow, slow.carried(fast, some, EPOCH), EPOCH), EPOCH), 20);
    let owed = slow.after(EPOCH, EPOCH, 30);
    let carried = slow.carried(fast, owed, EPOCH);
    assert_eq!(carried, EPOCH + 30 * MS);
}

#[test]
fn nothing_overflows() {
    for rate in
        [Rate { per_sec: 1, burst: u64::MAX }, Rate { per_sec: u64::MAX, burst: 1 }, Rate { per_sec: 0, burst: 0 }]
    {
        for empty_at in [0, EPOCH, Moment::MAX] {
            let after = rate.after(empty_at, EPOCH, u64::MAX);
            rate.held(after, EPOCH);
            rate.carried(Rate { per_sec: 7, burst: 7 }, after, EPOCH);
            SharedRate { rate, empty_at, waiting: u32::MAX }.grant(Some(EPOCH), EPOCH, u64::MAX);
            SharedRate { rate, empty_at, waiting: 3 }.own_after(EPOCH, EPOCH, u64::MAX);
        }
    }
}

proptest! {
    #[test]
    fn no_more_passes_than_the_rate_and_one_burst(
        per_sec in 1_u64..1000, burst in 1_u64..1000, steps in prop::collection::vec(0_u64..SECOND / 10, 1..300)
    ) {
        let rate = Rate { per_sec, burst };
        let (mut empty_at, mut now, mut passed) = (0, EPOCH, 0_u64);
        for step in steps {
            now += step;
            if let Some(after) = rate.take_one(empty_at, now) {
                (empty_at, passed) = (after, passed + 1);
            }
            prop_assert!(passed <= rate.units_in(now - EPOCH) + burst);
        }
    }
}
