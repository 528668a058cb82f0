//! What becomes of a connection when other rules begin to serve. Pure.
//!
//! Keeps: [`schema::ending`] alone judges; a connection that drains and whose listener leads to its place again is
//! spared, and one that drains already keeps its deadline.

use schema::ending::{Endings, leads_to};
use schema::net::Listener;
use schema::rule::{Host, Rule};
use schema::shared_port::heirs;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives on, with this one of those that its listener belongs to now.
    Lives(usize),
    /// It drains, unless it does so already: by this part of what ends.
    Drains(usize),
    /// Nothing that concerns it has changed.
    AsBefore,
}

/// Whose a connection may be from now on.
#[derive(Debug, Clone, Copy)]
pub struct Owners<'a> {
    /// The rules that serve on its listener now.
    pub serving: &'a [&'a Rule],
    /// Which of them is the rule that it belongs to, if it is there still.
    pub own: Option<usize>,
    /// The rule that it belongs to, as it served before, where it did; of what drains, the version that it came in under.
    pub before: &'a Rule,
}

impl<'a> Owners<'a> {
    /// Whose targets a connection of this fate may still try.
    pub fn owner(&self, fate: Fate) -> Option<&'a Rule> {
        let owner = match fate {
            Fate::Lives(owner) => Some(owner),
            Fate::Drains(_) | Fate::AsBefore => self.own,
        };
        match (owner, self.serving) {
            (Some(owner), serving) => Some(serving[owner]),
            (None, [owner]) => Some(owner),
            (None, _) => None,
        }
    }

    /// The first one that leads the connection to its place.
    fn leading(&self, listener: Listener, host: &Host, port: u16) -> Option<usize> {
        let leads = |rule: &Rule| leads_to(rule, listener, host, port);
        if let Some(own) = self.own {
            return leads(self.serving[own]).then_some(own);
        }
        let heirs = heirs(&self.before.sni, self.serving);
        let is_heir = |rule: &Rule| heirs.iter().any(|heir| std::ptr::eq(*heir, rule));
        self.serving.iter().position(|rule| leads(rule) && is_heir(rule))
    }
}

/// The fate of a connection from a listener to a place.
pub fn fate(endings: &Endings, owners: Owners<'_>, listener: Listener, host: &Host, port: u16) -> Fate {
    if let Some(owner) = owners.leading(listener, host, port) {
        return Fate::Lives(owner);
    }
    endings.find(&owners.before.name, listener, host, port).map_or(Fate::AsBefore, Fate::Drains)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use schema::diff::{Rules, diff};
    use schema::ending::ends;
    use schema::name::RuleName;
    use schema::sni::ServerName;
    use schema::testing::{arbitrary, places, rule_with, shared_ports};

    use super::*;

    type Live = (Listener, Host, u16);

    fn owner(rules: &Rules, listener: Listener) -> Option<&Arc<Rule>> {
        rules.values().find(|rule| rule.listen.contains(listener))
    }

    /// A connection that lives, with its rule, and with the time of its end where it drains.
    #[derive(Debug, Clone)]
    struct Connection {
        rule: Arc<Rule>,
        ends: Option<Duration>,
    }

    #[derive(Default)]
    struct Edge(BTreeMap<Live, Connection>);

    impl Edge {
        /// The deadlines that are over have ended what drained.
        fn pass(&mut self, now: Duration) {
            self.0.retain(|_, connection| connection.ends.is_none_or(|ends| ends > now));
        }

        fn connect(&mut self, rules: &Rules) {
            for (listener, to) in places(rules) {
                let rule = owner(rules, listener).expect("it serves");
                for (host, port) in to {
                    self.0.insert((listener, host, port), Connection { rule: rule.clone(), ends: None });
                }
            }
        }

        fn switch(&mut self, before: &Rules, after: &Rules, now: Duration) {
            let changes = diff(before, after);
            let endings = ends(&changes);
            for ((listener, host, port), connection) in &mut self.0 {
                let moved =
                    changes.changes.iter().find(|change| change.previous_rule == Some(connection.rule.name.clone()));
                let name = moved.map_or_else(|| connection.rule.name.clone(), |change| change.rule.clone());
                let serving: Vec<&Rule> =
                    after.values().filter(|rule| rule.listen.contains(*listener)).map(|rule| &**rule).collect();
                let own = serving.iter().position(|rule| rule.name == name);
                let known = before.get(&connection.rule.name).unwrap_or(&connection.rule).clone();
                let owners = Owners { serving: &serving, own, before: &known };
                match fate(&endings, owners, *listener, host, *port) {
                    Fate::Lives(owner) => {
                        *connection = Connection { rule: after[&serving[owner].name].clone(), ends: None };
                    }
                    Fate::Drains(part) => {
                        connection.ends.get_or_insert(now + endings.parts()[part].drain_timeout);
                    }
                    Fate::AsBefore => {}
                }
            }
        }

        fn ends(&self) -> BTreeMap<Live, Option<Duration>> {
            self.0.iter().map(|(live, connection)| (live.clone(), connection.ends)).collect()
        }
    }

    fn named(name: &str, server_name: Option<&str>, target: &str) -> (RuleName, Arc<Rule>) {
        let rule = rule_with(name, 443, 443, |parts| {
            parts.sni = server_name.map(|name| ServerName::parse(name).expect("a name")).into_iter().collect();
            parts.targets[0].host = Host::parse(target).expect("a host");
        });
        (rule.name.clone(), rule)
    }

    /// With which rule a connection of the first of these goes on under others, if it does.
    fn goes_on(before: &[(RuleName, Arc<Rule>)], after: &[(RuleName, Arc<Rule>)]) -> Option<String> {
        let (rule, rules) =
            (before[0].1.clone(), |all: &[(RuleName, Arc<Rule>)]| all.iter().cloned().collect::<Rules>());
        let live = (rule.listen.at(443), rule.targets[0].host.clone(), rule.targets[0].ports.first());
        let mut edge = Edge(BTreeMap::from([(live, Connection { rule, ends: None })]));
        edge.switch(&rules(before), &rules(after), Duration::ZERO);
        let connection = edge.0.into_values().next().expect("it drains at least");
        connection.ends.is_none().then(|| connection.rule.name.to_string())
    }

    #[test]
    fn connections_of_a_shared_port_stay_with_their_rule_and_pass_to_whom_its_names_lead() {
        let one = "10.0.0.1";
        let (a, b, f) = (named("a", Some("a.example"), one), named("b", Some("b.example"), one), named("f", None, one));
        let all = [a.clone(), b.clone(), f.clone()];
        assert_eq!(goes_on(&all, &all[..1]).as_deref(), Some("a"), "others go");
        assert_eq!(goes_on(&all, &all[1..]).as_deref(), Some("f"), "its name leads to the fallback now");
        assert_eq!(goes_on(&all[..2], &all[1..2]), None, "its name leads nowhere, though the place is the same");
        let moved = [named("a", Some("a.example"), "10.0.0.2"), b.clone(), f.clone()];
        assert_eq!(goes_on(&all, &moved), None, "its own rule leads elsewhere, whatever the others do");
        let taken = [named("c", Some("a.example"), one), named("d", Some("d.example"), one)];
        assert_eq!(goes_on(&all[..2], &taken).as_deref(), Some("c"), "renamed");
        let plain = [named("a", None, one)];
        assert_eq!(goes_on(&all[..1], &plain).as_deref(), Some("a"), "it lists no names any more");
        assert_eq!(goes_on(&plain, &all[..2]).as_deref(), Some("a"), "it lists names from now on");
        assert_eq!(
            goes_on(std::slice::from_ref(&f), &all[..2]).as_deref(),
            Some("a"),
            "of a fallback it may have any name"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

        /// Beside a model that knows nothing but listeners, places and the clock.
        #[test]
        fn a_connection_ends_when_its_listener_has_not_led_to_its_place_for_the_drain_timeout(
            versions in vec((arbitrary::crowded_rules(), 0_u64..3), 2..6),
        ) {
            let (mut edge, mut model) = (Edge::default(), BTreeMap::<Live, Option<Duration>>::new());
            let (mut now, mut current) = (Duration::ZERO, Rules::new());
            for (next, secs) in versions {
                now += Duration::from_secs(secs);
                edge.pass(now);
                model.retain(|_, ends| ends.is_none_or(|ends| ends > now));
                let (was, is) = (places(&current), places(&next));
                for ((listener, host, port), ends) in &mut model {
                    let place = (host.clone(), *port);
                    if is.get(listener).is_some_and(|to| to.contains(&place)) {
                        *ends = None;
                    } else if was.get(listener).is_some_and(|to| to.contains(&place)) {
                        let rule = owner(&current, *listener).expect("it served");
                        *ends = Some(ends.unwrap_or(now + rule.drain_timeout));
                    }
                }
                edge.switch(&current, &next, now);
                prop_assert_eq!(&edge.ends(), &model);
                for (listener, to) in is {
                    model.extend(to.into_iter().map(|(host, port)| ((listener, host, port), None)));
                }
                edge.connect(&next);
                current = next;
            }
        }
    }

    /// The rule of a connection after a change, under the name that it has then.
    fn own_after<'a>(before: &Rules, after: &'a Rules, rule: &Rule) -> Option<&'a Rule> {
        let changes = diff(before, after).changes;
        let moved = changes.iter().find(|change| change.previous_rule.as_ref() == Some(&rule.name));
        after.get(moved.map_or(&rule.name, |change| &change.rule)).map(|rule| &**rule)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

        /// Beside a judge that tries every server name, over several changes.
        #[test]
        fn on_shared_ports_a_connection_ends_when_no_rule_that_it_may_go_on_with_has_had_its_place_for_the_drain_timeout(
            versions in vec((shared_ports::rules(), 0_u64..3), 2..5),
        ) {
            let (mut now, mut current) = (Duration::ZERO, Rules::new());
            let mut model: Vec<(Live, Connection)> = Vec::new();
            for (next, secs) in versions {
                now += Duration::from_secs(secs);
                model.retain(|(_, connection)| connection.ends.is_none_or(|ends| ends > now));
                for ((listener, host, port), connection) in &mut model {
                    let live = (*listener, host.clone(), *port);
                    let mut edge = Edge(BTreeMap::from([(live.clone(), connection.clone())]));
                    edge.switch(&current, &next, now);
                    let after = edge.0.remove(&live).expect("a switch forgets nobody");
                    let known = current.get(&connection.rule.name).unwrap_or(&connection.rule).clone();
                    let own = own_after(&current, &next, &connection.rule);
                    let with = shared_ports::goes_on(&known, own, &next, (*listener, host, *port));
                    let what = format!("{} by {listener} to {host}:{port}", connection.rule.name);
                    if with.is_empty() {
                        let ends = connection.ends.unwrap_or(now + known.drain_timeout);
                        prop_assert_eq!(after.ends, Some(ends), "{}", what);
                    } else {
                        prop_assert_eq!(after.ends, None, "{}", &what);
                        prop_assert!(with.iter().any(|rule| **rule == *after.rule), "{}", what);
                    }
                    *connection = after;
                }
                let come = shared_ports::connections(&next).into_iter();
                model.extend(come.map(|(rule, listener, host, port)| ((listener, host, port), Connection { rule, ends: None })));
                current = next;
            }
        }
    }
}
