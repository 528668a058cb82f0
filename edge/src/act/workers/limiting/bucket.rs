//! A bucket that all workers draw from: one number, compared and exchanged. SharedRate memory.
//!
//! Keeps: what was taken out is taken out once, whichever workers draw at the same time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::decide::rates::{Grant, Moment, Rate, SharedRate};

/// A bucket.
pub(crate) struct Bucket {
    empty_at: AtomicU64,
    per_sec: AtomicU64,
    burst: AtomicU64,
    /// Connections that wait for more of it.
    waiting: AtomicU32,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(rate: Rate) -> Self {
        Self::empty_since(rate, 0)
    }

    /// One that fills from now on.
    pub(crate) fn empty(rate: Rate, now: Moment) -> Self {
        Self::empty_since(rate, now)
    }

    fn empty_since(rate: Rate, empty_at: Moment) -> Self {
        Self {
            empty_at: AtomicU64::new(empty_at),
            per_sec: AtomicU64::new(rate.per_sec),
            burst: AtomicU64::new(rate.burst),
            waiting: AtomicU32::new(0),
        }
    }

    pub(crate) fn rate(&self) -> Rate {
        Rate { per_sec: self.per_sec.load(Relaxed), burst: self.burst.load(Relaxed) }
    }

    /// Another rate from now on, with what is in it.
    pub(crate) fn retune(&self, rate: Rate, now: Moment) {
        let before = self.rate();
        if before != rate {
            self.update(|empty_at| Some(before.carried(rate, empty_at, now)));
            self.per_sec.store(rate.per_sec, Relaxed);
            self.burst.store(rate.burst, Relaxed);
        }
    }

    fn update(&self, next: impl FnMut(Moment) -> Option<Moment>) -> bool {
        self.empty_at.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Takes one unit, if there is one.
    pub(crate) fn take_one(&self, now: Moment) -> bool {
        let rate = self.rate();
        self.update(|empty_at| rate.take_one(empty_at, now))
    }

    /// True if it holds anything.
    pub(crate) fn holds_any(&self, now: Moment) -> bool {
        self.empty_at.load(Relaxed) < now
    }

    /// Takes so much, whatever it holds.
    pub(crate) fn take(&self, units: u64, now: Moment) {
        let rate = self.rate();
        self.update(|empty_at| Some(rate.after(empty_at, now, units)));
    }

    /// Takes so much as if it only watched: how long that would have had to wait.
    pub(crate) fn watch(&self, units: u64, now: Moment) -> u64 {
        let (rate, mut late) = (self.rate(), 0);
        self.update(|empty_at| {
            let after = rate.after(empty_at, now, units);
            late = after.saturating_sub(now);
            Some(after.min(now))
        });
        late
    }

    /// Puts back what was not needed.
    pub(crate) fn give_back(&self, units: u64) {
        if units > 0 {
            let time = self.rate().time_of(units);
            self.update(|empty_at| Some(empty_at.saturating_sub(time)));
        }
    }

    /// What a connection may move now: taken out, until it gives back what it does not need.
    pub(crate) fn grant(&self, own: Option<Moment>, now: Moment, want: u64) -> Grant {
        let mut grant = Grant::Bytes(0);
        self.update(|empty_at| {
            grant = self.shared(empty_at).grant(own, now, want);
            match grant {
                Grant::Bytes(bytes) => Some(self.rate().after(empty_at, now, bytes)),
                Grant::Wait(_) => None,
            }
        });
        grant
    }

    /// Up to when a connection that waits has used its part, after so many bytes more.
    pub(crate) fn own_after(&self, own: Moment, now: Moment, bytes: u64) -> Moment {
        self.shared(self.empty_at.load(Relaxed)).own_after(own, now, bytes)
    }

    fn shared(&self, empty_at: Moment) -> SharedRate {
        SharedRate { rate: self.rate(), empty_at, waiting: self.waiting.load(Relaxed) }
    }

    /// One more waits.
    pub(crate) fn join(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// One waits no more.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}
