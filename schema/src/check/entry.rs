//! The keys that say who may connect to a rule, how much, and by which name: from drafts into values. Pure.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::lists;
use super::rule::RuleCheck;
use crate::access::{Access, Enforcement, LiveConnections};
use crate::codes::TreeCode;
use crate::decode::{Decoded, Draft, Slot};
use crate::diagnostic::{Diagnostic, Span};
use crate::fields::{access, per_source, quota, rate_limit, rule};
use crate::net::Protocol;
use crate::networks::NetworkList;
use crate::quota::{OnExhausted, Period, Quota, TimeZoneName};
use crate::rate::{DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6, PerSource, RateLimit};
use crate::rule::{RuleParts, RuleProblem};
use crate::sni::ServerName;

/// What a rule, or `[defaults]`, says of them.
#[derive(Default)]
pub(super) struct EntryKeys {
    sni: Vec<ServerName>,
    sni_timeout: Option<Duration>,
    accept_proxy: NetworkList,
    access: Option<Access>,
    rate_limit: Option<RateLimit>,
    quota: Option<Quota>,
}

/// Reads the keys. What contradicts itself in the values alone is left to the rule.
pub(super) fn read(check: &mut RuleCheck<'_, '_>) -> EntryKeys {
    // Keys that cannot concern the rule are reported already.
    let is_udp = check.protocol == Some(Protocol::Udp);
    let sni = if is_udp { Vec::new() } else { sni(check) };
    let sni_timeout = check.number(rule::SNI_TIMEOUT_MS).map(Duration::from_millis);
    let accept_proxy = if is_udp { None } else { check.read(rule::ACCEPT_PROXY, networks) }.unwrap_or_default();
    let access = table(check, rule::ACCESS).and_then(|draft| access_of(check, draft));
    let rate_limit = table(check, rule::RATE_LIMIT).and_then(rate_limit_of);
    let quota = match table(check, rule::QUOTA).map_or(Ok(None), quota_of) {
        Ok(quota) => quota,
        Err(span) => {
            check.error(TreeCode::MissingKey, span, NEEDS_BYTES).help =
                Some("for example `bytes = 1000000000000`".to_owned());
            check.whole = false;
            None
        }
    };
    EntryKeys { sni, sni_timeout, accept_proxy, access, rate_limit, quota }
}

impl EntryKeys {
    /// Hands everything to a rule.
    pub(super) fn put_into(self, parts: &mut RuleParts) {
        parts.sni = self.sni;
        parts.sni_timeout = self.sni_timeout.unwrap_or(parts.sni_timeout);
        parts.accept_proxy = self.accept_proxy;
        parts.access = self.access.map(Box::new);
        parts.rate_limit = self.rate_limit.map(Box::new);
        parts.quota = self.quota.map(Box::new);
    }

    /// What is wrong with it without a rule, as in `[defaults]`.
    pub(super) fn problems(&self, problems: &mut Vec<RuleProblem>) {
        if let Some(access) = &self.access {
            access.problems(problems);
        }
        problems.extend(problems_of(self.rate_limit.as_ref(), self.quota.as_ref()));
    }
}

/// What is missing in a quota that has other keys.
pub(super) const NEEDS_BYTES: &str = "a quota needs `bytes`";

/// The draft of a table that holds for the rule; a rule's own replaces that of `[defaults]` as a whole.
fn table<'c, 'a>(check: &mut RuleCheck<'c, 'a>, field: usize) -> Option<&'c Draft<'a>> {
    let draft = check.read(field, Slot::table)?;
    check.whole &= !has_refused(draft);
    Some(draft)
}

/// True if a value of the draft, or of a table in it, was refused.
pub(super) fn has_refused(draft: &Draft<'_>) -> bool {
    draft.slots().iter().any(|slot| match &slot.value {
        Decoded::Refused => true,
        Decoded::Table(inner) => has_refused(inner),
        _ => false,
    })
}

fn networks(slot: &Slot<'_>) -> Option<NetworkList> {
    Some(slot.networks()?.iter().map(|(_, network)| *network).collect())
}

/// The server names that lead to a rule, with their places.
pub(super) fn names(check: &RuleCheck<'_, '_>) -> Box<[(ServerName, Span)]> {
    let names = check.get(rule::SNI).and_then(Slot::server_names).unwrap_or_default();
    names.iter().map(|(span, name)| (name.clone(), *span)).collect()
}

fn sni(check: &mut RuleCheck<'_, '_>) -> Vec<ServerName> {
    let Some(slot) = check.get(rule::SNI) else { return Vec::new() };
    let Some(names) = slot.server_names() else {
        check.whole = false;
        return Vec::new();
    };
    if names.is_empty() {
        check.error(TreeCode::OutOfRange, slot.span, "`sni` has no name; a rule takes 1 to 64").help =
            Some("remove the key: a rule without `sni` takes every connection of its port".to_owned());
        check.whole = false;
    }
    let mut seen: BTreeMap<&ServerName, Span> = BTreeMap::new();
    for (span, name) in names {
        if let Some(first) = seen.get(name).copied() {
            let found = Diagnostic::error(TreeCode::PortClash, check.file, *span, format!("`{name}` is listed twice"));
            check.diagnostics.push(found.related(check.file, first, "listed first here"));
            check.whole = false;
        } else {
            seen.insert(name, *span);
        }
    }
    seen.into_keys().cloned().collect()
}

fn access_of(check: &mut RuleCheck<'_, '_>, draft: &Draft<'_>) -> Option<Access> {
    if has_refused(draft) {
        return None;
    }
    let list = |field| draft.get(field).and_then(networks);
    let allow = list(access::ALLOW);
    if let Some(slot) = draft.get(access::ALLOW).filter(|_| allow.as_ref().is_some_and(NetworkList::is_empty)) {
        check.error(TreeCode::OutOfRange, slot.span, "`allow` has no network: nobody could connect").help =
            Some("remove the key to admit everyone, or set `enabled = false` in the rule".to_owned());
        check.whole = false;
    }
    let read = Access {
        allow: allow.unwrap_or_default(),
        deny: list(access::DENY).unwrap_or_default(),
        allow_file: lists::file_of(draft, access::ALLOW_FILE),
        deny_file: lists::file_of(draft, access::DENY_FILE),
        mode: draft.text(access::MODE).and_then(Enforcement::parse).unwrap_or_default(),
        live: draft.text(access::LIVE).and_then(LiveConnections::parse).unwrap_or_default(),
    };
    let is_set = |field| draft.has(field);
    if read.is_empty() && !is_set(access::ALLOW) && !is_set(access::DENY) && !draft.slots().is_empty() {
        check.error(TreeCode::MissingKey, draft.span, "`access` needs `allow`, `deny`, `allow_file` or `deny_file`");
        check.whole = false;
    }
    (!read.is_empty()).then_some(read)
}

/// The limits of a draft of `rate_limit`, of a rule or an owner; `None` for an empty table, which sets no limit, and for one
/// with a value that was refused.
pub(super) fn rate_limit_of(draft: &Draft<'_>) -> Option<RateLimit> {
    // The field table bounds every number, and none may be 0.
    let bytes = |field| draft.get(field).and_then(Slot::int).and_then(|bytes| NonZeroU64::new(bytes as u64));
    if draft.slots().is_empty() || has_refused(draft) {
        return None;
    }
    Some(RateLimit {
        bandwidth_in: bytes(rate_limit::BANDWIDTH_IN_BYTES_PER_SEC),
        bandwidth_out: bytes(rate_limit::BANDWIDTH_OUT_BYTES_PER_SEC),
        bandwidth_burst: bytes(rate_limit::BANDWIDTH_BURST_BYTES),
        new_connections: count(draft, rate_limit::NEW_CONNECTIONS_PER_SEC),
        new_connections_burst: count(draft, rate_limit::NEW_CONNECTIONS_BURST),
        per_source: draft.table(rate_limit::PER_SOURCE).map(per_source_of),
        mode: draft.text(rate_limit::MODE).and_then(Enforcement::parse).unwrap_or_default(),
    })
}

fn count(draft: &Draft<'_>, field: usize) -> Option<NonZeroU32> {
    draft.get(field).and_then(Slot::int).and_then(|count| NonZeroU32::new(count as u32))
}

fn per_source_of(draft: &Draft<'_>) -> PerSource {
    let prefix = |field, default| draft.get(field).and_then(Slot::int).map_or(default, |prefix| prefix as u8);
    PerSource {
        connections: count(draft, per_source::CONNECTIONS),
        new_connections: count(draft, per_source::NEW_CONNECTIONS_PER_SEC),
        new_connections_burst: count(draft, per_source::NEW_CONNECTIONS_BURST),
        prefix_v4: prefix(per_source::PREFIX_V4, DEFAULT_PREFIX_V4),
        prefix_v6: prefix(per_source::PREFIX_V6, DEFAULT_PREFIX_V6),
    }
}

/// The quota of a draft, of a rule or an owner; `None` for an empty table, which sets none. The error is where `bytes` is
/// missing.
pub(super) fn quota_of(draft: &Draft<'_>) -> Result<Option<Quota>, Span> {
    if has_refused(draft) {
        return Ok(None);
    }
    let int = |field| draft.get(field).and_then(Slot::int);
    let Some(bytes) = int(quota::BYTES).and_then(|bytes| NonZeroU64::new(bytes as u64)) else {
        let is_missing = !draft.has(quota::BYTES) && !draft.is_meant(quota::BYTES) && !draft.slots().is_empty();
        return if is_missing { Err(draft.span) } else { Ok(None) };
    };
    let default = Quota::new(bytes);
    Ok(Some(Quota {
        bytes,
        period: draft.text(quota::PERIOD).and_then(Period::parse).unwrap_or_default(),
        anchor_day: int(quota::ANCHOR_DAY).map_or(default.anchor_day, |day| day as u8),
        time_zone: draft.text(quota::TIME_ZONE).and_then(TimeZoneName::parse).unwrap_or_default(),
        warn_percent: int(quota::WARN_PERCENT).map_or(default.warn_percent, |percent| percent as u8),
        on_exhausted: draft.text(quota::ON_EXHAUSTED).and_then(OnExhausted::parse).unwrap_or_default(),
        throttle: int(quota::THROTTLE_BYTES_PER_SEC).and_then(|bytes| NonZeroU64::new(bytes as u64)),
    }))
}

/// Where the problem of a key such as `rate_limit.per_source.connections` stands: the deepest part of it that is there.
pub(super) fn place(draft: &Draft<'_>, key: &str) -> Option<Span> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let slot = draft.get(draft.table.find(first, 0)?)?;
    let Some(inner) = slot.table() else { return Some(slot.span) };
    Some(place(inner, rest).unwrap_or(slot.key_span))
}

/// What is wrong with limits, by keys.
pub(super) fn problems_of(rate: Option<&RateLimit>, quota: Option<&Quota>) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    if let Some(rate) = rate {
        rate.problems("rate_limit", &mut problems);
    }
    if let Some(quota) = quota {
        quota.problems("quota", &mut problems);
    }
    problems
}
