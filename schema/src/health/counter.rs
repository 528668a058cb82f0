//! The counter between up and down: how many results it takes to change a verdict. Pure.
//! Keeps: the value is in `0..=rise+fall-1`, and up means exactly that it has reached `rise`.

use std::num::NonZeroU8;

/// How the counter moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// To the far end with every result that confirms the verdict: a change needs results in a row.
    #[default]
    Snap,
    /// By one only: a change needs a balance of results.
    Leaky,
}

impl Mode {
    /// Every word of the key.
    pub const WORDS: &'static [&'static str] = &["snap", "leaky"];

    /// As in a rule file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snap => "snap",
            Self::Leaky => "leaky",
        }
    }

    /// The mode that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Snap, Self::Leaky].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// How many results a change takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Passes to go up.
    pub rise: NonZeroU8,
    /// Fails to go down.
    pub fall: NonZeroU8,
    /// How the counter moves.
    pub mode: Mode,
}

impl Thresholds {
    fn rise(self) -> u16 {
        u16::from(self.rise.get())
    }

    /// The largest value of a counter.
    pub fn maximum(self) -> u16 {
        // 255 + 255 - 1 at most.
        self.rise() + u16::from(self.fall.get()) - 1
    }
}

/// The counter of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter {
    value: u16,
    thresholds: Thresholds,
}

impl Counter {
    /// One pass below up: where a target without a verdict starts, so that its first result decides.
    pub fn undecided(thresholds: Thresholds) -> Self {
        Self { value: thresholds.rise() - 1, thresholds }
    }

    /// At the maximum.
    pub fn full(thresholds: Thresholds) -> Self {
        Self { value: thresholds.maximum(), thresholds }
    }

    /// At zero.
    pub fn empty(thresholds: Thresholds) -> Self {
        Self { value: 0, thresholds }
    }

    /// The value.
    pub fn value(self) -> u16 {
        self.value
    }

    /// What it counts by.
    pub fn thresholds(self) -> Thresholds {
        self.thresholds
    }

    /// True from `rise` on.
    pub fn is_up(self) -> bool {
        self.value >= self.thresholds.rise()
    }

    /// True at the maximum.
    pub fn is_full(self) -> bool {
        self.value == self.thresholds.maximum()
    }

    /// True at zero.
    pub fn is_empty(self) -> bool {
        self.value == 0
    }

    /// After a pass.
    #[must_use]
    pub fn passed(self) -> Self {
        let next = Self { value: (self.value + 1).min(self.thresholds.maximum()), ..self };
        if self.thresholds.mode == Mode::Snap && next.is_up() { Self::full(self.thresholds) } else { next }
    }

    /// After a fail.
    #[must_use]
    pub fn failed(self) -> Self {
        let next = Self { value: self.value.saturating_sub(1), ..self };
        if self.thresholds.mode == Mode::Snap && !next.is_up() { Self::empty(self.thresholds) } else { next }
    }
}
