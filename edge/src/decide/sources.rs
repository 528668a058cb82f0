//! Who connects how often: the sources of a rule, each with its live connections and its rate. Pure.
//!
//! Keeps: no more sources are remembered than there is room for; one with a live connection is never forgotten; the one
//! that was quiet for longest is forgotten first. A source that finds no room is let in unremembered.

use std::collections::HashMap;
use std::net::IpAddr;

use super::rates::{EPOCH, Moment, Rate};

/// No slot.
const NONE: u32 = u32::MAX;

/// What each source may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceTerms {
    /// Live connections.
    pub connections: Option<u32>,
    /// New connections.
    pub rate: Option<Rate>,
    /// The IPv4 networks that count as one source.
    pub prefix_v4: u8,
    /// The IPv6 networks that count as one source.
    pub prefix_v6: u8,
}

/// A source: a network by its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitedSource {
    network: IpAddr,
    prefix: u8,
}

impl SourceTerms {
    /// The source of a connection from this address, which is not a mapped one.
    pub fn source(&self, address: IpAddr) -> LimitedSource {
        match address {
            IpAddr::V4(ip) => {
                let prefix = self.prefix_v4.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                LimitedSource { network: IpAddr::V4((ip.to_bits() & mask).into()), prefix }
            }
            IpAddr::V6(ip) => {
                let prefix = self.prefix_v6.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                LimitedSource { network: IpAddr::V6((ip.to_bits() & mask).into()), prefix }
            }
        }
    }
}

/// The result for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceVerdict {
    /// Its source has as many live ones as it may.
    pub over_connections: bool,
    /// Its source has begun as many as it may.
    pub over_rate: bool,
    /// It counts as live, until [`Sources::leave`].
    pub is_counted: bool,
}

struct SourceSlot {
    source: LimitedSource,
    live: u32,
    empty_at: Moment,
    older: u32,
    newer: u32,
}

/// The sources of one rule, or a share of them.
pub struct Sources {
    by_source: HashMap<LimitedSource, u32>,
    slots: Vec<SourceSlot>,
    most: usize,
    /// Quiet ones, by when they were heard last.
    oldest: u32,
    newest: u32,
}

impl Sources {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        Self { by_source: HashMap::new(), slots: Vec::new(), most, oldest: NONE, newest: NONE }
    }

    /// A connection comes. One that is over counts as live only where it `enters` in spite of that, and never takes
    /// anything from the rate.
    pub fn arrive(&mut self, source: LimitedSource, terms: &SourceTerms, now: Moment, enters: bool) -> SourceVerdict {
        let Some(index) = self.slot_of(source) else {
            return SourceVerdict { over_connections: false, over_rate: false, is_counted: false };
        };
        let slot = &mut self.slots[index as usize];
        let over_connections = terms.connections.is_some_and(|most| slot.live >= most);
        let after = terms.rate.map(|rate| rate.take_one(slot.empty_at, now));
        let over_rate = after == Some(None);
        let is_counted = enters || !(over_connections || over_rate);
        if !over_connections && let Some(Some(after)) = after {
            slot.empty_at = after;
        }
        if is_counted {
            slot.live += 1;
        } else if slot.live == 0 {
            self.append(index);
        }
        SourceVerdict { over_connections, over_rate, is_counted }
    }

    /// A connection that counted as live has ended.
    pub fn leave(&mut self, source: LimitedSource) {
        let Some(&index) = self.by_source.get(&source) else { return };
        let slot = &mut self.slots[index as usize];
        slot.live = slot.live.saturating_sub(1);
        if slot.live == 0 {
            self.append(index);
        }
    }

    /// Another rate holds: what each of them has saved up stays.
    pub fn retune(&mut self, before: Option<Rate>, after: Option<Rate>, now: Moment) {
        if let (Some(before), Some(after)) = (before, after) {
            self.slots.iter_mut().for_each(|slot| slot.empty_at = before.carried(after, slot.empty_at, now));
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot of a source, which is not among the quiet ones now.
    fn slot_of(&mut self, source: LimitedSource) -> Option<u32> {
        if let Some(&index) = self.by_source.get(&source) {
            if self.slots[index as usize].live == 0 {
                self.unlink(index);
            }
            return Some(index);
        }
        // A bucket that was never used is full.
        let fresh = SourceSlot { source, live: 0, empty_at: EPOCH >> 1, older: NONE, newer: NONE };
        let index = if self.slots.len() < self.most {
            self.slots.push(fresh);
            (self.slots.len() - 1) as u32
        } else {
            let index = self.oldest;
            let forgotten = self.slots.get(index as usize)?.source;
            self.unlink(index);
            self.by_source.remove(&forgotten);
            self.slots[index as usize] = fresh;
            index
        };
        self.by_source.insert(source, index);
        Some(index)
    }

    fn append(&mut self, index: u32) {
        let last = std::mem::replace(&mut self.newest, index);
        let slot = &mut self.slots[index as usize];
        (slot.older, slot.newer) = (last, NONE);
        match self.slots.get_mut(last as usize) {
            Some(before) => before.newer = index,
            None => self.oldest = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let SourceSlot { older, newer, .. } = self.slots[index as usize];
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn terms(connections: Option<u32>, per_sec: Option<u64>) -> SourceTerms {
        let rate = per_sec.map(|per_sec| Rate { per_sec, burst: per_sec });
        SourceTerms { connections, rate, prefix_v4: 32, prefix_v6: 64 }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_counts_as_one_source() {
        let terms = SourceTerms { prefix_v4: 24, ..terms(None, None) };
        assert_eq!(terms.source(ip("192.0.2.1")), terms.source(ip("192.0.2.255")));
        assert_ne!(terms.source(ip("192.0.2.1")), terms.source(ip("192.0.3.1")));
        assert_eq!(terms.source(ip("2001:db8::1")), terms.source(ip("2001:db8::ffff:1")));
        assert_ne!(terms.source(ip("2001:db8::1")), terms.source(ip("2001:db8:0:1::1")));
        let all = SourceTerms { prefix_v4: 0, prefix_v6: 0, ..terms };
        assert_eq!(all.source(ip("10.0.0.1")), all.source(ip("192.0.2.1")));
        assert_ne!(all.source(ip("10.0.0.1")), all.source(ip("::")));
    }

    #[test]
    fn a_source_has_no_more_live_connections_than_it_may_and_others_are_not_concerned() {
        let (mut sources, terms) = (Sources::new(10), terms(Some(2), None));
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|text| terms.source(ip(text)));
        assert!(sources.arrive(one, &terms, EPOCH, false).is_counted);
        assert!(sources.arrive(one, &terms, EPOCH, false).is_counted);
        let third = sources.arrive(one, &terms, EPOCH, false);
        assert!(third.over_connections && !third.is_counted);
        assert!(sources.arrive(two, &terms, EPOCH, false).is_counted);
        sources.leave(one);
        assert!(sources.arrive(one, &terms, EPOCH, false).is_counted);
    }

    #[test]
    fn a_source_begins_no_more_than_its_rate_and_one_refused_costs_nothing() {
        let (mut sources, terms) = (Sources::new(10), terms(None, Some(2)));
        let source = terms.source(ip("192.0.2.1"));
        let mut arrive = |now| sources.arrive(source, &terms, now, false).is_counted;
        assert_eq!([arrive(EPOCH), arrive(EPOCH), arrive(EPOCH)], [true, true, false]);
        assert_eq!([arrive(EPOCH + SECOND / 2), arrive(EPOCH + SECOND / 2)], [true, false]);
    }

    #[test]
    fn what_only_counts_refuses_nobody() {
        let (mut sources, terms) = (Sources::new(10), terms(Some(1), Some(1)));
        let source = terms.source(ip("192.0.2.1"));
        assert!(sources.arrive(source, &terms, EPOCH, true).is_counted);
        let second = sources.arrive(source, &terms, EPOCH, true);
        assert_eq!(second, SourceVerdict { over_connections: true, over_rate: true, is_counted: true });
        sources.leave(source);
        assert!(sources.arrive(source, &terms, EPOCH + SECOND, true).over_connections);
    }

    #[test]
    fn the_number_of_sources_is_bounded_and_those_with_connections_are_kept() {
        let (mut sources, terms) = (Sources::new(100), terms(Some(1), Some(1)));
        let kept = terms.source(ip("203.0.113.1"));
        sources.arrive(kept, &terms, EPOCH, false);
        for count in 0..100_000_u32 {
            let source = terms.source(IpAddr::V4((0x0a00_0000 + count).into()));
            assert!(sources.arrive(source, &terms, EPOCH, false).is_counted);
            sources.leave(source);
        }
        assert_eq!((sources.len(), sources.by_source.len()), (100, 100));
        assert!(sources.arrive(kept, &terms, EPOCH, false).over_connections);
        // The last ones are remembered, and the first ones forgotten.
        let last = terms.source(IpAddr::V4((0x0a00_0000 + 99_999).into()));
        assert!(sources.arrive(last, &terms, EPOCH, false).over_rate);
        let first = terms.source(IpAddr::V4(0x0a00_0000.into()));
        assert!(!sources.arrive(first, &terms, EPOCH, false).over_rate);
    }

    #[test]
    fn who_finds_no_room_is_let_in_and_not_counted() {
        let (mut sources, terms) = (Sources::new(1), terms(Some(1), None));
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|text| terms.source(ip(text)));
        assert!(sources.arrive(one, &terms, EPOCH, false).is_counted);
        let arrival = sources.arrive(two, &terms, EPOCH, false);
        assert_eq!(arrival, SourceVerdict { over_connections: false, over_rate: false, is_counted: false });
        sources.leave(two);
        sources.leave(one);
        assert!(sources.arrive(two, &terms, EPOCH, false).is_counted);
    }
}
