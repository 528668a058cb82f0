//! Which addresses are this host's own. I/O.
//!
//! Keeps: an answer is what the system says at that moment; without one, no address counts as the host's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// The addresses on all interfaces.
pub(crate) fn addresses() -> BTreeSet<IpAddr> {
    match getifaddrs() {
        Ok(interfaces) => {
            let found = interfaces.filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
            });
            found.collect()
        }
        Err(error) => {
            tracing::debug!(%error, "the addresses of this host are not known");
            BTreeSet::new()
        }
    }
}
