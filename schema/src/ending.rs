//! What a change ends: the one judge of the connections that a change costs. Pure.
//!
//! A connection is known by the listener that it came in through and by the place that it goes to: a host and one port.
//! Rules do not matter: whichever rule owns a listener afterwards, a connection lives where the listener is open still
//! and leads to its place. A row of targets leads from listener LO+i to port LO'+i, so places are compared listener by
//! listener, in runs of listeners on which the same rule was and the same rule is.
//!
//! Rules that are chosen by name share a listener. Connections stay with their rule for as long as it is there, and pass
//! to the rules that its names lead to when it is gone ([`heirs`]).
//!
//! Keeps: the planner, rails, the quiet window and the edge's drain ask this module and decide nothing by themselves.
//! Laws, each a property test: what is in both versions is not ended; what is ended was served before and is not served
//! afterwards, and each such connection is ended by exactly one part.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::diff::ChangeSet;
use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, Listener, PortRange, Protocol};
use crate::rule::{Host, Rule, Target};
use crate::shared_port::heirs;

/// Places of a run of listeners: the first one leads to `first`, the next one to the port after it, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The host of all of them.
    pub host: Host,
    /// The port of the first listener's place.
    pub first: u16,
}

impl Row {
    /// True if the listener that is so many ports behind the first one leads to this place.
    pub fn leads_to(&self, offset: u16, host: &Host, port: u16) -> bool {
        self.host == *host && self.first.checked_add(offset) == Some(port)
    }
}

/// What connections of a run of listeners lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The listeners: no rule owns them afterwards.
    Released,
    /// Some of the places, and with them all that are not kept.
    Places {
        /// No longer targets of these listeners, or no longer enabled.
        lost: Vec<Row>,
        /// Targets of these listeners afterwards.
        kept: Vec<Row>,
    },
}

/// The connections of one run of listeners that a change ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The rule that owns the listeners before the change, by its name before.
    pub rule: RuleName,
    /// The listeners.
    pub listen: ListenRange,
    /// How long the connections may go on: what the rule's version before the change says.
    pub drain_timeout: Duration,
    /// What they lose.
    pub end: End,
}

impl Part {
    /// Everything that comes in through a rule's listeners and goes to no target of the rule, such as connections to
    /// targets of an earlier version that served on for a while.
    pub fn of_strays(rule: &Rule, drain_timeout: Duration) -> Self {
        let kept = rows(rule, rule.listen.ports.first());
        let end = End::Places { lost: Vec::new(), kept };
        Self { rule: rule.name.clone(), listen: rule.listen, drain_timeout, end }
    }

    /// True if it ends every connection that comes in through its listeners to an enabled target of the rule that owns
    /// them before the change.
    fn ends_all_of(&self, before: &Rule) -> bool {
        match &self.end {
            End::Released => true,
            End::Places { lost, .. } => lost.len() == before.targets.iter().filter(|target| target.enabled).count(),
        }
    }

    /// True if it ends connections from this listener to this place.
    pub fn ends(&self, listener: Listener, host: &Host, port: u16) -> bool {
        if !self.listen.contains(listener) {
            return false;
        }
        match &self.end {
            End::Released => true,
            End::Places { kept, .. } => {
                let offset = listener.port - self.listen.ports.first();
                !kept.iter().any(|row| row.leads_to(offset, host, port))
            }
        }
    }
}

/// What the connections of a rule lose that a change ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of them their listeners.
    Listeners,
    /// All of them the places that they go to.
    Places,
    /// Some of them the ones, some the others.
    Both,
}

/// Everything that a change ends. A connection is in one part at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endings {
    /// By listener, then by rule.
    parts: Vec<Part>,
    /// The places of a rule's parts among them, by listener.
    by_rule: BTreeMap<RuleName, Vec<usize>>,
}

impl Endings {
    /// True if every connection lives.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts, in the order of their listeners.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The parts of a rule, by its name before the change.
    pub fn of_rule(&self, rule: &RuleName) -> impl Iterator<Item = &Part> {
        self.by_rule.get(rule).into_iter().flatten().map(|index| &self.parts[*index])
    }

    /// What the connections of a rule lose, if it has parts.
    pub fn loss_of(&self, rule: &RuleName) -> Option<Loss> {
        let of = |part: &Part| if part.end == End::Released { Loss::Listeners } else { Loss::Places };
        self.of_rule(rule).map(of).reduce(|one, other| if one == other { one } else { Loss::Both })
    }

    /// True if no connection of this rule lives on, whichever of its listeners and targets it has.
    pub fn end_all_of(&self, before: &Rule) -> bool {
        let whole = self.of_rule(&before.name).filter(|part| part.ends_all_of(before));
        whole.map(|part| part.listen.ports.width()).sum::<u32>() == before.listen.ports.width()
    }

    /// The rules that have parts, by their names before the change.
    pub fn rules(&self) -> impl Iterator<Item = &RuleName> {
        self.by_rule.keys()
    }

    /// The place, among the parts, of the one that ends connections of a rule, by its name before the change, from this
    /// listener to this place.
    pub fn find(&self, rule: &RuleName, listener: Listener, host: &Host, port: u16) -> Option<usize> {
        let key = (listener.protocol, listener.address, listener.port);
        let of_rule = self.by_rule.get(rule)?;
        let after = of_rule.partition_point(|index| place(&self.parts[*index]) <= key);
        let index = of_rule[after.checked_sub(1)?];
        self.parts[index].ends(listener, host, port).then_some(index)
    }
}

impl From<Vec<Part>> for Endings {
    fn from(mut parts: Vec<Part>) -> Self {
        parts.sort_by(|one, other| place(one).cmp(&place(other)).then_with(|| one.rule.cmp(&other.rule)));
        let mut by_rule: BTreeMap<RuleName, Vec<usize>> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            by_rule.entry(part.rule.clone()).or_default().push(index);
        }
        Self { parts, by_rule }
    }
}

fn place(part: &Part) -> (Protocol, ListenAddress, u16) {
    (part.listen.protocol, part.listen.address, part.listen.ports.first())
}

/// True if a rule takes connections in through this listener and has this place as an enabled target of it.
pub fn leads_to(rule: &Rule, listener: Listener, host: &Host, port: u16) -> bool {
    rule.listen.contains(listener)
        && rule.targets.iter().any(|target| {
            target.enabled && target.host == *host && port_at(target, rule.listen.ports, listener.port) == port
        })
}

/// The port of a target that belongs to a listen port: first to first, last to last.
fn port_at(target: &Target, listen: PortRange, port: u16) -> u16 {
    target.ports.first() + (port - listen.first())
}

/// The enabled targets of a rule, for listeners from this port on.
fn rows(rule: &Rule, from: u16) -> Vec<Row> {
    let enabled = rule.targets.iter().filter(|target| target.enabled);
    enabled.map(|target| Row { host: target.host.clone(), first: port_at(target, rule.listen.ports, from) }).collect()
}

/// What these changes end.
pub fn ends(changes: &ChangeSet) -> Endings {
    // Who takes over a changed rule's listener is a changed rule itself, or one that shares the port with it.
    let after = changes.changes.iter().filter_map(|change| change.after.as_deref());
    let owners = Successors::of(after.chain(changes.beside.iter().map(|rule| &**rule)));
    let mut parts = Vec::new();
    for change in &changes.changes {
        if let Some(before) = change.before.as_deref() {
            ends_of(before, change.after.as_deref(), &owners, &mut parts);
        }
    }
    Endings::from(parts)
}

/// Who owns listeners after a change.
#[derive(Default)]
struct Successors<'a> {
    /// Rules without names, in the order of ports.
    plain: HashMap<(Protocol, ListenAddress), Vec<&'a Rule>>,
    /// Rules that are chosen by name.
    named: HashMap<ListenAddress, BTreeMap<u16, Vec<&'a Rule>>>,
}

impl<'a> Successors<'a> {
    fn of(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let mut owners = Self::default();
        for rule in rules {
            let ListenRange { protocol, address, ports } = rule.listen;
            if rule.sni.is_empty() {
                owners.plain.entry((protocol, address)).or_default().push(rule);
            } else {
                owners.named.entry(address).or_default().entry(ports.first()).or_default().push(rule);
            }
        }
        for rules in owners.plain.values_mut() {
            rules.sort_unstable_by_key(|rule| rule.listen.ports);
        }
        owners
    }

    /// The runs of a rule's ports that have the same owners each, in order.
    fn runs(&self, listen: ListenRange) -> Vec<(PortRange, Vec<&'a Rule>)> {
        let own = listen.ports;
        let plain = self.plain.get(&(listen.protocol, listen.address)).map_or(&[][..], Vec::as_slice);
        let from = plain.partition_point(|owner| owner.listen.ports.last() < own.first());
        let shared = plain[from..].iter().map_while(|owner| Some((own.intersection(owner.listen.ports)?, *owner)));
        let mut runs: Vec<(PortRange, Vec<&Rule>)> = Vec::new();
        let mut next = Some(own.first());
        for (ports, owner) in shared {
            let gap = next.and_then(|next| PortRange::new(next, ports.first() - 1));
            runs.extend(gap.map(|gap| (gap, Vec::new())));
            runs.push((ports, vec![owner]));
            next = ports.last().checked_add(1);
        }
        let rest = next.and_then(|next| PortRange::new(next, own.last()));
        runs.extend(rest.map(|rest| (rest, Vec::new())));
        let named = self.named.get(&listen.address).filter(|_| listen.protocol == Protocol::Tcp);
        let Some(named) = named else { return runs };
        runs.into_iter().flat_map(|(ports, owners)| cut(ports, &owners, named)).collect()
    }
}

/// A run of ports, cut at those that rules are chosen on by name.
fn cut<'a>(
    ports: PortRange,
    owners: &[&'a Rule],
    named: &BTreeMap<u16, Vec<&'a Rule>>,
) -> Vec<(PortRange, Vec<&'a Rule>)> {
    let mut runs = Vec::new();
    let mut next = Some(ports.first());
    for (port, rules) in named.range(ports.first()..=ports.last()) {
        let before = next.and_then(|next| PortRange::new(next, port - 1));
        runs.extend(before.map(|before| (before, owners.to_vec())));
        runs.extend(PortRange::single(*port).map(|port| (port, [owners, rules].concat())));
        next = port.checked_add(1);
    }
    let rest = next.and_then(|next| PortRange::new(next, ports.last()));
    runs.extend(rest.map(|rest| (rest, owners.to_vec())));
    runs
}

/// Goes through a rule's listeners, run by run. `after` is the rule after the change, where it is there still.
fn ends_of(before: &Rule, after: Option<&Rule>, owners: &Successors<'_>, parts: &mut Vec<Part>) {
    for (ports, owners) in owners.runs(before.listen) {
        let listen = ListenRange { ports, ..before.listen };
        let end = if owners.is_empty() {
            End::Released
        } else {
            let (had, kept) = (rows(before, ports.first()), kept(before, after, listen.at(ports.first()), &owners));
            let lost: Vec<Row> = had.into_iter().filter(|row| !kept.contains(row)).collect();
            if lost.is_empty() {
                continue;
            }
            End::Places { lost, kept }
        };
        parts.push(Part { rule: before.name.clone(), listen, drain_timeout: before.drain_timeout, end });
    }
}

/// The places at which connections of a rule live on, for listeners from this one on.
fn kept(before: &Rule, after: Option<&Rule>, first: Listener, owners: &[&Rule]) -> Vec<Row> {
    let own = after.filter(|after| after.listen.contains(first));
    let mut kept = Vec::new();
    for heir in own.map_or_else(|| heirs(&before.sni, owners), |own| vec![own]) {
        let more: Vec<Row> = rows(heir, first.port).into_iter().filter(|row| !kept.contains(row)).collect();
        kept.extend(more);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::{Rules, diff};
    use crate::testing::rule_with;

    fn to(name: &str, (first, last): (u16, u16), target: u16) -> (RuleName, std::sync::Arc<Rule>) {
        let rule = rule_with(name, 1, 1, |parts| {
            parts.listen.ports = PortRange::new(first, last).expect("a range");
            parts.targets[0].ports = PortRange::new(target, target + (last - first)).expect("a range");
            parts.drain_timeout = Duration::from_secs(u64::from(first % 7));
        });
        (rule.name.clone(), rule)
    }

    /// The runs of ports that end, and what they lose.
    fn ended(before: &[(&str, (u16, u16), u16)], after: &[(&str, (u16, u16), u16)]) -> Vec<(u16, u16, bool)> {
        let rules = |all: &[(&str, (u16, u16), u16)]| -> Rules {
            all.iter().map(|(name, ports, target)| to(name, *ports, *target)).collect()
        };
        let endings = ends(&diff(&rules(before), &rules(after)));
        let run = |part: &Part| (part.listen.ports.first(), part.listen.ports.last(), part.end == End::Released);
        endings.parts().iter().map(run).collect()
    }

    #[test]
    fn a_range_that_slides_with_its_targets_ends_only_what_it_releases() {
        assert_eq!(ended(&[("a", (10, 19), 110)], &[("a", (15, 24), 115)]), [(10, 14, true)]);
        assert_eq!(ended(&[("a", (10, 19), 110)], &[("a", (15, 24), 110)]), [(10, 14, true), (15, 19, false)]);
    }

    #[test]
    fn a_listener_that_another_rule_takes_over_keeps_the_places_that_both_have() {
        let one = [("a", (10, 19), 110)];
        assert_eq!(ended(&one, &[("b", (10, 14), 110), ("c", (15, 19), 115)]), []);
        assert_eq!(ended(&[("b", (10, 14), 110), ("c", (15, 19), 115)], &one), []);
        assert_eq!(
            ended(&one, &[("b", (12, 13), 112), ("c", (15, 19), 116)]),
            [(10, 11, true), (14, 14, true), (15, 19, false)]
        );
        assert_eq!(ended(&[("a", (1, 1), 81), ("b", (2, 2), 82)], &[("a", (2, 2), 82), ("b", (1, 1), 81)]), []);
        let swapped = ended(&[("a", (1, 1), 81), ("b", (2, 2), 82)], &[("a", (2, 2), 81), ("b", (1, 1), 82)]);
        assert_eq!(swapped, [(1, 1, false), (2, 2, false)]);
    }

    #[test]
    fn a_rule_ends_as_a_whole_only_where_no_listener_keeps_any_place() {
        let all = |before: (u16, u16), after: &[(&str, (u16, u16), u16)]| {
            let (name, before) = to("a", before, 110);
            let after: Rules = after.iter().map(|(name, ports, target)| to(name, *ports, *target)).collect();
            ends(&diff(&Rules::from([(name, before.clone())]), &after)).end_all_of(&before)
        };
        assert!(all((10, 19), &[]));
        assert!(all((10, 19), &[("b", (12, 21), 111)]), "released, or led elsewhere");
        assert!(!all((10, 19), &[("b", (19, 19), 119)]), "one listener keeps its place");
        assert!(!all((10, 19), &[("a", (10, 19), 110)]), "nothing changes");
        assert!(all((1, 65_400), &[]));
    }

    #[test]
    fn the_highest_port_and_a_whole_range_are_compared_like_others() {
        let whole = [("a", (1, 65_535), 1)];
        assert_eq!(ended(&whole, &[("b", (1, 65_535), 1)]), []);
        assert_eq!(ended(&whole, &[("b", (2, 65_534), 2)]), [(1, 1, true), (65_535, 65_535, true)]);
        assert_eq!(ended(&whole, &[]), [(1, 65_535, true)]);
    }
}
