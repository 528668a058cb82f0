//! The difference between what an edge runs and what it should run, over ports and not only rules. Pure.
//!
//! The planner shows it and the edge applies it: both call [`diff`], so nothing is applied that was not planned.
//! Laws, each a property test: `apply(a, diff(a, b)) = b`; `diff(a, a)` is empty;
//! `apply(b, invert(diff(a, b))) = a`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, Listener, PortRange, PortSet, Protocol};
use crate::rule::Rule;

/// The rules of one edge.
pub type Rules = BTreeMap<RuleName, Arc<Rule>>;

/// What happens to a rule. A rejection or a retry is decided above, from what an edge can do and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// The rule is new.
    Activate,
    /// Its listeners change.
    Rebind,
    /// Other things change, its listeners stay.
    Update,
    /// It has another name; its listeners, connections and counters stay.
    Move,
    /// It goes.
    Remove,
}

/// One change with the versions before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub kind: ChangeKind,
    /// The rule, by its new name.
    pub rule: RuleName,
    /// The name before, of a moved rule.
    pub previous_rule: Option<RuleName>,
    /// The version that runs, if any.
    pub before: Option<Arc<Rule>>,
    /// The version that should run, if any.
    pub after: Option<Arc<Rule>>,
    /// Listeners that the edge does not have yet.
    pub bind: Vec<ListenRange>,
    /// Listeners of the new version that the edge has already, whichever rule owns them.
    pub keep: Vec<ListenRange>,
    /// Listeners of the old version that no rule of the edge uses afterwards.
    pub release: Vec<ListenRange>,
}

/// All changes of one edge, by rule name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeSet {
    /// In the order of the rules' names.
    pub changes: Vec<Change>,
    /// Rules that stay as they are.
    pub unchanged: u32,
    /// Those of them that share a port with others, by name: connections of a changed rule may pass to them.
    pub beside: Vec<Arc<Rule>>,
}

impl ChangeSet {
    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The way back.
    #[must_use]
    pub fn invert(&self) -> Self {
        let mut changes: Vec<Change> = self.changes.iter().map(inverted).collect();
        changes.sort_by(|a, b| a.rule.cmp(&b.rule));
        Self { changes, unchanged: self.unchanged, beside: self.beside.clone() }
    }
}

fn inverted(change: &Change) -> Change {
    let kind = match change.kind {
        ChangeKind::Activate => ChangeKind::Remove,
        ChangeKind::Remove => ChangeKind::Activate,
        kind => kind,
    };
    let previous_rule = change.previous_rule.as_ref().map(|_| change.rule.clone());
    let ports = |rule: Option<&Arc<Rule>>, without: &[ListenRange]| {
        rule.map_or_else(Vec::new, |rule| {
            let taken = PortSet::from_ranges(without.iter().map(|range| range.ports));
            let (_, rest) = taken.split(rule.listen.ports);
            in_ranges(rule.listen, &rest)
        })
    };
    Change {
        kind,
        rule: change.previous_rule.clone().unwrap_or_else(|| change.rule.clone()),
        previous_rule,
        before: change.after.clone(),
        after: change.before.clone(),
        bind: change.release.clone(),
        keep: ports(change.before.as_ref(), &change.release),
        release: change.bind.clone(),
    }
}

/// What must happen for `current` to become `target`.
pub fn diff(current: &Rules, target: &Rules) -> ChangeSet {
    let moves = moves(current, target);
    let moved_away: BTreeSet<&RuleName> = moves.values().copied().collect();
    let shared = NamedPorts::of(current, target);
    let mut changes = Vec::new();
    let (mut unchanged, mut beside) = (0, Vec::new());
    for (name, after) in target {
        let (kind, previous) = match (current.get(name), moves.get(name)) {
            (Some(before), _) if before == after || **before == **after => {
                unchanged += 1;
                beside.extend(shared.are_of(after).then(|| after.clone()));
                continue;
            }
            (Some(before), _) if before.listen == after.listen => (ChangeKind::Update, Some(name)),
            (Some(_), _) => (ChangeKind::Rebind, Some(name)),
            (None, Some(previous)) => (ChangeKind::Move, Some(*previous)),
            (None, None) => (ChangeKind::Activate, None),
        };
        changes.push(Change {
            kind,
            rule: name.clone(),
            previous_rule: if kind == ChangeKind::Move { previous.cloned() } else { None },
            before: previous.and_then(|name| current.get(name)).cloned(),
            after: Some(after.clone()),
            bind: Vec::new(),
            keep: Vec::new(),
            release: Vec::new(),
        });
    }
    for (name, before) in current {
        if target.contains_key(name) || moved_away.contains(name) {
            continue;
        }
        changes.push(Change {
            kind: ChangeKind::Remove,
            rule: name.clone(),
            previous_rule: None,
            before: Some(before.clone()),
            after: None,
            bind: Vec::new(),
            keep: Vec::new(),
            release: Vec::new(),
        });
    }
    changes.sort_by(|a, b| a.rule.cmp(&b.rule));
    if !changes.is_empty() {
        let (open, wanted) = (Sockets::of(current), Sockets::of(target));
        for change in &mut changes {
            if let Some(after) = &change.after {
                let (inside, outside) = open.split(after.listen);
                change.keep = in_ranges(after.listen, &inside);
                change.bind = in_ranges(after.listen, &outside);
            }
            if let Some(before) = &change.before {
                let (_, outside) = wanted.split(before.listen);
                change.release = in_ranges(before.listen, &outside);
            }
        }
        shared.count_once(&mut changes);
    }
    ChangeSet { changes, unchanged, beside }
}

/// The rules after the changes: what [`diff`] promises.
pub fn apply(current: &Rules, changes: &ChangeSet) -> Rules {
    let mut rules = current.clone();
    for change in &changes.changes {
        let gone = change.previous_rule.as_ref().unwrap_or(&change.rule);
        rules.remove(gone);
    }
    for change in &changes.changes {
        if let Some(after) = &change.after {
            rules.insert(change.rule.clone(), after.clone());
        }
    }
    rules
}

/// New name → old name, for names that disappear where exactly one new rule has the same listeners. Of rules that share
/// a port, one continues another if both list a name, or if neither lists any.
fn moves<'a>(current: &'a Rules, target: &'a Rules) -> BTreeMap<&'a RuleName, &'a RuleName> {
    let mut fresh: HashMap<ListenRange, Vec<&RuleName>> = HashMap::new();
    for (name, rule) in target.iter().filter(|(name, _)| !current.contains_key(*name)) {
        fresh.entry(rule.listen).or_default().push(name);
    }
    if fresh.is_empty() {
        return BTreeMap::new();
    }
    let mut gone: HashMap<ListenRange, Vec<&RuleName>> = HashMap::new();
    for (name, rule) in current.iter().filter(|(name, _)| !target.contains_key(*name)) {
        gone.entry(rule.listen).or_default().push(name);
    }
    let continues = |old: &RuleName, new: &RuleName| {
        let (old, new) = (&current[old], &target[new]);
        let is_alone = |rules: &Rules| rules.values().filter(|rule| rule.listen == old.listen).count() == 1;
        match (old.sni.as_slice(), new.sni.as_slice()) {
            ([], []) => true,
            (names, others) if names.iter().any(|name| others.contains(name)) => true,
            _ => is_alone(current) && is_alone(target),
        }
    };
    let mut pairs: Vec<(&RuleName, &RuleName)> = Vec::new();
    for (listen, old) in gone {
        let Some(new) = fresh.get(&listen) else { continue };
        let of_both = old.iter().flat_map(|old| new.iter().map(move |new| (*new, *old)));
        pairs.extend(of_both.filter(|(new, old)| continues(old, new)));
    }
    let is_only = |(new, old): &(&RuleName, &RuleName)| {
        pairs.iter().filter(|(other, _)| other == new).count() == 1
            && pairs.iter().filter(|(_, other)| other == old).count() == 1
    };
    pairs.iter().copied().filter(is_only).collect()
}

/// The ports that rules are chosen on by name, before or after a change.
struct NamedPorts(HashSet<(ListenAddress, u16)>);

impl NamedPorts {
    fn of(current: &Rules, target: &Rules) -> Self {
        Self(current.values().chain(target.values()).filter_map(|rule| named_port(Some(rule))).collect())
    }

    /// True if one of them is a port of the rule.
    fn are_of(&self, rule: &Rule) -> bool {
        let is_of = |(address, port): &(ListenAddress, u16)| {
            *address == rule.listen.address && rule.listen.ports.contains(*port)
        };
        !rule.sni.is_empty() || (rule.protocol() == Protocol::Tcp && self.0.iter().any(is_of))
    }

    /// Several rules need a shared port to be bound, or leave it: that happens once, for the rule without names or else
    /// for the first one.
    fn count_once(&self, changes: &mut [Change]) {
        let mut bound = self.of_plain(changes, |change| (change.after.as_deref(), &change.bind));
        let mut released = self.of_plain(changes, |change| (change.before.as_deref(), &change.release));
        for change in changes {
            if let (Some(port), [range]) = (named_port(change.after.as_deref()), change.bind.as_slice())
                && !bound.insert(port)
            {
                change.keep = vec![*range];
                change.bind.clear();
            }
            if let (Some(port), [_]) = (named_port(change.before.as_deref()), change.release.as_slice())
                && !released.insert(port)
            {
                change.release.clear();
            }
        }
    }

    /// Those of the ports that are in these ranges of rules without names.
    fn of_plain(
        &self,
        changes: &[Change],
        of: impl Fn(&Change) -> (Option<&Rule>, &[ListenRange]),
    ) -> HashSet<(ListenAddress, u16)> {
        let is_of_plain = |(address, port): &(ListenAddress, u16)| {
            let listener = Listener { protocol: Protocol::Tcp, address: *address, port: *port };
            let is_in = |ranges: &[ListenRange]| ranges.iter().any(|range| range.contains(listener));
            changes.iter().map(&of).any(|(rule, ranges)| named_port(rule).is_none() && is_in(ranges))
        };
        self.0.iter().copied().filter(is_of_plain).collect()
    }
}

/// The port of a rule that is chosen by name.
fn named_port(rule: Option<&Rule>) -> Option<(ListenAddress, u16)> {
    rule.filter(|rule| !rule.sni.is_empty()).map(|rule| (rule.listen.address, rule.listen.ports.first()))
}

/// The ports of an edge by protocol and address.
struct Sockets(HashMap<(Protocol, ListenAddress), PortSet>);

impl Sockets {
    fn of(rules: &Rules) -> Self {
        let mut ranges: HashMap<_, Vec<PortRange>> = HashMap::new();
        for rule in rules.values() {
            ranges.entry((rule.listen.protocol, rule.listen.address)).or_default().push(rule.listen.ports);
        }
        Self(ranges.into_iter().map(|(key, ranges)| (key, PortSet::from_ranges(ranges))).collect())
    }

    fn split(&self, listen: ListenRange) -> (PortSet, PortSet) {
        match self.0.get(&(listen.protocol, listen.address)) {
            Some(ports) => ports.split(listen.ports),
            None => PortSet::default().split(listen.ports),
        }
    }
}

fn in_ranges(listen: ListenRange, ports: &PortSet) -> Vec<ListenRange> {
    ports.ranges().iter().map(|range| ListenRange { ports: *range, ..listen }).collect()
}
