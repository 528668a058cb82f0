//! `[rule.health]` or its shorthand into a [`HealthCheck`]. Pure.

use super::rule::RuleCheck;
use crate::codes::TreeCode;
use crate::decode::{Decoded, Draft, Slot};
use crate::fields::{health, retry, rule};
use crate::health::{DEFAULT_INTERVAL_SECS, DEFAULT_TIMEOUT_MS, HealthCheck, HealthKind, Retry, StatusRanges};

/// The active check: the rule's own, in either form, replaces that of `[defaults]` as a whole.
pub(super) fn of(check: &mut RuleCheck<'_, '_>) -> Option<HealthCheck> {
    let own = check.own.has(rule::HEALTH) || check.own.has(rule::HEALTH_CHECK_INTERVAL_SECS);
    let source = if own { Some(check.own) } else { check.defaults };
    read(check, source?)
}

/// The check that a rule or its `[defaults]` asks for.
fn read(check: &mut RuleCheck<'_, '_>, source: &Draft<'_>) -> Option<HealthCheck> {
    if let Some(slot) = source.get(rule::HEALTH) {
        let Some(draft) = slot.table() else {
            check.whole = false;
            return None;
        };
        return full(check, draft);
    }
    // The field table bounds the interval to 1..=3600.
    let interval = source.get(rule::HEALTH_CHECK_INTERVAL_SECS)?.int();
    check.whole &= interval.is_some();
    Some(HealthCheck::new(HealthKind::Tcp, interval? as u32))
}

fn full(check: &mut RuleCheck<'_, '_>, draft: &Draft<'_>) -> Option<HealthCheck> {
    check.whole &= !draft.slots().iter().any(|slot| matches!(slot.value, Decoded::Refused));
    let kind = match draft.get(health::KIND).map(Slot::text) {
        None => Some(HealthKind::Tcp),
        Some(Some(word)) => HealthKind::parse(word),
        Some(None) => return None,
    };
    applicable(check, draft, kind);
    let kind = kind?;
    let int = |field| draft.get(field).and_then(Slot::int).map(|number| number as u32);
    let text = |field| draft.text(field).map(str::to_owned);
    let mut read = HealthCheck::new(kind, int(health::INTERVAL_SECS).unwrap_or(DEFAULT_INTERVAL_SECS));
    debug_assert!(read.timeout_ms <= DEFAULT_TIMEOUT_MS, "the default timeout is never above its constant");
    read.timeout_ms = int(health::TIMEOUT_MS).unwrap_or(read.timeout_ms);
    read.fast_interval_secs = int(health::FAST_INTERVAL_SECS).unwrap_or(read.fast_interval_secs);
    read.down_interval_secs = int(health::DOWN_INTERVAL_SECS).unwrap_or(read.down_interval_secs);
    read.rise = int(health::RISE).map_or(read.rise, |count| count as u8);
    read.fall = int(health::FALL).map_or(read.fall, |count| count as u8);
    read.port = int(health::PORT).map(|port| port as u16);
    read.address = draft.get(health::ADDRESS).and_then(Slot::ip);
    read.path = text(health::PATH).unwrap_or(read.path);
    read.host = text(health::HOST).unwrap_or(read.host);
    read.method = text(health::METHOD).unwrap_or(read.method);
    if let Some(statuses) = draft.text(health::EXPECT_STATUS).and_then(StatusRanges::parse) {
        read.expect_status = statuses;
    }
    read.expect_body = text(health::EXPECT_BODY).unwrap_or(read.expect_body);
    read.server_name = text(health::SERVER_NAME).unwrap_or(read.server_name);
    read.verify = draft.get(health::VERIFY).and_then(Slot::bool).unwrap_or(read.verify);
    read.send = text(health::SEND).unwrap_or(read.send);
    read.expect = text(health::EXPECT).unwrap_or(read.expect);
    read.is_optimistic = draft.text(health::INITIAL) == Some("optimistic");
    read.is_leaky = draft.text(health::MODE) == Some("leaky");
    read.jitter_percent = int(health::JITTER_PERCENT).map_or(read.jitter_percent, |percent| percent as u8);
    read.history = int(health::HISTORY).map_or(read.history, |count| count as u8);
    if let Some(draft) = draft.table(health::RETRY) {
        check.whole &= !draft.slots().iter().any(|slot| matches!(slot.value, Decoded::Refused));
        read.retry = retry_of(draft);
    }
    Some(read)
}

fn retry_of(draft: &Draft<'_>) -> Retry {
    let int = |field| draft.get(field).and_then(Slot::int).map(|number| number as u32);
    let default = Retry::default();
    let initial_ms = int(retry::INITIAL_MS).unwrap_or(default.initial_ms);
    Retry {
        max: int(retry::MAX).map_or(default.max, |count| count as u8),
        initial_ms,
        max_ms: int(retry::MAX_MS).unwrap_or(default.max_ms.max(initial_ms)),
    }
}

/// Reports keys that a check of this kind cannot use.
fn applicable(check: &mut RuleCheck<'_, '_>, draft: &Draft<'_>, kind: Option<HealthKind>) {
    // `kind = "none"` switches a check off and keeps its settings for the day it is switched on again.
    let Some(kind) = kind else { return };
    for slot in draft.slots() {
        let fits = match slot.field {
            health::PATH | health::HOST | health::METHOD | health::EXPECT_STATUS | health::EXPECT_BODY => {
                kind.is_http()
            }
            health::SERVER_NAME | health::VERIFY => kind.is_tls(),
            health::SEND | health::EXPECT => kind == HealthKind::Tcp,
            health::PORT => kind != HealthKind::Icmp,
            _ => true,
        };
        if !fits {
            let key = health::TABLE.fields[slot.field].key;
            let message = format!("`health.{key}` does not apply to a check of kind `{}`", kind.as_str());
            check.error(TreeCode::NotApplicable, slot.key_span, message);
            check.whole = false;
        }
    }
}
