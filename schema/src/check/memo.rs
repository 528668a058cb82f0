//! What the files of a tree said when they were read last, so that a file that did not change is not parsed again. Pure.
//!
//! Keeps: checking with a memo finds what checking without one finds. Only a file without any finding of its own is
//! remembered, by its path and its whole text, and everything that holds between files is checked anew. A rule of a
//! remembered file is the same in memory from tree to tree, so that comparing trees costs a look at their pointers.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CheckLimits, DraftedRule};
use crate::decode::Draft;
use crate::diagnostic::SourceFile;
use crate::networks::NetworkList;

/// The drafts of a tree's files. It holds one tree: what the next one does not have is forgotten.
#[derive(Debug, Default)]
pub struct Memo {
    files: HashMap<Arc<str>, Known>,
    /// List files by path, with the text that they were read from.
    lists: HashMap<Arc<str>, (Arc<str>, NetworkList)>,
    limits: CheckLimits,
    parsed: usize,
}

/// What a file said.
#[derive(Debug, Clone)]
pub(super) struct Known {
    text: Arc<str>,
    pub(super) draft: Arc<Draft<'static>>,
    /// Its rules, where there is nothing to find in them.
    pub(super) said: Option<Arc<[DraftedRule]>>,
}

impl Known {
    pub(super) fn new(file: &SourceFile, draft: Draft<'static>) -> Self {
        Self { text: file.text.clone(), draft: draft.into(), said: None }
    }
}

impl Memo {
    /// How many files were parsed since the beginning.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// What a file said, if this is what it said it with.
    pub(super) fn recall(&self, file: &SourceFile, limits: CheckLimits) -> Option<Known> {
        let mut known = self.files.get(&file.path).filter(|known| known.text == file.text)?.clone();
        known.said = known.said.filter(|_| limits == self.limits);
        Some(known)
    }

    /// Remembers these files in the place of all others.
    pub(super) fn replace(&mut self, files: Vec<(&SourceFile, Known)>, limits: CheckLimits, parsed: usize) {
        self.parsed += parsed;
        self.limits = limits;
        self.files = files.into_iter().map(|(file, known)| (file.path.clone(), known)).collect();
    }

    /// What a list file holds, if this is what it held.
    pub(super) fn recall_list(&self, file: &SourceFile) -> Option<NetworkList> {
        let (text, list) = self.lists.get(&file.path)?;
        (*text == file.text).then(|| list.clone())
    }

    /// Remembers these list files in the place of all others.
    pub(super) fn replace_lists<'f>(&mut self, lists: impl Iterator<Item = (&'f SourceFile, NetworkList)>) {
        self.lists = lists.map(|(file, list)| (file.path.clone(), (file.text.clone(), list))).collect();
    }

    /// Remembers what the rules of a file said, if the file is remembered.
    pub(super) fn keep_rules(&mut self, file: &SourceFile, said: Arc<[DraftedRule]>) {
        if let Some(known) = self.files.get_mut(&file.path) {
            known.said = Some(said);
        }
    }
}
