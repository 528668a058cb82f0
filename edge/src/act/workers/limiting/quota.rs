//! What a quota has counted in its period, shared by all workers. SharedRate memory.
//!
//! Keeps: a worker that counts past a mark wakes the keeper, which ends what is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use schema::quota::{OnExhausted, Quota};
use tokio::sync::Notify;

use super::bucket::Bucket;
use crate::decide::rates::{Moment, Rate};

/// Bytes that a connection may move at a time in each direction: with the pieces of splicing, two of them stay below the
/// mebibyte that a connection may be over.
pub(crate) const PIECE: u64 = 256 << 10;

/// The count of one quota.
pub(crate) struct QuotaCount {
    used: AtomicU64,
    limit: AtomicU64,
    warns_at: AtomicU64,
    on_exhausted: AtomicU8,
    /// What is left of the bandwidth in each direction once it is used up.
    throttle: [Bucket; 2],
    /// Who looks what a mark means.
    keeper: Arc<Notify>,
}

impl QuotaCount {
    /// Begins with what was used before.
    pub(crate) fn new(quota: &Quota, used: u64, keeper: Arc<Notify>, now: Moment) -> Self {
        let rate = Rate::bandwidth(quota.throttle.map_or(1, std::num::NonZeroU64::get), None);
        let count = Self {
            used: AtomicU64::new(used),
            limit: AtomicU64::default(),
            warns_at: AtomicU64::default(),
            on_exhausted: AtomicU8::default(),
            throttle: [Bucket::empty(rate, now), Bucket::empty(rate, now)],
            keeper,
        };
        count.retune(quota, now);
        count
    }

    /// Other terms from now on.
    pub(crate) fn retune(&self, quota: &Quota, now: Moment) {
        self.limit.store(quota.bytes.get(), Relaxed);
        self.warns_at.store(warns_at(quota), Relaxed);
        self.on_exhausted.store(quota.on_exhausted as u8, Relaxed);
        if let Some(throttle) = quota.throttle {
            self.throttle.iter().for_each(|bucket| bucket.retune(Rate::bandwidth(throttle.get(), None), now));
        }
        self.keeper.notify_one();
    }

    /// Counts bytes of either direction.
    pub(crate) fn add(&self, bytes: u64) {
        let before = self.used.fetch_add(bytes, Relaxed);
        let crosses = |mark: &AtomicU64| {
            let mark = mark.load(Relaxed);
            before < mark && before.saturating_add(bytes) >= mark
        };
        if crosses(&self.limit) || crosses(&self.warns_at) {
            self.keeper.notify_one();
        }
    }

    /// Bytes of this period.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// What was used until now counts no more; what is counted at this moment does.
    pub(crate) fn forget(&self, used: u64) {
        self.used.fetch_sub(used, Relaxed);
    }

    /// True once nothing is left.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() >= self.limit.load(Relaxed)
    }

    /// True once nothing is left, and connections end for that.
    pub(crate) fn stops(&self) -> bool {
        self.is_exhausted() && self.on_exhausted.load(Relaxed) == OnExhausted::Stop as u8
    }

    /// True once nothing is left, and that is only counted.
    pub(crate) fn only_observes(&self) -> bool {
        self.is_exhausted() && self.on_exhausted.load(Relaxed) == OnExhausted::Observe as u8
    }

    /// The bucket of a direction, once nothing is left.
    pub(crate) fn throttle(&self, direction: usize) -> Option<&Bucket> {
        let throttles = self.is_exhausted() && self.on_exhausted.load(Relaxed) == OnExhausted::Throttle as u8;
        throttles.then(|| self.throttle_of(direction))
    }

    /// The same, whether it is in force or not.
    pub(crate) fn throttle_of(&self, direction: usize) -> &Bucket {
        &self.throttle[direction]
    }
}

/// From how many bytes on a warning is due.
pub(crate) fn warns_at(quota: &Quota) -> u64 {
    let bytes = u128::from(quota.bytes.get()) * u128::from(quota.warn_percent) / 100;
    u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
}
