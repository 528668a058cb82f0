//! The list files of a tree, and the rules that name them. Pure.
//!
//! Keeps: a file is read once, however many rules name it, and a file that did not change is not read again; a rule
//! without a list file is untouched.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{FLEET_FILE, Memo, RuleEntry};
use crate::access::Access;
use crate::canonical::Digest;
use crate::codes::TreeCode;
use crate::decode::{Decoded, Draft, Slot};
use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::fields::{access, rule};
use crate::findings::Findings;
use crate::networks::{ListFile, NetworkList, list_path_fault, read_list};
use crate::rule::{Rule, RuleParts};
use crate::ruleset::TreeFiles;
use crate::text::Syntax;

/// True for the files of a tree that hold lists: they are there because rules name them.
pub(super) fn is_list(path: &str) -> bool {
    Syntax::of_path(path).is_none() && path != FLEET_FILE
}

/// A list file that a rule names, with its place.
#[derive(Debug, Clone)]
pub(super) struct NamedList {
    path: Arc<str>,
    span: Span,
    is_allow: bool,
}

/// The list files that the access table of a rule names.
pub(super) fn named(slot: Option<&Slot<'_>>) -> Box<[NamedList]> {
    let Some(draft) = slot.and_then(Slot::table) else { return Box::default() };
    let named = [access::ALLOW_FILE, access::DENY_FILE].into_iter().filter_map(|field| {
        let slot = draft.get(field)?;
        Some(NamedList { path: slot.text()?.into(), span: slot.span, is_allow: field == access::ALLOW_FILE })
    });
    named.collect()
}

/// The file that a key of the access table names. Its networks are found later, among the files of the tree.
pub(super) fn file_of(draft: &Draft<'_>, field: usize) -> Option<ListFile> {
    Some(ListFile::referred(draft.text(field)?, Digest::default(), 0))
}

/// Gives the files of a rule as data the digests that come with it.
pub(super) fn refer(parts: Option<&mut RuleParts>, own: &Draft<'_>) {
    let Some(access) = parts.and_then(|parts| parts.access.as_mut()) else { return };
    let Some(Decoded::Map(carried)) = own.get(rule::ACCESS_LISTS).map(|slot| &slot.value) else { return };
    for (key, value) in carried {
        let file = match &**key {
            "allow_file" => &mut access.allow_file,
            "deny_file" => &mut access.deny_file,
            _ => continue,
        };
        if let (Some(file), Some((digest, networks))) = (file.as_mut(), referred(value)) {
            *file = ListFile::referred(file.path.clone(), digest, networks);
        }
    }
}

fn referred(text: &str) -> Option<(Digest, u32)> {
    let (digest, networks) = text.split_once('/')?;
    Some((Digest::parse(digest)?, networks.parse().ok()?))
}

/// All list files of a tree.
pub(super) struct TreeLists {
    /// By path; nothing where the file has an error.
    by_path: BTreeMap<Arc<str>, Option<NetworkList>>,
}

impl TreeLists {
    /// Reads the list files of a tree.
    pub(super) fn gather(tree: &TreeFiles, memo: Option<&mut Memo>, diagnostics: &mut Findings) -> Self {
        let files = || tree.files.iter().filter(|file| is_list(&file.path));
        let known = memo.as_deref();
        let read = |file: &SourceFile| {
            let known = known.and_then(|memo| memo.recall_list(file));
            (file.path.clone(), known.or_else(|| read_list(file, diagnostics)))
        };
        let by_path: BTreeMap<_, _> = files().map(read).collect();
        if let Some(memo) = memo {
            let good = files().filter_map(|file| Some((file, by_path.get(&file.path)?.clone()?)));
            memo.replace_lists(good);
        }
        Self { by_path }
    }

    /// Reports the files that rules name and that are not there, or that would lock everyone out.
    pub(super) fn check_named(&self, entries: &[RuleEntry<'_>], tree: &TreeFiles, diagnostics: &mut Findings) {
        for (file, named) in entries.iter().flat_map(|entry| entry.own.lists.iter().map(|named| (entry.file, named))) {
            if let Some(found) = self.fault(file, named, tree) {
                diagnostics.push(found);
            }
        }
    }

    fn fault(&self, file: &SourceFile, named: &NamedList, tree: &TreeFiles) -> Option<Diagnostic> {
        let NamedList { path, span, is_allow } = named;
        let error = |code, message: String| Some(Diagnostic::error(code, file, *span, message));
        if let Some(fault) = list_path_fault(path) {
            let found = error(TreeCode::InvalidValue, format!("`{path}` is not the path of a list file: {fault}"))?;
            return Some(found.help("write the path from the root of the tree, for example `lists/office.txt`"));
        }
        match self.by_path.get(path) {
            Some(Some(list)) if *is_allow && list.is_empty() => {
                let message = format!("the list file {path} has no network: nobody could connect");
                Some(
                    error(TreeCode::OutOfRange, message)?
                        .help("add a network to it, or remove the key to admit everyone"),
                )
            }
            // Its own errors are reported at their places.
            Some(_) => None,
            None if tree.problems.iter().any(|found| found.path == *path) => None,
            None => {
                let found = error(TreeCode::UnreadableFile, format!("the tree has no file {path}"))?;
                Some(found.help(
                    "paths of list files begin at the root of the tree; dotfiles and ignored files are not part of it",
                ))
            }
        }
    }

    /// The rule with the networks of its files.
    pub(super) fn complete(&self, rule: Arc<Rule>) -> Arc<Rule> {
        let Some(access) = rule.access.as_deref().filter(|access| access.has_files()) else { return rule };
        let found = |file: &Option<ListFile>| {
            let file = file.as_ref()?;
            Some(ListFile::new(file.path.clone(), self.by_path.get(&file.path)?.clone()?))
        };
        let access =
            Access { allow_file: found(&access.allow_file), deny_file: found(&access.deny_file), ..access.clone() };
        let parts = RuleParts { access: Some(Box::new(access)), ..rule.as_ref().clone().into_parts() };
        Rule::new(parts).map_or(rule, Arc::new)
    }
}
