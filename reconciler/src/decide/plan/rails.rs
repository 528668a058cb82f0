//! Rails: how much a plan may remove, rebind or cut before a person must allow it (CONTRACT §7). Pure.
//!
//! The limits come from the last applied tree, so that no commit lifts its own guard. The figures compare the tree
//! with what was applied last, or with what is observed until something was.

use std::collections::{BTreeMap, BTreeSet};

use schema::diff::{self, ChangeKind};
use schema::name::EdgeName;
use schema::ruleset::{EdgeRules, rules_only};
use serde::{Deserialize, Serialize};

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

/// The verdict of every rail. `moved` are the edges that are not at rest under the tree: of the others nothing goes.
pub(super) fn evaluate(input: &PlanInput<'_>, moved: &BTreeSet<EdgeName>, connections: u64) -> Vec<RailVerdict> {
    let limits = input.rails.unwrap_or(&input.ruleset.rails);
    let allowances = input.allowances;
    let figures = figures(input, moved);
    let removals = format!("--allow-removals {}", figures.removed);
    let rebinds = format!("--allow-rebinds {}", figures.rebound);
    let removals_allowed = allowances.removals == Some(figures.removed);
    let rebinds_allowed = allowances.rebinds == Some(figures.rebound);
    let rail = |name: &str, limit: u64, actual: u64, is_over: bool, is_allowed: bool, allow: &str, message: String| {
        RailVerdict {
            name: name.to_owned(),
            limit,
            actual,
            tripped: is_over && !is_allowed,
            allow: is_over.then(|| allow.to_owned()),
            message: if is_over { message } else { String::new() },
        }
    };
    let percent = u64::from(limits.max_removed_percent);
    let rebound_percent = u64::from(limits.max_rebound_percent);
    let (most_removed, is_removed_over, removed_where) = figures.removed_share.verdict(percent);
    let (most_rebound, is_rebound_over, rebound_where) = figures.rebound_share.verdict(rebound_percent);
    let in_all = u64::from(limits.max_removed_rules);
    let drops = limits.max_connections_dropped;
    let mut verdicts = vec![
        rail("max_removed_percent", percent, most_removed, is_removed_over, removals_allowed, &removals, removed_where),
        rail(
            "max_removed_rules",
            in_all,
            figures.removed,
            figures.removed > in_all,
            removals_allowed,
            &removals,
            "in all".to_owned(),
        ),
        rail(
            "last_rule",
            0,
            figures.emptied.len() as u64,
            !figures.emptied.is_empty(),
            removals_allowed,
            &removals,
            format!("no rule would be left on {}", listed(figures.emptied.iter().map(ToString::to_string), FEW)),
        ),
        rail(
            "max_rebound_percent",
            rebound_percent,
            most_rebound,
            is_rebound_over,
            rebinds_allowed,
            &rebinds,
            rebound_where,
        ),
        rail(
            "max_connections_dropped",
            drops,
            connections,
            drops > 0 && connections > drops,
            allowances.drops == Some(connections),
            &format!("--allow-drops {connections}"),
            "live connections would be cut".to_owned(),
        ),
    ];
    let is_protected = !figures.protected.is_empty();
    verdicts.push(RailVerdict {
        name: "protected".to_owned(),
        limit: 0,
        actual: figures.protected.len() as u64,
        tripped: is_protected,
        allow: None,
        message: if is_protected {
            format!(
                "{} is protected and may not be removed: apply `protected = false` first",
                listed(figures.protected.iter().cloned(), FEW)
            )
        } else {
            String::new()
        },
    });
    verdicts.push(emptied_files(input));
    verdicts.push(succession(input));
    verdicts
}

/// A file that held rules and is empty now removes none of them: nobody writes that on purpose.
fn emptied_files(input: &PlanInput<'_>) -> RailVerdict {
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
    RailVerdict {
        name: "empty_file".to_owned(),
        limit: 0,
        actual: lost.len() as u64,
        tripped: is_emptied && !input.allowances.empty,
        allow: is_emptied.then(|| "--allow-empty".to_owned()),
        message: if is_emptied { message } else { String::new() },
    }
}

/// A tree must not go back behind the commit in force, nor leave its history.
fn succession(input: &PlanInput<'_>) -> RailVerdict {
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
    RailVerdict {
        name: "non_descendant".to_owned(),
        limit: 0,
        actual: u64::from(is_left),
        tripped: is_left && !input.allowances.non_descendant,
        allow: is_left.then(|| "--allow-non-descendant".to_owned()),
        message,
    }
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
        let unit = if self.name.ends_with("_percent") { " %" } else { "" };
        let mut text = match self.name.as_str() {
            // Their messages say it all; a limit of 0 would only puzzle.
            "last_rule" | "protected" | "empty_file" => format!("{}: {}", self.name, self.message),
            name => format!("{name}: {}{unit} where {}{unit} are allowed, {}", self.actual, self.limit, self.message),
        };
        if let Some(allow) = &self.allow {
            let verb = if self.tripped { "allows it" } else { "was given" };
            text = format!("{text}; `{allow}` {verb}");
        }
        text
    }
}
