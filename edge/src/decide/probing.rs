//! When which probe starts: a timer of its own for each, so many at once, and chance in between. Pure.
//!
//! Keeps: a probe is under way once at most; one that finds no place is late and keeps its turn; what is due first
//! starts first.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Probes at once where there are few targets.
const AT_ONCE: usize = 10;
/// Of many targets one in so many may be probed at once: with the default interval and timeout (15 s and 5 s) all of
/// them get their turn even while one in five is silent.
const SHARE_AT_ONCE: usize = 16;
/// Never more, whatever the number of targets: each has a descriptor.
const MOST_AT_ONCE: usize = 512;
/// From the start of a probe to the next one of the same place, unless a person asks: connections that fail in a row
/// ask for one each.
pub const LEAST_GAP: Duration = Duration::from_millis(250);
/// Between first probes of targets that came together, at most: 50 of them are asked within a second.
const FIRST_GAP: Duration = Duration::from_millis(20);

/// Probes start together, and answers are taken in together, that are this close for each probe of the edge: where there
/// are thousands, waking up for each costs more than it does by itself. With 10,000 it is [`LONGEST_BATCH`].
const BATCH_PER_PROBE: Duration = Duration::from_micros(2);
/// What no person and no verdict notices.
const LONGEST_BATCH: Duration = Duration::from_millis(20);
/// Where it would be shorter than this, with fewer than 1,000 probes, it is not worth it: timers are not finer.
const TICK: Duration = Duration::from_millis(2);

/// One probe, for as long as anything needs it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Its timer runs, until then.
    Waits(Duration),
    /// It is under way; its next turn may be known already.
    Flies(Option<Duration>),
    /// It has no turn: nobody awaits a result.
    Rests,
}

#[derive(Debug)]
struct Entry {
    turn: Turn,
    started: Option<Duration>,
}

/// The turns of all probes of an edge.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: HashMap<ProbeId, Entry>,
    waiting: BTreeSet<(Duration, ProbeId)>,
    flying: usize,
}

impl Schedule {
    /// Sets when a probe is due next, also while it is under way; none: never, until set again. It is not due before
    /// [`LEAST_GAP`] has passed since its last start.
    pub fn set(&mut self, id: ProbeId, due: Option<Duration>) {
        let started = self.entries.get(&id).and_then(|entry| entry.started);
        self.place(id, due.map(|due| due.max(started.map_or(Duration::ZERO, |started| started + LEAST_GAP))));
    }

    /// Makes a probe due before all others.
    pub fn hurry(&mut self, id: ProbeId) {
        self.place(id, Some(Duration::ZERO));
    }

    fn place(&mut self, id: ProbeId, due: Option<Duration>) {
        let entry = self.entries.entry(id).or_insert(Entry { turn: Turn::Rests, started: None });
        match entry.turn {
            Turn::Flies(_) => entry.turn = Turn::Flies(due),
            former => {
                if let Turn::Waits(former) = former {
                    self.waiting.remove(&(former, id));
                }
                entry.turn = due.map_or(Turn::Rests, Turn::Waits);
                self.waiting.extend(due.map(|due| (due, id)));
            }
        }
    }

    /// Forgets a probe. One that is under way still counts as such until it has ended.
    pub fn remove(&mut self, id: ProbeId) {
        match self.entries.get_mut(&id) {
            Some(Entry { turn: Turn::Flies(next), .. }) => *next = None,
            Some(Entry { turn: Turn::Waits(due), .. }) => {
                self.waiting.remove(&(*due, id));
                self.entries.remove(&id);
            }
            Some(Entry { turn: Turn::Rests, .. }) => _ = self.entries.remove(&id),
            None => (),
        }
    }

    /// The next probe to start now, if one is due and there is a place for it.
    pub fn take(&mut self, now: Duration) -> Option<ProbeId> {
        let (due, id) = *self.waiting.first()?;
        if due > now || self.flying >= self.at_once() {
            return None;
        }
        self.waiting.pop_first();
        self.flying += 1;
        self.entries.insert(id, Entry { turn: Turn::Flies(None), started: Some(now) });
        Some(id)
    }

    /// Notes the end of a probe that was taken; `is_known` is false for one that was removed meanwhile.
    pub fn ended(&mut self, id: ProbeId, is_known: bool) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Turn::Flies(next) = entry.turn else { return };
        self.flying -= 1;
        entry.turn = Turn::Rests;
        if is_known {
            self.place(id, next);
        } else {
            self.entries.remove(&id);
        }
    }

    /// When a probe started last.
    pub fn started(&self, id: ProbeId) -> Option<Duration> {
        self.entries.get(&id)?.started
    }

    /// When to call [`Self::take`] again; none while there is no place, or nothing to wait for.
    pub fn wakes_at(&self) -> Option<Duration> {
        let (due, _) = self.waiting.first()?;
        (self.flying < self.at_once()).then_some(*due)
    }

    /// How many probes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn at_once(&self) -> usize {
        (self.entries.len() / SHARE_AT_ONCE).clamp(AT_ONCE, MOST_AT_ONCE)
    }
}

/// An interval made shorter by chance, at most by so many percent: never longer, so that no period goes without a
/// probe.
pub fn jittered(interval: Duration, percent: u8, chance: u32) -> Duration {
    let share = f64::from(chance) / f64::from(u32::MAX);
    interval.mul_f64(1.0 - f64::from(percent.min(100)) / 100.0 * share)
}

/// The time between the first probes of so many targets that came together: over one interval, or sooner.
pub fn first_gap(count: usize, interval: Duration) -> Duration {
    // No edge has 2^32 targets.
    (interval / (count.max(1) as u32)).min(FIRST_GAP)
}

/// From one batch of probes to the next, where there are so many; nothing where each starts by itself.
pub fn batch(count: usize) -> Duration {
    // Above 10,000 nothing changes.
    let length = (BATCH_PER_PROBE * count.min(1 << 20) as u32).min(LONGEST_BATCH);
    if length < TICK { Duration::ZERO } else { length }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_due_first_starts_first_and_what_finds_no_place_is_late() {
        let mut schedule = Schedule::default();
        for id in 0..12 {
            schedule.set(ProbeId(id), Some(ms(100 - id)));
        }
        assert_eq!((schedule.take(ms(88)), schedule.wakes_at()), (None, Some(ms(89))));
        let started: Vec<_> = std::iter::from_fn(|| schedule.take(ms(200))).map(|id| id.0).collect();
        assert_eq!(started, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        assert_eq!(schedule.wakes_at(), None, "there is no place");
        schedule.ended(ProbeId(5), true);
        assert_eq!(schedule.take(ms(300)), Some(ProbeId(1)), "it kept its turn");
    }

    #[test]
    fn a_probe_under_way_is_not_started_again_and_its_next_turn_comes_after_it() {
        let mut schedule = Schedule::default();
        schedule.set(ProbeId(1), Some(ms(0)));
        assert_eq!(schedule.take(ms(0)), Some(ProbeId(1)));
        schedule.set(ProbeId(1), Some(ms(10)));
        assert_eq!(schedule.take(ms(1000)), None);
        schedule.ended(ProbeId(1), true);
        assert_eq!(schedule.wakes_at(), Some(LEAST_GAP));
        schedule.hurry(ProbeId(1));
        assert_eq!(schedule.take(ms(20)), Some(ProbeId(1)), "a person waits for nothing");
    }

    #[test]
    fn a_probe_that_is_removed_leaves_no_trace_wherever_it_was() {
        let mut schedule = Schedule::default();
        for id in [1, 2, 3] {
            schedule.set(ProbeId(id), Some(ms(id)));
        }
        schedule.set(ProbeId(3), None);
        schedule.take(ms(1));
        for id in [1, 2, 3] {
            schedule.remove(ProbeId(id));
        }
        schedule.ended(ProbeId(1), false);
        assert!(schedule.is_empty() && schedule.waiting.is_empty() && schedule.flying == 0);
    }

    #[test]
    fn many_targets_are_spread_evenly_and_stay_so() {
        const TARGETS: u64 = 10_000;
        let interval = Duration::from_secs(15);
        let (mut schedule, mut tenths, mut chance) = (Schedule::default(), [0_u32; 600], 1_u32);
        let gap = first_gap(TARGETS as usize, interval);
        (0..TARGETS).for_each(|id| schedule.set(ProbeId(id), Some(gap * id as u32)));
        let mut times = vec![0_u32; TARGETS as usize];
        // Batches take nothing away from evenness: in each of them there are a few.
        let step = batch(TARGETS as usize).as_millis() as usize;
        let mut most_together = 0;
        for at in (0..60_000).step_by(step).map(ms) {
            let mut together = 0;
            while let Some(id) = schedule.take(at) {
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
}
