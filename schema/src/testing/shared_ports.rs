//! Rules that share ports by server name: arbitrary ones, and a judge of their connections that tries every name.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::arbitrary::crowded_rule;
use crate::diff::Rules;
use crate::net::{Listener, PortRange, Protocol};
use crate::rule::{Host, Rule};
use crate::shared_port::clash;
use crate::sni::ServerName;

/// What rules list.
const LISTED: [&str; 4] = ["a.x.example", "b.x.example", "*.x.example", "y.example"];
/// What clients ask for: each name that can make a difference to these rules, and none.
const ASKED: [Option<&str>; 6] =
    [None, Some("a.x.example"), Some("b.x.example"), Some("c.x.example"), Some("y.example"), Some("z.example")];

/// A rule of a small world that lists names, or one without names, which may be a range.
fn rule() -> impl Strategy<Value = Rule> {
    let names = prop_oneof![2 => Just(Vec::new()), 3 => subsequence(LISTED.to_vec(), 1..3)];
    (crowded_rule(), names).prop_map(|(rule, names)| {
        let mut parts = rule.into_parts();
        if names.is_empty() {
            return Rule::new(parts).expect("it was valid before");
        }
        let single = |ports: PortRange| PortRange::single(ports.first()).expect("a port");
        parts.listen.protocol = Protocol::Tcp;
        parts.listen.ports = single(parts.listen.ports);
        for target in &mut parts.targets {
            target.ports = single(target.ports);
        }
        parts.sni = names.into_iter().map(|name| ServerName::parse(name).expect("a name")).collect();
        Rule::new(parts).expect("every part is in its range")
    })
}

/// The rules of one edge in a small world, many of which share a port.
pub fn rules() -> impl Strategy<Value = Rules> {
    vec(rule(), 0..9).prop_map(|drawn| {
        let mut rules: Rules = BTreeMap::new();
        for rule in drawn {
            if !rules.values().any(|other| clash(other, &rule).is_some()) {
                rules.entry(rule.name.clone()).or_insert_with(|| Arc::new(rule));
            }
        }
        rules
    })
}

/// True if a rule lists this name or a wildcard that stands for it.
fn lists(rule: &Rule, asked: &str) -> bool {
    let parent = asked.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    rule.sni.iter().any(|own| own.as_str() == asked || Some(own.as_str()) == parent.as_deref())
}

/// The rule of a listener that a client with this name reaches.
fn reached<'a>(owners: &[&'a Rule], asked: Option<&str>) -> Option<&'a Rule> {
    let by = |is_it: &dyn Fn(&Rule) -> bool| owners.iter().copied().find(|rule| is_it(rule));
    let exact = asked.and_then(|asked| by(&|rule| rule.sni.iter().any(|own| own.as_str() == asked)));
    let any = || asked.and_then(|asked| by(&|rule| lists(rule, asked)));
    exact.or_else(any).or_else(|| by(&|rule| rule.sni.is_empty()))
}

/// The rules with which a connection of `rule` may go on where `after` serves: its own, `own`, as long as that is on the
/// listener; else those that clients of the rule would reach now. It goes on with those of them that have its place.
pub fn goes_on<'a>(
    rule: &Rule,
    own: Option<&'a Rule>,
    after: &'a Rules,
    (listener, host, port): (Listener, &Host, u16),
) -> Vec<&'a Rule> {
    let owners: Vec<&Rule> = after.values().map(|rule| &**rule).filter(|rule| rule.listen.contains(listener)).collect();
    let candidates = match own.filter(|own| own.listen.contains(listener)) {
        Some(own) => vec![own],
        None if rule.sni.is_empty() || owners.iter().all(|owner| owner.sni.is_empty()) => owners,
        None => {
            let asked = ASKED.into_iter().flatten().filter(|asked| lists(rule, asked));
            asked.filter_map(|asked| reached(&owners, Some(asked))).collect()
        }
    };
    let has_place = |owner: &Rule| {
        let offset = usize::from(listener.port - owner.listen.ports.first());
        let mut enabled = owner.targets.iter().filter(|target| target.enabled);
        enabled.any(|target| target.host == *host && target.ports.ports().nth(offset) == Some(port))
    };
    candidates.into_iter().filter(|owner| has_place(owner)).collect()
}

/// Every connection that clients can have: the rule that each reaches, with listener and place.
pub fn connections(rules: &Rules) -> Vec<(Arc<Rule>, Listener, Host, u16)> {
    let mut all = Vec::new();
    for rule in rules.values() {
        for (offset, listener) in rule.listen.listeners().enumerate() {
            let owners: Vec<&Rule> =
                rules.values().map(|rule| &**rule).filter(|rule| rule.listen.contains(listener)).collect();
            let is_reached = |asked| reached(&owners, asked).is_some_and(|reached| reached.name == rule.name);
            if !ASKED.into_iter().any(is_reached) {
                continue;
            }
            for target in rule.targets.iter().filter(|target| target.enabled) {
                let port = target.ports.ports().nth(offset).expect("as wide as the listeners");
                all.push((rule.clone(), listener, target.host.clone(), port));
            }
        }
    }
    all
}
