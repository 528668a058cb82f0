//! The policy of an edge to and from its message. Pure.

use super::{InvalidWire, ports_from_wire};
use crate::net::{PortRange, PortSet};
use crate::policy::{Network, Networks, Policy};
use crate::proto;

/// The message of a policy.
pub fn policy_to_wire(policy: &Policy) -> proto::Policy {
    let range = |range: &PortRange| proto::Ports { first: range.first().into(), last: range.last().into() };
    let ports = |ports: &PortSet| proto::PortRanges { ranges: ports.ranges().iter().map(range).collect() };
    let networks = |networks: &Networks| proto::Networks {
        networks: networks.as_slice().iter().map(ToString::to_string).collect(),
    };
    proto::Policy {
        listen_ports: policy.listen_ports.as_ref().map(ports),
        listen_addresses: policy.listen_addresses.as_ref().map(networks),
        target_networks: policy.target_networks.as_ref().map(networks),
        target_ports: policy.target_ports.as_ref().map(ports),
        max_rules: policy.max_rules,
        max_connections: policy.max_connections,
        allow_metadata_targets: policy.allow_metadata_targets,
    }
}

/// The policy of a message. An entry that cannot be read is an error: without it the policy would be another one.
pub fn policy_from_wire(message: &proto::Policy) -> Result<Policy, InvalidWire> {
    Ok(Policy {
        listen_ports: message.listen_ports.as_ref().map(|list| ports(list, "policy.listen_ports")).transpose()?,
        listen_addresses: networks(message.listen_addresses.as_ref(), "policy.listen_addresses")?,
        target_networks: networks(message.target_networks.as_ref(), "policy.target_networks")?,
        target_ports: message.target_ports.as_ref().map(|list| ports(list, "policy.target_ports")).transpose()?,
        max_rules: message.max_rules,
        max_connections: message.max_connections,
        allow_metadata_targets: message.allow_metadata_targets,
    })
}

fn ports(list: &proto::PortRanges, field: &'static str) -> Result<PortSet, InvalidWire> {
    let ranges = list.ranges.iter().map(|range| ports_from_wire(range.first, range.last, field));
    Ok(PortSet::from_ranges(ranges.collect::<Result<Vec<_>, _>>()?))
}

fn networks(list: Option<&proto::Networks>, field: &'static str) -> Result<Option<Networks>, InvalidWire> {
    let Some(list) = list else { return Ok(None) };
    let network = |text: &String| text.parse::<Network>().map_err(|_| InvalidWire::Field(field));
    list.networks.iter().map(network).collect::<Result<Networks, _>>().map(Some)
}
