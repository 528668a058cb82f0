//! Rules to and from the messages of the edge protocol. Pure.
//!
//! Reading validates everything again: an edge trusts no server, and [`Rule`] cannot exist otherwise.

pub mod ending;
pub mod entry;
pub mod policy;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::capability::{Capabilities, Capability, Limits};
use crate::health::{DEFAULT_HISTORY, HealthCheck, HealthKind, Retry, StatusRanges};
use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, Listener, PortRange, PortSet, Protocol};
use crate::proto;
use crate::rule::{
    Balance, DEFAULT_HALF_CLOSED_TIMEOUT, Host, LastResort, OnTargetDown, ProxyProtocol, Rule, RuleParts, Target,
};
use crate::state::RuleState;

/// Why a message is not a valid rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWire {
    /// A field does not have a possible value.
    #[error("field `{0}` is invalid")]
    Field(&'static str),
    /// The parts do not fit together.
    #[error("{0}")]
    Rule(String),
}

fn address_to_wire(address: ListenAddress) -> String {
    address.to_text().unwrap_or_default()
}

fn address_from_wire(text: &str) -> Result<ListenAddress, InvalidWire> {
    if text.is_empty() {
        return Ok(ListenAddress::Any);
    }
    ListenAddress::parse(text).ok_or(InvalidWire::Field("listen_address"))
}

fn protocol_to_wire(protocol: Protocol) -> proto::Protocol {
    match protocol {
        Protocol::Tcp => proto::Protocol::Tcp,
        Protocol::Udp => proto::Protocol::Udp,
    }
}

fn protocol_from_wire(value: i32) -> Result<Protocol, InvalidWire> {
    match proto::Protocol::try_from(value) {
        Ok(proto::Protocol::Tcp) => Ok(Protocol::Tcp),
        Ok(proto::Protocol::Udp) => Ok(Protocol::Udp),
        _ => Err(InvalidWire::Field("protocol")),
    }
}

pub(crate) fn ports_from_wire(first: u32, last: u32, field: &'static str) -> Result<PortRange, InvalidWire> {
    let port = |value: u32| u16::try_from(value).map_err(|_| InvalidWire::Field(field));
    PortRange::new(port(first)?, port(last)?).ok_or(InvalidWire::Field(field))
}

/// The message of a listener.
pub fn listener_to_wire(listener: &Listener) -> proto::Listener {
    proto::Listener {
        protocol: protocol_to_wire(listener.protocol).into(),
        address: address_to_wire(listener.address),
        port: listener.port.into(),
    }
}

/// The listener of a message.
pub fn listener_from_wire(message: &proto::Listener) -> Result<Listener, InvalidWire> {
    Ok(Listener {
        protocol: protocol_from_wire(message.protocol)?,
        address: address_from_wire(&message.address)?,
        port: ports_from_wire(message.port, message.port, "port")?.first(),
    })
}

/// Most ranges of ports that a message tells of: a host that reserves more is told of the first ones.
const MAX_RANGES: usize = 1024;

/// The message of a set of ports.
pub fn port_set_to_wire(ports: &PortSet) -> Vec<proto::Ports> {
    let range = |range: &PortRange| proto::Ports { first: range.first().into(), last: range.last().into() };
    ports.ranges().iter().take(MAX_RANGES).map(range).collect()
}

/// The set of ports of a message; what is not a range is left out, since nothing depends on it.
pub fn port_set_from_wire(message: &[proto::Ports]) -> PortSet {
    let range = |range: &proto::Ports| ports_from_wire(range.first, range.last, "ports").ok();
    PortSet::from_ranges(message.iter().take(MAX_RANGES).filter_map(range))
}

/// The message of a rule; the canonical form is its encoding.
pub fn rule_to_wire(rule: &Rule) -> proto::RuleSpec {
    let mut spec = proto::RuleSpec {
        name: rule.name.to_string(),
        description: rule.description.clone(),
        owner: rule.owner.clone(),
        protected: rule.protected,
        protocol: protocol_to_wire(rule.listen.protocol).into(),
        listen_address: address_to_wire(rule.listen.address),
        first_port: rule.listen.ports.first().into(),
        last_port: rule.listen.ports.last().into(),
        targets: rule.targets.iter().map(target_to_wire).collect(),
        prefer_ipv6: rule.prefer_ipv6,
        balance: match rule.balance {
            Balance::Failover => proto::Balance::Failover,
            Balance::SourceIp => proto::Balance::SourceIp,
            Balance::RoundRobin => proto::Balance::RoundRobin,
            Balance::LeastConnections => proto::Balance::LeastConnections,
        }
        .into(),
        health: rule.health.as_ref().map(health_to_wire),
        last_resort: match rule.last_resort {
            LastResort::Top => proto::LastResort::Top,
            LastResort::None => proto::LastResort::None,
            LastResort::All => proto::LastResort::All,
        }
        .into(),
        connect_timeout_ms: rule.connect_timeout.as_millis() as u64,
        idle_timeout_secs: rule.idle_timeout.map_or(0, |timeout| timeout.as_secs()),
        // The default is left out, so that a rule that does not state it has the digest that it always had.
        half_closed_timeout_secs: (rule.half_closed_timeout != Some(DEFAULT_HALF_CLOSED_TIMEOUT))
            .then(|| rule.half_closed_timeout.map_or(0, |timeout| timeout.as_secs())),
        stalled_timeout_secs: rule.stalled_timeout.map_or(0, |timeout| timeout.as_secs()),
        max_connections: rule.max_connections.map_or(0, |max| max.get().into()),
        drain_timeout_secs: rule.drain_timeout.as_secs(),
        on_target_down: match rule.on_target_down {
            OnTargetDown::Drain => proto::OnTargetDown::Drain,
            OnTargetDown::Reset => proto::OnTargetDown::Reset,
        }
        .into(),
        udp_max_flows: rule.udp_max_flows,
        udp_flow_idle_secs: rule.udp_flow_idle.as_secs(),
        ..proto::RuleSpec::default()
    };
    entry::put(rule, &mut spec);
    spec
}

/// The rule of a message, validated in full.
pub fn rule_from_wire(message: &proto::RuleSpec) -> Result<Rule, InvalidWire> {
    let max_connections = u32::try_from(message.max_connections).map_err(|_| InvalidWire::Field("max_connections"))?;
    let listen = ListenRange {
        protocol: protocol_from_wire(message.protocol)?,
        address: address_from_wire(&message.listen_address)?,
        ports: ports_from_wire(message.first_port, message.last_port, "first_port")?,
    };
    let name = RuleName::new(&message.name).map_err(|_| InvalidWire::Field("name"))?;
    let targets = message.targets.iter().map(target_from_wire).collect::<Result<_, _>>()?;
    let mut parts = RuleParts {
        description: message.description.clone(),
        owner: message.owner.clone(),
        protected: message.protected,
        prefer_ipv6: message.prefer_ipv6,
        balance: match proto::Balance::try_from(message.balance) {
            Ok(proto::Balance::Failover) => Balance::Failover,
            Ok(proto::Balance::SourceIp) => Balance::SourceIp,
            Ok(proto::Balance::RoundRobin) => Balance::RoundRobin,
            Ok(proto::Balance::LeastConnections) => Balance::LeastConnections,
            Err(_) => return Err(InvalidWire::Field("balance")),
        },
        health: message.health.as_ref().map(health_from_wire).transpose()?,
        last_resort: match proto::LastResort::try_from(message.last_resort) {
            Ok(proto::LastResort::Top) => LastResort::Top,
            Ok(proto::LastResort::None) => LastResort::None,
            Ok(proto::LastResort::All) => LastResort::All,
            Err(_) => return Err(InvalidWire::Field("last_resort")),
        },
        connect_timeout: Duration::from_millis(message.connect_timeout_ms),
        idle_timeout: (message.idle_timeout_secs > 0).then(|| Duration::from_secs(message.idle_timeout_secs)),
        half_closed_timeout: match message.half_closed_timeout_secs {
            None => Some(DEFAULT_HALF_CLOSED_TIMEOUT),
            Some(secs) => (secs > 0).then(|| Duration::from_secs(secs)),
        },
        stalled_timeout: (message.stalled_timeout_secs > 0).then(|| Duration::from_secs(message.stalled_timeout_secs)),
        max_connections: NonZeroU32::new(max_connections),
        drain_timeout: Duration::from_secs(message.drain_timeout_secs),
        on_target_down: match proto::OnTargetDown::try_from(message.on_target_down) {
            Ok(proto::OnTargetDown::Drain) => OnTargetDown::Drain,
            Ok(proto::OnTargetDown::Reset) => OnTargetDown::Reset,
            Err(_) => return Err(InvalidWire::Field("on_target_down")),
        },
        udp_max_flows: message.udp_max_flows,
        udp_flow_idle: Duration::from_secs(message.udp_flow_idle_secs),
        ..RuleParts::new(name, listen, targets)
    };
    entry::take(message, &mut parts)?;
    Rule::new(parts).map_err(|problems| {
        let sentences: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        InvalidWire::Rule(sentences.join("; "))
    })
}

fn target_to_wire(target: &Target) -> proto::TargetSpec {
    proto::TargetSpec {
        host: target.host.to_string(),
        first_port: target.ports.first().into(),
        last_port: target.ports.last().into(),
        priority: target.priority.into(),
        weight: target.weight.into(),
        enabled: target.enabled,
        proxy_protocol: match target.proxy_protocol {
            None => proto::ProxyProtocol::None,
            Some(ProxyProtocol::V1) => proto::ProxyProtocol::V1,
            Some(ProxyProtocol::V2) => proto::ProxyProtocol::V2,
        }
        .into(),
    }
}

fn target_from_wire(message: &proto::TargetSpec) -> Result<Target, InvalidWire> {
    let small = |value: u32, field| u8::try_from(value).map_err(|_| InvalidWire::Field(field));
    Ok(Target {
        host: Host::parse(&message.host).map_err(|_| InvalidWire::Field("host"))?,
        ports: ports_from_wire(message.first_port, message.last_port, "targets.ports")?,
        priority: small(message.priority, "priority")?,
        weight: small(message.weight, "weight")?,
        enabled: message.enabled,
        proxy_protocol: match proto::ProxyProtocol::try_from(message.proxy_protocol) {
            Ok(proto::ProxyProtocol::None) => None,
            Ok(proto::ProxyProtocol::V1) => Some(ProxyProtocol::V1),
            Ok(proto::ProxyProtocol::V2) => Some(ProxyProtocol::V2),
            Err(_) => return Err(InvalidWire::Field("proxy_protocol")),
        },
    })
}

fn health_to_wire(health: &HealthCheck) -> proto::HealthSpec {
    proto::HealthSpec {
        kind: health.kind.as_str().to_owned(),
        interval_secs: health.interval_secs,
        timeout_ms: health.timeout_ms,
        fast_interval_secs: health.fast_interval_secs,
        down_interval_secs: health.down_interval_secs,
        rise: health.rise.into(),
        fall: health.fall.into(),
        port: health.port.map_or(0, u32::from),
        address: health.address.map_or_else(String::new, |address| address.to_string()),
        path: health.path.clone(),
        host: health.host.clone(),
        method: health.method.clone(),
        expect_status: health.expect_status.to_string(),
        expect_body: health.expect_body.clone(),
        server_name: health.server_name.clone(),
        verify: health.verify,
        send: health.send.clone(),
        expect: health.expect.clone(),
        optimistic: health.is_optimistic,
        leaky: health.is_leaky,
        jitter_percent: health.jitter_percent.into(),
        // What is at its default is left out: the digest of a rule that does not use these keys stays as it was.
        history: if health.history == DEFAULT_HISTORY { 0 } else { health.history.into() },
        retry: (health.retry != Retry::default()).then(|| proto::RetrySpec {
            max: health.retry.max.into(),
            initial_ms: health.retry.initial_ms,
            max_ms: health.retry.max_ms,
        }),
    }
}

fn health_from_wire(message: &proto::HealthSpec) -> Result<HealthCheck, InvalidWire> {
    let invalid = |field| move || InvalidWire::Field(field);
    let small = |value: u32, field| u8::try_from(value).map_err(|_| InvalidWire::Field(field));
    Ok(HealthCheck {
        kind: HealthKind::parse(&message.kind).ok_or_else(invalid("health.kind"))?,
        interval_secs: message.interval_secs,
        timeout_ms: message.timeout_ms,
        fast_interval_secs: message.fast_interval_secs,
        down_interval_secs: message.down_interval_secs,
        rise: small(message.rise, "health.rise")?,
        fall: small(message.fall, "health.fall")?,
        port: match u16::try_from(message.port).map_err(|_| InvalidWire::Field("health.port"))? {
            0 => None,
            port => Some(port),
        },
        address: match message.address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| InvalidWire::Field("health.address"))?),
        },
        path: message.path.clone(),
        host: message.host.clone(),
        method: message.method.clone(),
        expect_status: StatusRanges::parse(&message.expect_status).ok_or_else(invalid("health.expect_status"))?,
        expect_body: message.expect_body.clone(),
        server_name: message.server_name.clone(),
        verify: message.verify,
        send: message.send.clone(),
        expect: message.expect.clone(),
        is_optimistic: message.optimistic,
        is_leaky: message.leaky,
        jitter_percent: small(message.jitter_percent, "health.jitter_percent")?,
        history: match small(message.history, "health.history")? {
            0 => DEFAULT_HISTORY,
            history => history,
        },
        retry: match &message.retry {
            None => Retry::default(),
            Some(retry) => {
                Retry { max: small(retry.max, "health.retry.max")?, initial_ms: retry.initial_ms, max_ms: retry.max_ms }
            }
        },
    })
}

/// The message of a state.
pub fn state_to_wire(state: RuleState) -> proto::RuleState {
    match state {
        // An edge that speaks is there, and never says it.
        RuleState::Pending | RuleState::Unknown => proto::RuleState::Pending,
        RuleState::Active => proto::RuleState::Active,
        RuleState::Failed => proto::RuleState::Failed,
        RuleState::Rejected => proto::RuleState::Rejected,
        RuleState::Draining => proto::RuleState::Draining,
        RuleState::Disabled => proto::RuleState::Disabled,
    }
}

/// The state of a message; an unknown one reads as pending, for nothing is known then.
pub fn state_from_wire(value: i32) -> RuleState {
    match proto::RuleState::try_from(value) {
        Ok(proto::RuleState::Active) => RuleState::Active,
        Ok(proto::RuleState::Failed) => RuleState::Failed,
        Ok(proto::RuleState::Rejected) => RuleState::Rejected,
        Ok(proto::RuleState::Draining) => RuleState::Draining,
        Ok(proto::RuleState::Disabled) => RuleState::Disabled,
        Ok(proto::RuleState::Pending | proto::RuleState::Unspecified) | Err(_) => RuleState::Pending,
    }
}

/// The message of an edge's limits.
pub fn limits_to_wire(limits: &Limits) -> proto::Limits {
    proto::Limits {
        ports_per_range: limits.ports_per_range,
        file_descriptors: limits.file_descriptors,
        rules: limits.rules,
    }
}

/// The limits of a message.
pub fn limits_from_wire(message: &proto::Limits) -> Limits {
    Limits {
        ports_per_range: message.ports_per_range,
        file_descriptors: message.file_descriptors,
        rules: message.rules,
    }
}

/// The capabilities of a hello; unknown ones belong to newer edges and are ignored.
pub fn capabilities_from_wire(names: &[String]) -> Capabilities {
    names.iter().filter_map(|name| Capability::parse(name)).collect()
}
