//! Which target a client's address belongs to: weighted rendezvous hashing in whole numbers. Pure.
//!
//! Keeps: the answer depends on the address and on the names and weights of the targets alone, never on their order,
//! the process, the machine or the time; so it survives restarts and is the same on every edge. A target that leaves
//! moves only its own clients, because every other target's score for a client stays what it was.

use std::net::IpAddr;

/// The hash of a target's name, to be made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetSeed(u64);

impl TargetSeed {
    /// Of a target as the rule writes it, `HOST:PORTS`.
    pub fn new(name: &str) -> Self {
        // FNV-1a, 64 bits: short, and its constants are the published ones.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(mix(hash))
    }
}

/// The hash of a client's address; an IPv4-mapped address is the IPv4 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientSeed(u64);

impl ClientSeed {
    /// Of an address.
    pub fn new(address: IpAddr) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        Self(mix(mix(bits as u64) ^ (bits >> 64) as u64))
    }
}

/// How far a target is from a client; the nearest one is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    // Minus the binary logarithm of a uniform number, with 32 bits behind the point: exponentially distributed. The
    // smallest of such numbers, each divided by its weight, belongs to each weight as often as its share.
    draw: u64,
    weight: u8,
    seed: TargetSeed,
}

impl Distance {
    /// From a target of this weight; a weight of 0 is farther than any other.
    pub fn new(client: ClientSeed, target: TargetSeed, weight: u8) -> Self {
        let uniform = mix(client.0 ^ target.0);
        Self { draw: (64 << 32) - log2(uniform.max(1)), weight, seed: target }
    }

    /// True if this one is chosen before the other. Total for different targets.
    pub fn is_nearer_than(&self, other: &Self) -> bool {
        // a/x < b/y, without dividing.
        let own = u128::from(self.draw) * u128::from(other.weight);
        let others = u128::from(other.draw) * u128::from(self.weight);
        (self.weight == 0, own, self.seed) < (other.weight == 0, others, other.seed)
    }
}

/// The finalizer of `SplitMix64`: every bit of the input moves about half of the output's.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The binary logarithm of a number above 0 with 32 bits behind the point, by repeated squaring: floating point
/// would not promise the same last bit on every processor.
fn log2(value: u64) -> u64 {
    let whole = 63 - u64::from(value.leading_zeros());
    // In 1..2, with 63 bits behind the point.
    let mut mantissa = value << value.leading_zeros();
    let mut fraction = 0;
    for _ in 0..32 {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let is_two_or_more = square >> 64 != 0;
        fraction = (fraction << 1) | u64::from(is_two_or_more);
        mantissa = if is_two_or_more { (square >> 1) as u64 } else { square as u64 };
    }
    (whole << 32) | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_floating_point() {
        for value in [1, 2, 3, 7, 1000, 1 << 40, u64::MAX / 3, u64::MAX] {
            let exact = (value as f64).log2();
            let ours = log2(value) as f64 / f64::from(1 << 16) / f64::from(1 << 16);
            assert!((exact - ours).abs() < 1e-8, "{value}: {exact} {ours}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let seed = |text: &str| ClientSeed::new(text.parse().expect("an address"));
        assert_eq!(seed("::ffff:192.0.2.7"), seed("192.0.2.7"));
        assert_ne!(seed("192.0.2.8"), seed("192.0.2.7"));
    }

    #[test]
    fn no_weight_is_farther_than_any_weight() {
        let client = ClientSeed::new(IpAddr::from([192, 0, 2, 1]));
        for number in 0..100 {
            let none = Distance::new(client, TargetSeed::new(&format!("a:{number}")), 0);
            let some = Distance::new(client, TargetSeed::new("b:1"), 1);
            assert!(some.is_nearer_than(&none) && !none.is_nearer_than(&some));
        }
    }
}
