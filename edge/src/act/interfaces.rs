//! Which addresses and ports are this host's own, and which number an interface has. I/O.
//!
//! Keeps: an answer is what the system says at that moment; without one, no address counts as the host's.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use schema::scope::ScopedIp;

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
            tracing::debug!(%error, "the addresses of this host cannot be determined");
            BTreeSet::new()
        }
    }
}

/// A name of the network that this process binds ports in: processes with the same name compete for them. Empty where the
/// system does not say.
pub(crate) fn host() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // `net:[4026531840]`: containers of one machine have different ones.
    let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    if boot.trim().is_empty() || network.as_os_str().is_empty() {
        return String::new();
    }
    // A digest, so that nothing of the machine is told.
    schema::canonical::Digest::of(format!("{} {}", boot.trim(), network.display()).as_bytes()).short()
}

/// A scoped address as sockets take it; `None` while this host has no such interface.
pub(crate) fn socket_address(scoped: &ScopedIp, port: u16) -> Option<SocketAddr> {
    let zone = scoped.zone().as_str();
    let index = if_nametoindex(zone).ok().or_else(|| zone.parse().ok())?;
    Some(SocketAddrV6::new(scoped.ip(), port, 0, index).into())
}

/// The first and last port that the system gives to sockets that ask for none.
pub(crate) fn local_ports() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = text.split_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Some((first, last)),
        _ => None,
    }
}

/// False where this host has no address of the family at all, as with IPv6 switched off. The system has one error for
/// that and for having no port left; a socket of datagrams, whose ports are others, tells them apart without sending.
pub(crate) fn has_source(address: SocketAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(address));
    !connected.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_known_by_its_name_and_by_its_number() {
        let scope = |text: &str| match socket_address(&ScopedIp::parse(text).unwrap(), 80) {
            Some(SocketAddr::V6(address)) => Some(address.scope_id()),
            _ => None,
        };
        let loopback = if_nametoindex("lo").unwrap();
        assert_eq!(scope("fe80::1%lo"), Some(loopback));
        assert_eq!(scope(&format!("fe80::1%{loopback}")), Some(loopback));
        assert_eq!(scope("fe80::1%nosuch0"), None);
    }
}
