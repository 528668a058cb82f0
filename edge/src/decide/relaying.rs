//! What becomes of both directions of a connection when one of its sides ends or fails. Pure.
//!
//! A side that fails takes nothing more. What it sent before that belongs to the other side, wherever it is by then: in
//! the kernel's queue of the failed side, held by the edge, or under way to the other side.
//!
//! Keeps: a side is reset only after it has acknowledged everything that it is owed; an end that was received is passed
//! on as an end, even where its side fails afterwards; data that was cut short never ends like data that is whole.

/// One of the two peers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that connected to the edge.
    Client,
    /// The one that the edge connected to.
    Target,
}

/// Where one direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Its source may send more, or has sent what was not read yet.
    Reading,
    /// Its source has ended it; the receiver does not know yet.
    Ended,
    /// Its receiver was informed of the end.
    PassedOn,
    /// Its source failed before it ended it, and everything that was received is read.
    Cut,
    /// Its receiver failed: there is nobody to write to.
    Abandoned,
}

/// What can happen to a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The source sent its end, and everything before it is read.
    SourceEnded,
    /// The source failed, and everything that it had sent is read.
    SourceFailed,
    /// The receiver failed.
    ReceiverFailed,
    /// The receiver was informed of the end.
    EndPassedOn,
}

impl Passage {
    /// Where the direction is after that.
    #[must_use]
    pub fn after(self, happening: Happening) -> Self {
        match (self, happening) {
            (_, Happening::ReceiverFailed) => Self::Abandoned,
            (Self::Reading, Happening::SourceEnded) => Self::Ended,
            (Self::Reading, Happening::SourceFailed) => Self::Cut,
            (Self::Ended, Happening::EndPassedOn) => Self::PassedOn,
            // What was decided stays: a side that fails after its end takes nothing of that end back.
            _ => self,
        }
    }

    /// True while its source may have something for its receiver.
    pub fn is_reading(self) -> bool {
        self == Self::Reading
    }

    /// True once its source has ended it.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Ended | Self::PassedOn)
    }
}

/// One direction, as far as the end of its connection depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectionState {
    /// Where it is.
    pub passage: Passage,
    /// The edge holds bytes that were read and are not written yet.
    pub holds: bool,
}

impl DirectionState {
    fn is_delivered(self) -> bool {
        !self.passage.is_reading() && !self.holds
    }

    fn is_whole(self) -> bool {
        self.passage.has_ended() && !self.holds
    }
}

/// A connection, as far as its end depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionState {
    /// From the client to the target.
    pub inward: DirectionState,
    /// From the target to the client.
    pub outward: DirectionState,
    /// The client's socket is broken.
    pub client_failed: bool,
    /// The target's socket is broken.
    pub target_failed: bool,
}

/// What to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayDecision {
    /// There may be more to move.
    GoOn,
    /// Nothing is left to move, and one side failed: reset the other once it has acknowledged everything.
    Await(Side),
    /// Both sides have ended it.
    Whole,
    /// Both sides failed: nobody is owed anything.
    Broken,
}

/// What to do with a connection that stands like this.
pub fn next(state: ConnectionState) -> RelayDecision {
    let ConnectionState { inward, outward, client_failed, target_failed } = state;
    let survivor = match (client_failed, target_failed) {
        (false, false) if inward.is_whole() && outward.is_whole() => return RelayDecision::Whole,
        (false, false) => return RelayDecision::GoOn,
        (true, true) => return RelayDecision::Broken,
        (true, false) => Side::Target,
        (false, true) => Side::Client,
    };
    let owed = match survivor {
        Side::Target => inward,
        Side::Client => outward,
    };
    if owed.is_delivered() { RelayDecision::Await(survivor) } else { RelayDecision::GoOn }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Passage; 5] = [Passage::Reading, Passage::Ended, Passage::PassedOn, Passage::Cut, Passage::Abandoned];

    #[test]
    fn an_end_or_a_failure_changes_a_direction_once_and_only_forward() {
        use Happening::{EndPassedOn, ReceiverFailed, SourceEnded, SourceFailed};
        use Passage::{Abandoned, Cut, Ended, PassedOn, Reading};
        for (from, happening, to) in [
            (Reading, SourceEnded, Ended),
            (Reading, SourceFailed, Cut),
            (Reading, EndPassedOn, Reading),
            (Ended, SourceEnded, Ended),
            (Ended, SourceFailed, Ended),
            (Ended, EndPassedOn, PassedOn),
            (PassedOn, SourceEnded, PassedOn),
            (PassedOn, SourceFailed, PassedOn),
            (PassedOn, EndPassedOn, PassedOn),
            (Cut, SourceEnded, Cut),
            (Cut, SourceFailed, Cut),
            (Cut, EndPassedOn, Cut),
            (Abandoned, SourceEnded, Abandoned),
            (Abandoned, SourceFailed, Abandoned),
            (Abandoned, EndPassedOn, Abandoned),
        ] {
            assert_eq!(from.after(happening), to, "{from:?} {happening:?}");
        }
        for from in ALL {
            assert_eq!(from.after(ReceiverFailed), Abandoned, "{from:?}");
        }
    }

    /// Every state of the direction to the side that is left, with and without held bytes, for both sides.
    #[test]
    fn the_side_that_is_left_is_reset_only_after_everything_that_it_is_owed_was_written() {
        for passage in ALL {
            for holds in [false, true] {
                let owed = DirectionState { passage, holds };
                let other = DirectionState { passage: Passage::Abandoned, holds: false };
                let target_left =
                    ConnectionState { inward: owed, outward: other, client_failed: true, target_failed: false };
                let client_left =
                    ConnectionState { inward: other, outward: owed, client_failed: false, target_failed: true };
                let expected = |side| {
                    if passage == Passage::Reading || holds { RelayDecision::GoOn } else { RelayDecision::Await(side) }
                };
                assert_eq!(next(target_left), expected(Side::Target), "{owed:?}");
                assert_eq!(next(client_left), expected(Side::Client), "{owed:?}");
                assert_eq!(
                    next(ConnectionState { client_failed: true, ..client_left }),
                    RelayDecision::Broken,
                    "{owed:?}"
                );
            }
        }
    }

    /// Whatever the state of the direction to the side that failed: nobody gets what is in it.
    #[test]
    fn what_is_for_a_side_that_failed_keeps_nobody_from_the_end() {
        for passage in ALL {
            for holds in [false, true] {
                let other = DirectionState { passage, holds };
                for owed in ALL.map(|passage| DirectionState { passage, holds: false }) {
                    let abandoned = DirectionState { passage: Passage::Abandoned, holds: false };
                    let failed = |inward, outward, client_failed| {
                        next(ConnectionState { inward, outward, client_failed, target_failed: !client_failed })
                    };
                    assert_eq!(failed(owed, other, true), failed(owed, abandoned, true), "{owed:?} {other:?}");
                    assert_eq!(failed(other, owed, false), failed(abandoned, owed, false), "{owed:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_connection_is_whole_once_both_sides_ended_and_nothing_is_held() {
        for (inward, outward) in ALL.into_iter().flat_map(|first| ALL.map(|second| (first, second))) {
            for held in 0..4 {
                let inward = DirectionState { passage: inward, holds: held & 1 > 0 };
                let outward = DirectionState { passage: outward, holds: held & 2 > 0 };
                let found = next(ConnectionState { inward, outward, client_failed: false, target_failed: false });
                let is_whole = held == 0 && inward.passage.has_ended() && outward.passage.has_ended();
                assert_eq!(found == RelayDecision::Whole, is_whole, "{inward:?} {outward:?}");
                assert!(is_whole || found == RelayDecision::GoOn);
            }
        }
    }
}
