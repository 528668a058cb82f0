//! When which probe starts: a timer of its own for each, and chance in between. Pure.
//!
//! Keeps: a probe is under way once at most; what is due first starts first; a probe that hangs takes a socket and
//! nothing else, so when one target is asked does not depend on how others fail.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Of the descriptors of the edge, one in so many may be a probe that hangs.
const DESCRIPTORS_PER_PROBE: u64 = 4;
/// Under a limit of descriptors however small, so many may hang.
const LEAST_HANGING: usize = 32;
/// Never more, whatever the limit: with the default timeout of 5 s, 3,000 silent targets asked every second.
const MOST_HANGING: usize = 16_384;
/// Probes that begin together where few are due, and always. After a pause of the host all of them are due at once.
const LEAST_BURST: usize = 64;
/// Of many probes, one in so many may begin within [`BURST_GAP`]: all of them within a third of a second.
const SHARE_OF_BURST: usize = 16;
/// From one burst to the next.
const BURST_GAP: Duration = Duration::from_millis(20);
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
enum ProbeState {
    /// Its timer runs, until then.
    Waits(Duration),
    /// It is under way; its next turn may be known already.
    Flies(Option<Duration>),
    /// It has no turn: nobody awaits a result.
    Rests,
}

#[derive(Debug)]
struct ScheduledProbe {
    turn: ProbeState,
    started: Option<Duration>,
}

/// The turns of all probes of an edge.
#[derive(Debug)]
pub struct Schedule {
    entries: HashMap<ProbeId, ScheduledProbe>,
    waiting: BTreeSet<(Duration, ProbeId)>,
    /// Those under way, the one that has hung for longest first.
    flying: BTreeSet<(Duration, ProbeId)>,
    most_flying: usize,
    /// When the current burst began, and how many it has.
    burst: (Duration, usize),
}

/// A probe whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Which one.
    pub id: ProbeId,
    /// One that ends for it, without a result: no more may hang.
    pub evicted: Option<ProbeId>,
}

impl Schedule {
    /// An empty one, of an edge on which so many probes may hang.
    pub fn new(most_hanging: usize) -> Self {
        Self {
            entries: HashMap::new(),
            waiting: BTreeSet::new(),
            flying: BTreeSet::new(),
            most_flying: most_hanging.max(1),
            burst: (Duration::ZERO, 0),
        }
    }

    /// Sets when a probe is due next, also while it is under way; none: never, until set again. It is not due before
    /// [`LEAST_GAP`] has passed since its last start.
    pub fn set(&mut self, id: ProbeId, due: Option<Duration>) {
        let started = self.entries.get(&id).and_then(|entry| entry.started);
        self.place(id, due.map(|due| due.max(started.map_or(Duration::ZERO, |started| started + LEAST_GAP))));
    }

    /// The same, exactly then, however short ago it started.
    pub fn set_exact(&mut self, id: ProbeId, due: Duration) {
        self.place(id, Some(due));
    }

    /// Makes a probe due before all others.
    pub fn hurry(&mut self, id: ProbeId) {
        self.place(id, Some(Duration::ZERO));
    }

    fn place(&mut self, id: ProbeId, due: Option<Duration>) {
        let entry = self.entries.entry(id).or_insert(ScheduledProbe { turn: ProbeState::Rests, started: None });
        match entry.turn {
            ProbeState::Flies(_) => entry.turn = ProbeState::Flies(due),
            former => {
                if let ProbeState::Waits(former) = former {
                    self.waiting.remove(&(former, id));
                }
                entry.turn = due.map_or(ProbeState::Rests, ProbeState::Waits);
                self.waiting.extend(due.map(|due| (due, id)));
            }
        }
    }

    /// Forgets a probe. One that is under way still counts as such until it has ended.
    pub fn remove(&mut self, id: ProbeId) {
        match self.entries.get_mut(&id) {
            Some(ScheduledProbe { turn: ProbeState::Flies(next), .. }) => *next = None,
            Some(ScheduledProbe { turn: ProbeState::Waits(due), .. }) => {
                self.waiting.remove(&(*due, id));
                self.entries.remove(&id);
            }
            Some(ScheduledProbe { turn: ProbeState::Rests, .. }) => _ = self.entries.remove(&id),
            None => (),
        }
    }

    /// The next probe to start now, if one is due. The caller ends the evicted one, and notes its end.
    pub fn take(&mut self, now: Duration) -> Option<Started> {
        let (due, id) = *self.waiting.first()?;
        if due > now || self.burst_full().is_some_and(|until| now < until) {
            return None;
        }
        if now.saturating_sub(self.burst.0) >= BURST_GAP {
            self.burst = (now, 0);
        }
        self.burst.1 += 1;
        self.waiting.pop_first();
        let is_full = self.flying.len() >= self.most_flying;
        let evicted = self.flying.first().map(|(_, oldest)| *oldest).filter(|_| is_full);
        self.flying.insert((now, id));
        self.entries.insert(id, ScheduledProbe { turn: ProbeState::Flies(None), started: Some(now) });
        Some(Started { id, evicted })
    }

    /// Until when no other may begin, if the current burst has as many as it may.
    fn burst_full(&self) -> Option<Duration> {
        let most = (self.entries.len() / SHARE_OF_BURST).max(LEAST_BURST);
        (self.burst.1 >= most).then_some(self.burst.0 + BURST_GAP)
    }

    /// Notes the end of a probe that was taken; `is_known` is false for one that was removed meanwhile.
    pub fn ended(&mut self, id: ProbeId, is_known: bool) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let ProbeState::Flies(next) = entry.turn else { return };
        if let Some(started) = entry.started {
            self.flying.remove(&(started, id));
        }
        entry.turn = ProbeState::Rests;
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

    /// When to call [`Self::take`] again; none while there is nothing to wait for.
    pub fn wakes_at(&self) -> Option<Duration> {
        let (due, _) = self.waiting.first()?;
        Some(self.burst_full().map_or(*due, |until| until.max(*due)))
    }

    /// How many probes there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// How many probes may hang at once under this limit of descriptors.
pub fn most_hanging(descriptors: u64) -> usize {
    let share = usize::try_from(descriptors / DESCRIPTORS_PER_PROBE).unwrap_or(usize::MAX);
    share.clamp(LEAST_HANGING, MOST_HANGING)
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
mod tests;
