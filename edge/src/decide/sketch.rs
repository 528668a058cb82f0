//! Who uses a rule: the networks that its connections come from, the busiest of them at least. Pure.
//!
//! A space-saving sketch: [`NETWORKS`] networks are counted; where another one comes, it takes the place of the one with the
//! fewest connections, and the count of that one is remembered as what the new one may not have had. A network with more
//! than one connection in [`NETWORKS`] is never missing.
//!
//! Keeps: it is bounded whatever connects; what was not seen for a day is not shown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are counted.
pub const NETWORKS: usize = 64;
/// Bits of an IPv4 network: those that one provider gives to one site are rarely smaller.
const BITS_V4: u32 = 24;
/// Bits of an IPv6 network: what one site is given.
const BITS_V6: u32 = 48;
/// Connections are counted by the half day, so that those of the last day can be told from older ones.
const PERIOD_MS: u64 = 12 * 3600 * 1000;
/// The half days that make up the last 24 hours, the one that began before them included.
const PERIODS: usize = 3;
/// How long a network is shown after its last connection.
const SHOWN_MS: u64 = 24 * 3600 * 1000;
/// Marks IPv4 networks.
const V4: u64 = 1 << 63;

/// Connections from one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceNetwork {
    key: u64,
    /// How many came in the last 24 to 36 hours.
    pub connections: u64,
    /// When the last one came, in milliseconds since 1970.
    pub last_ms: u64,
}

impl SourceNetwork {
    /// The network in CIDR form.
    pub fn network(&self) -> String {
        if self.key & V4 == 0 {
            format!("{}/{BITS_V6}", Ipv6Addr::from(u128::from(self.key) << (128 - BITS_V6)))
        } else {
            format!("{}/{BITS_V4}", Ipv4Addr::from((self.key as u32) << (32 - BITS_V4)))
        }
    }
}

fn key(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => V4 | u64::from(ip.to_bits() >> (32 - BITS_V4)),
        IpAddr::V6(ip) => (ip.to_bits() >> (128 - BITS_V6)) as u64,
    }
}

#[derive(Debug, Clone, Copy)]
struct NetworkCount {
    key: u64,
    last_ms: u64,
    /// By half day, the present one first.
    counts: [u32; PERIODS],
    /// What of them another network may have had.
    doubt: u32,
}

impl NetworkCount {
    fn sum(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }
}

/// The networks of one rule, as one worker counts them.
#[derive(Debug, Default)]
pub struct SourceSketch {
    places: Vec<NetworkCount>,
    period: u64,
}

impl SourceSketch {
    /// Counts a connection.
    pub fn note(&mut self, source: IpAddr, now_ms: u64) {
        self.turn(now_ms);
        let key = key(source);
        let known = self.places.iter_mut().find(|place| place.key == key);
        if let Some(place) = known {
            place.last_ms = now_ms;
            place.counts[0] = place.counts[0].saturating_add(1);
            return;
        }
        if self.places.len() < NETWORKS {
            return self.places.push(NetworkCount { key, last_ms: now_ms, counts: [1, 0, 0], doubt: 0 });
        }
        if let Some(least) = self.places.iter_mut().min_by_key(|place| (place.sum(), place.last_ms)) {
            let doubt = u32::try_from(least.sum()).unwrap_or(u32::MAX);
            *least = NetworkCount { key, last_ms: now_ms, counts: [doubt.saturating_add(1), 0, 0], doubt };
        }
    }

    /// Begins another half day, if it is time.
    fn turn(&mut self, now_ms: u64) {
        let period = now_ms / PERIOD_MS;
        // A clock that was set back counts on.
        let passed = period.saturating_sub(self.period).min(PERIODS as u64) as usize;
        self.period = self.period.max(period);
        if passed == 0 {
            return;
        }
        for place in &mut self.places {
            place.counts.rotate_right(passed % PERIODS);
            place.counts[..passed].fill(0);
            // What may be another's is the oldest of what it has.
            place.doubt = place.doubt.min(u32::try_from(place.sum()).unwrap_or(u32::MAX));
        }
        self.places.retain(|place| place.sum() > 0);
    }

    /// The networks of the last day.
    pub fn recent(&self, now_ms: u64) -> impl Iterator<Item = SourceNetwork> {
        let is_recent = move |place: &&NetworkCount| place.last_ms.saturating_add(SHOWN_MS) >= now_ms;
        self.places.iter().filter(is_recent).map(|place| SourceNetwork {
            key: place.key,
            connections: place.sum().saturating_sub(place.doubt.into()).max(1),
            last_ms: place.last_ms,
        })
    }
}

/// The busiest networks of several sketches of one rule, first the one with the most connections.
pub fn busiest(of: impl IntoIterator<Item = SourceNetwork>, most: usize) -> Vec<SourceNetwork> {
    let mut sums: Vec<SourceNetwork> = Vec::new();
    for one in of {
        match sums.iter_mut().find(|sum| sum.key == one.key) {
            Some(sum) => {
                sum.connections += one.connections;
                sum.last_ms = sum.last_ms.max(one.last_ms);
            }
            None => sums.push(one),
        }
    }
    sums.sort_by_key(|sum| (std::cmp::Reverse(sum.connections), sum.key));
    sums.truncate(most);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn shown(sketch: &SourceSketch, now_ms: u64) -> Vec<(String, u64)> {
        busiest(sketch.recent(now_ms), 5).iter().map(|one| (one.network(), one.connections)).collect()
    }

    #[test]
    fn connections_are_counted_by_network() {
        let mut sketch = SourceSketch::default();
        for source in ["192.0.2.1", "192.0.2.77", "::ffff:192.0.2.9", "198.51.100.1", "2001:db8:1:2::3", "2001:db8:1::"]
        {
            sketch.note(ip(source), 1000);
        }
        let expected = [("192.0.2.0/24", 3), ("2001:db8:1::/48", 2), ("198.51.100.0/24", 1)];
        assert_eq!(shown(&sketch, 1000), expected.map(|(network, count)| (network.to_owned(), count)));
    }

    #[test]
    fn a_hundred_thousand_networks_take_no_more_room_and_the_busiest_is_among_them() {
        let mut sketch = SourceSketch::default();
        for other in 0..100_000_u32 {
            sketch.note(Ipv4Addr::from(0x0a00_0000 + (other << 8)).into(), 1000);
            if other % 20 == 0 {
                sketch.note(ip("192.0.2.1"), 1000);
            }
        }
        assert_eq!(sketch.places.len(), NETWORKS);
        assert!(size_of::<NetworkCount>() * NETWORKS <= 2560);
        let first = &busiest(sketch.recent(1000), 5)[0];
        assert_eq!(first.network(), "192.0.2.0/24");
        assert!((3_000..=5_000).contains(&first.connections), "{first:?}");
    }

    #[test]
    fn what_was_not_seen_for_a_day_is_not_shown_and_is_forgotten() {
        let mut sketch = SourceSketch::default();
        let start = 10 * DAY_MS;
        sketch.note(ip("192.0.2.1"), start);
        assert_eq!(shown(&sketch, start + DAY_MS).len(), 1);
        assert_eq!(shown(&sketch, start + DAY_MS + 1).len(), 0);
        sketch.note(ip("198.51.100.1"), start + DAY_MS + DAY_MS / 2);
        assert_eq!(sketch.places.len(), 1, "its place is free");
        // A network that stays is counted for a day and a half at most.
        for half_day in 0..10 {
            sketch.note(ip("203.0.113.1"), start + 2 * DAY_MS + half_day * PERIOD_MS);
        }
        assert_eq!(shown(&sketch, start + 2 * DAY_MS + 9 * PERIOD_MS), [("203.0.113.0/24".to_owned(), 3)]);
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let mut sketch = SourceSketch::default();
        sketch.note(ip("192.0.2.1"), 10 * DAY_MS);
        sketch.note(ip("192.0.2.1"), 9 * DAY_MS);
        assert_eq!(shown(&sketch, 9 * DAY_MS), [("192.0.2.0/24".to_owned(), 2)]);
    }

    #[test]
    fn sketches_of_several_workers_are_one() {
        let (mut one, mut other) = (SourceSketch::default(), SourceSketch::default());
        one.note(ip("192.0.2.1"), 1000);
        other.note(ip("192.0.2.2"), 2000);
        let all = busiest(one.recent(2000).chain(other.recent(2000)), 5);
        assert_eq!((all.len(), all[0].connections, all[0].last_ms), (1, 2, 2000));
    }
}
