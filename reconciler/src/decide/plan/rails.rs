//! Rails: how much a plan may remove, rebind or cut before a person must allow it (CONTRACT §7). Pure.
//!
//! The limits come from the last applied tree, so that no commit lifts its own guard. The figures compare the tree
//! with what was applied last, or with what is observed until something was.

use std::collections::{BTreeMap, BTreeSet};

use schema::diff::{self, ChangeKind};
use schema::name::EdgeName;
use schema::ruleset::{EdgeRules, Rails, rules_only};
use serde::{Deserialize, Serialize};

use super::rail::{AllowFlag, Rail, RailKind};
use super::{PlanInput, RailVerdict};
use crate::decide::view::EdgeView;

/// Fewer removals or rebinds on one edge never trip a percentage.
const SMALLEST_COUNT: u64 = 3;

/// What the person allows, each said anew for each command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allowances {
    /// Exactly so many removals.
    pub removals: Option<u64>,
    /// Exactly so many rebinds.
    pub rebinds: Option<u64>,
    /// Exactly so many dropped connections.
    pub drops: Option<u64>,
    /// An empty tree.
    pub empty: bool,
    /// A tree that differs from its commit.
    pub dirty: bool,
    /// A commit that does not descend from the last applied one.
    pub non_descendant: bool,
}

/// Edges or rules that other verdicts name.
const FEW: usize = 3;
/// Edges that a verdict about shares names: as many as a line takes.
const NAMED: usize = 5;

/// The largest share on one edge, and those that count: from [`SMALLEST_COUNT`] rules on.
#[derive(Default)]
struct Shares {
    percent: u64,
    counted: Vec<(u64, EdgeName)>,
}

impl Shares {
    /// Shares are rounded up, so that 30.5 % is more than 30 %.
    fn take(&mut self, edge: &EdgeName, count: u64, of: usize) {
        let percent = (count * 100).div_ceil(of as u64);
        self.percent = self.percent.max(percent);
        if count >= SMALLEST_COUNT {
            self.counted.push((percent, edge.clone()));
        }
    }

    /// The edges that trip the limit, worst first.
    fn over(&self, limit: u64) -> Vec<&(u64, EdgeName)> {
        let mut over: Vec<_> = self.counted.iter().filter(|(percent, _)| *percent > limit).collect();
        over.sort_by_key(|(percent, _)| std::cmp::Reverse(*percent));
        over
    }

    /// What to show: the share that trips the limit, else the largest; and where.
    fn verdict(&self, limit: u64) -> (u64, bool, String) {
        let over = self.over(limit);
        let message = match over.as_slice() {
            [] => String::new(),
            [(_, edge)] => format!("on edge {edge}"),
            several => {
                format!(
                    "on edges {}",
                    listed(several.iter().map(|(percent, edge)| format!("{edge} ({percent} %)")), NAMED)
                )
            }
        };
        (over.first().map_or(self.percent, |(percent, _)| *percent), !over.is_empty(), message)
    }
}

#[derive(Default)]
struct Figures {
    removed: u64,
    rebound: u64,
    removed_share: Shares,
    rebound_share: Shares,
    emptied: Vec<EdgeName>,
    protected: Vec<String>,
}

/// What a rail is about to say: its figures, and the flag that would allow them.
struct RailMeasure {
    kind: RailKind,
    limit: u64,
    actual: u64,
    is_over: bool,
    is_allowed: bool,
    allow: Option<AllowFlag>,
    message: String,
}

impl From<RailMeasure> for Rail {
    fn from(found: RailMeasure) -> Self {
        Self {
            kind: found.kind,
            limit: found.limit,
            actual: found.actual,
            tripped: found.is_over && !found.is_allowed,
            allow: found.allow.filter(|_| found.is_over),
            message: if found.is_over { found.message } else { String::new() },
        }
    }
}

/// The verdict of every rail. `moved` are the edges that are not at rest under the tree: of the others nothing goes.
pub(super) fn evaluate(input: &PlanInput<'_>, moved: &BTreeSet<EdgeName>, connections: u64) -> Vec<Rail> {
    let limits = input.rails.unwrap_or(&input.ruleset.rails);
    let figures = figures(input, moved);
    let mut rails = removals(&figures, limits, input.allowances);
    rails.push(rebinds(&figures, limits, input.allowances));
    rails.push(drops(connections, limits, input.allowances));
    rails.push(protected(&figures));
    rails.push(emptied_files(input));
    rails.push(succession(input));
    rails
}

/// The rails that a removal can trip.
fn removals(figures: &Figures, limits: &Rails, allowances: &Allowances) -> Vec<Rail> {
    let flag = AllowFlag::Removals(figures.removed);
    let rail = |kind, limit: u64, actual: u64, is_over: bool, message: String| {
        let is_allowed = allowances.removals == Some(figures.removed);
        Rail::from(RailMeasure { kind, limit, actual, is_over, is_allowed, allow: Some(flag), message })
    };
    let percent = u64::from(limits.max_removed_percent);
    let (most, is_over, place) = figures.removed_share.verdict(percent);
    let in_all = u64::from(limits.max_removed_rules);
    let emptied = figures.emptied.len() as u64;
    let left = format!("no rule would be left on {}", listed(figures.emptied.iter().map(ToString::to_string), FEW));
    vec![
        rail(RailKind::MaxRemovedPercent, percent, most, is_over, place),
        rail(RailKind::MaxRemovedRules, in_all, figures.removed, figures.removed > in_all, "in all".to_owned()),
        rail(RailKind::LastRule, 0, emptied, emptied > 0, left),
    ]
}

fn rebinds(figures: &Figures, limits: &Rails, allowances: &Allowances) -> Rail {
    let limit = u64::from(limits.max_rebound_percent);
    let (actual, is_over, message) = figures.rebound_share.verdict(limit);
    let is_allowed = allowances.rebinds == Some(figures.rebound);
    let allow = Some(AllowFlag::Rebinds(figures.rebound));
    RailMeasure { kind: RailKind::MaxReboundPercent, limit, actual, is_over, is_allowed, allow, message }.into()
}

fn drops(connections: u64, limits: &Rails, allowances: &Allowances) -> Rail {
    let limit = limits.max_connections_dropped;
    Rail::from(RailMeasure {
        kind: RailKind::MaxConnectionsDropped,
        limit,
        actual: connections,
        is_over: limit > 0 && connections > limit,
        is_allowed: allowances.drops == Some(connections),
        allow: Some(AllowFlag::Drops(connections)),
        message: "live connections would be cut".to_owned(),
    })
}

/// No flag allows the removal of a protected rule.
fn protected(figures: &Figures) -> Rail {
    let names = listed(figures.protected.iter().cloned(), FEW);
    Rail::from(RailMeasure {
        kind: RailKind::Protected,
        limit: 0,
        actual: figures.protected.len() as u64,
        is_over: !figures.protected.is_empty(),
        is_allowed: false,
        allow: None,
        message: format!("{names} is protected and may not be removed: apply `protected = false` first"),
    })
}

/// A file that held rules and is empty now removes none of them: nobody writes that on purpose.
fn emptied_files(input: &PlanInput<'_>) -> Rail {
    let mut lost: BTreeMap<&str, u64> = input.ruleset.empty_files.iter().map(|file| (&**file, 0)).collect();
    if !lost.is_empty() {
        for (name, edge, wanted) in input.edges.beside(&input.ruleset.edges) {
            let disabled = input.ruleset.disabled.get(name);
            let stays = |rule| [wanted, disabled].into_iter().flatten().any(|rules| rules.contains_key(rule));
            let was = edge.and_then(|edge| edge.desired.as_ref()).into_iter().flat_map(|desired| &desired.wanted);
            for (_, placed) in was.filter(|(rule, _)| !stays(*rule)) {
                if let Some(count) = placed.origin.as_ref().and_then(|origin| lost.get_mut(&*origin.file)) {
                    *count += 1;
                }
            }
        }
        lost.retain(|_, count| *count > 0);
    }
    let revision = match input.succession.applied {
        Some(commit) => format!("commit {}", commit.chars().take(12).collect::<String>()),
        None => "the revision in force".to_owned(),
    };
    let files = listed(lost.keys().map(|file| (*file).to_owned()), FEW);
    let is_emptied = !lost.is_empty();
    let message = format!("{files} contained rules in {revision} and is empty now: delete it, or add a comment to it");
    Rail::from(RailMeasure {
        kind: RailKind::EmptyFile,
        limit: 0,
        actual: lost.len() as u64,
        is_over: is_emptied,
        is_allowed: input.allowances.empty,
        allow: Some(AllowFlag::Empty),
        message,
    })
}

/// A tree must not go back behind the commit in force, nor leave its history.
fn succession(input: &PlanInput<'_>) -> Rail {
    let commit = input.source.commit.as_deref();
    let is_left = input.succession.is_kept_by(commit) == Some(false);
    let short = |commit: Option<&str>| commit.map(|commit| commit.chars().take(12).collect()).unwrap_or_default();
    let (commit, applied): (String, String) = (short(commit), short(input.succession.applied));
    let message = match input.succession.answer() {
        _ if !is_left => String::new(),
        Some(_) => format!("commit {commit} does not descend from {applied}, which was applied last"),
        None => {
            let clone = input.source.shallow.map_or_else(String::new, |count| {
                let commits = if count == 1 { "commit" } else { "commits" };
                format!("; this clone has only {count} {commits}: fetch the whole history (`fetch-depth: 0`)")
            });
            format!(
                "it cannot be determined whether commit {commit} descends from {applied}, which was applied last{clone}"
            )
        }
    };
    Rail::from(RailMeasure {
        kind: RailKind::NonDescendant,
        limit: 0,
        actual: u64::from(is_left),
        is_over: is_left,
        is_allowed: input.allowances.non_descendant,
        allow: Some(AllowFlag::NonDescendant),
        message,
    })
}

fn figures(input: &PlanInput<'_>, moved: &BTreeSet<EdgeName>) -> Figures {
    let mut figures = Figures::default();
    let none = EdgeRules::new();
    for name in moved {
        let Some(edge) = input.edges.get(name) else { continue };
        of_edge(name, edge, input.ruleset.edges.get(name).unwrap_or(&none), &mut figures);
    }
    figures
}

fn of_edge(name: &EdgeName, edge: &EdgeView, wanted: &EdgeRules, figures: &mut Figures) {
    // Of an edge that is gone for good nothing can be lost.
    if edge.forgotten {
        return;
    }
    if edge.desired.as_ref().is_some_and(|desired| desired.wanted == *wanted) {
        return;
    }
    let applied = edge.applied();
    if applied.is_empty() {
        return;
    }
    let changes = diff::diff(&applied, &rules_only(wanted)).changes;
    let of_kind = |kind| changes.iter().filter(move |change| change.kind == kind);
    let removed = of_kind(ChangeKind::Remove).count() as u64;
    let rebound = of_kind(ChangeKind::Rebind).count() as u64;
    figures.removed += removed;
    figures.rebound += rebound;
    for change in of_kind(ChangeKind::Remove) {
        if change.before.as_ref().is_some_and(|rule| rule.protected) {
            figures.protected.push(format!("{name}/{}", change.rule));
        }
    }
    figures.removed_share.take(name, removed, applied.len());
    figures.rebound_share.take(name, rebound, applied.len());
    // A rule that never ran carried no traffic that could be lost.
    if removed > 0 && wanted.is_empty() && !edge.running().is_empty() {
        figures.emptied.push(name.clone());
    }
}

fn listed(items: impl Iterator<Item = String>, most: usize) -> String {
    let items: Vec<String> = items.collect();
    match items.len().checked_sub(most) {
        None | Some(0) => items.join(", "),
        Some(more) => format!("{} and {more} more", items[..most].join(", ")),
    }
}

impl RailVerdict {
    /// What the rail says, the figures behind it, and the flag that allows it.
    pub fn in_words(&self) -> String {
        // A rail of a newer server has its name and its figures.
        let kind = RailKind::parse(&self.name);
        let unit = if kind.is_some_and(RailKind::is_percent) { " %" } else { "" };
        let mut text = if kind.is_some_and(RailKind::speaks_alone) {
            format!("{}: {}", self.name, self.message)
        } else {
            let Self { name, actual, limit, message, .. } = self;
            format!("{name}: {actual}{unit} where {limit}{unit} are allowed, {message}")
        };
        if let Some(allow) = &self.allow {
            let verb = if self.tripped { "allows it" } else { "was given" };
            text = format!("{text}; `{allow}` {verb}");
        }
        text
    }
}
