//! Counters on the wire: two packed lists, of what was counted at least once. Pure.
//!
//! A number of the first list names a counter and a word of its label, 64 words to a counter; the second list has the count
//! at the same place. A counter that this version does not know is passed over, a word that it does not know is counted as
//! the set's other.

use super::{CounterRow, Figures};
use crate::proto;

/// Words to a counter.
const WORDS: u32 = 64;

/// The two lists have different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lists of counters and of their counts have different lengths")]
pub struct Unreadable;

impl Figures {
    /// The message.
    pub fn to_wire(&self) -> proto::Counters {
        let mut message = proto::Counters::default();
        for (row, counts) in self.rows() {
            for (place, count) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
                message.ids.push(row.number * WORDS + place);
                message.counts.push(*count);
            }
        }
        message
    }

    /// What a message says.
    pub fn from_wire(message: &proto::Counters) -> Result<Self, Unreadable> {
        if message.ids.len() != message.counts.len() {
            return Err(Unreadable);
        }
        let mut figures = Self::default();
        for (id, count) in message.ids.iter().zip(&message.counts) {
            let known = figures.rows_mut().find(|(row, _)| row.number == id / WORDS);
            if let Some((row, counts)) = known {
                let sum = &mut counts[place(row, id % WORDS)];
                *sum = sum.saturating_add(*count);
            }
        }
        Ok(figures)
    }
}

fn place(row: &CounterRow, word: u32) -> usize {
    let known = row.words.len();
    // A word of a later version.
    let other = || row.words.iter().position(|word| *word == "other").unwrap_or(known.saturating_sub(1));
    if (word as usize) < known.max(1) { word as usize } else { other() }
}

#[cfg(test)]
mod tests {
    use super::super::By;
    use super::*;

    #[test]
    fn what_another_version_counts_is_passed_over_or_counted_as_other() {
        let ids = vec![9999 * WORDS, 15 * WORDS + 63, 15 * WORDS + 40, WORDS, WORDS + 9];
        let message = proto::Counters { ids, counts: vec![1, u64::MAX, 3, 5, 7] };
        let figures = Figures::from_wire(&message).expect("figures");
        assert_eq!(figures.broken.iter().collect::<Vec<_>>(), [("other", u64::MAX)]);
        assert_eq!(figures.bytes_in, 12);
        assert_eq!(Figures { bytes_in: 0, broken: By::default(), ..figures }, Figures::default());
        assert_eq!(Figures::from_wire(&proto::Counters { ids: vec![64], counts: vec![] }), Err(Unreadable));
    }
}
