//! Keys that are part of the language and that this version does not act on yet. Pure.
//!
//! Keeps: nothing is accepted and ignored. Every version that makes a key work removes its line here.

use crate::codes::TreeCode;
use crate::decode::{Draft, Slot};
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::fields::{Table, health, portunus, rule, target};

/// Why a key that is set is refused, if it is. Default values are the same as no value and pass.
fn reason(table: &Table, slot: &Slot<'_>) -> Option<&'static str> {
    let text = slot.text();
    match (table.name, slot.field) {
        ("portunus.toml", portunus::ROLLOUT) => Some("rollouts in waves do not work in this version yet"),
        ("rule" | "defaults", field) => match field {
            rule::HEALTH => {
                let kind = slot.table().and_then(|draft| draft.text(health::KIND));
                (kind != Some("none")).then_some("health checks do not work in this version yet")
            }
            rule::HEALTH_CHECK_INTERVAL_SECS => Some("health checks do not work in this version yet"),
            rule::BALANCE if text != Some("failover") => Some("only `failover` works in this version yet"),
            rule::SRC_IP_STICKY if slot.bool() != Some(false) => {
                Some("balancing by source address does not work in this version yet")
            }
            rule::LAST_RESORT if text != Some("top") => Some("only `top` works in this version yet"),
            rule::ON_TARGET_DOWN if text != Some("drain") => Some("only `drain` works in this version yet"),
            rule::PROTOCOL if text == Some("udp") => Some("UDP does not work in this version yet"),
            rule::PROXY_PROTOCOL => Some("PROXY headers are not sent in this version yet"),
            rule::RATE_LIMIT => Some("rate limits are not designed yet"),
            rule::SNI => Some("routing by server name is not designed yet"),
            _ => None,
        },
        ("rule.targets", target::PROXY_PROTOCOL) => Some("PROXY headers are not sent in this version yet"),
        _ => None,
    }
}

/// Refuses the reserved keys of a draft and of its targets.
pub(super) fn refuse(file: &SourceFile, draft: &Draft<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut add = |slot: &Slot<'_>, key: &str, why: &str| {
        diagnostics.push(
            Diagnostic::error(TreeCode::ReservedKey, file, slot.key_span, format!("`{key}` is reserved: {why}"))
                .help("remove the key for now: a key that is accepted is always enforced"),
        );
    };
    for slot in draft.slots() {
        if let Some(why) = reason(draft.table, slot) {
            add(slot, draft.table.fields[slot.field].key, why);
        }
    }
    if !matches!(draft.table.name, "rule" | "defaults") {
        return;
    }
    let targets = draft.tables(rule::TARGETS);
    if let (Some(slot), true) = (draft.get(rule::TARGETS), targets.len() > 1) {
        add(slot, "targets", "several targets do not work in this version yet");
    }
    for target in targets {
        refuse(file, target, diagnostics);
    }
}
