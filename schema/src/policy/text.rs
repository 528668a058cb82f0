//! A policy as JSON shows it, and as a saved status holds it. Pure.

use serde::{Deserialize, Serialize};

use super::{Network, Networks, Policy};
use crate::net::{PortRange, PortSet};

/// The keys of the policy file; of other versions' keys nothing is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PolicyText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listen_ports: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listen_addresses: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_networks: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_ports: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_rules: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
    #[serde(default)]
    allow_metadata_targets: bool,
}

impl From<Policy> for PolicyText {
    fn from(policy: Policy) -> Self {
        let ports = |ports: PortSet| ports.ranges().iter().map(ToString::to_string).collect();
        let networks = |networks: Networks| networks.as_slice().iter().map(ToString::to_string).collect();
        Self {
            listen_ports: policy.listen_ports.map(ports),
            listen_addresses: policy.listen_addresses.map(networks),
            target_networks: policy.target_networks.map(networks),
            target_ports: policy.target_ports.map(ports),
            max_rules: policy.max_rules,
            max_connections: policy.max_connections,
            allow_metadata_targets: policy.allow_metadata_targets,
        }
    }
}

impl TryFrom<PolicyText> for Policy {
    type Error = String;

    fn try_from(text: PolicyText) -> Result<Self, String> {
        Ok(Self {
            listen_ports: text.listen_ports.as_deref().map(ports).transpose()?,
            listen_addresses: text.listen_addresses.as_deref().map(networks).transpose()?,
            target_networks: text.target_networks.as_deref().map(networks).transpose()?,
            target_ports: text.target_ports.as_deref().map(ports).transpose()?,
            max_rules: text.max_rules,
            max_connections: text.max_connections,
            allow_metadata_targets: text.allow_metadata_targets,
        })
    }
}

fn ports(texts: &[String]) -> Result<PortSet, String> {
    let range = |text: &String| PortRange::parse(text).ok_or_else(|| format!("`{text}` is not a port or range"));
    Ok(PortSet::from_ranges(texts.iter().map(range).collect::<Result<Vec<_>, _>>()?))
}

fn networks(texts: &[String]) -> Result<Networks, String> {
    texts.iter().map(|text| text.parse::<Network>().map_err(|error| error.to_string())).collect()
}
