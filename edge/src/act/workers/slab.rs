//! Connections by slot, with generations. Pure.
//!
//! Keeps: a key of a connection that has ended finds nothing, also where its slot is in use again.

/// Slots at once, so that slot, generation and leg fit into an event's token and leave its two highest bits alone.
const MAX_SLOTS: usize = 1 << 30;
/// Generations that a token has room for.
const GENERATIONS: u32 = (1 << 30) - 1;
/// Bits of a token that tell the sockets of one connection apart.
const LEG: u8 = 0b11;

/// A connection of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    slot: u32,
    generation: u32,
}

impl Key {
    /// Its place: unique among the connections that live.
    pub(super) const fn slot(self) -> u32 {
        self.slot
    }

    /// How many had the place before.
    pub(super) const fn generation(self) -> u32 {
        self.generation
    }

    /// With two bits of the caller's, as a number below 2^62.
    pub(super) const fn pack(self, leg: u8) -> usize {
        ((self.generation as usize) << 32) | ((self.slot as usize) << 2) | (leg & LEG) as usize
    }

    /// What [`Key::pack`] was given.
    pub(super) const fn unpack(token: usize) -> (Self, u8) {
        let slot = (token as u32) >> 2;
        (Self { slot, generation: (token >> 32) as u32 }, token as u8 & LEG)
    }
}

struct SlabEntry<T> {
    generation: u32,
    value: Option<T>,
}

/// Values that are found by key.
pub(super) struct Slab<T> {
    entries: Vec<SlabEntry<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Keeps the value that is made for its key.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            assert!(self.entries.len() < MAX_SLOTS, "descriptors run out long before slots");
            self.entries.push(SlabEntry { generation: 0, value: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[slot as usize];
        let key = Key { slot, generation: entry.generation };
        entry.value = Some(make(key));
        key
    }

    /// The value of a key, while it is kept.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// The key that is in a slot.
    pub(super) fn key_of(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize)?;
        entry.value.is_some().then_some(Key { slot, generation: entry.generation })
    }

    /// Takes the value out. Its key finds nothing from now on.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot as usize).filter(|entry| entry.generation == key.generation)?;
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) & GENERATIONS;
        self.free.push(key.slot);
        Some(value)
    }

    /// Every value that is kept.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.value.as_mut())
    }

    /// What is kept in so many places from `from` on, and where to go on, if there are more places.
    pub(super) fn slice(&self, from: u32, most: usize) -> (impl Iterator<Item = (Key, &T)>, Option<u32>) {
        let start = (from as usize).min(self.entries.len());
        let end = start.saturating_add(most).min(self.entries.len());
        let kept = self.entries[start..end].iter().enumerate().filter_map(move |(index, entry)| {
            let key = Key { slot: (start + index) as u32, generation: entry.generation };
            entry.value.as_ref().map(|value| (key, value))
        });
        (kept, (end < self.entries.len()).then_some(end as u32))
    }

    /// Everything that is kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| {
            let key = Key { slot: slot as u32, generation: entry.generation };
            entry.value.as_ref().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_ended_connection_finds_nothing_in_a_slot_that_is_used_again() {
        let mut slab = Slab::default();
        let first = slab.insert_with(|_| "first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert_with(|_| "second");
        assert_eq!(first.slot(), second.slot());
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.iter().count(), 1);
    }

    #[test]
    fn slices_show_everything_once() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..10).map(|value| slab.insert_with(|_| value)).collect();
        slab.remove(keys[3]);
        let (mut seen, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (slice, later) = slab.slice(from, 4);
            seen.extend(slice.map(|(_, value)| *value));
            next = later;
        }
        assert_eq!(seen, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(slab.slice(99, 4).0.count(), 0);
    }

    #[test]
    fn tokens_give_back_what_they_were_made_of() {
        let key = Key { slot: (MAX_SLOTS - 1) as u32, generation: GENERATIONS };
        for leg in 0..=LEG {
            assert_eq!(Key::unpack(key.pack(leg)), (key, leg));
            assert!(key.pack(leg) < 1 << 62);
        }
    }
}
