//! The laws of the transition over sockets, by example and as properties.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use schema::diff::Rules;
use schema::name::RuleName;
use schema::net::{ListenAddress, Listener, PortRange};
use schema::rule::Rule;
use schema::testing::{rule, rule_with};

use super::{RuleFailure, Settled, Wanted, settle, transition};
use schema::codes::RuleCode;

fn rules(all: &[Arc<Rule>]) -> Rules {
    all.iter().map(|rule| (rule.name.clone(), rule.clone())).collect()
}

fn wanted(rules: &Rules) -> BTreeMap<RuleName, Wanted> {
    rules.iter().map(|(name, rule)| (name.clone(), Wanted::Try(rule.clone()))).collect()
}

fn name(text: &str) -> RuleName {
    RuleName::new(text).unwrap()
}

fn at(address: &str, name: &str, first: u16, last: u16) -> Arc<Rule> {
    rule_with(name, first, last, |parts| parts.listen.address = ListenAddress::Ip(address.parse().unwrap()))
}

fn taken(names: &[&str]) -> BTreeMap<RuleName, RuleFailure> {
    let failure = RuleFailure { code: RuleCode::PortInUse, message: "taken".to_owned(), blocked_by: None };
    names.iter().map(|text| (name(text), failure.clone())).collect()
}

fn listeners(rules: &Rules) -> BTreeSet<Listener> {
    rules.values().flat_map(|rule| rule.listen.listeners()).collect()
}

fn serving(settled: &Settled) -> Rules {
    settled.serving.iter().map(|(name, serving)| (name.clone(), serving.rule.clone())).collect()
}

fn ports(listeners: impl IntoIterator<Item = Listener>) -> Vec<u16> {
    let mut ports: Vec<u16> = listeners.into_iter().map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn a_sliding_range_binds_and_releases_only_its_ends() {
    let (before, after) = (rules(&[rule("web", 100, 109)]), rules(&[rule("web", 105, 114)]));
    let plan = transition(&before, &wanted(&after));
    let (_, binds) = plan.binds().next().unwrap();
    assert_eq!(ports(binds.iter().map(|bind| bind.listener)), (110..=114).collect::<Vec<_>>());
    let settled = settle(&plan, &BTreeMap::new());
    assert_eq!(ports(settled.release), (100..=104).collect::<Vec<_>>());
    assert!(settled.discard.is_empty() && settled.failed.is_empty());
}

#[test]
fn two_rules_that_swap_their_ports_touch_no_socket() {
    let before = rules(&[rule("a", 1, 1), rule("b", 2, 2)]);
    let plan = transition(&before, &wanted(&rules(&[rule("a", 2, 2), rule("b", 1, 1)])));
    assert_eq!(plan.binds().count(), 0);
    let settled = settle(&plan, &BTreeMap::new());
    assert!(settled.release.is_empty() && settled.failed.is_empty());
    assert_eq!(settled.serving[&name("a")].rule.listen.ports.first(), 2);
}

#[test]
fn a_renamed_rule_is_found_and_touches_no_socket() {
    let plan = transition(&rules(&[rule("old", 1, 9)]), &wanted(&rules(&[rule("new", 1, 9)])));
    assert_eq!(plan.binds().count(), 0);
    let settled = settle(&plan, &BTreeMap::new());
    assert_eq!(settled.serving[&name("new")].previous, Some(name("old")));
    assert!(settled.removed.is_empty() && settled.release.is_empty());
}

#[test]
fn a_held_new_name_keeps_what_served_under_the_old_one() {
    let held = BTreeMap::from([(name("new"), Wanted::Hold(Some(rule("new", 1, 9))))]);
    let settled = settle(&transition(&rules(&[rule("old", 1, 9)]), &held), &BTreeMap::new());
    assert_eq!(settled.serving[&name("new")].rule.name, name("new"));
    assert!(settled.release.is_empty() && settled.removed.is_empty());
}

#[test]
fn a_failed_rule_fails_those_that_need_its_sockets_and_theirs_in_turn() {
    // a: 1 → 4 (taken by a stranger), b: 2 → 1, c: 3 → 2, d: new at 3.
    let before = rules(&[rule("a", 1, 1), rule("b", 2, 2), rule("c", 3, 3)]);
    let after = rules(&[rule("a", 4, 4), rule("b", 1, 1), rule("c", 2, 2), rule("d", 3, 3)]);
    let settled = settle(&transition(&before, &wanted(&after)), &taken(&["a"]));
    let blockers: Vec<_> = settled.failed.iter().map(|(name, failure)| (name, failure.blocked_by.clone())).collect();
    let expected = [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", Some("c"))];
    assert_eq!(blockers.len(), expected.len());
    for ((rule, blocker), (expected_rule, expected_blocker)) in blockers.into_iter().zip(expected) {
        assert_eq!((rule.as_str(), blocker), (expected_rule, expected_blocker.map(name)));
    }
    assert_eq!(serving(&settled), before);
    assert_eq!(settled.failed[&name("b")].message, "port 1 already bound by rule `a`");
}

#[test]
fn a_wildcard_that_becomes_one_address_shares_the_port_for_the_switch() {
    let plan = transition(&rules(&[rule("web", 80, 80)]), &wanted(&rules(&[at("127.0.0.1", "web", 80, 80)])));
    let (_, binds) = plan.binds().next().unwrap();
    assert_eq!(ports(binds[0].replaces.clone()), [80]);
    assert_eq!(binds[0].replaces[0].address, ListenAddress::Any);
    let settled = settle(&plan, &BTreeMap::new());
    assert_eq!(settled.release, binds[0].replaces);
    let undone = settle(&plan, &taken(&["web"]));
    assert!(undone.release.is_empty());
    assert_eq!(undone.discard, [binds[0].listener]);
}

#[test]
fn of_two_claims_to_one_socket_the_standing_one_wins() {
    let before = rules(&[rule("z", 5, 9)]);
    let after = rules(&[rule("a", 1, 5), rule("z", 5, 9)]);
    let settled = settle(&transition(&before, &wanted(&after)), &BTreeMap::new());
    assert_eq!(serving(&settled), before);
    assert_eq!(settled.failed.len(), 1);
    assert_eq!(settled.failed[&name("a")].blocked_by, Some(name("z")));
}

/// Rules over few names, ports and addresses, so that clashes, swaps and exchanges are common.
fn any_rules() -> impl Strategy<Value = Rules> {
    let address = prop_oneof![
        4 => Just(ListenAddress::Any),
        1 => Just(ListenAddress::all_ipv4()),
        1 => Just(ListenAddress::Ip("127.0.0.1".parse().unwrap())),
        1 => Just(ListenAddress::Ip("::1".parse().unwrap())),
    ];
    let one = (0..6u8, 1..12u16, 0..5u16, address, any::<bool>());
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let made = all.into_iter().map(|(name, first, more, address, prefer)| {
            rule_with(&format!("r{name}"), first, first + more, |parts| {
                parts.listen.address = address;
                parts.prefer_ipv6 = prefer;
            })
        });
        made.map(|rule| (rule.name.clone(), rule)).collect()
    })
}

fn any_failures() -> impl Strategy<Value = BTreeSet<RuleName>> {
    prop::collection::btree_set((0..6u8).prop_map(|index| name(&format!("r{index}"))), 0..4)
}

/// What serves after wanting `rules` on an edge that runs nothing: clashes are sorted out.
fn coexisting(rules: &Rules) -> Rules {
    serving(&settle(&transition(&Rules::new(), &wanted(rules)), &BTreeMap::new()))
}

proptest! {
    #[test]
    fn the_laws_of_a_switch_hold(
        first in any_rules(), second in any_rules(), unbindable in any_failures(), held in any_failures(),
    ) {
        let current = coexisting(&first);
        let mut wishes = wanted(&second);
        for name in &held {
            if let Some(wish) = wishes.get_mut(name) {
                *wish = Wanted::Hold(second.get(name).cloned());
            }
        }
        let plan = transition(&current, &wishes);
        let bound: BTreeMap<RuleName, Vec<Listener>> =
            plan.binds().map(|(name, binds)| (name.clone(), binds.iter().map(|bind| bind.listener).collect())).collect();
        let failures: BTreeMap<RuleName, RuleFailure> =
            taken(&unbindable.iter().map(RuleName::as_str).collect::<Vec<_>>())
                .into_iter().filter(|(name, _)| bound.contains_key(name)).collect();
        let settled = settle(&plan, &failures);
        let after = serving(&settled);
        let (open_before, open_after) = (listeners(&current), listeners(&after));
        let release: BTreeSet<Listener> = settled.release.iter().copied().collect();

        // A port that both sides use is never released, every other one is, once.
        prop_assert_eq!(&release, &open_before.difference(&open_after).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(release.len(), settled.release.len());

        // A rule has all of its sockets, and each comes from before or from a bind that was not thrown away.
        let all_bound: BTreeSet<Listener> = bound.iter()
            .filter(|(name, _)| !settled.failed.contains_key(*name)).flat_map(|(_, all)| all.iter().copied()).collect();
        prop_assert_eq!(&open_after, &open_before.union(&all_bound).copied()
            .filter(|listener| !release.contains(listener)).collect::<BTreeSet<_>>());
        for listener in &settled.discard {
            prop_assert!(!open_after.contains(listener));
        }

        // Never two owners of one socket, nor two sockets that exclude each other.
        let owned: Vec<Listener> = after.values().flat_map(|rule| rule.listen.listeners()).collect();
        for (index, one) in owned.iter().enumerate() {
            for other in &owned[index + 1..] {
                prop_assert!(!one.conflicts_with(other), "{} and {}", one, other);
            }
        }

        // A failed or held rule leaves exactly what it had; the others serve as wanted.
        for (name, wish) in &wishes {
            let serves = settled.serving.get(name);
            match wish {
                Wanted::Try(next) if !settled.failed.contains_key(name) => {
                    prop_assert_eq!(&serves.unwrap().rule, next);
                }
                _ => {
                    let had = serves.map(|serving| serving.rule.listen);
                    let former = serves.and_then(|serving| serving.previous.clone()).unwrap_or_else(|| name.clone());
                    prop_assert_eq!(had, current.get(&former).map(|rule| rule.listen));
                    if current.contains_key(name) {
                        prop_assert_eq!(serves.map(|serving| &serving.rule), current.get(name));
                    }
                }
            }
        }

        // Every rule that served is carried on exactly once or removed.
        let carried: Vec<&RuleName> = settled.serving.values().filter_map(|serving| serving.previous.as_ref())
            .chain(settled.removed.keys()).collect();
        prop_assert_eq!(carried.len(), current.len());
        prop_assert_eq!(carried.into_iter().collect::<BTreeSet<_>>(), current.keys().collect::<BTreeSet<_>>());

        // An exchange replaces only what is released.
        for (name, binds) in plan.binds().filter(|(name, _)| !settled.failed.contains_key(*name)) {
            for bind in binds {
                for replaced in &bind.replaces {
                    prop_assert!(release.contains(replaced), "{} of {}", replaced, name);
                }
            }
        }
    }

    #[test]
    fn a_transition_to_itself_is_empty(rules in any_rules()) {
        let current = coexisting(&rules);
        let plan = transition(&current, &wanted(&current));
        prop_assert!(plan.is_empty());
        prop_assert_eq!(plan.binds().count(), 0);
        let settled = settle(&plan, &BTreeMap::new());
        prop_assert_eq!(serving(&settled), current);
        prop_assert!(settled.release.is_empty() && settled.discard.is_empty());
    }
}

#[test]
fn a_thousand_ports_are_planned_as_one_rule() {
    let plan = transition(&Rules::new(), &wanted(&rules(&[rule("wide", 1, 1024)])));
    let (_, binds) = plan.binds().next().unwrap();
    assert_eq!(binds.len(), PortRange::new(1, 1024).unwrap().width() as usize);
}
