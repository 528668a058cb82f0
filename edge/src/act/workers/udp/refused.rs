//! Which refused flows were written down lately: a client that keeps sending is one refused flow, and not one for each
//! datagram. Values.

use std::hash::{BuildHasher, RandomState};

use super::super::timers::{Tick, ticks};
use super::flow::FlowId;

/// Flows that are remembered.
const PLACES: usize = 256;
/// For how long.
const AGAIN: std::time::Duration = std::time::Duration::from_mins(1);

/// Flows that were refused lately.
#[derive(Default)]
pub(super) struct RefusedFlows {
    hasher: RandomState,
    places: Vec<(u64, Tick)>,
}

impl RefusedFlows {
    /// True if this one is to be written down: it was not within the last minute, as far as that is remembered.
    pub(super) fn is_new(&mut self, id: &FlowId, now: Tick) -> bool {
        self.places.resize(PLACES, (0, 0));
        let hash = self.hasher.hash_one(id);
        let place = &mut self.places[hash as usize % PLACES];
        let is_new = place.0 != hash || place.1 <= now;
        if is_new {
            *place = (hash, now + ticks(AGAIN));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_keeps_sending_is_new_once_a_minute() {
        let id = |port: u16| FlowId { client: ([192, 0, 2, 1], port).into(), local: [127, 0, 0, 1].into(), port: 53 };
        let mut refused = RefusedFlows::default();
        assert_eq!([refused.is_new(&id(1), 0), refused.is_new(&id(1), 1)], [true, false]);
        assert!(!refused.is_new(&id(1), ticks(AGAIN) - 1));
        assert!(refused.is_new(&id(1), ticks(AGAIN)));
    }
}
