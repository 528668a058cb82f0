//! The sources of one rule, shared by all workers. SharedRate memory.
//!
//! Keeps: at most 65,536 sources are remembered; a lock is held for a look into one share of them, never across anything
//! that waits; a connection that counts as live counts until its seat is dropped.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::decide::rates::Moment;
use crate::decide::sources::{LimitedSource, SourceTerms, SourceVerdict, Sources};

/// CONTRACT §10.
const SOURCES: usize = 65_536;
/// Workers that look at the same moment seldom meet.
const SHARES: usize = 32;

/// The sources of a rule.
pub(crate) struct SharedSources {
    shares: Box<[Mutex<Sources>]>,
    terms: ArcSwap<SourceTerms>,
    hasher: RandomState,
}

impl SharedSources {
    pub(crate) fn new(terms: SourceTerms) -> Self {
        let shares = std::iter::repeat_with(|| Mutex::new(Sources::new(SOURCES / SHARES))).take(SHARES).collect();
        Self { shares, terms: ArcSwap::from_pointee(terms), hasher: RandomState::new() }
    }

    /// Other terms from now on.
    pub(crate) fn retune(&self, terms: SourceTerms, now: Moment) {
        let before = self.terms.swap(Arc::new(terms));
        if before.rate != terms.rate {
            self.shares.iter().for_each(|share| lock(share).retune(before.rate, terms.rate, now));
        }
    }

    /// A connection comes. One that is over enters only where that is to be.
    pub(crate) fn arrive(
        self: &Arc<Self>,
        address: IpAddr,
        now: Moment,
        enters: bool,
    ) -> (SourceVerdict, Option<Seat>) {
        let terms = self.terms.load();
        let source = terms.source(address);
        let arrival = lock(self.share(source)).arrive(source, &terms, now, enters);
        (arrival, arrival.is_counted.then(|| Seat { sources: self.clone(), source }))
    }

    fn share(&self, source: LimitedSource) -> &Mutex<Sources> {
        &self.shares[self.hasher.hash_one(source) as usize % SHARES]
    }
}

/// A live connection of a source.
pub(crate) struct Seat {
    sources: Arc<SharedSources>,
    source: LimitedSource,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(self.sources.share(self.source)).leave(self.source);
    }
}

/// A worker that panicked ends the process; until then its share is as good as before.
fn lock(share: &Mutex<Sources>) -> MutexGuard<'_, Sources> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}
