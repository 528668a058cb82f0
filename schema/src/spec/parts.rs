//! The fields of a rule, its targets and its check as keys with values, in the order of the field table. Pure.

mod entry;

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::fields::{Table, health, retry, rule, target};
use crate::health::{self as checks, HealthCheck, Retry};
use crate::net::{PortRange, Protocol};
use crate::rule::{Balance, LastResort, OnTargetDown, ProxyProtocol, Rule, RuleParts, Target};

/// One key with its value; null where there is none.
pub(super) struct FieldPart {
    pub(super) key: &'static str,
    pub(super) value: Value,
    pub(super) is_default: bool,
}

impl FieldPart {
    pub(super) fn given(key: &'static str, value: impl Into<Value>) -> Self {
        Self { key, value: value.into(), is_default: false }
    }
}

/// Collects the parts of one table.
struct Parts(&'static Table, Vec<FieldPart>);

impl Parts {
    #[expect(clippy::needless_pass_by_value, reason = "defaults are numbers, flags and borrowed words")]
    fn add<T: PartialEq + Into<Value>>(&mut self, field: usize, value: T, default: T) {
        let is_default = value == default;
        self.1.push(FieldPart { key: self.0.fields[field].key, value: value.into(), is_default });
    }

    fn give(&mut self, field: usize, value: impl Into<Value>) {
        self.1.push(FieldPart::given(self.0.fields[field].key, value));
    }

    fn option(&mut self, field: usize, value: Option<impl Into<Value>>) {
        let is_default = value.is_none();
        let value = value.map_or(Value::Null, Into::into);
        self.1.push(FieldPart { key: self.0.fields[field].key, value, is_default });
    }

    fn list<T: ToString>(&mut self, field: usize, values: &[T]) {
        let value = values.iter().map(ToString::to_string).collect::<Vec<_>>();
        self.1.push(FieldPart { key: self.0.fields[field].key, is_default: value.is_empty(), value: value.into() });
    }

    /// A port under one key, a range under another.
    fn ports(&mut self, one: usize, range: usize, ports: PortRange) {
        if ports.is_single() { self.give(one, ports.first()) } else { self.give(range, ports.to_string()) }
    }
}

fn secs(duration: Duration) -> u64 {
    duration.as_secs()
}

/// All but targets and sub-tables.
pub(super) fn of_rule(rule: &Rule) -> Vec<FieldPart> {
    let default = RuleParts::new(rule.name.clone(), rule.listen, Vec::new());
    let mut parts = Parts(&rule::TABLE, Vec::with_capacity(rule::TABLE.fields.len()));
    let to = &mut parts;
    to.give(rule::NAME, rule.name.as_str());
    to.add(rule::DESCRIPTION, rule.description.as_str(), "");
    to.add(rule::OWNER, rule.owner.as_str(), "");
    to.add(rule::PROTECTED, rule.protected, false);
    to.add(rule::PROTOCOL, rule.listen.protocol.as_str(), Protocol::Tcp.as_str());
    to.option(rule::LISTEN_ADDRESS, rule.listen.address.to_text());
    to.ports(rule::LISTEN_PORT, rule::LISTEN_PORTS, rule.listen.ports);
    to.add(rule::PREFER_IPV6, rule.prefer_ipv6, false);
    to.add(rule::BALANCE, rule.balance.as_str(), Balance::default().as_str());
    to.add(rule::LAST_RESORT, rule.last_resort.as_str(), LastResort::default().as_str());
    let millis = |duration: Duration| duration.as_millis() as u64;
    to.add(rule::CONNECT_TIMEOUT_MS, millis(rule.connect_timeout), millis(default.connect_timeout));
    to.add(rule::IDLE_TIMEOUT_SECS, rule.idle_timeout.map_or(0, secs), 0);
    to.add(
        rule::HALF_CLOSED_TIMEOUT_SECS,
        rule.half_closed_timeout.map_or(0, secs),
        default.half_closed_timeout.map_or(0, secs),
    );
    to.add(rule::STALLED_TIMEOUT_SECS, rule.stalled_timeout.map_or(0, secs), 0);
    to.add(rule::MAX_CONNECTIONS, rule.max_connections.map_or(0, std::num::NonZeroU32::get), 0);
    to.add(rule::DRAIN_TIMEOUT_SECS, secs(rule.drain_timeout), secs(default.drain_timeout));
    to.add(rule::ON_TARGET_DOWN, rule.on_target_down.as_str(), OnTargetDown::default().as_str());
    to.add(rule::UDP_MAX_FLOWS, rule.udp_max_flows, default.udp_max_flows);
    to.add(rule::UDP_FLOW_IDLE_SECS, secs(rule.udp_flow_idle), secs(default.udp_flow_idle));
    to.list(rule::SNI, &rule.sni);
    to.add(rule::SNI_TIMEOUT_MS, millis(rule.sni_timeout), millis(default.sni_timeout));
    to.list(rule::ACCEPT_PROXY, &rule.accept_proxy.iter().collect::<Vec<_>>());
    parts.1
}

/// `HOST:PORTS`, if the rule has one target that says nothing else.
pub(super) fn short_target(rule: &Rule) -> Option<String> {
    match rule.targets.as_slice() {
        [one] if *one == Target::new(one.host.clone(), one.ports) => Some(one.to_string()),
        _ => None,
    }
}

pub(super) fn of_target(own: &Target) -> Vec<FieldPart> {
    let default = Target::new(own.host.clone(), own.ports);
    let mut parts = Parts(&target::TABLE, Vec::with_capacity(target::TABLE.fields.len()));
    let to = &mut parts;
    to.give(target::HOST, own.host.to_string());
    to.ports(target::PORT, target::PORTS, own.ports);
    to.add(target::PRIORITY, own.priority, default.priority);
    to.add(target::WEIGHT, own.weight, default.weight);
    to.add(target::ENABLED, own.enabled, true);
    to.option(target::PROXY_PROTOCOL, own.proxy_protocol.map(ProxyProtocol::as_str));
    parts.1
}

pub(super) fn of_health(own: &HealthCheck) -> Vec<FieldPart> {
    let default = HealthCheck::new(own.kind, own.interval_secs);
    let mut parts = Parts(&health::TABLE, Vec::with_capacity(health::TABLE.fields.len()));
    let to = &mut parts;
    to.give(health::KIND, own.kind.as_str());
    to.add(health::INTERVAL_SECS, own.interval_secs, checks::DEFAULT_INTERVAL_SECS);
    to.add(health::TIMEOUT_MS, own.timeout_ms, default.timeout_ms);
    to.add(health::FAST_INTERVAL_SECS, own.fast_interval_secs, default.fast_interval_secs);
    to.add(health::DOWN_INTERVAL_SECS, own.down_interval_secs, default.down_interval_secs);
    to.add(health::RISE, own.rise, default.rise);
    to.add(health::FALL, own.fall, default.fall);
    to.option(health::PORT, own.port);
    to.option(health::ADDRESS, own.address.as_ref().map(IpAddr::to_string));
    if own.kind.is_http() {
        to.add(health::PATH, own.path.as_str(), &default.path);
        to.add(health::HOST, own.host.as_str(), &default.host);
        to.add(health::METHOD, own.method.as_str(), &default.method);
        to.add(health::EXPECT_STATUS, own.expect_status.to_string(), default.expect_status.to_string());
        to.add(health::EXPECT_BODY, own.expect_body.as_str(), &default.expect_body);
    }
    if own.kind.is_tls() {
        to.add(health::SERVER_NAME, own.server_name.as_str(), &default.server_name);
        to.add(health::VERIFY, own.verify, default.verify);
    }
    if own.kind == checks::HealthKind::Tcp {
        to.add(health::SEND, own.send.as_str(), &default.send);
        to.add(health::EXPECT, own.expect.as_str(), &default.expect);
    }
    to.add(health::INITIAL, if own.is_optimistic { "optimistic" } else { "probe" }, "probe");
    to.add(health::MODE, if own.is_leaky { "leaky" } else { "snap" }, "snap");
    to.add(health::JITTER_PERCENT, own.jitter_percent, default.jitter_percent);
    to.add(health::HISTORY, own.history, default.history);
    to.add(health::RETRY, of_retry(own.retry), of_retry(default.retry));
    parts.1
}

pub(super) use entry::tables;

fn of_retry(own: Retry) -> Value {
    let key = |field: usize| retry::TABLE.fields[field].key.to_owned();
    let pairs: [(usize, u32); 3] =
        [(retry::MAX, own.max.into()), (retry::INITIAL_MS, own.initial_ms), (retry::MAX_MS, own.max_ms)];
    Value::Object(pairs.into_iter().map(|(field, value)| (key(field), value.into())).collect())
}
