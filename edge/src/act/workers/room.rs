//! Whether there is room for another client: descriptors are lent by the worker that accepts, and counted rarely. I/O.
//!
//! What is lent and not opened yet counts as in use: an accepted client has a descriptor, and its target's
//! is still to come. Every worker writes its own account of it.
//!
//! Keeps: accepting stops before the reserve of the process is touched, spins nowhere meanwhile, and goes on once there
//! is room; no descriptor is lent twice; nothing is locked.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rustix::io::Errno;

use super::counting::tally::Counter;
use crate::act::descriptors;

/// Below so many they are counted whenever they are used up, above whenever half of them are: others take some, too.
const COUNTED_OFTEN: u64 = 32;
/// So many need no new count in any case, and a fourth of those in use, since counting takes time by their number.
const LENT_AT_ONCE: u64 = 1024;

/// What a connection takes: both of its sockets.
pub(super) const CONNECTION: u32 = CLIENTS + TARGETS;
/// Of that, what its client's socket takes.
pub(super) const CLIENTS: u32 = 1;
/// Of that, what its target's socket takes.
pub(super) const TARGETS: u32 = 1;
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

/// What one worker has lent, and what of it was opened or is not needed any more. It alone writes to it.
#[derive(Default)]
#[repr(align(128))]
struct Account {
    lent: Counter,
    settled: Counter,
}

/// The descriptors that clients may still take before they are counted again.
#[derive(Default)]
pub(super) struct Room {
    budget: AtomicI64,
    /// By worker.
    accounts: Box<[Account]>,
    /// One worker counts at a time, so that the others cannot take the same ones.
    is_counting: AtomicBool,
    is_full: AtomicBool,
    shortages: AtomicU64,
}

impl Room {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { accounts: std::iter::repeat_with(Account::default).take(workers).collect(), ..Self::default() }
    }

    /// Takes so many for a worker, if they are to be had. Each is to be settled.
    pub(super) fn take(&self, worker: usize, count: u32) -> Lent {
        // First, so that a count at this moment includes them.
        self.lend(worker, count);
        let lent = self.take_counted(count);
        if lent != Lent::Granted {
            self.settle(worker, count);
        }
        lent
    }

    /// Lends so many, whether they are there or not. Each is to be settled.
    pub(super) fn lend(&self, worker: usize, count: u32) {
        self.accounts[worker].lent.add(count.into());
    }

    /// So many of those that were lent are open now, or nobody is going to open them.
    pub(super) fn settle(&self, worker: usize, count: u32) {
        self.accounts[worker].settled.add(count.into());
    }

    fn take_counted(&self, count: u32) -> Lent {
        let own = u64::from(count);
        let count = i64::from(count);
        if self.budget.fetch_sub(count, Ordering::AcqRel) >= count {
            return Lent::Granted;
        }
        if self.is_counting.swap(true, Ordering::Acquire) {
            return Lent::NotYet;
        }
        // In this order what is opened meanwhile is counted twice rather than not at all.
        let settled = self.sum(|account| &account.settled);
        let (in_use, left) = descriptors::left_for_clients();
        let lent = self.sum(|account| &account.lent);
        let budget = share(in_use, unpromised(left, lent, settled + own));
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

    fn sum(&self, of: impl Fn(&Account) -> &Counter) -> u64 {
        self.accounts.iter().map(|account| of(account).read()).sum()
    }

    /// Returns what a worker took and did not use.
    pub(super) fn give(&self, worker: usize, count: u32) {
        self.budget.fetch_add(count.into(), Ordering::AcqRel);
        self.settle(worker, count);
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

/// What is left beside what was lent and is not open yet.
fn unpromised(left: u64, lent: u64, settled: u64) -> u64 {
    left.saturating_sub(lent.saturating_sub(settled))
}

/// What may be taken before the next count.
fn share(in_use: u64, left: u64) -> i64 {
    let some = if left > COUNTED_OFTEN { left / 2 } else { left };
    i64::try_from(some.min(LENT_AT_ONCE + in_use / 4)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewer_are_left_the_more_often_they_are_counted() {
        for (in_use, left, expected) in [
            (40, 0, 0),
            (40, 32, 32),
            (40, 256, 128),
            (40, 1000, 500),
            (40, 1_000_000, 1034),
            (800_000, 900_000, 201_024),
        ] {
            assert_eq!(share(in_use, left), expected, "{in_use} in use, {left} left");
        }
    }

    #[test]
    fn what_was_lent_and_is_not_open_yet_is_lent_to_nobody_else() {
        assert_eq!(unpromised(100, 0, 0), 100);
        assert_eq!(unpromised(100, 500, 440), 40, "sixty targets are still to be dialled");
        assert_eq!(unpromised(100, 500, 300), 0);
        assert_eq!(unpromised(100, 500, 501), 100, "settled is read first, and may not be ahead for long");
    }

    #[test]
    fn what_is_taken_is_promised_until_it_is_settled_and_what_is_not_to_be_had_is_not() {
        let room = Room::new(2);
        let promised = || room.sum(|account| &account.lent) - room.sum(|account| &account.settled);
        room.budget.store(4, Ordering::Relaxed);
        assert_eq!((room.take(0, CONNECTION), promised()), (Lent::Granted, 2));
        room.settle(0, 1);
        assert_eq!((room.take(1, CONNECTION), promised()), (Lent::Granted, 3));
        // Another worker serves it.
        room.settle(1, 1);
        room.give(1, CONNECTION);
        assert_eq!(promised(), 0);
        room.budget.store(0, Ordering::Relaxed);
        room.is_counting.store(true, Ordering::Relaxed);
        assert_eq!((room.take(0, CONNECTION), promised()), (Lent::NotYet, 0));
    }

    #[test]
    fn a_budget_is_used_up_before_descriptors_are_counted_again() {
        let room = Room::new(1);
        room.budget.store(5, Ordering::Relaxed);
        for count in [CONNECTION, CONNECTION, FLOW] {
            assert_eq!(room.take(0, count), Lent::Granted);
        }
        assert_eq!(room.budget.load(Ordering::Relaxed), 0);
        room.is_counting.store(true, Ordering::Relaxed);
        assert_eq!(room.take(0, CONNECTION), Lent::NotYet);
        room.is_counting.store(false, Ordering::Relaxed);
        // This process has room, so that counting finds some.
        assert_eq!(room.take(0, CONNECTION), Lent::Granted);
        assert!(room.budget.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_shortage_is_told_once_and_ends_where_there_is_room() {
        let room = Room::new(1);
        room.budget.store(1000, Ordering::Relaxed);
        room.note_shortage(Errno::MFILE);
        room.note_shortage(Errno::MFILE);
        assert!(room.is_full());
        assert_eq!((room.take(0, FLOW), room.is_full(), room.shortages()), (Lent::Granted, false, 1));
        room.note_shortage(Errno::NFILE);
        assert_eq!(room.shortages(), 2);
    }
}
