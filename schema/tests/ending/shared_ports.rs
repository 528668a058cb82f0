//! The same laws where rules share ports by server name, beside a judge that tries every name.

use proptest::prelude::*;
use schema::diff::{Rules, diff};
use schema::ending::{End, ends};
use schema::rule::Rule;
use schema::testing::shared_ports::{connections, goes_on, rules};

/// A rule after a change, under the name that it has then.
fn after_of<'a>(before: &Rule, changed: &Rules, after: &'a Rules) -> Option<&'a Rule> {
    let changes = diff(changed, after);
    let moved = changes.changes.iter().find(|change| change.previous_rule.as_ref() == Some(&before.name));
    let name = moved.map_or(&before.name, |change| &change.rule);
    // Another rule that has the name from now on took it from one that moved away.
    let is_another = moved.is_none()
        && changes.changes.iter().any(|change| {
            change.rule == *name && change.previous_rule.as_ref().is_some_and(|previous| previous != name)
        });
    after.get(name).filter(|_| !is_another).map(|rule| &**rule)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_shared_ports_a_connection_ends_where_no_rule_that_it_may_go_on_with_has_its_place(
        before in rules(), after in rules(),
    ) {
        let endings = ends(&diff(&before, &after));
        for (rule, listener, host, port) in connections(&before) {
            let own = after_of(&rule, &before, &after);
            let lives = !goes_on(&rule, own, &after, (listener, &host, port)).is_empty();
            let found = endings.find(&rule.name, listener, &host, port);
            prop_assert_eq!(found.is_none(), lives, "{} by {} to {}:{}", rule.name, listener, host, port);
            let by = endings.of_rule(&rule.name).filter(|part| part.ends(listener, &host, port));
            prop_assert_eq!(by.count(), usize::from(!lives), "by one part");
            if let Some(index) = found {
                let part = &endings.parts()[index];
                prop_assert_eq!((&part.rule, part.drain_timeout), (&rule.name, rule.drain_timeout));
                let is_open = after.values().any(|rule| rule.listen.contains(listener));
                prop_assert_eq!(part.end == End::Released, !is_open);
            }
        }
    }

    #[test]
    fn on_shared_ports_nothing_ends_where_nothing_changes(rules in rules()) {
        prop_assert!(ends(&diff(&rules, &rules)).is_empty());
    }
}
