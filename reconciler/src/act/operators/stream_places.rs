//! Places of event streams: a stream keeps its connection, and the connections of a port are bounded. Shared counts.
//!
//! Keeps: whatever one operator opens, others find a place for streams; whatever all of them open, requests find one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of sixteen connections of a port, those that streams of one operator may have. A team that shares an operator leaves
/// two hundred pages open.
const OF_ONE: usize = 13;
/// Of sixteen, those that all streams together may have.
const OF_ALL: usize = 15;

/// How many streams are open, by operator.
#[derive(Debug, Clone)]
pub(in crate::act) struct StreamPlaces {
    cap: usize,
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// The place of one stream; free again once it is dropped.
#[derive(Debug)]
pub(in crate::act) struct StreamPlace {
    places: StreamPlaces,
    operator: String,
}

/// Why a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::act) enum NoStreamPlace {
    /// The operator has as many streams as one may have.
    OfOperator(usize),
    /// All operators together have.
    OfAll(usize),
}

impl StreamPlaces {
    /// Places on a port that serves so many connections.
    pub(in crate::act) fn within(cap: usize) -> Self {
        Self { cap, taken: Arc::default() }
    }

    fn part(&self, sixteenths: usize) -> usize {
        (self.cap * sixteenths / 16).max(1)
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // A count is whole whenever the lock is released.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a stream of an operator.
    pub(in crate::act) fn take(&self, operator: &str) -> Result<StreamPlace, NoStreamPlace> {
        let (of_one, of_all) = (self.part(OF_ONE), self.part(OF_ALL));
        let mut taken = self.taken();
        if taken.get(operator).is_some_and(|count| *count >= of_one) {
            return Err(NoStreamPlace::OfOperator(of_one));
        }
        if taken.values().sum::<usize>() >= of_all {
            return Err(NoStreamPlace::OfAll(of_all));
        }
        *taken.entry(operator.to_owned()).or_default() += 1;
        drop(taken);
        Ok(StreamPlace { places: self.clone(), operator: operator.to_owned() })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.operator) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.operator);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operator_leaves_places_to_others_and_all_of_them_leave_places_to_requests() {
        let places = StreamPlaces::within(256);
        let mut ann: Vec<StreamPlace> = (0..208).map(|_| places.take("ann").expect("a place")).collect();
        assert_eq!(places.take("ann").map(|_| ()), Err(NoStreamPlace::OfOperator(208)));
        let ben: Vec<StreamPlace> = (0..32).map(|_| places.take("ben").expect("a place")).collect();
        assert_eq!(places.take("ben").map(|_| ()), Err(NoStreamPlace::OfAll(240)));
        ann.pop();
        assert!(places.take("ann").is_ok(), "a stream that ends frees its place");
        drop((ann, ben));
        assert!(places.taken().is_empty(), "an operator without streams is forgotten");
        assert!(StreamPlaces::within(1).take("ann").is_ok(), "a port with one connection has one stream");
    }
}
