//! Which addresses a connection tries in which order, and what its failures are called. Pure.

use std::net::SocketAddr;

use schema::net::PortRange;

/// Why a connection to a target did not come about; the label of `portunus_rule_connect_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The target answered with a reset.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way to the target.
    Unreachable,
    /// Reset while connecting.
    Reset,
    /// The edge has no descriptor left.
    Descriptors,
    /// Anything else.
    Other,
}

impl Cause {
    /// Every cause, in the order of the counters.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Timeout, Self::Unreachable, Self::Reset, Self::Descriptors, Self::Other];

    /// As in the protocol and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Descriptors => "descriptors",
            Self::Other => "other",
        }
    }
}

/// The preferred family first; inside a family the resolver's order stays.
pub fn order(mut addresses: Vec<SocketAddr>, prefer_ipv6: bool) -> Vec<SocketAddr> {
    addresses.sort_by_key(|address| address.is_ipv6() != prefer_ipv6);
    addresses
}

/// The target's port for a listen port: first to first, last to last.
pub fn target_port(listen: PortRange, target: PortRange, port: u16) -> u16 {
    target.first() + (port - listen.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_family_comes_first_and_ties_keep_their_order() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let all = vec![parse("10.0.0.1:1"), parse("[::1]:1"), parse("10.0.0.2:1"), parse("[::2]:1")];
        let v6 = order(all.clone(), true);
        assert_eq!(v6, vec![parse("[::1]:1"), parse("[::2]:1"), parse("10.0.0.1:1"), parse("10.0.0.2:1")]);
        assert_eq!(order(all, false)[0], parse("10.0.0.1:1"));
    }

    #[test]
    fn ports_map_first_to_first_and_last_to_last() {
        let range = |first, last| PortRange::new(first, last).expect("a range");
        let (listen, target) = (range(65436, 65535), range(1, 100));
        assert_eq!(target_port(listen, target, 65436), 1);
        assert_eq!(target_port(listen, target, 65535), 100);
    }
}
