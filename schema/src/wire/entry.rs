//! Who may connect to a rule, how much, and by which name: to and from messages. Pure.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use ipnet::IpNet;

use super::InvalidWire;
use crate::access::{Access, Enforcement, LiveConnections};
use crate::canonical::Digest;
use crate::networks::{ListFile, Lists, NetworkList};
use crate::policy::Network;
use crate::proto;
use crate::quota::{OnExhausted, Period, Quota, TimeZoneName};
use crate::rate::{PerSource, RateLimit};
use crate::rule::{DEFAULT_SNI_TIMEOUT, OwnerLimits, Rule, RuleParts};
use crate::sni::ServerName;

/// What is added to the prefix length of an IPv6 network.
const V6: u8 = 64;

/// Networks as packed bytes, in ascending order.
pub fn networks_to_wire(networks: &NetworkList) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(networks.len() * 5);
    for network in networks.iter() {
        match network.net() {
            IpNet::V4(net) => {
                bytes.push(net.prefix_len());
                bytes.extend_from_slice(&net.network().octets());
            }
            IpNet::V6(net) => {
                bytes.push(net.prefix_len() + V6);
                bytes.extend_from_slice(&net.network().octets());
            }
        }
    }
    bytes
}

/// The networks of packed bytes.
pub fn networks_from_wire(mut bytes: &[u8]) -> Option<NetworkList> {
    let mut networks = Vec::with_capacity(bytes.len() / 5);
    while let Some((prefix, rest)) = bytes.split_first() {
        let (address, prefix): (IpAddr, u8) = if *prefix < V6 {
            let (octets, after) = rest.split_first_chunk::<4>()?;
            bytes = after;
            ((*octets).into(), *prefix)
        } else {
            let (octets, after) = rest.split_first_chunk::<16>()?;
            bytes = after;
            ((*octets).into(), prefix - V6)
        };
        networks.push(Network::from_net(IpNet::new(address, prefix).ok()?)?);
    }
    Some(networks.into_iter().collect())
}

/// Fills in what a rule says of it; nothing where it says nothing, so that the digest of such a rule stays as it was.
pub(super) fn put(rule: &Rule, spec: &mut proto::RuleSpec) {
    spec.sni = rule.sni.iter().map(ToString::to_string).collect();
    spec.sni_timeout_ms = if rule.sni_timeout == DEFAULT_SNI_TIMEOUT { 0 } else { rule.sni_timeout.as_millis() as u64 };
    spec.accept_proxy = networks_to_wire(&rule.accept_proxy);
    spec.access = rule.access.as_deref().map(|access| proto::AccessSpec {
        allow: networks_to_wire(&access.allow),
        deny: networks_to_wire(&access.deny),
        observe: access.mode == Enforcement::Observe,
        drain: access.live == LiveConnections::Drain,
        allow_file: access.allow_file.as_ref().map(file_to_wire),
        deny_file: access.deny_file.as_ref().map(file_to_wire),
    });
    spec.rate_limit = rule.rate_limit.as_deref().map(rate_limit_to_wire);
    spec.quota = rule.quota.as_deref().map(quota_to_wire);
    spec.owner_limits = rule.owner_limits.as_deref().map(|owner| proto::OwnerLimitsSpec {
        rate_limit: owner.rate_limit.as_ref().map(rate_limit_to_wire),
        quota: owner.quota.as_ref().map(quota_to_wire),
    });
}

/// Reads what a message says of it.
pub(super) fn take(spec: &proto::RuleSpec, parts: &mut RuleParts) -> Result<(), InvalidWire> {
    let networks = |bytes: &[u8], field| networks_from_wire(bytes).ok_or(InvalidWire::Field(field));
    let name = |text: &String| ServerName::parse(text).map_err(|_| InvalidWire::Field("sni"));
    parts.sni = spec.sni.iter().map(name).collect::<Result<_, _>>()?;
    // The order and repetitions are nobody's but ours.
    parts.sni.sort_unstable();
    parts.sni.dedup();
    if spec.sni_timeout_ms > 0 {
        parts.sni_timeout = Duration::from_millis(spec.sni_timeout_ms);
    }
    parts.accept_proxy = networks(&spec.accept_proxy, "accept_proxy")?;
    parts.access = match &spec.access {
        None => None,
        Some(access) => Some(Box::new(Access {
            allow: networks(&access.allow, "access.allow")?,
            deny: networks(&access.deny, "access.deny")?,
            mode: mode(access.observe),
            live: if access.drain { LiveConnections::Drain } else { LiveConnections::Keep },
            allow_file: access.allow_file.as_ref().map(file_from_wire).transpose()?,
            deny_file: access.deny_file.as_ref().map(file_from_wire).transpose()?,
        })),
    };
    parts.rate_limit = spec.rate_limit.as_ref().map(rate_limit_from_wire).transpose()?.map(Box::new);
    parts.quota = spec.quota.as_ref().map(quota_from_wire).transpose()?.map(Box::new);
    parts.owner_limits = match &spec.owner_limits {
        None => None,
        Some(owner) => Some(Box::new(OwnerLimits {
            rate_limit: owner.rate_limit.as_ref().map(rate_limit_from_wire).transpose()?,
            quota: owner.quota.as_ref().map(quota_from_wire).transpose()?,
        })),
    };
    Ok(())
}

fn file_to_wire(file: &ListFile) -> proto::ListReference {
    let digest = file.digest().as_bytes().to_vec();
    proto::ListReference { path: file.path.to_string(), digest, networks: file.networks() }
}

/// The networks of it are in the desired state that brought it, if it is to be found there.
fn file_from_wire(message: &proto::ListReference) -> Result<ListFile, InvalidWire> {
    let digest = Digest::from_bytes(&message.digest).ok_or(InvalidWire::Field("access.allow_file.digest"))?;
    Ok(ListFile::referred(message.path.as_str(), digest, message.networks))
}

/// The contents of all list files of these rules, each once.
pub fn lists_to_wire<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Vec<proto::NetworkRecords> {
    let records = |list: &NetworkList| proto::NetworkRecords { ipv4: list.ipv4().to_vec(), ipv6: list.ipv6().to_vec() };
    lists_of(rules).iter().map(records).collect()
}

/// The contents of list files that these rules have at hand.
pub fn lists_of<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Lists {
    let files = rules.into_iter().flat_map(|rule| rule.access.iter().flat_map(|access| access.files()));
    files.filter_map(ListFile::list).collect()
}

/// The contents of a message, beside those that are known; what is known already is not held twice.
pub fn lists_from_wire(message: Vec<proto::NetworkRecords>, known: &Lists) -> Result<Lists, InvalidWire> {
    let mut lists = known.clone();
    for proto::NetworkRecords { ipv4, ipv6 } in message {
        let list = NetworkList::from_records(ipv4, ipv6).ok_or(InvalidWire::Field("lists"))?;
        lists.add(&list);
    }
    Ok(lists)
}

fn mode(is_observed: bool) -> Enforcement {
    if is_observed { Enforcement::Observe } else { Enforcement::Enforce }
}

fn rate_limit_to_wire(rate: &RateLimit) -> proto::RateLimitSpec {
    let bytes = |bytes: Option<NonZeroU64>| bytes.map_or(0, NonZeroU64::get);
    let count = |count: Option<NonZeroU32>| count.map_or(0, NonZeroU32::get);
    proto::RateLimitSpec {
        bandwidth_in_bytes_per_sec: bytes(rate.bandwidth_in),
        bandwidth_out_bytes_per_sec: bytes(rate.bandwidth_out),
        bandwidth_burst_bytes: bytes(rate.bandwidth_burst),
        new_connections_per_sec: count(rate.new_connections),
        new_connections_burst: count(rate.new_connections_burst),
        per_source: rate.per_source.as_ref().map(|source| proto::PerSourceSpec {
            connections: count(source.connections),
            new_connections_per_sec: count(source.new_connections),
            new_connections_burst: count(source.new_connections_burst),
            prefix_v4: source.prefix_v4.into(),
            prefix_v6: source.prefix_v6.into(),
        }),
        observe: rate.mode == Enforcement::Observe,
    }
}

fn rate_limit_from_wire(message: &proto::RateLimitSpec) -> Result<RateLimit, InvalidWire> {
    let prefix = |prefix: u32, field| u8::try_from(prefix).map_err(|_| InvalidWire::Field(field));
    let per_source = match &message.per_source {
        None => None,
        Some(source) => Some(PerSource {
            connections: NonZeroU32::new(source.connections),
            new_connections: NonZeroU32::new(source.new_connections_per_sec),
            new_connections_burst: NonZeroU32::new(source.new_connections_burst),
            prefix_v4: prefix(source.prefix_v4, "rate_limit.per_source.prefix_v4")?,
            prefix_v6: prefix(source.prefix_v6, "rate_limit.per_source.prefix_v6")?,
        }),
    };
    Ok(RateLimit {
        bandwidth_in: NonZeroU64::new(message.bandwidth_in_bytes_per_sec),
        bandwidth_out: NonZeroU64::new(message.bandwidth_out_bytes_per_sec),
        bandwidth_burst: NonZeroU64::new(message.bandwidth_burst_bytes),
        new_connections: NonZeroU32::new(message.new_connections_per_sec),
        new_connections_burst: NonZeroU32::new(message.new_connections_burst),
        per_source,
        mode: mode(message.observe),
    })
}

fn quota_to_wire(quota: &Quota) -> proto::QuotaSpec {
    proto::QuotaSpec {
        bytes: quota.bytes.get(),
        period: quota.period.as_str().to_owned(),
        anchor_day: quota.anchor_day.into(),
        time_zone: quota.time_zone.as_str().to_owned(),
        warn_percent: quota.warn_percent.into(),
        on_exhausted: quota.on_exhausted.as_str().to_owned(),
        throttle_bytes_per_sec: quota.throttle.map_or(0, NonZeroU64::get),
    }
}

fn quota_from_wire(message: &proto::QuotaSpec) -> Result<Quota, InvalidWire> {
    let invalid = |field| move || InvalidWire::Field(field);
    let small = |value: u32, field| u8::try_from(value).map_err(|_| InvalidWire::Field(field));
    Ok(Quota {
        bytes: NonZeroU64::new(message.bytes).ok_or_else(invalid("quota.bytes"))?,
        period: Period::parse(&message.period).ok_or_else(invalid("quota.period"))?,
        anchor_day: small(message.anchor_day, "quota.anchor_day")?,
        time_zone: TimeZoneName::parse(&message.time_zone).ok_or_else(invalid("quota.time_zone"))?,
        warn_percent: small(message.warn_percent, "quota.warn_percent")?,
        on_exhausted: OnExhausted::parse(&message.on_exhausted).ok_or_else(invalid("quota.on_exhausted"))?,
        throttle: NonZeroU64::new(message.throttle_bytes_per_sec),
    })
}
