//! Chance that can be repeated. Pure but for the first seed.

use std::time::SystemTime;

/// A generator of the xorshift family: what is attacked has no say in it, and nothing else is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    pub(super) fn new() -> Self {
        let given = std::env::var("PORTUNUS_ATTACK_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(clock) | 1;
        Self { seed, state: seed }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Another one that depends on this one only.
    pub(super) fn split(&mut self) -> Self {
        let seed = self.next() | 1;
        Self { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below a number.
    pub(super) fn below(&mut self, most: usize) -> usize {
        ((self.next() >> 11) % most.max(1) as u64) as usize
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(super) fn byte(&mut self) -> u8 {
        (self.next() >> 33) as u8
    }
}
