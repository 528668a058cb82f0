//! The laws of what a change ends, beside a model that looks at every listener by itself.

mod shared_ports;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use schema::diff::{Rules, diff};
use schema::ending::{End, Part, ends, leads_to};
use schema::net::Listener;
use schema::rule::Host;
use schema::testing::{arbitrary, places};

/// A connection with all that matters of it.
type Live = (Listener, Host, u16);

/// Every connection that a rule set can have.
fn connections(rules: &Rules) -> BTreeSet<Live> {
    let places = places(rules).into_iter();
    places.flat_map(|(listener, to)| to.into_iter().map(move |(host, port)| (listener, host, port))).collect()
}

fn owner_drains(rules: &Rules, listener: Listener) -> Option<Duration> {
    rules.values().find(|rule| rule.listen.contains(listener)).map(|rule| rule.drain_timeout)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_in_both_versions_lives_and_all_else_ends_by_the_old_drain_timeout(
        before in arbitrary::crowded_rules(), after in arbitrary::crowded_rules(),
    ) {
        let endings = ends(&diff(&before, &after));
        let stays = connections(&after);
        for (listener, host, port) in connections(&before) {
            let owner = before.values().find(|rule| rule.listen.contains(listener)).expect("it served");
            let found = endings.find(&owner.name, listener, &host, port);
            let lives = stays.contains(&(listener, host.clone(), port));
            prop_assert_eq!(found.is_none(), lives, "{} to {}:{}", listener, host, port);
            let by: Vec<&Part> = endings.parts().iter().filter(|part| part.ends(listener, &host, port)).collect();
            prop_assert_eq!(by.len(), usize::from(!lives), "by one part");
            if let Some(index) = found {
                let part = &endings.parts()[index];
                prop_assert_eq!(Some(part.drain_timeout), owner_drains(&before, listener));
                prop_assert!(before[&part.rule].listen.contains(listener));
                let is_open = after.values().any(|rule| rule.listen.contains(listener));
                prop_assert_eq!(part.end == End::Released, !is_open);
            }
        }
    }

    #[test]
    fn nothing_ends_where_nothing_changes_and_the_way_back_ends_what_the_way_there_brought(
        before in arbitrary::crowded_rules(), after in arbitrary::crowded_rules(),
    ) {
        prop_assert!(ends(&diff(&before, &before)).is_empty());
        let back = ends(&diff(&after, &before));
        let there = connections(&before);
        for (listener, host, port) in connections(&after) {
            let owner = after.values().find(|rule| rule.listen.contains(listener)).expect("it served");
            let ends = back.find(&owner.name, listener, &host, port).is_some();
            prop_assert_eq!(ends, !there.contains(&(listener, host, port)));
        }
    }

    #[test]
    fn a_rule_leads_to_exactly_its_places(rules in arbitrary::crowded_rules(), others in arbitrary::crowded_rules()) {
        for (listener, host, port) in connections(&others).union(&connections(&rules)) {
            let leads = rules.values().any(|rule| leads_to(rule, *listener, host, *port));
            let is_place = places(&rules).get(listener).is_some_and(|to| to.contains(&(host.clone(), *port)));
            prop_assert_eq!(leads, is_place);
        }
        for rule in rules.values() {
            let strays = Part::of_strays(rule, rule.drain_timeout);
            for (listener, host, port) in connections(&others) {
                let is_stray = rule.listen.contains(listener) && !leads_to(rule, listener, &host, port);
                prop_assert_eq!(strays.ends(listener, &host, port), is_stray);
            }
        }
    }

    #[test]
    fn parts_are_few_however_wide_the_rules_are(before in arbitrary::rules(), after in arbitrary::rules()) {
        let endings = ends(&diff(&before, &after));
        prop_assert!(endings.parts().len() <= 2 * (before.len() + after.len()));
    }
}
