//! Networks as records of a fixed length. Pure.
//!
//! Keeps: records ascend by address and then by prefix length, each is there once, and none has bits set beyond its
//! prefix; so two lists with the same networks have the same bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{host_bits_v4, host_bits_v6};
use crate::policy::Network;

/// Bytes of an IPv4 network.
pub(super) const RECORD_V4: usize = 5;
/// Bytes of an IPv6 network.
pub(super) const RECORD_V6: usize = 17;

/// The networks of a list.
pub(super) struct Records {
    pub(super) v4: Box<[u8]>,
    pub(super) v6: Box<[u8]>,
}

/// An IPv4 network as one number that sorts as its record does.
pub(super) fn key_v4(address: u32, prefix: u8) -> u64 {
    u64::from(address) << 8 | u64::from(prefix)
}

impl Records {
    /// The records of networks in any order; those of IPv4 as [`key_v4`] gives them.
    pub(super) fn of(mut v4: Vec<u64>, mut v6: Vec<(u128, u8)>) -> Self {
        v4.sort_unstable();
        v4.dedup();
        v6.sort_unstable();
        v6.dedup();
        let mut bytes_v4 = Vec::with_capacity(v4.len() * RECORD_V4);
        for key in v4 {
            bytes_v4.extend_from_slice(&key.to_be_bytes()[3..]);
        }
        let mut bytes_v6 = Vec::with_capacity(v6.len() * RECORD_V6);
        for (address, prefix) in v6 {
            bytes_v6.extend_from_slice(&address.to_be_bytes());
            bytes_v6.push(prefix);
        }
        Self { v4: bytes_v4.into(), v6: bytes_v6.into() }
    }

    pub(super) fn v4(&self) -> impl Iterator<Item = (u32, u8)> {
        self.v4.chunks_exact(RECORD_V4).map(read_v4)
    }

    pub(super) fn v6(&self) -> impl Iterator<Item = (u128, u8)> {
        self.v6.chunks_exact(RECORD_V6).map(read_v6)
    }

    /// True if they are whole, ascending and valid.
    pub(super) fn are_canonical(&self) -> bool {
        let (whole_v4, whole_v6) = (self.v4.len().is_multiple_of(RECORD_V4), self.v6.len().is_multiple_of(RECORD_V6));
        let valid_v4 = |(first, prefix): (u32, u8)| prefix <= 32 && first & host_bits_v4(prefix) == 0;
        let valid_v6 = |(first, prefix): (u128, u8)| {
            let is_mapped = prefix >= 96 && Ipv6Addr::from_bits(first).to_ipv4_mapped().is_some();
            prefix <= 128 && first & host_bits_v6(prefix) == 0 && !is_mapped
        };
        whole_v4
            && whole_v6
            && self.v4().all(valid_v4)
            && self.v6().all(valid_v6)
            && self.v4().is_sorted_by(|one, next| one < next)
            && self.v6().is_sorted_by(|one, next| one < next)
    }

    pub(super) fn networks(&self) -> impl Iterator<Item = Network> {
        let v4 = self.v4().filter_map(|(first, prefix)| network_v4(first, prefix));
        v4.chain(self.v6().filter_map(|(first, prefix)| network_v6(first, prefix)))
    }

    /// The narrowest network that the address is in: one binary search for each prefix length.
    pub(super) fn find(&self, ip: IpAddr) -> Option<Network> {
        match ip {
            IpAddr::V4(ip) => (0..=32_u8).rev().find_map(|prefix| {
                let first = ip.to_bits() & !host_bits_v4(prefix);
                let is_there = holds(&self.v4, RECORD_V4, |record| read_v4(record).cmp(&(first, prefix)));
                is_there.then(|| network_v4(first, prefix)).flatten()
            }),
            IpAddr::V6(ip) => (0..=128_u8).rev().find_map(|prefix| {
                let first = ip.to_bits() & !host_bits_v6(prefix);
                let is_there = holds(&self.v6, RECORD_V6, |record| read_v6(record).cmp(&(first, prefix)));
                is_there.then(|| network_v6(first, prefix)).flatten()
            }),
        }
    }
}

fn holds(bytes: &[u8], length: usize, compare: impl Fn(&[u8]) -> std::cmp::Ordering) -> bool {
    let (mut low, mut high) = (0, bytes.len() / length);
    while low < high {
        let middle = low.midpoint(high);
        match compare(&bytes[middle * length..][..length]) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    false
}

fn read_v4(record: &[u8]) -> (u32, u8) {
    let address = record[..4].try_into().expect("a record has five bytes");
    (u32::from_be_bytes(address), record[4])
}

fn read_v6(record: &[u8]) -> (u128, u8) {
    let address = record[..16].try_into().expect("a record has seventeen bytes");
    (u128::from_be_bytes(address), record[16])
}

fn network_v4(first: u32, prefix: u8) -> Option<Network> {
    Network::from_net(IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(first), prefix).ok()?))
}

fn network_v6(first: u128, prefix: u8) -> Option<Network> {
    Network::from_net(IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(first), prefix).ok()?))
}
