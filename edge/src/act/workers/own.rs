//! Whether a target's address is this host's own, as a worker asks. I/O.
//!
//! Keeps: the system is asked only for a target that might be its own listener, and not for each such connection.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::timers::{Tick, ticks};
use crate::act::interfaces;

/// How long an answer holds: asking takes some system calls, and addresses hardly ever change.
const FRESH: Duration = Duration::from_secs(10);

/// The addresses of this host, as of the last look.
#[derive(Default)]
pub(super) struct Own {
    addresses: BTreeSet<IpAddr>,
    until: Option<Tick>,
}

impl Own {
    /// True if the address is on one of this host's interfaces.
    pub(super) fn contains(&mut self, ip: IpAddr, now: Tick) -> bool {
        if self.until.is_none_or(|until| until <= now) {
            self.addresses = interfaces::addresses();
            self.until = Some(now + ticks(FRESH));
        }
        self.addresses.contains(&ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_own_and_a_documentation_address_is_not() {
        let mut own = Own::default();
        assert!(own.contains("127.0.0.1".parse().expect("an address"), 0));
        assert!(!own.contains("192.0.2.77".parse().expect("an address"), 0));
    }
}
