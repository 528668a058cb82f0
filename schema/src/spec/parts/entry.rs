//! The sub-tables that say who may connect and how much, as keys with values. Pure.

use std::num::{NonZeroU32, NonZeroU64};

use super::{FieldPart, Parts};
use crate::access::{Access, Enforcement, LiveConnections};
use crate::fields::{Table, access, owner_rate_limit, per_source, quota, rate_limit};
use crate::quota::{OnExhausted, Quota};
use crate::rate::{DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6, PerSource, RateLimit};
use crate::rule::Rule;

/// The tables that a rule has, by their paths, in the order of the field table.
pub(in crate::spec) fn tables(rule: &Rule) -> Vec<(&'static str, Vec<FieldPart>)> {
    let mut tables = Vec::new();
    if let Some(access) = &rule.access {
        tables.push(("access", of_access(access)));
    }
    if let Some(rate) = &rule.rate_limit {
        tables.push(("rate_limit", of_rate_limit(rate, &rate_limit::TABLE)));
        if let Some(source) = &rate.per_source {
            tables.push(("rate_limit.per_source", of_per_source(source)));
        }
    }
    if let Some(quota) = &rule.quota {
        tables.push(("quota", of_quota(quota)));
    }
    if let Some(owner) = &rule.owner_limits {
        if let Some(rate) = &owner.rate_limit {
            tables.push(("owner_limits.rate_limit", of_rate_limit(rate, &owner_rate_limit::TABLE)));
        }
        if let Some(quota) = &owner.quota {
            tables.push(("owner_limits.quota", of_quota(quota)));
        }
    }
    tables
}

fn of_access(own: &Access) -> Vec<FieldPart> {
    let mut parts = Parts(&access::TABLE, Vec::new());
    let to = &mut parts;
    to.list(access::ALLOW, &own.allow.iter().collect::<Vec<_>>());
    to.list(access::DENY, &own.deny.iter().collect::<Vec<_>>());
    to.option(access::ALLOW_FILE, own.allow_file.as_ref().map(|file| &*file.path));
    to.option(access::DENY_FILE, own.deny_file.as_ref().map(|file| &*file.path));
    to.add(access::MODE, own.mode.as_str(), Enforcement::default().as_str());
    to.add(access::LIVE, own.live.as_str(), LiveConnections::default().as_str());
    // An empty `allow` means that the key is absent; the key itself takes at least one network.
    parts.1.retain(|part| part.key != "allow" || !part.is_default);
    parts.1
}

fn of_rate_limit(own: &RateLimit, table: &'static Table) -> Vec<FieldPart> {
    let mut parts = Parts(table, Vec::new());
    let to = &mut parts;
    to.option(rate_limit::BANDWIDTH_IN_BYTES_PER_SEC, own.bandwidth_in.map(NonZeroU64::get));
    to.option(rate_limit::BANDWIDTH_OUT_BYTES_PER_SEC, own.bandwidth_out.map(NonZeroU64::get));
    to.option(rate_limit::BANDWIDTH_BURST_BYTES, own.bandwidth_burst.map(NonZeroU64::get));
    to.option(rate_limit::NEW_CONNECTIONS_PER_SEC, own.new_connections.map(NonZeroU32::get));
    to.option(rate_limit::NEW_CONNECTIONS_BURST, own.new_connections_burst.map(NonZeroU32::get));
    to.add(rate_limit::MODE, own.mode.as_str(), Enforcement::default().as_str());
    parts.1
}

fn of_per_source(own: &PerSource) -> Vec<FieldPart> {
    let mut parts = Parts(&per_source::TABLE, Vec::new());
    let to = &mut parts;
    to.option(per_source::CONNECTIONS, own.connections.map(NonZeroU32::get));
    to.option(per_source::NEW_CONNECTIONS_PER_SEC, own.new_connections.map(NonZeroU32::get));
    to.option(per_source::NEW_CONNECTIONS_BURST, own.new_connections_burst.map(NonZeroU32::get));
    to.add(per_source::PREFIX_V4, own.prefix_v4, DEFAULT_PREFIX_V4);
    to.add(per_source::PREFIX_V6, own.prefix_v6, DEFAULT_PREFIX_V6);
    parts.1
}

fn of_quota(own: &Quota) -> Vec<FieldPart> {
    let default = Quota::new(own.bytes);
    let mut parts = Parts(&quota::TABLE, Vec::new());
    let to = &mut parts;
    to.give(quota::BYTES, own.bytes.get());
    to.add(quota::PERIOD, own.period.as_str(), default.period.as_str());
    to.add(quota::ANCHOR_DAY, own.anchor_day, default.anchor_day);
    to.add(quota::TIME_ZONE, own.time_zone.as_str(), default.time_zone.as_str());
    to.add(quota::WARN_PERCENT, own.warn_percent, default.warn_percent);
    to.add(quota::ON_EXHAUSTED, own.on_exhausted.as_str(), OnExhausted::default().as_str());
    to.option(quota::THROTTLE_BYTES_PER_SEC, own.throttle.map(NonZeroU64::get));
    parts.1
}
