//! Which connection is served next. Pure.
//!
//! Connections that move little go first; those that move much share what is left, in turn. While small messages are
//! seen, a turn is short. The figures are measured ones: a quantum of 128 KiB keeps the tail of small messages below
//! half of what it is with 1 MiB, and costs no throughput.
//!
//! Keeps: a connection waits in one queue at most; nothing that waits is overtaken twice by the same one.

use std::collections::VecDeque;

use super::super::slab::Key;
use super::super::timers::Tick;

/// Bytes of one connection in a turn while small messages are seen; also the bytes of bulk between two polls.
pub(super) const TURN: usize = 128 << 10;
/// Bytes of one connection in a turn while nobody sends small messages.
const ALONE: usize = 1 << 20;
/// For how long small messages count as seen: 32 to 48 ms.
const WINDOW: Tick = 2;
/// Bytes in a turn that make a connection a bulk one.
const BULK: usize = 32 << 10;
/// Turns with little that make it a small one again.
const SCORE: u8 = 8;

/// What a connection was like of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Score {
    turns_as_bulk: u8,
    pub(super) is_queued: bool,
}

impl Score {
    fn is_bulk(self) -> bool {
        self.turns_as_bulk > 0
    }
}

/// Connections with something to do.
#[derive(Default)]
pub(super) struct Ready {
    hot: VecDeque<Key>,
    bulk: VecDeque<Key>,
    /// Until when a turn is short.
    busy_until: Tick,
}

impl Ready {
    /// Puts a connection where it belongs, unless it waits already.
    pub(super) fn push(&mut self, key: Key, score: &mut Score) {
        if !score.is_queued {
            score.is_queued = true;
            if score.is_bulk() { self.bulk.push_back(key) } else { self.hot.push_back(key) }
        }
    }

    /// Puts a connection that has more to do behind all others that move much.
    pub(super) fn push_unfinished(&mut self, key: Key, score: &mut Score) {
        score.is_queued = true;
        self.bulk.push_back(key);
    }

    /// Small ones that wait now.
    pub(super) fn hot(&self) -> usize {
        self.hot.len()
    }

    /// The next small one.
    pub(super) fn pop_hot(&mut self) -> Option<Key> {
        self.hot.pop_front()
    }

    /// The next of those that move much.
    pub(super) fn pop_bulk(&mut self) -> Option<Key> {
        self.bulk.pop_front()
    }

    /// True if nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.hot.is_empty() && self.bulk.is_empty()
    }

    /// How much a bulk connection may move in its turn.
    pub(super) fn quantum(&self, now: Tick) -> usize {
        if now < self.busy_until { TURN } else { ALONE }
    }

    /// Learns from a turn that moved so many bytes.
    pub(super) fn note(&mut self, score: &mut Score, moved: usize, now: Tick) {
        if moved >= BULK {
            score.turns_as_bulk = SCORE;
        } else if moved > 0 && !score.is_bulk() {
            self.busy_until = now + WINDOW + 1;
        } else {
            score.turns_as_bulk = score.turns_as_bulk.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::slab::Slab;
    use super::*;

    #[test]
    fn small_ones_go_first_and_nobody_waits_twice() {
        let (mut slab, mut ready, mut bulk) = (Slab::default(), Ready::default(), Score::default());
        let [first, second] = [(); 2].map(|()| slab.insert_with(|_| ()));
        ready.note(&mut bulk, BULK, 0);
        ready.push(first, &mut bulk);
        ready.push(first, &mut bulk);
        ready.push(second, &mut Score::default());
        assert_eq!((ready.pop_hot(), ready.pop_hot()), (Some(second), None));
        assert_eq!((ready.pop_bulk(), ready.pop_bulk()), (Some(first), None));
        assert!(ready.is_empty());
    }

    #[test]
    fn a_bulk_connection_is_small_again_after_some_turns_with_little() {
        let (mut ready, mut score) = (Ready::default(), Score::default());
        ready.note(&mut score, BULK, 0);
        for _ in 0..SCORE {
            assert!(score.is_bulk());
            ready.note(&mut score, 1, 0);
        }
        assert!(!score.is_bulk());
    }

    #[test]
    fn turns_are_short_while_small_messages_are_seen() {
        let mut ready = Ready::default();
        assert_eq!(ready.quantum(10), ALONE);
        ready.note(&mut Score::default(), 64, 10);
        assert_eq!((ready.quantum(10), ready.quantum(12), ready.quantum(13)), (TURN, TURN, ALONE));
        ready.note(&mut Score::default(), BULK, 20);
        assert_eq!(ready.quantum(20), ALONE);
    }
}
