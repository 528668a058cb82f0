//! Networks of a policy. Pure.
//!
//! Keeps: an IPv4 network is one value, however it is written; a wildcard is covered only by networks that leave out no
//! address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Bits before the IPv4 address in its IPv4-mapped form.
const MAPPED: u8 = 96;

/// One network, in CIDR form, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It has another form.
    #[error("`{0}` is not a network: expected an address with a prefix length, such as 10.0.0.0/8 or 2001:db8::/32")]
    Form(String),
    /// Its address is inside of the network, and not the first one of it.
    #[error("`{text}` has bits set beyond its prefix: write {network}")]
    HostBits {
        /// As it was written.
        text: String,
        /// What it could stand for.
        network: Network,
    },
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
        let written = text.parse::<IpNet>().ok().or_else(|| address(text));
        let written = written.ok_or_else(|| InvalidNetwork::Form(text.to_owned()))?;
        let network = Self(canonical(written.trunc()));
        if written.trunc() != written {
            return Err(InvalidNetwork::HostBits { text: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl Network {
    /// As `ipnet` has it; of an IPv4-mapped network the IPv4 network.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// The network, unless bits beyond its prefix are set.
    pub fn from_net(net: IpNet) -> Option<Self> {
        (net.trunc() == net).then(|| Self(canonical(net)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The IPv4 network of an IPv4-mapped one.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let (IpAddr::V4(ip), Some(prefix)) =
        (IpAddr::V6(mapped.addr()).to_canonical(), mapped.prefix_len().checked_sub(MAPPED))
    else {
        return network;
    };
    Ipv4Net::new(ip, prefix).map_or(network, IpNet::V4)
}

/// A list of networks, ascending and without repetitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// As a list.
    pub fn as_slice(&self) -> &[Network] {
        &self.0
    }

    /// True if the address is in one of them.
    pub fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.0.contains(&ip))
    }

    /// True if every IPv4 address is in one of them.
    pub fn cover_ipv4(&self) -> bool {
        let of_family = |network: &Network| match network.0 {
            IpNet::V4(network) => Some(network),
            IpNet::V6(_) => None,
        };
        let networks: Vec<Ipv4Net> = self.0.iter().filter_map(of_family).collect();
        Ipv4Net::aggregate(&networks).iter().any(|network| network.prefix_len() == 0)
    }

    /// True if every IPv6 address is in one of them.
    pub fn cover_ipv6(&self) -> bool {
        let of_family = |network: &Network| match network.0 {
            IpNet::V4(_) => None,
            IpNet::V6(network) => Some(network),
        };
        let networks: Vec<Ipv6Net> = self.0.iter().filter_map(of_family).collect();
        Ipv6Net::aggregate(&networks).iter().any(|network| network.prefix_len() == 0)
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let mut networks: Vec<Network> = networks.into_iter().collect();
        networks.sort_unstable();
        networks.dedup();
        Self(networks)
    }
}
