//! What a plan says that it ends, beside a model that looks at every listener and place by itself.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schema::diff::Rules;
use schema::rule::Host;
use schema::testing::{arbitrary, places};

use super::*;
use crate::decide::live::{DrainCount, Live, PlaceCount};

/// Connections of an edge by rule, listener and place.
type Counts = Vec<(RuleName, schema::net::Listener, (Host, u16), u64)>;

fn counts(rules: &Rules, seed: u64) -> Counts {
    let mut counts = Counts::new();
    for (listener, to) in places(rules) {
        let owner = rules.values().find(|rule| rule.listen.contains(listener)).expect("who listens");
        for (host, port) in to {
            let count = seed.wrapping_mul(u64::from(listener.port) + 3 * u64::from(port)) % 4;
            counts.push((owner.name.clone(), listener, (host, port), count));
        }
    }
    counts
}

/// An edge that runs these rules with these connections, and with as many as it is told that drain.
fn edges(rules: &Rules, counts: &Counts, draining: u64) -> Edges {
    let mut edges = running(&rules.values().cloned().collect::<Vec<_>>());
    let report = edges.get_mut("a").and_then(|edge| edge.report.as_mut()).expect("there");
    for (name, view) in &mut report.rules {
        let own = counts.iter().filter(|(rule, .., count)| rule == name && *count > 0);
        let place = |(_, listener, (host, port), count): &(_, schema::net::Listener, (Host, u16), u64)| PlaceCount {
            listen_port: listener.port,
            host: host.to_string(),
            port: *port,
            connections: *count,
        };
        let places: Vec<PlaceCount> = own.map(place).collect();
        let drains = vec![DrainCount { listen: Vec::new(), connections: draining, ends_at: Timestamp::MAX }];
        view.connections = places.iter().map(|place| place.connections).sum::<u64>() + draining;
        view.live = Some(Live { places, left_out: 0, drains });
    }
    edges
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_counts_exactly_the_connections_that_end(
        before in arbitrary::crowded_rules(), after in arbitrary::crowded_rules(), seed in 1_u64.., draining in 0_u64..9,
    ) {
        let counts = counts(&before, seed);
        let document = planned(
            &ruleset(&after.values().cloned().collect::<Vec<_>>()),
            &edges(&before, &counts, draining),
        );
        let stays = places(&after);
        let mut ended: BTreeMap<&RuleName, u64> = BTreeMap::new();
        for (rule, listener, place, count) in &counts {
            if !stays.get(listener).is_some_and(|to| to.contains(place)) {
                *ended.entry(rule).or_default() += count;
            }
        }
        prop_assert_eq!(document.summary.connections_affected, ended.values().sum::<u64>());
        for change in &document.changes {
            let rule = change.previous_rule.as_ref().unwrap_or(&change.rule);
            prop_assert_eq!(change.impact.connections, ended.get(rule).copied().unwrap_or_default(), "{}", rule);
            if change.impact.kind != ImpactKind::Drain {
                prop_assert_eq!(change.impact.connections, 0);
            }
        }
    }

    #[test]
    fn an_edge_is_asked_about_what_ends_and_only_where_it_answers_for_that_alone(
        before in arbitrary::crowded_rules(), after in arbitrary::crowded_rules(),
    ) {
        let counts = counts(&before, 1);
        let tree = ruleset(&after.values().cloned().collect::<Vec<_>>());
        let mut edges = edges(&before, &counts, 0);
        let names = BTreeMap::from([(EdgeName::new("a").expect("a name"), before.keys().cloned().collect())]);
        let silent = ended(&tree, &edges, &names);
        prop_assert!(silent.values().all(|ended| ended.parts.is_empty()), "it would answer for the whole rule");
        let hello = edges.get_mut("a").and_then(|edge| edge.hello.as_mut()).expect("there");
        hello.features.insert(schema::wire::ending::AGES_FEATURE.to_owned());
        let stays = places(&after);
        let ended = ended(&tree, &edges, &names);
        for (edge, rule) in ended.keys() {
            let of = &ended[&(edge.clone(), rule.clone())];
            let mut lives = Vec::new();
            for (_, listener, place, _) in counts.iter().filter(|(owner, ..)| owner == rule) {
                let stays = stays.get(listener).is_some_and(|to| to.contains(place));
                prop_assert_eq!(of.parts.iter().any(|part| part.ends(*listener, &place.0, place.1)), !stays);
                lives.push(stays);
            }
            if !lives.is_empty() {
                prop_assert_eq!(of.is_whole, !lives.contains(&true), "{}", rule);
            }
        }
    }
}
