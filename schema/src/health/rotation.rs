//! Whose turn it is: weighted round-robin that spreads each target's turns evenly. Pure.
//! Keeps: over a round as long as the sum of the weights, each target is chosen exactly as often as its weight.

use crate::rule::MAX_TARGETS;

/// The state of the rotation; each worker of a rule has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rotation {
    // At most the sum of all weights, 800, either way.
    credits: [i32; MAX_TARGETS],
}

impl Rotation {
    /// A rotation that goes on from these credits.
    pub const fn from_credits(credits: [i32; MAX_TARGETS]) -> Self {
        Self { credits }
    }

    /// What to go on from: one credit per target.
    pub const fn credits(self) -> [i32; MAX_TARGETS] {
        self.credits
    }

    /// The next target by these weights, none if all are 0. Each one earns its weight, the richest pays for all; who
    /// has no weight loses what it had, so that it comes back without a claim to a burst.
    pub fn next(&mut self, weights: [u8; MAX_TARGETS]) -> Option<usize> {
        let mut richest = None;
        let mut sum = 0;
        for (index, (credit, weight)) in self.credits.iter_mut().zip(weights).enumerate() {
            if weight == 0 {
                *credit = 0;
                continue;
            }
            sum += i32::from(weight);
            *credit += i32::from(weight);
            let credit = *credit;
            if richest.is_none_or(|(_, most)| credit > most) {
                richest = Some((index, credit));
            }
        }
        let (index, _) = richest?;
        self.credits[index] -= sum;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_and_alternate() {
        let mut turn = Rotation::default();
        let weights = [5, 1, 0, 2, 0, 0, 0, 0];
        let chosen: Vec<usize> = (0..8).filter_map(|_| turn.next(weights)).collect();
        assert_eq!([0, 1, 2, 3].map(|target| chosen.iter().filter(|one| **one == target).count()), [5, 1, 0, 2]);
        assert!(chosen.windows(3).any(|three| three[0] != three[1]), "{chosen:?}");
        assert_eq!(turn, Rotation::default(), "a round ends where it began");
    }

    #[test]
    fn nothing_with_weight_is_nobodys_turn() {
        assert_eq!(Rotation::default().next([0; MAX_TARGETS]), None);
    }

    #[test]
    fn a_target_that_was_away_does_not_catch_up() {
        let mut turn = Rotation::default();
        for _ in 0..4 {
            turn.next([1, 9, 0, 0, 0, 0, 0, 0]);
        }
        for _ in 0..50 {
            turn.next([0, 9, 0, 0, 0, 0, 0, 0]);
        }
        let back: Vec<_> = (0..10).filter_map(|_| turn.next([1, 9, 0, 0, 0, 0, 0, 0])).collect();
        assert_eq!((back[0], back.iter().filter(|one| **one == 0).count()), (1, 1), "{back:?}");
    }
}
