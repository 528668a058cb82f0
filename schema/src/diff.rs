//! The difference between what an edge runs and what it should run, over ports and not only rules. Pure.
//!
//! The planner shows it and the edge applies it: both call [`diff`], so nothing is applied that was not planned.
//! Laws, each a property test: `apply(a, diff(a, b)) = b`; `diff(a, a)` is empty;
//! `apply(b, invert(diff(a, b))) = a`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, PortRange, PortSet, Protocol};
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
        Self { changes, unchanged: self.unchanged }
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
    let mut changes = Vec::new();
    let mut unchanged = 0;
    for (name, after) in target {
        let (kind, previous) = match (current.get(name), moves.get(name)) {
            (Some(before), _) if before == after || **before == **after => {
                unchanged += 1;
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
    }
    ChangeSet { changes, unchanged }
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

/// New name → old name, for names that disappear where exactly one new rule has the same listeners.
fn moves<'a>(current: &'a Rules, target: &'a Rules) -> BTreeMap<&'a RuleName, &'a RuleName> {
    let mut fresh: HashMap<ListenRange, Vec<&RuleName>> = HashMap::new();
    for (name, rule) in target.iter().filter(|(name, _)| !current.contains_key(*name)) {
        fresh.entry(rule.listen).or_default().push(name);
    }
    if fresh.is_empty() {
        return BTreeMap::new();
    }
    current
        .iter()
        .filter(|(name, _)| !target.contains_key(*name))
        .filter_map(|(old, rule)| match fresh.get(&rule.listen).map(Vec::as_slice) {
            Some([new]) => Some((*new, old)),
            _ => None,
        })
        .collect()
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
