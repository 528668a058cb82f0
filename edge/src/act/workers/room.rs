//! Whether there is room for another client: descriptors are lent by the worker that accepts, and counted rarely. I/O.
//!
//! Keeps: accepting stops before the reserve of the process is touched, spins nowhere meanwhile, and goes on once there
//! is room; nothing is locked.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::act::descriptors;

/// Below so many they are counted whenever they are used up, above whenever half of them are: others take some, too.
const COUNTED_OFTEN: u64 = 256;
/// So many need no new count in any case, and a fourth of those in use, since counting takes time by their number.
const LENT_AT_ONCE: u64 = 1024;

/// What a connection takes: both of its sockets.
pub(super) const CONNECTION: u32 = 2;
/// What a flow takes: the socket to its target.
pub(super) const FLOW: u32 = 1;

/// What came of asking for descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lent {
    /// They are there.
    Granted,
    /// Another worker counts at this moment.
    NotYet,
    /// There are none.
    Full,
}

/// The descriptors that clients may still take before they are counted again.
#[derive(Default)]
pub(super) struct Room {
    budget: AtomicI64,
    /// One worker counts at a time, so that the others cannot take the same ones.
    is_counting: AtomicBool,
    is_full: AtomicBool,
    shortages: AtomicU64,
}

impl Room {
    /// Takes so many, if they are to be had.
    pub(super) fn take(&self, count: u32) -> Lent {
        let count = i64::from(count);
        if self.budget.fetch_sub(count, Ordering::Relaxed) >= count {
            return Lent::Granted;
        }
        if self.is_counting.swap(true, Ordering::Acquire) {
            return Lent::NotYet;
        }
        let budget = share(descriptors::left_for_clients());
        self.budget.store(budget - count, Ordering::Relaxed);
        self.is_counting.store(false, Ordering::Release);
        if budget < count {
            return Lent::Full;
        }
        if self.is_full.load(Ordering::Relaxed) && self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!("descriptors for clients are available again");
        }
        Lent::Granted
    }

    /// Returns what was taken and not used.
    pub(super) fn give(&self, count: u32) {
        self.budget.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Accepting rests for want of what the system says. Whatever is believed to be there is counted again.
    pub(super) fn note_shortage(&self, error: Errno) {
        self.budget.store(0, Ordering::Relaxed);
        // One line per shortage, not one per socket and attempt.
        if !self.is_full.swap(true, Ordering::Relaxed) {
            self.shortages.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "clients wait because descriptors or memory are short");
        }
    }

    /// True while accepting rests.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// How often accepting came to rest.
    pub(super) fn shortages(&self) -> u64 {
        self.shortages.load(Ordering::Relaxed)
    }
}

/// What may be taken before the next count.
fn share((in_use, left): (u64, u64)) -> i64 {
    let some = if left > COUNTED_OFTEN { left / 2 } else { left };
    i64::try_from(some.min(LENT_AT_ONCE + in_use / 4)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewer_are_left_the_more_often_they_are_counted() {
        for (in_use, left, expected) in
            [(40, 0, 0), (40, 256, 256), (40, 1000, 500), (40, 1_000_000, 1034), (800_000, 900_000, 201_024)]
        {
            assert_eq!(share((in_use, left)), expected, "{in_use} in use, {left} left");
        }
    }

    #[test]
    fn a_budget_is_used_up_before_descriptors_are_counted_again() {
        let room = Room::default();
        room.budget.store(5, Ordering::Relaxed);
        for count in [CONNECTION, CONNECTION, FLOW] {
            assert_eq!(room.take(count), Lent::Granted);
        }
        assert_eq!(room.budget.load(Ordering::Relaxed), 0);
        room.is_counting.store(true, Ordering::Relaxed);
        assert_eq!(room.take(CONNECTION), Lent::NotYet);
        room.is_counting.store(false, Ordering::Relaxed);
        // This process has room, so that counting finds some.
        assert_eq!(room.take(CONNECTION), Lent::Granted);
        assert!(room.budget.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_shortage_is_told_once_and_ends_where_there_is_room() {
        let room = Room::default();
        room.budget.store(1000, Ordering::Relaxed);
        room.note_shortage(Errno::MFILE);
        room.note_shortage(Errno::MFILE);
        assert!(room.is_full());
        assert_eq!((room.take(FLOW), room.is_full(), room.shortages()), (Lent::Granted, false, 1));
        room.note_shortage(Errno::NFILE);
        assert_eq!(room.shortages(), 2);
    }
}
