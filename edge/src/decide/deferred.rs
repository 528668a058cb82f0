//! Which addresses of a name failed not long ago, so that others are tried before them. Pure.
//!
//! Keeps: an address is put off for a bounded time and never left out; few of them are remembered.

use std::net::SocketAddr;
use std::time::Duration;

/// How long an address comes last: as long as a failed target waits for its trial connection.
const LASTS: Duration = Duration::from_secs(30);
/// Addresses that are remembered of one name: more than a rotation of them needs.
const MOST: usize = 64;

/// The addresses of one name that failed, and until when they come last.
#[derive(Debug, Clone, Default)]
pub struct Deferred(Vec<(SocketAddr, Duration)>);

impl Deferred {
    /// The same with one that failed now.
    #[must_use]
    pub fn with(mut self, address: SocketAddr, now: Duration) -> Self {
        self.0.retain(|(other, until)| *other != address && *until > now);
        if self.0.len() == MOST {
            // The oldest.
            self.0.remove(0);
        }
        self.0.push((address, now + LASTS));
        self
    }

    /// The same without one that has answered; `None` where no other is left.
    pub fn without(&self, address: SocketAddr) -> Option<Self> {
        let rest: Vec<_> = self.0.iter().copied().filter(|(other, _)| *other != address).collect();
        (!rest.is_empty()).then_some(Self(rest))
    }

    /// True if the address is put off.
    pub fn holds(&self, address: SocketAddr, now: Duration) -> bool {
        self.0.iter().any(|(other, until)| *other == address && *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 80).into()
    }

    #[test]
    fn an_address_that_failed_comes_last_for_a_while_or_until_it_answers() {
        let now = Duration::from_secs(100);
        let deferred = Deferred::default().with(address(1), now).with(address(3), now);
        assert!(deferred.holds(address(1), now) && !deferred.holds(address(2), now));
        assert!(!deferred.holds(address(1), now + LASTS));
        let less = deferred.without(address(1)).expect("another one is left");
        assert!(!less.holds(address(1), now) && less.holds(address(3), now));
        assert!(less.without(address(3)).is_none());
    }

    #[test]
    fn few_are_remembered_and_the_oldest_is_forgotten_first() {
        let now = Duration::from_secs(1);
        let many = (0..=MOST as u8).fold(Deferred::default(), |deferred, last| deferred.with(address(last), now));
        assert_eq!(many.0.len(), MOST);
        assert!(!many.holds(address(0), now) && many.holds(address(1), now));
        let later = many.with(address(0), now + LASTS);
        assert_eq!(later.0.len(), 1, "what has had its time is forgotten");
    }
}
