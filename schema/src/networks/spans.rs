//! Addresses as disjoint spans in ascending order. Pure.

/// From the first to the last address of each span, both in it.
pub(super) struct Spans<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Spans<T> {
    /// Of spans that ascend by their first addresses; those that overlap become one.
    pub(super) fn of(ascending: impl Iterator<Item = (T, T)>) -> Self {
        let mut spans: Vec<(T, T)> = Vec::with_capacity(ascending.size_hint().0);
        for (first, last) in ascending {
            match spans.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => spans.push((first, last)),
            }
        }
        Self(spans.into())
    }

    pub(super) fn contain(&self, address: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|index| address <= self.0[index].1)
    }

    /// True if every address from `first` to `last` is in one of them; `next` gives the address after one below `last`.
    pub(super) fn cover(&self, first: T, last: T, next: impl Fn(T) -> T) -> bool {
        let from = self.0.partition_point(|(_, end)| *end < first);
        let mut wanted = first;
        for (begin, end) in &self.0[from..] {
            if *begin > wanted {
                return false;
            }
            if *end >= last {
                return true;
            }
            wanted = next(*end);
        }
        false
    }

    /// True if some address from `first` to `last` is in one of them.
    pub(super) fn meet(&self, first: T, last: T) -> bool {
        let after = self.0.partition_point(|(begin, _)| *begin <= last);
        after.checked_sub(1).is_some_and(|index| first <= self.0[index].1)
    }
}
