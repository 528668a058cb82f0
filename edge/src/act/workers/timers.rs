//! A timer wheel: one deadline per slot, set and cleared in constant time. Pure.
//!
//! Keeps: nothing is due before its deadline; a slot is due once per deadline. A deadline that is further away than one
//! turn of the wheel costs one look per turn.

pub(super) use crate::decide::ticks::{Tick, lasting, passed, ticks, until};

/// Buckets of the wheel; with ticks of 16 ms one turn takes 33 s.
const BUCKETS: usize = 2048;
const WORDS: usize = BUCKETS / 64;
/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    /// `Tick::MAX` where it is not set.
    deadline: Tick,
    next: u32,
    previous: u32,
}

const UNSET: Link = Link { deadline: Tick::MAX, next: NONE, previous: NONE };

impl Link {
    const fn is_set(self) -> bool {
        self.deadline < Tick::MAX
    }
}

/// Deadlines by slot.
pub(super) struct Wheel {
    heads: Box<[u32]>,
    /// Which buckets hold something.
    used: [u64; WORDS],
    links: Vec<Link>,
    /// Everything before this tick was looked at.
    now: Tick,
    count: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { heads: vec![NONE; BUCKETS].into(), used: [0; WORDS], links: Vec::new(), now: 0, count: 0 }
    }
}

fn bucket(tick: Tick) -> usize {
    tick as usize % BUCKETS
}

impl Wheel {
    /// Sets the deadline of a slot, in place of the one it had; `Tick::MAX` is none.
    pub(super) fn set(&mut self, slot: u32, deadline: Tick) {
        self.clear(slot);
        if deadline == Tick::MAX {
            return;
        }
        let index = slot as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, UNSET);
        }
        // What is overdue already comes at the next look.
        let deadline = deadline.max(self.now);
        let place = bucket(deadline);
        let next = std::mem::replace(&mut self.heads[place], slot);
        if next != NONE {
            self.links[next as usize].previous = slot;
        }
        self.links[index] = Link { deadline, next, previous: NONE };
        self.used[place / 64] |= 1 << (place % 64);
        self.count += 1;
    }

    /// Forgets the deadline of a slot, if it has one.
    pub(super) fn clear(&mut self, slot: u32) {
        let Some(link) = self.links.get(slot as usize).copied().filter(|link| link.is_set()) else { return };
        let place = bucket(link.deadline);
        if link.previous == NONE {
            self.heads[place] = link.next;
        } else {
            self.links[link.previous as usize].next = link.next;
        }
        if link.next != NONE {
            self.links[link.next as usize].previous = link.previous;
        }
        if self.heads[place] == NONE {
            self.used[place / 64] &= !(1 << (place % 64));
        }
        self.links[slot as usize] = UNSET;
        self.count -= 1;
    }

    /// Adds the slots whose deadline is `now` or before to `due`, and forgets their deadlines.
    pub(super) fn advance(&mut self, now: Tick, due: &mut Vec<u32>) {
        if now < self.now {
            return;
        }
        let first = due.len();
        if self.count > 0 {
            for tick in self.now..=now.min(self.now + BUCKETS as Tick - 1) {
                let mut slot = self.heads[bucket(tick)];
                while slot != NONE {
                    let link = self.links[slot as usize];
                    if link.deadline <= now {
                        due.push(slot);
                    }
                    slot = link.next;
                }
            }
        }
        for slot in &due[first..] {
            self.clear(*slot);
        }
        self.now = now;
    }

    /// When to look next: the first tick at which something may be due.
    pub(super) fn next(&self) -> Option<Tick> {
        if self.count == 0 {
            return None;
        }
        let start = bucket(self.now);
        // The word that the search starts in is looked at twice: its later bits first, its earlier ones last.
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << (start % 64),
                WORDS => !(u64::MAX << (start % 64)),
                _ => u64::MAX,
            };
            let found = self.used[word] & mask;
            if found != 0 {
                let place = word * 64 + found.trailing_zeros() as usize;
                return Some(self.now + ((place + BUCKETS - start) % BUCKETS) as Tick);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    fn due(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_deadline_beyond_one_turn_is_not_due_early() {
        let mut wheel = Wheel::default();
        let far = 3 * BUCKETS as Tick + 7;
        wheel.set(4, far);
        let mut looks = 0;
        while let Some(next) = wheel.next().filter(|next| *next < far) {
            assert!(due(&mut wheel, next).is_empty());
            assert!(due(&mut wheel, next + 1).is_empty());
            looks += 1;
        }
        assert!(looks <= 4, "{looks}");
        assert_eq!(due(&mut wheel, far), [4]);
        assert_eq!(wheel.next(), None);
    }

    proptest! {
        #[test]
        fn the_wheel_agrees_with_a_sorted_map(
            steps in prop::collection::vec((0_u32..20, 0_u64..5000, 0_u8..3), 1..200)
        ) {
            let (mut wheel, mut model, mut now) = (Wheel::default(), BTreeMap::new(), 0);
            for (slot, wait, kind) in steps {
                match kind {
                    0 => {
                        wheel.set(slot, now + wait);
                        model.insert(slot, now + wait);
                    }
                    1 => {
                        wheel.clear(slot);
                        model.remove(&slot);
                    }
                    _ => {
                        now += wait;
                        let expected: Vec<u32> =
                            model.extract_if(.., |_, deadline| *deadline <= now).map(|(slot, _)| slot).collect();
                        prop_assert_eq!(due(&mut wheel, now), expected);
                    }
                }
                let first = model.values().min().copied();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                prop_assert!(wheel.next() <= first.map(|first| first.max(now)));
            }
        }
    }
}
