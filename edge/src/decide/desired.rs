//! A desired state as this edge understands it: valid rules, and those that it cannot take. Pure.
//!
//! Keeps: nothing of the message is lost; what cannot be read or done is rejected rule by rule, with its code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use schema::capability::{self, Capabilities, Limits, Rejection};
use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::networks::Lists;
use schema::proto::{DesiredState, RuleEnd, RuleSpec};
use schema::rule::Rule;
use schema::wire;

use crate::decide::admission::Accepted;

/// One desired rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredRule {
    /// As received.
    pub spec: RuleSpec,
    /// As read; `None` where it is not a valid rule here.
    pub rule: Option<Arc<Rule>>,
    /// Why the edge does not take it, if so.
    pub rejection: Option<Rejection>,
}

/// Everything that the edge should run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// Which desired state this is.
    pub accepted: Accepted,
    /// By name.
    pub rules: BTreeMap<RuleName, DesiredRule>,
    /// Rules without a possible or with a repeated name: they can only be reported.
    pub nameless: Vec<(RuleSpec, Rejection)>,
    /// When rules end without a newer state. A rule that is not among `rules` any more has ended so.
    pub ends: BTreeMap<RuleName, RuleExpiry>,
}

/// When a rule ends without a newer state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleExpiry {
    /// By the edge's own clock, in milliseconds.
    pub at_ms: u64,
    /// As the server counts it: the name of this end.
    pub until_ms: u64,
}

impl Desired {
    /// Reads every rule of an admitted state. `lists` is what its list files hold; none where nothing depends on that.
    pub fn read(
        accepted: Accepted,
        specs: Vec<RuleSpec>,
        lists: Option<&Lists>,
        capabilities: &Capabilities,
        limits: &Limits,
    ) -> Self {
        let mut desired = Self { accepted, ..Self::default() };
        let invalid = |message| Rejection { code: RuleCode::InvalidRule, message };
        for spec in specs {
            let name = match RuleName::new(&spec.name) {
                Ok(name) => name,
                Err(error) => {
                    desired.nameless.push((spec, invalid(error.to_string())));
                    continue;
                }
            };
            if desired.rules.contains_key(&name) {
                desired.nameless.push((spec, invalid(format!("a rule named `{name}` is already in the set"))));
                continue;
            }
            let (rule, rejection) = match wire::rule_from_wire(&spec) {
                Ok(rule) => {
                    let rule = lists.map_or_else(|| rule.clone(), |lists| rule.clone().resolved(lists));
                    let missing = lists.and_then(|_| missing(&rule)).map(invalid);
                    let rejection = capability::rejection(&rule, capabilities, limits).or(missing);
                    (Some(Arc::new(rule)), rejection)
                }
                Err(error) => (None, Some(invalid(error.to_string()))),
            };
            desired.rules.insert(name, DesiredRule { spec, rule, rejection });
        }
        desired
    }

    /// Rejects what forwards to itself on a host that has these addresses, as far as nothing else speaks against it.
    #[must_use]
    pub fn on_host(mut self, addresses: &BTreeSet<IpAddr>) -> Self {
        for desired in self.rules.values_mut().filter(|desired| desired.rejection.is_none()) {
            let rule = desired.rule.as_ref();
            desired.rejection =
                rule.and_then(|rule| capability::forwards_to_itself(rule, |ip| addresses.contains(&ip)));
        }
        self
    }

    /// Lets rules end at these times.
    #[must_use]
    pub fn ending(mut self, ends: impl IntoIterator<Item = (String, RuleExpiry)>) -> Self {
        let ends = ends.into_iter().filter_map(|(rule, end)| Some((RuleName::new(&rule).ok()?, end)));
        self.ends = ends.collect();
        self
    }

    /// Lets rules end as the message says that arrived now.
    #[must_use]
    pub fn ending_from(self, ends: Vec<RuleEnd>, now_ms: u64) -> Self {
        let end =
            |end: RuleEnd| (end.rule, RuleExpiry { at_ms: now_ms.saturating_add(end.rest_ms), until_ms: end.until_ms });
        self.ending(ends.into_iter().map(end))
    }

    /// The same as it was kept.
    #[must_use]
    pub fn ending_as_kept(self, ends: Vec<RuleEnd>) -> Self {
        self.ending(ends.into_iter().map(|end| (end.rule, RuleExpiry { at_ms: end.at_ms, until_ms: end.until_ms })))
    }

    /// Puts no end off that is known: the same end comes again with other time left where the server's clock was set,
    /// or where the message was on its way for long.
    pub fn keep_ends(&mut self, known: &BTreeMap<RuleName, RuleExpiry>) {
        for (rule, end) in &mut self.ends {
            if let Some(known) = known.get(rule).filter(|known| known.until_ms == end.until_ms) {
                end.at_ms = end.at_ms.min(known.at_ms);
            }
        }
    }

    /// Takes out the rules whose time is over, and names them.
    pub fn end_overdue(&mut self, now_ms: u64) -> Vec<RuleName> {
        let overdue = self.ends.iter().filter(|(name, end)| end.at_ms <= now_ms && self.rules.contains_key(*name));
        let overdue: Vec<RuleName> = overdue.map(|(name, _)| name.clone()).collect();
        self.rules.retain(|name, _| !overdue.contains(name));
        overdue
    }

    /// When the next one ends.
    pub fn next_end(&self) -> Option<u64> {
        self.ends.iter().filter(|(name, _)| self.rules.contains_key(*name)).map(|(_, end)| end.at_ms).min()
    }

    /// The rules that have ended.
    pub fn ended(&self) -> impl Iterator<Item = &RuleName> {
        self.ends.keys().filter(|name| !self.rules.contains_key(*name))
    }

    /// The ends as a message names them.
    pub fn ends_to_wire(&self) -> Vec<RuleEnd> {
        let to_wire = |(rule, end): (&RuleName, &RuleExpiry)| RuleEnd {
            rule: rule.to_string(),
            rest_ms: 0,
            until_ms: end.until_ms,
            at_ms: end.at_ms,
        };
        self.ends.iter().map(to_wire).collect()
    }

    /// The message that this was read from, to be kept.
    pub fn to_wire(&self) -> DesiredState {
        let mut rules: Vec<RuleSpec> = self.rules.values().map(|desired| desired.spec.clone()).collect();
        rules.extend(self.nameless.iter().map(|(spec, _)| spec.clone()));
        DesiredState {
            lineage: self.accepted.lineage.clone(),
            generation: self.accepted.generation,
            digest: self.accepted.digest.as_bytes().to_vec(),
            rules,
            ends: self.ends_to_wire(),
            lists: wire::entry::lists_to_wire(self.rules.values().filter_map(|desired| desired.rule.as_deref())),
            ..DesiredState::default()
        }
    }
}

/// What keeps a rule from serving whose list files are not all at hand: it would admit the wrong clients.
fn missing(rule: &Rule) -> Option<String> {
    let mut files = rule.access.iter().flat_map(|access| access.files());
    let file = files.find(|file| file.list().is_none())?;
    Some(format!("the networks of the list file {} are missing", file.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::capability::Capability;
    use schema::rule::Host;
    use schema::testing::{rule, rule_with};
    use schema::wire::rule_to_wire;

    #[test]
    fn a_rule_ends_once_its_time_is_over_and_stays_ended_over_a_restart() {
        let specs = vec![rule_to_wire(&rule("ends", 8000, 8000)), rule_to_wire(&rule("stays", 8001, 8001))];
        let capabilities = Capabilities::from([Capability::Tcp]);
        let read = |specs| Desired::read(Accepted::default(), specs, None, &capabilities, &Limits::default());
        let mut desired = read(specs).ending([("ends".to_owned(), RuleExpiry { at_ms: 50, until_ms: 7 })]);
        assert_eq!((desired.end_overdue(49), desired.next_end()), (Vec::new(), Some(50)));
        assert_eq!(desired.end_overdue(50), [RuleName::new("ends").expect("a name")]);
        let kept = desired.to_wire();
        for mut desired in [desired, read(kept.rules).ending_as_kept(kept.ends)] {
            assert_eq!(desired.rules.keys().map(RuleName::as_str).collect::<Vec<_>>(), ["stays"]);
            assert_eq!(desired.ended().map(RuleName::as_str).collect::<Vec<_>>(), ["ends"]);
            assert_eq!((desired.end_overdue(60), desired.next_end()), (Vec::new(), None));
        }
    }

    /// The server's wall clock is `wall`, the edge's own clock is `now`; what is sent is the time that is left.
    #[test]
    fn a_wall_clock_that_is_set_on_the_server_puts_no_end_off_and_brings_none_back() {
        let capabilities = Capabilities::from([Capability::Tcp]);
        let sent = |until_ms: u64, wall: u64, now: u64| {
            let specs = vec![rule_to_wire(&rule("ends", 8000, 8000))];
            let end = RuleEnd { rule: "ends".to_owned(), rest_ms: until_ms - wall, until_ms, at_ms: 0 };
            Desired::read(Accepted::default(), specs, None, &capabilities, &Limits::default())
                .ending_from(vec![end], now)
        };
        let take = |known: &Desired, mut next: Desired, now: u64| {
            next.keep_ends(&known.ends);
            next.end_overdue(now);
            next
        };
        let first = sent(5000, 4000, 100);
        assert_eq!(first.next_end(), Some(1100));
        // Set back, and sent again: the end stays where it was.
        let back = take(&first, sent(5000, 1000, 200), 200);
        assert_eq!(back.next_end(), Some(1100));
        let renewed = take(&first, sent(3_605_000, 4000, 200), 200);
        assert_eq!(renewed.next_end(), Some(3_601_200), "another end is another end");
        // It was over here, and the server believes that it is not.
        let mut over = first;
        over.end_overdue(1100);
        let over = take(&over, sent(5000, 1000, 1200), 1200);
        assert_eq!((over.next_end(), over.ended().count(), over.rules.len()), (None, 1, 0));
        // Set forward: what is left is less, and the end comes sooner.
        assert_eq!(take(&back, sent(5000, 4900, 300), 300).next_end(), Some(400));
    }

    #[test]
    fn what_the_edge_cannot_read_or_do_is_rejected_and_the_rest_is_taken() {
        let good = rule_to_wire(&rule("good", 8000, 8000));
        let range = rule_to_wire(&rule("range", 8100, 8101));
        let broken = RuleSpec { name: "broken".to_owned(), ..RuleSpec::default() };
        let nameless = RuleSpec { name: "No Name".to_owned(), ..RuleSpec::default() };
        let capabilities = Capabilities::from([Capability::Tcp]);
        let specs = vec![good.clone(), range, broken, nameless, good];
        let desired = Desired::read(Accepted::default(), specs, None, &capabilities, &Limits::default());
        let code = |name: &str| desired.rules[name].rejection.as_ref().map(|rejection| rejection.code);
        assert_eq!(code("good"), None);
        assert_eq!(code("range"), Some(RuleCode::PortRangeUnsupported));
        assert_eq!(code("broken"), Some(RuleCode::InvalidRule));
        assert_eq!(desired.nameless.len(), 2);
        assert_eq!(desired.to_wire().rules.len(), 5);
    }

    #[test]
    fn a_rule_that_forwards_to_its_own_port_on_an_address_of_the_host_is_rejected() {
        let to = |name: &str, port, host: &str| {
            rule_to_wire(&rule_with(name, port, port, |parts| {
                parts.targets[0].host = Host::parse(host).expect("a host");
                parts.targets[0].ports = schema::net::PortRange::single(8000).expect("a port");
            }))
        };
        let specs = vec![
            to("own", 8000, "192.0.2.7"),
            to("other-host", 8000, "192.0.2.8"),
            to("other-port", 8001, "192.0.2.7"),
        ];
        let capabilities = Capabilities::from([Capability::Tcp]);
        let desired = Desired::read(Accepted::default(), specs, None, &capabilities, &Limits::default());
        let desired = desired.on_host(&BTreeSet::from(["192.0.2.7".parse().expect("an address")]));
        let rejection = |name: &str| desired.rules[name].rejection.clone();
        let own = rejection("own").expect("it is refused");
        assert_eq!(own.code, RuleCode::SelfLockout);
        assert_eq!(own.message, "the rule forwards to its own listener (192.0.2.7:8000)");
        assert_eq!((rejection("other-host"), rejection("other-port")), (None, None));
    }
}
