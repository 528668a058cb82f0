//! `target` and `targets` of a rule, and the place of a problem inside a rule. Pure.

use super::entry;
use super::rule::{RuleCheck, slot_ports};
use crate::codes::TreeCode;
use crate::decode::{Decoded, Draft, Slot};
use crate::diagnostic::Span;
use crate::fields::{health, rule, target};
use crate::rule::{ProxyProtocol, Rule, Target};

/// The targets of a rule; `None` where any of them is not known well enough to compare it with the others.
pub(super) fn read(check: &mut RuleCheck<'_, '_>) -> Option<Vec<Target>> {
    let own = check.own;
    check.not_both(own, rule::TARGET, rule::TARGETS);
    let proxy_protocol = check.proxy_protocol();
    let mut targets = match (own.get(rule::TARGET), own.get(rule::TARGETS)) {
        (None, None) => {
            let what = match own.text(rule::NAME) {
                Some(name) => format!("rule `{name}`"),
                None => "the rule".to_owned(),
            };
            check.one_of(own, check.anchor(), &what, [rule::TARGET, rule::TARGETS]);
            return None;
        }
        (Some(slot), _) => match &slot.value {
            Decoded::Endpoint(host, ports) => vec![Target::new(host.clone(), *ports)],
            _ => return None,
        },
        (None, Some(Slot { value: Decoded::Refused, .. })) => return None,
        (None, Some(_)) => {
            // Each is read, also after one that failed: all errors show in one run.
            let drafts = own.tables(rule::TARGETS);
            let read: Vec<_> = drafts.iter().map(|draft| one(check, draft, proxy_protocol.is_some())).collect();
            read.into_iter().collect::<Option<Vec<_>>>()?
        }
    };
    if let Some(version) = proxy_protocol {
        for target in &mut targets {
            target.proxy_protocol.get_or_insert(version);
        }
    }
    Some(targets)
}

fn one(check: &mut RuleCheck<'_, '_>, draft: &Draft<'_>, rule_has_proxy: bool) -> Option<Target> {
    check.whole &= !draft.slots().iter().any(|slot| matches!(slot.value, Decoded::Refused));
    check.not_both(draft, target::PORT, target::PORTS);
    let slot = draft.get(target::PORT).or_else(|| draft.get(target::PORTS));
    if slot.is_none() {
        let span = draft.get(target::HOST).map_or(draft.span, |slot| slot.span);
        check.one_of(draft, span, "a target", [target::PORT, target::PORTS]);
    }
    let proxy_protocol = draft.get(target::PROXY_PROTOCOL).and_then(|slot| slot.text().and_then(ProxyProtocol::parse));
    contradiction(check, draft, proxy_protocol, rule_has_proxy);
    let host = match &draft.get(target::HOST)?.value {
        Decoded::Host(host) => host.clone(),
        _ => return None,
    };
    let small = |field| draft.get(field).and_then(Slot::int).map(|number| number as u8);
    let mut target = Target::new(host, slot.and_then(slot_ports)?);
    target.priority = small(target::PRIORITY).unwrap_or(target.priority);
    target.weight = small(target::WEIGHT).unwrap_or(target.weight);
    target.enabled = draft.get(target::ENABLED).and_then(Slot::bool).unwrap_or(true);
    target.proxy_protocol = proxy_protocol;
    Some(target)
}

/// `proxy_protocol` of the rule is for all of its targets: one that says otherwise contradicts it.
fn contradiction(
    check: &mut RuleCheck<'_, '_>,
    draft: &Draft<'_>,
    version: Option<ProxyProtocol>,
    rule_has_proxy: bool,
) {
    let (Some(slot), true) = (draft.get(target::PROXY_PROTOCOL), rule_has_proxy) else { return };
    let Some(rules) = check.own.get(rule::PROXY_PROTOCOL) else { return };
    if version.is_none() || rules.text() == slot.text() {
        return;
    }
    let message = "the rule and its target set different versions of `proxy_protocol`";
    let found = crate::diagnostic::Diagnostic::error(TreeCode::ConflictingKeys, check.file, slot.span, message);
    check.diagnostics.push(found.related(check.file, rules.span, "set for all targets here"));
    check.whole = false;
}

/// The places of the targets of a valid rule.
pub(super) fn places(own: &Draft<'_>, valid: Option<&Rule>) -> Box<[Span]> {
    let Some(valid) = valid else { return Box::default() };
    if let Some(slot) = own.get(rule::TARGET) {
        return vec![slot.span; valid.targets.len()].into();
    }
    own.tables(rule::TARGETS).iter().map(|draft| draft.get(target::HOST).map_or(draft.span, |slot| slot.span)).collect()
}

/// The place of the first target that is the same as the one of `targets[INDEX]`.
pub(super) fn first_alike(own: &Draft<'_>, listed: &[Target], key: &str) -> Option<Span> {
    let index: usize = key.strip_prefix("targets[")?.strip_suffix(']')?.parse().ok()?;
    let later = listed.get(index)?;
    let same = |other: &Target| other.host == later.host && other.ports.overlaps(later.ports);
    let draft = own.tables(rule::TARGETS).get(listed.iter().position(same)?)?;
    draft.get(target::HOST).map(|slot| slot.span)
}

/// Where the problem of a key such as `targets[1].ports` or `health.timeout_ms` stands.
pub(super) fn problem_place(own: &Draft<'_>, defaults: Option<&Draft<'_>>, key: &str) -> Option<Span> {
    let slot = |field: usize| own.get(field).or_else(|| defaults.and_then(|draft| draft.get(field)));
    let span = |slot: &Slot<'_>| slot.span;
    if let Some(key) = key.strip_prefix("health.") {
        let check = slot(rule::HEALTH).filter(|_| !own.has(rule::HEALTH_CHECK_INTERVAL_SECS));
        let field = check.and_then(Slot::table).and_then(|draft| draft.get(health::TABLE.find(key, 0)?));
        return field
            .map(span)
            .or_else(|| check.map(|slot| slot.key_span))
            .or_else(|| slot(rule::HEALTH_CHECK_INTERVAL_SECS).map(span));
    }
    if let Some((first, _)) =
        key.split_once('.').filter(|(first, _)| matches!(*first, "access" | "rate_limit" | "quota"))
    {
        let has_own = rule::TABLE.find(first, 0).is_some_and(|field| own.has(field));
        return entry::place(if has_own { own } else { defaults? }, key);
    }
    let Some(rest) = key.strip_prefix("targets[") else { return slot(rule::TABLE.find(key, 0)?).map(span) };
    let (index, rest) = rest.split_once(']')?;
    let draft = own.tables(rule::TARGETS).get(index.parse::<usize>().ok()?);
    let whole = || draft.map(|draft| draft.get(target::HOST).map_or(draft.span, span));
    match rest.strip_prefix('.') {
        Some("ports") => draft
            .and_then(|draft| draft.get(target::PORT).or_else(|| draft.get(target::PORTS)))
            .map(span)
            .or_else(|| slot(rule::TARGET).map(span)),
        Some("proxy_protocol") => {
            draft.and_then(|draft| draft.get(target::PROXY_PROTOCOL)).or_else(|| slot(rule::PROXY_PROTOCOL)).map(span)
        }
        Some(key) => draft.and_then(|draft| draft.get(target::TABLE.find(key, 0)?)).map(span).or_else(whole),
        None => whole().or_else(|| slot(rule::TARGET).map(span)),
    }
}
