//! What the files of a tree said when they were read last, so that a file that did not change is not parsed again. Pure.
//!
//! Keeps: checking with a memo finds what checking without one finds. Only a file without any finding of its own is
//! remembered, by its path and its whole text, and everything that holds between files is checked anew.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::Draft;
use crate::diagnostic::SourceFile;

/// The drafts of a tree's files. It holds one tree: what the next one does not have is forgotten.
#[derive(Debug, Default)]
pub struct Memo {
    files: HashMap<Arc<str>, (Arc<str>, Arc<Draft<'static>>)>,
    parsed: usize,
}

impl Memo {
    /// How many files were parsed since the beginning.
    pub fn parsed(&self) -> usize {
        self.parsed
    }

    /// What a file said, if this is what it said it with.
    pub(super) fn recall(&self, file: &SourceFile) -> Option<Arc<Draft<'static>>> {
        let (_, draft) = self.files.get(&file.path).filter(|(text, _)| *text == file.text)?;
        Some(draft.clone())
    }

    /// Remembers these files in the place of all others.
    pub(super) fn replace(&mut self, files: Vec<(&SourceFile, Arc<Draft<'static>>)>, parsed: usize) {
        self.parsed += parsed;
        self.files = files.into_iter().map(|(file, draft)| (file.path.clone(), (file.text.clone(), draft))).collect();
    }
}
