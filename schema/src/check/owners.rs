//! The `[[owner]]` entries of a tree, and the rules that they concern. Pure.
//!
//! Keeps: a tree names an owner once; every rule of an owner carries the same limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entry::{NEEDS_BYTES, has_refused, place, problems_of, quota_of, rate_limit_of};
use super::{RuleEntry, RuleFile};
use crate::codes::TreeCode;
use crate::decode::{Draft, Slot};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{owner, owner_limits, root};
use crate::findings::Findings;
use crate::rule::{OwnerLimits, Rule};

/// The limits of every owner of a tree, with their places.
pub(super) struct Owners<'t> {
    by_name: BTreeMap<String, (&'t SourceFile, Span, Option<OwnerLimits>)>,
}

impl<'t> Owners<'t> {
    /// Reads the entries of all files.
    pub(super) fn gather(files: &[RuleFile<'t>], diagnostics: &mut Findings) -> Self {
        let mut owners = Self { by_name: BTreeMap::new() };
        for (file, draft) in
            files.iter().flat_map(|file| file.root.tables(root::OWNER).iter().map(|one| (file.file, one)))
        {
            let limits = limits_of(file, draft, diagnostics);
            let Some((slot, name)) = draft.get(owner::NAME).and_then(|slot| Some((slot, slot.text()?))) else {
                continue;
            };
            if name.is_empty() {
                let message = "the name of an owner must not be empty";
                diagnostics.push(Diagnostic::error(TreeCode::InvalidValue, file, slot.span, message));
            } else if let Some((first, span, _)) = owners.by_name.get(name) {
                let message = format!("owner `{name}` is listed twice");
                diagnostics.push(
                    Diagnostic::error(TreeCode::DuplicateOwner, file, slot.span, message)
                        .label("listed again here")
                        .related(first, *span, "listed first here"),
                );
            } else {
                owners.by_name.insert(name.to_owned(), (file, slot.span, limits));
            }
        }
        owners
    }

    /// Warns of owners of no rule: a misspelt name limits nobody.
    pub(super) fn check_used(&self, entries: &[RuleEntry<'_>], diagnostics: &mut Findings) {
        if self.by_name.is_empty() || diagnostics.has_errors() {
            return;
        }
        let used: BTreeSet<&str> =
            entries.iter().filter_map(|entry| entry.own.rule.as_ref()).map(|rule| rule.owner.as_str()).collect();
        for (name, (file, span, _)) in self.by_name.iter().filter(|(name, _)| !used.contains(name.as_str())) {
            let message = format!("no rule has the owner `{name}`, so its limits have no effect");
            diagnostics.push(
                Diagnostic::error(TreeCode::NotApplicable, file, *span, message)
                    .help("set `owner` in the rules that share the limits, or remove the entry")
                    .as_warning(),
            );
        }
    }

    /// The rule with the limits of its owner.
    pub(super) fn complete(&self, rule: &Arc<Rule>) -> Arc<Rule> {
        let limits = self.by_name.get(&rule.owner).and_then(|(_, _, limits)| limits.as_ref());
        let Some(limits) = limits else { return rule.clone() };
        let mut parts = (**rule).clone().into_parts();
        parts.owner_limits = Some(Box::new(limits.clone()));
        Arc::new(Rule::new(parts).expect("the limits were checked, and fit every rule"))
    }
}

/// The limits that a rule as data carries; what is wrong with them is left to the rule.
pub(super) fn carried(draft: &Draft<'_>) -> Option<OwnerLimits> {
    let rate_limit = draft.table(owner_limits::RATE_LIMIT).and_then(rate_limit_of);
    let quota = draft.table(owner_limits::QUOTA).and_then(|draft| quota_of(draft).ok().flatten());
    (rate_limit.is_some() || quota.is_some()).then_some(OwnerLimits { rate_limit, quota })
}

fn limits_of(file: &SourceFile, draft: &Draft<'_>, diagnostics: &mut Findings) -> Option<OwnerLimits> {
    let table = |field| draft.get(field).and_then(Slot::table);
    let (rate, quota) = (table(owner::RATE_LIMIT), table(owner::QUOTA));
    let is_refused = has_refused(draft);
    let rate_limit = rate.and_then(rate_limit_of);
    let quota = match quota.map_or(Ok(None), quota_of) {
        Ok(quota) => quota,
        Err(span) => {
            let found = Diagnostic::error(TreeCode::MissingKey, file, span, NEEDS_BYTES);
            diagnostics.push(found.help("for example `bytes = 1000000000000`"));
            return None;
        }
    };
    if is_refused {
        return None;
    }
    if !draft.has(owner::RATE_LIMIT) && !draft.has(owner::QUOTA) {
        let span = draft.get(owner::NAME).map_or(draft.span, |slot| slot.span);
        let message = "an owner needs `rate_limit` or `quota`";
        diagnostics.push(Diagnostic::error(TreeCode::MissingKey, file, span, message));
    }
    if rate_limit.is_none() && quota.is_none() {
        return None;
    }
    let problems = problems_of(rate_limit.as_ref(), quota.as_ref());
    let is_valid = problems.is_empty();
    for problem in problems {
        let span = place(draft, &problem.key).unwrap_or(draft.span);
        diagnostics.push(Diagnostic::error(problem.code, file, span, problem.message));
    }
    is_valid.then_some(OwnerLimits { rate_limit, quota })
}
