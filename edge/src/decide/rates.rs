//! How much a rate lets through: the generic cell rate algorithm, whose whole state is one moment. Pure.
//!
//! The state of a bucket is the moment at which it is empty: before now while it holds something, after now while it is
//! in debt. A bucket fills at its rate up to its burst, and time is the only thing that fills it.
//!
//! Keeps: over any time, no more passes than the rate lets through in it and one burst; a change of the rate keeps what
//! is in the bucket.

/// A moment in nanoseconds, by a clock that starts at [`EPOCH`].
pub type Moment = u64;

/// Where clocks start: far enough from zero for the longest burst.
pub const EPOCH: Moment = 1 << 62;
/// The longest time that anything takes: 73 years.
const LONGEST: u64 = 1 << 61;
const SECOND: u64 = 1_000_000_000;

/// A rate, and what may be saved up of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units a second, above zero.
    pub per_sec: u64,
    /// Units.
    pub burst: u64,
}

impl Rate {
    /// A bandwidth with what may be saved up of it.
    ///
    /// Without a burst of its own it is two fifths of a second: over ten seconds it is right within five percent, a pause
    /// before them included. Never less than a tenth: workers wake connections at ticks.
    pub fn bandwidth(per_sec: u64, burst: Option<u64>) -> Self {
        Self { per_sec, burst: burst.unwrap_or(per_sec / 5 * 2).max(per_sec / 10).max(1) }
    }

    /// How long so many units take.
    pub fn time_of(self, units: u64) -> u64 {
        let nanos = (u128::from(units) * u128::from(SECOND)).div_ceil(self.per_sec.max(1).into());
        u64::try_from(nanos).map_or(LONGEST, |nanos| nanos.min(LONGEST))
    }

    /// How many units that much time lets through.
    pub fn units_in(self, nanos: u64) -> u64 {
        let units = u128::from(nanos) * u128::from(self.per_sec) / u128::from(SECOND);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// What a bucket holds; nothing while it is in debt.
    pub fn held(self, empty_at: Moment, now: Moment) -> u64 {
        self.units_in(now.saturating_sub(empty_at)).min(self.burst)
    }

    /// The bucket after so many units were taken out, whatever it held: a debt is possible.
    pub fn after(self, empty_at: Moment, now: Moment, units: u64) -> Moment {
        empty_at.max(now.saturating_sub(self.time_of(self.burst))).saturating_add(self.time_of(units))
    }

    /// The bucket after one unit was taken out, if it held one.
    pub fn take_one(self, empty_at: Moment, now: Moment) -> Option<Moment> {
        let after = self.after(empty_at, now, 1);
        (after <= now).then_some(after)
    }

    /// The bucket of the next rate, with what is in it now: no more than its burst, and a debt as it is.
    pub fn carried(self, next: Self, empty_at: Moment, now: Moment) -> Moment {
        if empty_at > now {
            now.saturating_add(next.time_of(self.units_in(empty_at - now)))
        } else {
            now.saturating_sub(next.time_of(self.held(empty_at, now).min(next.burst)))
        }
    }

    /// The same rate shared by so many, each with a part of its own.
    fn part(self, sharers: u32) -> Self {
        Self { per_sec: (self.per_sec / u64::from(sharers.max(1))).max(1), ..self }
    }
}

/// How long a connection that is behind may take to make up for it: a busy worker is late by less.
const BEHIND: u64 = SECOND / 2;
/// What is kept for those that wait, in time: more than the tick that each of them may be late.
const RESERVE: u64 = SECOND / 20;
/// How much is worth a turn, in time and in bytes: what comes in a tenth of a second, or what one read copies.
const STEP: u64 = SECOND / 10;
const PORTION: u64 = 16 << 10;
/// The longest wait before a connection asks again: the rate may be another one by then.
pub const LONGEST_WAIT: u64 = SECOND / 4;

/// A bucket of bandwidth as a connection finds it.
#[derive(Debug, Clone, Copy)]
pub struct SharedRate {
    /// What all of them share.
    pub rate: Rate,
    /// When it is empty.
    pub empty_at: Moment,
    /// How many wait for more of it.
    pub waiting: u32,
}

/// What a connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// So many bytes.
    Bytes(u64),
    /// Nothing before then.
    Wait(Moment),
}

impl SharedRate {
    /// What a connection may move now, of at most `want`. `own` is the moment up to which one that waits has used its
    /// equal part; a connection that does not wait has none, and gets what nobody waits for.
    ///
    /// Who waits gets an equal part by a clock of its own, so that it does not matter who wakes first. What the others
    /// leave is there for all.
    pub fn grant(self, own: Option<Moment>, now: Moment, want: u64) -> Grant {
        let held = self.rate.held(self.empty_at, now);
        let reserve = if self.waiting == 0 { 0 } else { self.rate.units_in(RESERVE) };
        let spare = held.saturating_sub(reserve);
        let part = self.rate.part(self.waiting);
        let due = own.map_or(0, |own| part.units_in(now.saturating_sub(own).min(BEHIND)));
        // What a late wake-up could not find in the bucket any more is not waited for.
        let step = part.units_in(STEP).min(self.rate.burst / 5 * 2).clamp(1, PORTION);
        let grant = due.saturating_add(spare).min(held).min(want);
        if grant >= step.min(want) {
            return Grant::Bytes(grant);
        }
        let own = own.unwrap_or(now).max(now.saturating_sub(BEHIND));
        let shared = self.empty_at.saturating_add(self.rate.time_of(step));
        Grant::Wait(own.saturating_add(part.time_of(step)).max(shared).clamp(now + 1, now + LONGEST_WAIT))
    }

    /// Up to when a connection that waits has used its part, after so many bytes more.
    pub fn own_after(self, own: Moment, now: Moment, bytes: u64) -> Moment {
        // What nobody waited for is not held against it for long.
        let spent = self.rate.part(self.waiting).time_of(bytes);
        own.max(now.saturating_sub(BEHIND)).saturating_add(spent).min(now + BEHIND)
    }
}

#[cfg(test)]
mod tests;
