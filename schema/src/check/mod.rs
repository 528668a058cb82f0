//! A tree of files into a validated rule set, or into everything that is wrong with it. Pure.
//!
//! Keeps: a rule set exists only where there is no error; all errors of all files are found in one run; the work
//! grows with the size of the tree and of the result, not with its square.

mod addresses;
mod clashes;
mod edges;
mod entry;
mod health;
mod lists;
mod loops;
mod memo;
mod owners;
mod places;
mod rule;
mod settings;
mod shared_ports;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codes::TreeCode;
use crate::decode::{self, Draft};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{edge, portunus, root};
use crate::findings::{Cancel, Findings};
use crate::name::RuleName;
use crate::net::ListenRange;
use crate::rule::Rule;
use crate::ruleset::{EdgeRules, Origin, Placed, Rails, RuleSet, TreeFiles, tree_digest};
use crate::sni::ServerName;
use crate::text;

use edges::Fleet;
use lists::{NamedList, TreeLists};
use owners::Owners;

pub use loops::{Lockout, find as find_lockouts};
pub use memo::Memo;
pub use places::{key_lines, owner_lines};
pub(crate) use rule::{EXCLUSIVE, whole_rule};
pub use settings::tree_ignore;

/// The file at the root of a tree that holds rails and rollout instead of rules.
pub const FLEET_FILE: &str = "portunus.toml";

/// Most rules of a tree, and most rules on edges: a rule on five edges counts five times there. 6 to 12 KiB of the
/// server's memory each while a tree is applied, measured with trees of 100,000 and 200,000.
pub const MAX_RULES: usize = 200_000;

/// What helps where there is no rule yet.
const FIRST_RULE: &str = "paste a first rule into a file of the tree, for example web.toml:\n[[rule]]\nname = \"web\"\n\
                          listen_port = 8080\ntarget = \"127.0.0.1:80\"";

/// Limits that the server's configuration sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckLimits {
    /// Widest range of one rule.
    pub range_rule_max_ports: u32,
    /// A tree without a rule is a warning and no error: a person said `--allow-empty`.
    pub allow_empty: bool,
    /// Most rules of a tree, and most rules on edges.
    pub max_rules: usize,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self { range_rule_max_ports: 1024, allow_empty: false, max_rules: MAX_RULES }
    }
}

/// What checking a tree gives.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The rules; `None` exactly where there is an error.
    pub ruleset: Option<RuleSet>,
    /// Errors and warnings, sorted.
    pub diagnostics: Vec<Diagnostic>,
}

/// A file with its decoded top level.
struct RuleFile<'t> {
    file: &'t SourceFile,
    root: Arc<Draft<'t>>,
    /// What its rules said the last time, if it is the same file.
    said: Option<Arc<[DraftedRule]>>,
}

/// What a file alone says of one of its rules, valid or not.
#[derive(Debug, Clone)]
struct DraftedRule {
    origin: Origin,
    name: Option<RuleName>,
    name_span: Span,
    listen: Option<ListenRange>,
    listen_span: Span,
    /// Where its targets stand, if it is valid.
    targets: Box<[Span]>,
    /// The server names that lead to it, with their places.
    sni: Box<[(ServerName, Span)]>,
    /// The list files that it names.
    lists: Box<[NamedList]>,
    /// Where it says whose PROXY headers it expects.
    accept_proxy_span: Option<Span>,
    enabled: bool,
    rule: Option<Arc<Rule>>,
}

/// What the checks over several rules need to know of one of them.
struct RuleEntry<'t> {
    file: &'t SourceFile,
    own: DraftedRule,
    /// Indices of edges, ascending.
    edges: Arc<[u32]>,
}

/// Checks a tree as a whole.
pub fn check_tree(tree: &TreeFiles, limits: &CheckLimits) -> Checked {
    check(tree, *limits, None, &Cancel::default()).expect("nobody cancels it")
}

/// The same for a tree that is checked again and again: only the files that changed since are parsed.
pub fn check_tree_again(tree: &TreeFiles, limits: &CheckLimits, memo: &mut Memo) -> Checked {
    check(tree, *limits, Some(memo), &Cancel::default()).expect("nobody cancels it")
}

/// The same for a tree that may be out of date before it is checked: `None` once it is.
pub fn check_tree_until(
    tree: &TreeFiles,
    limits: &CheckLimits,
    memo: Option<&mut Memo>,
    cancel: &Cancel,
) -> Option<Checked> {
    check(tree, *limits, memo, cancel)
}

fn check(tree: &TreeFiles, limits: CheckLimits, mut memo: Option<&mut Memo>, cancel: &Cancel) -> Option<Checked> {
    let mut diagnostics = Findings::until(cancel);
    diagnostics.extend(tree.problems.iter().cloned());
    let (files, FleetFile { rails, rollout }) = read_files(tree, limits, memo.as_deref_mut(), &mut diagnostics);
    if let Some(found) = too_many_rules(&files, limits.max_rules) {
        // The files behind it may not have been read: what the others say about them would be wrong.
        diagnostics.push(found);
        return Some(Checked { ruleset: None, diagnostics: diagnostics.into_sorted() });
    }
    let lists = TreeLists::gather(tree, memo.as_deref_mut(), &mut diagnostics);
    let mut fleet = Fleet::gather(&files, &mut diagnostics);
    let owners = Owners::gather(&files, &mut diagnostics);
    let global = settings::global(&files, &mut diagnostics);
    let mut entries = Vec::new();
    for file in &files {
        if cancel.is_cancelled() {
            return None;
        }
        let from = entries.len();
        let is_clean = rule::entries_of(file, limits, &mut fleet, &mut entries, &mut diagnostics);
        if let Some(memo) = memo.as_deref_mut().filter(|_| is_clean && file.said.is_none()) {
            memo.keep_rules(file.file, entries[from..].iter().map(|entry| entry.own.clone()).collect());
        }
    }
    diagnostics.extend(empty_files(tree).map(|file| {
        let message = "the file is empty; if that is intentional, delete it or add a comment to it";
        Diagnostic::without_place(TreeCode::EmptyFile, &*file.path, message).as_warning()
    }));
    let is_misspelt = files.iter().any(|file| file.root.is_meant(root::RULE));
    if entries.is_empty() && !is_misspelt && !diagnostics.any(hides_rules) {
        let empty = Diagnostic::without_place(TreeCode::EmptyTree, "", "the tree contains no rules").help(FIRST_RULE);
        diagnostics.push(if limits.allow_empty { empty.as_warning() } else { empty });
    }
    if let Some(found) = too_many_placed(&entries, limits.max_rules) {
        diagnostics.push(found);
        return Some(Checked { ruleset: None, diagnostics: diagnostics.into_sorted() });
    }
    let by_edge = fleet.by_edge(&entries);
    if let Some(placed) = &rollout {
        let with_rules = (0..).zip(&by_edge).filter(|(_, entries)| !entries.is_empty());
        let edges: Vec<u32> = with_rules.map(|(number, _)| number).collect();
        settings::check_rollout(placed, &edges, &mut fleet, &mut diagnostics);
    }
    clashes::duplicates(&entries, &by_edge, &fleet, &mut diagnostics);
    clashes::ports(&entries, &by_edge, &fleet, &mut diagnostics);
    loops::lockouts(&entries, &by_edge, &fleet, &mut diagnostics);
    lists.check_named(&entries, tree, &mut diagnostics);
    lists.check_size(&entries, &by_edge, &fleet, &mut diagnostics);
    owners.check_used(&entries, &mut diagnostics);
    if cancel.is_cancelled() {
        return None;
    }
    let ruleset = (!diagnostics.has_errors()).then(|| {
        let (edges, disabled) = placed(&entries, &by_edge, &fleet, |rule| lists.complete(owners.complete(rule)));
        let (digest, inventory) = (tree_digest(&tree.files), fleet.inventory());
        let rollout = rollout.map(|placed| placed.rollout).unwrap_or_default();
        let empty_files = empty_files(tree).map(|file| file.path.clone()).collect();
        RuleSet { digest, inventory, edges, disabled, rails, rollout, global, empty_files }
    });
    Some(Checked { ruleset, diagnostics: diagnostics.into_sorted() })
}

/// The first item with which the sum of the counts is above `most`.
fn first_above<T>(items: impl IntoIterator<Item = T>, count: impl Fn(&T) -> usize, most: usize) -> Option<T> {
    let mut sum = 0_usize;
    items.into_iter().find(|item| {
        sum = sum.saturating_add(count(item));
        sum > most
    })
}

/// The finding about a tree with more than `most` rules.
fn too_many_rules(files: &[RuleFile<'_>], most: usize) -> Option<Diagnostic> {
    let rules = files.iter().flat_map(|file| file.root.tables(root::RULE).iter().map(move |draft| (file.file, draft)));
    let (file, draft) = first_above(rules, |_| 1, most)?;
    let message = format!("the tree has more than {most} rules, of which this is the first one too many");
    let found = Diagnostic::error(TreeCode::FileTooLarge, file, draft.span, message);
    Some(found.help("split the fleet over several servers"))
}

/// The finding about rules that count for more than `most` on their edges.
fn too_many_placed(entries: &[RuleEntry<'_>], most: usize) -> Option<Diagnostic> {
    let RuleEntry { file, own, .. } = first_above(entries, |entry| entry.edges.len(), most)?;
    let message =
        format!("with this rule the edges have more than {most} rules; a rule counts once for each of its edges");
    let found = Diagnostic::error(TreeCode::FileTooLarge, file, own.name_span, message);
    Some(found.help("assign rules to fewer edges, or split the fleet over several servers"))
}

/// Rule files without a byte, or with blanks only: what a full disk or an interrupted editor leaves behind.
fn empty_files(tree: &TreeFiles) -> impl Iterator<Item = &SourceFile> {
    tree.files.iter().filter(|file| file.text.trim().is_empty() && &*file.path != FLEET_FILE)
}

/// True for findings that may be the reason why no rule was seen.
fn hides_rules(found: &Diagnostic) -> bool {
    matches!(
        found.code,
        TreeCode::Syntax | TreeCode::UnreadableFile | TreeCode::NotUtf8 | TreeCode::FileTooLarge | TreeCode::WrongType
    )
}

/// What `portunus.toml` says.
#[derive(Default)]
struct FleetFile<'t> {
    rails: Rails,
    rollout: Option<settings::PlacedRollout<'t>>,
}

fn read_files<'t>(
    tree: &'t TreeFiles,
    limits: CheckLimits,
    mut memo: Option<&mut Memo>,
    diagnostics: &mut Findings,
) -> (Vec<RuleFile<'t>>, FleetFile<'t>) {
    let mut files = Vec::with_capacity(tree.files.len());
    let mut fleet = FleetFile::default();
    let (mut kept, mut parsed) = (Vec::new(), 0);
    let mut rules = 0;
    for file in tree.files.iter().filter(|file| !lists::is_list(&file.path)) {
        if diagnostics.is_cancelled() || rules > limits.max_rules {
            // What was remembered stays remembered.
            return (files, fleet);
        }
        if let Some(known) = memo.as_deref_mut().and_then(|memo| memo.recall(file, limits)) {
            rules += known.draft.tables(root::RULE).len();
            files.push(RuleFile { file, root: known.draft.clone(), said: known.said.clone() });
            kept.push((file, known));
            continue;
        }
        let found_before = diagnostics.made();
        parsed += 1;
        let Some(node) = text::parse(file, diagnostics) else { continue };
        let is_fleet = &*file.path == FLEET_FILE;
        let table = if is_fleet { &portunus::TABLE } else { &root::TABLE };
        let Some(root) = decode::decode(file, node, table, diagnostics) else { continue };
        rules += if is_fleet { 0 } else { root.tables(root::RULE).len() };
        if is_fleet {
            settings::check_ignore(file, &root, diagnostics);
            fleet = FleetFile { rails: settings::rails(&root), rollout: settings::rollout(file, &root) };
        } else if memo.is_some() && diagnostics.made() == found_before {
            let known = memo::Known::new(file, root.into_owned());
            files.push(RuleFile { file, root: known.draft.clone(), said: None });
            kept.push((file, known));
        } else {
            files.push(RuleFile { file, root: root.into(), said: None });
        }
    }
    if let Some(memo) = memo {
        memo.replace(kept, limits, parsed);
    }
    (files, fleet)
}

/// The `[[edge]]` drafts of a file.
fn edges_of<'f, 't>(file: &'f RuleFile<'t>) -> impl Iterator<Item = (&'t SourceFile, &'f Draft<'t>)> {
    file.root.tables(root::EDGE).iter().filter(|draft| draft.has(edge::NAME)).map(|draft| (file.file, draft))
}

type ByEdge = BTreeMap<crate::name::EdgeName, EdgeRules>;

/// The rules of every edge: enabled and disabled ones. Called on a tree without errors, so every entry has its rule.
fn placed(
    entries: &[RuleEntry<'_>],
    by_edge: &[Vec<u32>],
    fleet: &Fleet<'_>,
    complete: impl Fn(&Arc<Rule>) -> Arc<Rule>,
) -> (ByEdge, ByEdge) {
    let rules: Vec<Option<Arc<Rule>>> = entries.iter().map(|entry| entry.own.rule.as_ref().map(&complete)).collect();
    let (mut edges, mut disabled) = (ByEdge::new(), ByEdge::new());
    for (edge, members) in by_edge.iter().enumerate() {
        for (map, enabled) in [(&mut edges, true), (&mut disabled, false)] {
            let rules: EdgeRules = members
                .iter()
                .map(|member| (&entries[*member as usize].own, &rules[*member as usize]))
                .filter(|(own, _)| own.enabled == enabled)
                .filter_map(|(own, rule)| {
                    let placed = Placed { rule: rule.clone()?, origin: Some(own.origin.clone()) };
                    Some((own.name.clone()?, placed))
                })
                .collect();
            if !rules.is_empty() {
                map.insert(fleet.name(edge as u32).clone(), rules);
            }
        }
    }
    (edges, disabled)
}

#[cfg(test)]
mod entry_tests;
#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod tests;
