//! How much a connection may move in a turn. Pure.
//!
//! Without limits a quantum is for the sake of others, and a call may move more; what limits grant is exact.

/// What a connection may move in a turn.
#[derive(Clone, Copy)]
pub(super) struct Quanta {
    /// Bytes each way, and what one call moves beyond them.
    pub(super) fair: usize,
    /// Bytes from the client and from the target that limits grant, and not one more.
    pub(super) granted: Option<[usize; 2]>,
}

impl Quanta {
    /// Without limits.
    pub(super) const fn free(fair: usize) -> Self {
        Self { fair, granted: None }
    }

    pub(super) fn of(self, direction: usize) -> Quantum {
        match self.granted {
            Some(granted) => Quantum { bytes: granted[direction], is_exact: true },
            None => Quantum { bytes: self.fair, is_exact: false },
        }
    }
}

/// What one direction may move in a turn.
#[derive(Clone, Copy)]
pub(super) struct Quantum {
    pub(super) bytes: usize,
    is_exact: bool,
}

impl Quantum {
    /// What the next call may move of what is left, where it would move up to `most` otherwise.
    pub(super) fn call(self, moved: usize, most: usize) -> usize {
        if self.is_exact { most.min(self.bytes - moved) } else { most }
    }

    /// True if there may be more to move as soon as there is another turn.
    pub(super) fn is_used_up(self, moved: usize) -> bool {
        self.bytes > 0 && moved >= self.bytes
    }
}
