//! What this process can do on this host: probed once at the start. I/O.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};

use schema::capability::{Capabilities, Capability, FIRST_UNPRIVILEGED_PORT, Limits};

use crate::act::{descriptors, health};

/// Descriptors kept back from listeners: session, metrics, state, resolver, and connections at two each.
const RESERVED_DESCRIPTORS: u64 = 256;
/// Bit of CAP_NET_BIND_SERVICE in a capability set (linux/capability.h).
const CAP_NET_BIND_SERVICE: u32 = 10;
/// `http` is the lowest port that a forwarder is asked for; an edge that may bind it counts as privileged.
const LOWEST_USUAL_PORT: u16 = 80;

/// The capabilities of this version on this host, without the disabled ones.
///
/// All that is known: what an edge offers it does.
pub fn capabilities(disabled: &Capabilities) -> Capabilities {
    let mut capabilities = Capabilities::from([
        Capability::Tcp,
        Capability::Udp,
        Capability::PortRange,
        Capability::MultiTarget,
        Capability::SourceIp,
        Capability::ProxyProtocol,
        Capability::ActiveHealth,
        Capability::Access,
        Capability::AcceptProxy,
        Capability::RateLimit,
        Capability::Quota,
        Capability::Sni,
    ]);
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        capabilities.extend([Capability::Ipv6, Capability::ScopedAddresses]);
    }
    if health::may_send_echoes() {
        capabilities.insert(Capability::IcmpHealth);
    }
    if may_bind_privileged_ports() {
        capabilities.insert(Capability::PrivilegedPorts);
    }
    capabilities.difference(disabled).copied().collect()
}

/// Raises the limit of descriptors as far as it goes, and says what listeners may take of it: never less than
/// `serving`, those that served before a restart.
pub fn limits(serving: u64) -> Limits {
    let descriptors = for_listeners(guard::descriptors::raise());
    Limits { ports_per_range: 0, file_descriptors: descriptors.max(serving), rules: 0 }
}

fn for_listeners(descriptors: u64) -> u64 {
    // 0 would mean that there is no limit.
    (descriptors - descriptors::kept_back(RESERVED_DESCRIPTORS, descriptors)).max(1)
}

fn may_bind_privileged_ports() -> bool {
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse::<u16>().ok())
        .unwrap_or(FIRST_UNPRIVILEGED_PORT);
    first_free <= LOWEST_USUAL_PORT
        || fs::read_to_string("/proc/self/status").is_ok_and(|status| has_bind_capability(&status))
}

fn has_bind_capability(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAP_NET_BIND_SERVICE) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_capability_is_not_offered() {
        let offered = capabilities(&Capabilities::new());
        assert!(offered.contains(&Capability::Tcp) && offered.contains(&Capability::PortRange));
        assert!(offered.contains(&Capability::Udp) && offered.contains(&Capability::MultiTarget));
        let less = capabilities(&Capabilities::from([Capability::PortRange]));
        assert!(!less.contains(&Capability::PortRange) && less.contains(&Capability::Tcp));
    }

    #[test]
    fn a_small_limit_of_descriptors_leaves_most_of_them_to_listeners() {
        let left: Vec<u64> = [0, 64, 200, 1024, 65_536].into_iter().map(for_listeners).collect();
        assert_eq!(left, [1, 48, 150, 768, 65_280]);
        assert_eq!(limits(u64::MAX).file_descriptors, u64::MAX);
    }

    #[test]
    fn the_bind_capability_is_read_from_the_effective_set() {
        assert!(has_bind_capability("Name:\tx\nCapPrm:\t0\nCapEff:\t0000000000000400\n"));
        assert!(!has_bind_capability("CapEff:\t0000000000000000\n"));
        assert!(!has_bind_capability(""));
    }
}
