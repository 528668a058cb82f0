//! A rule file that is valid as it stands: its rules as the checked tree has them, whatever gave them their values.
//! Pure.
//!
//! Keeps: the rules of such a file and of its import are the same, edge by edge.

use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::SourceFile;
use schema::name::EdgeName;
use schema::ruleset::{RuleSet, TreeFiles};
use schema::spec;
use schema::text::{Entry, Node, Value as Parsed};

use super::Gathered;
use super::drafts::Draft;
use super::place::FilePosition;
use super::read::{global, statistics};

/// The rules of a file that is a rule tree by itself; `None` for every other file.
pub(super) fn ruleset(input: &SourceFile, limits: CheckLimits) -> Option<RuleSet> {
    let limits = CheckLimits { allow_empty: false, ..limits };
    check_tree(&TreeFiles { files: vec![input.clone()], problems: Vec::new() }, &limits).ruleset
}

/// Takes the rules; those of `local` belong to `edge`.
pub(super) fn take(ruleset: &RuleSet, root: &Node<'_>, edge: &EdgeName, at: FilePosition<'_>, gathered: &mut Gathered) {
    if let Parsed::Table(entries) = &root.value {
        for entry in entries {
            of_root(entry, edge, at, gathered);
        }
    }
    for (rules, enabled) in [(&ruleset.edges, true), (&ruleset.disabled, false)] {
        for (name, rules) in rules {
            let edge = if *name == EdgeName::local() { edge } else { name };
            let mut rules: Vec<_> = rules.values().collect();
            rules.sort_by_key(|placed| placed.origin.as_ref().map(|origin| (origin.line, origin.column)));
            for placed in rules {
                let here = match &placed.origin {
                    Some(origin) => at.at_position(origin.line, origin.column),
                    None => at,
                };
                keep(Draft { rule: placed.rule.clone(), enabled }, edge, here, gathered);
            }
        }
    }
}

/// What a rule file has beside rules and their defaults.
fn of_root(entry: &Entry<'_>, edge: &EdgeName, at: FilePosition<'_>, gathered: &mut Gathered) {
    match (entry.key.as_ref(), &entry.node.value) {
        ("global", Parsed::Table(settings)) => global(settings, edge, at, gathered),
        ("stats", _) => statistics(at.at(entry.key_span), gathered),
        ("edge", _) => {
            let reason =
                "the inventory and its labels: each rule now names its edges, but rollout waves select by labels";
            gathered.dropped(at.at(entry.key_span), "", "edge", reason);
        }
        _ => {}
    }
}

/// Adds a rule, unless another file has its ports; under another name if another file has its name.
fn keep(draft: Draft, edge: &EdgeName, at: FilePosition<'_>, gathered: &mut Gathered) {
    let drafts = gathered.edges.entry(edge.clone()).or_default();
    let name = draft.rule.name.as_str();
    let label = format!("{edge}/{name}");
    if let Some(taken) = drafts.taken(&draft.rule).filter(|_| draft.enabled) {
        let reason = format!("{} already belongs to {edge}/{taken}", draft.rule.listen);
        gathered.dropped(at, &label, "", reason);
        return;
    }
    let limits = spec::to_json(&draft.rule).remove("owner_limits");
    for (key, table) in limits.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten() {
        if !gathered.owners.add(&draft.rule.owner, key, table) {
            let reason = "another file sets other limits for this owner";
            gathered.dropped(at, &label, &format!("owner.{key}"), reason);
        }
    }
    let drafts = gathered.edges.entry(edge.clone()).or_default();
    let free = drafts.free_name(name);
    if free == name {
        drafts.push(draft);
        return;
    }
    let mut named = spec::to_json(&draft.rule);
    named.insert("name".to_owned(), free.clone().into());
    match spec::from_json(&named.into()) {
        Ok(rule) => {
            drafts.push(Draft { rule: rule.into(), ..draft });
            gathered.changed(at, &label, "name", format!("renamed to {free}"));
        }
        Err(reason) => gathered.dropped(at, &label, "", reason),
    }
}
