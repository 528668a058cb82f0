//! The list files of a tree, and the rules that name them. Pure.
//!
//! Keeps: a file is read once, however many rules name it, and a file that did not change is not read again; a rule
//! without a list file is untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::edges::Fleet;
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

/// Most bytes of the list files of one edge, each content once: with the rules they are one message of 64 MiB at most.
const MAX_EDGE_LISTS: usize = 48 << 20;

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

/// The first item with which the sizes of different contents sum to more than `most`.
fn first_beyond<T>(items: impl Iterator<Item = T>, size: impl Fn(&T) -> (Digest, usize), most: usize) -> Option<T> {
    let (mut known, mut sum) = (BTreeSet::new(), 0);
    let mut items = items;
    items.find(|item| {
        let (digest, bytes) = size(item);
        sum += if known.insert(digest) { bytes } else { 0 };
        sum > most
    })
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

    /// Reports the list file with which those of an edge are too large for one desired state.
    pub(super) fn check_size(
        &self,
        entries: &[RuleEntry<'_>],
        by_edge: &[Vec<u32>],
        fleet: &Fleet<'_>,
        diagnostics: &mut Findings,
    ) {
        for (edge, members) in by_edge.iter().enumerate().filter(|_| !self.by_path.is_empty()) {
            let entries = members.iter().map(|member| &entries[*member as usize]);
            let named = entries.flat_map(|entry| entry.own.lists.iter().map(|named| (entry.file, named)));
            let lists = named.filter_map(|(file, named)| Some((file, named, self.by_path.get(&named.path)?.as_ref()?)));
            let size = |(_, _, list): &(_, _, &NetworkList)| (list.digest(), list.ipv4().len() + list.ipv6().len());
            if let Some((file, named, _)) = first_beyond(lists, size, MAX_EDGE_LISTS) {
                let message = format!(
                    "with the list file {} the lists of edge {} are too large: at most {} MiB of networks fit into one \
                     state of an edge",
                    named.path,
                    fleet.name(edge as u32),
                    MAX_EDGE_LISTS >> 20
                );
                let found = Diagnostic::error(TreeCode::FileTooLarge, file, named.span, message);
                diagnostics.push(found.help("an IPv4 network takes 5 bytes and an IPv6 network 17: merge networks"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_count_once_and_the_first_one_too_many_is_named() {
        let size = |(content, bytes): &(&str, usize)| (Digest::of(content.as_bytes()), *bytes);
        let beyond = |items: &[(&'static str, usize)], most| first_beyond(items.iter().copied(), size, most);
        assert_eq!(beyond(&[("a", 5), ("a", 5), ("b", 5)], 10), None);
        assert_eq!(beyond(&[("a", 5), ("b", 5), ("c", 1), ("d", 9)], 10), Some(("c", 1)));
        assert_eq!(beyond(&[], 0), None);
    }
}
