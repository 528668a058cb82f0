//! How often a source may present a token that is not valid. Pure.
//!
//! Keeps: at most [`MOST`] wrong tokens a minute from one source, an IPv4 address or the /64 of an IPv6 one; how many
//! sources are remembered is bounded, and those with the fewest recent mistakes are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;

/// Wrong tokens from one source within [`WINDOW`].
pub const MOST: usize = 10;
/// The time in which they count.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Sources that are remembered: some hundred bytes each.
const SOURCES: usize = 4096;

/// Who is counted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoginSource {
    /// An address, or the network of one.
    Network(IpAddr),
    /// A request without an address.
    Unknown,
}

impl LoginSource {
    /// The source that an address belongs to.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                Self::Network(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))))
            }
            Some(address) => Self::Network(address),
            None => Self::Unknown,
        }
    }
}

/// The failed logins of the last minute.
#[derive(Debug, Default)]
pub struct FailedLogins {
    by_source: HashMap<LoginSource, VecDeque<Timestamp>>,
}

impl FailedLogins {
    /// Counts a wrong token. An error says after how long the source may try again; such a try is not counted.
    pub fn failed(&mut self, source: LoginSource, now: Timestamp) -> Result<(), Duration> {
        let from = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
        if self.by_source.len() >= SOURCES && !self.by_source.contains_key(&source) {
            self.make_room(from);
        }
        let times = self.by_source.entry(source).or_default();
        while times.front().is_some_and(|first| *first <= from) {
            times.pop_front();
        }
        if let (true, Some(first)) = (times.len() >= MOST, times.front()) {
            let rest = Duration::try_from(first.duration_since(from)).unwrap_or_default();
            return Err(rest.max(Duration::from_secs(1)));
        }
        times.push_back(now);
        Ok(())
    }

    fn make_room(&mut self, from: Timestamp) {
        self.by_source.retain(|_, times| times.back().is_some_and(|last| *last > from));
        if self.by_source.len() < SOURCES {
            return;
        }
        // A flood from everywhere: those that failed least are the ones that lose least by being forgotten.
        let mut all: Vec<(usize, LoginSource)> =
            self.by_source.iter().map(|(source, times)| (times.len(), *source)).collect();
        all.sort_unstable();
        for (_, source) in all.into_iter().take(SOURCES / 4) {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    fn source(text: &str) -> LoginSource {
        LoginSource::of(Some(text.parse().expect("an address")))
    }

    #[test]
    fn ten_a_minute_are_counted_and_the_next_ones_are_told_when_to_come_again() {
        let mut logins = FailedLogins::default();
        for second in 0..10 {
            assert_eq!(logins.failed(source("192.0.2.1"), at(second)), Ok(()));
        }
        assert_eq!(logins.failed(source("192.0.2.1"), at(20)), Err(Duration::from_secs(40)));
        assert_eq!(logins.failed(source("192.0.2.2"), at(20)), Ok(()), "another source");
        assert_eq!(logins.failed(source("192.0.2.1"), at(59)), Err(Duration::from_secs(1)));
        assert_eq!(logins.failed(source("192.0.2.1"), at(60)), Ok(()), "the first one is a minute old");
        assert!(logins.failed(source("192.0.2.1"), at(60)).is_err(), "the second is not");
    }

    #[test]
    fn a_64_is_one_source_and_a_mapped_address_is_an_ipv4_one() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn sources_are_bounded_and_the_busiest_is_remembered() {
        let mut logins = FailedLogins::default();
        for _ in 0..MOST {
            logins.failed(source("192.0.2.1"), at(0)).expect("counted");
        }
        for number in 0..20_000_u32 {
            let address = IpAddr::V4((0x0a00_0000 + number).into());
            logins.failed(LoginSource::of(Some(address)), at(1)).expect("counted");
        }
        assert!(logins.by_source.len() <= SOURCES);
        assert!(logins.failed(source("192.0.2.1"), at(2)).is_err());
    }
}
