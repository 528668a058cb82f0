//! What becomes of a connection when other rules begin to serve. Pure.
//!
//! Keeps: [`schema::ending`] alone judges; a connection that drains and whose listener leads to its place again is
//! spared, and one that drains already keeps its deadline.

use schema::ending::{Endings, leads_to};
use schema::net::Listener;
use schema::rule::{Host, Rule};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives on, with the rule that owns its listener now.
    Lives,
    /// It drains, unless it does so already: by this part of what ends.
    Drains(usize),
    /// Nothing that concerns it has changed.
    AsBefore,
}

/// The fate of a connection from a listener to a place. `owner` is the rule that serves on the listener now.
pub fn fate(endings: &Endings, owner: Option<&Rule>, listener: Listener, host: &Host, port: u16) -> Fate {
    if owner.is_some_and(|owner| leads_to(owner, listener, host, port)) {
        return Fate::Lives;
    }
    endings.find(listener, host, port).map_or(Fate::AsBefore, Fate::Drains)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use schema::diff::{Rules, diff};
    use schema::ending::ends;
    use schema::testing::{arbitrary, places};

    use super::*;

    type Live = (Listener, Host, u16);

    fn owner(rules: &Rules, listener: Listener) -> Option<&Rule> {
        rules.values().find(|rule| rule.listen.contains(listener)).map(|rule| &**rule)
    }

    /// Connections that live, each with the time of its end where it drains.
    #[derive(Default)]
    struct Edge(BTreeMap<Live, Option<Duration>>);

    impl Edge {
        /// The deadlines that are over have ended what drained.
        fn pass(&mut self, now: Duration) {
            self.0.retain(|_, ends| ends.is_none_or(|ends| ends > now));
        }

        fn connect(&mut self, rules: &Rules) {
            for (listener, to) in places(rules) {
                for (host, port) in to {
                    self.0.insert((listener, host, port), None);
                }
            }
        }

        fn switch(&mut self, before: &Rules, after: &Rules, now: Duration) {
            let endings = ends(&diff(before, after));
            for ((listener, host, port), drains) in &mut self.0 {
                match fate(&endings, owner(after, *listener), *listener, host, *port) {
                    Fate::Lives => *drains = None,
                    Fate::Drains(part) => {
                        drains.get_or_insert(now + endings.parts()[part].drain_timeout);
                    }
                    Fate::AsBefore => {}
                }
            }
        }
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
                prop_assert_eq!(&edge.0, &model);
                for (listener, to) in is {
                    model.extend(to.into_iter().map(|(host, port)| ((listener, host, port), None)));
                }
                edge.connect(&next);
                current = next;
            }
        }
    }
}
