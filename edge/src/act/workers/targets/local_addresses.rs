//! Whether an address is this host's own, as a worker asks. I/O.
//!
//! Keeps: the system is asked only where the port could be one of this host's, and once for all such connections of ten
//! seconds.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::timers::{Tick, ticks};
use crate::act::interfaces;

/// How long an answer holds: asking takes some system calls, and addresses hardly ever change.
const FRESH: Duration = Duration::from_secs(10);
/// Ports below this are never given to a connection that asks for none: Linux refuses such a range.
const UNPRIVILEGED: u16 = 1024;

/// The addresses of this host, as of the last look.
#[derive(Default)]
pub(crate) struct LocalAddresses {
    addresses: BTreeSet<IpAddr>,
    ports: Option<(u16, u16)>,
    until: Option<Tick>,
}

impl LocalAddresses {
    fn look(&mut self, now: Tick) {
        if self.until.is_none_or(|until| until <= now) {
            self.addresses = interfaces::addresses();
            self.ports = interfaces::local_ports();
            self.until = Some(now + ticks(FRESH));
        }
    }

    /// True if the address is on one of this host's interfaces.
    pub(crate) fn contains(&mut self, ip: IpAddr, now: Tick) -> bool {
        self.look(now);
        self.addresses.contains(&ip)
    }

    /// True if a socket that connects to this address could be given the same one for itself: on this host, and at a
    /// port that the system gives away.
    pub(crate) fn may_meet_itself(&mut self, to: SocketAddr, now: Tick) -> bool {
        if to.port() < UNPRIVILEGED {
            return false;
        }
        self.look(now);
        let ip = to.ip().to_canonical();
        self.ports.is_none_or(|(first, last)| (first..=last).contains(&to.port()))
            && (ip.is_loopback() || ip.is_unspecified() || self.addresses.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_own_and_a_documentation_address_is_not() {
        let mut own = LocalAddresses::default();
        assert!(own.contains("127.0.0.1".parse().expect("an address"), 0));
        assert!(!own.contains("192.0.2.77".parse().expect("an address"), 0));
    }

    #[test]
    fn only_a_port_of_this_host_that_the_system_gives_away_is_met_by_its_own_socket() {
        let mut own = LocalAddresses::default();
        let to = |text: &str| text.parse::<SocketAddr>().expect("an address");
        own.look(0);
        own.ports = Some((32768, 60999));
        assert!(own.may_meet_itself(to("127.0.0.1:40000"), 0));
        for other in ["127.0.0.1:80", "127.0.0.1:32767", "127.0.0.1:61000", "192.0.2.77:40000"] {
            assert!(!own.may_meet_itself(to(other), 0), "{other}");
        }
    }
}
