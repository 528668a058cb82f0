//! Where rule trees come from: a directory or an upload, and what git knows about a directory.
//!
//! The types here are plain values. Keeps: a [`TreeFiles`] lists its files in path order (bytewise, `/` between the
//! parts), holds no file that the selection ignores, and says about every file that could not be read why.

pub(in crate::act) mod commit;
pub mod directory;
pub mod foreign;
pub mod git;
mod look;
mod select;
mod upload;

use std::path::PathBuf;

use std::collections::BTreeSet;

use schema::diagnostic::{Diagnostic, SourceFile};
use schema::networks::named_lists;
use schema::text::Syntax;

pub(in crate::act) use look::{Look, Stamp};
pub use select::FileSelection;
pub use upload::{UploadError, from_upload};

/// The one file of a tree that is not a rule file: rails, rollout and what to ignore.
pub const SETTINGS: &str = "portunus.toml";

/// Larger rule files are refused unread (`file_too_large`); lists of networks may be larger.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// More than this in one tree is refused: it is what the operator API takes in one body (CONTRACT §8).
pub const MAX_TREE_BYTES: u64 = 256 << 20;

/// The mark that some editors put before UTF-8 text. It is accepted and taken off.
pub const BOM: &str = "\u{feff}";

/// One file of a tree, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Its label and text, without a byte order mark.
    pub source: SourceFile,
    /// True if a byte order mark stood before the text.
    pub bom: bool,
}

/// A tree as it was found: the files that could be read, and what is wrong with the others.
#[derive(Debug, Clone)]
pub struct TreeFiles {
    /// The canonical path of the tree, `None` for an upload.
    pub root: Option<PathBuf>,
    /// The rule files, `portunus.toml` and the list files that rules name, in path order.
    pub files: Vec<TreeFile>,
    /// What is wrong with files that could not be taken, in path order.
    pub diagnostics: Vec<Diagnostic>,
    /// What counts as a file of this tree.
    pub selection: FileSelection,
    /// True if the tree changed while it was read: files may be missing or not belong together, so nothing may be
    /// concluded from them but that it has to be read again. There is a finding then, too.
    pub moved: bool,
}

impl TreeFiles {
    /// `portunus.toml`, if the tree has one.
    pub fn settings(&self) -> Option<&SourceFile> {
        self.files.iter().map(|file| &file.source).find(|source| &*source.path == SETTINGS)
    }

    /// The rule files in path order, without `portunus.toml` and the list files that rules name.
    pub fn rule_files(&self) -> impl Iterator<Item = &SourceFile> {
        let is_rule_file = |source: &&SourceFile| &*source.path != SETTINGS && Syntax::of_path(&source.path).is_some();
        self.files.iter().map(|file| &file.source).filter(is_rule_file)
    }

    /// What checking a tree takes.
    pub fn to_checkable(&self) -> schema::ruleset::TreeFiles {
        schema::ruleset::TreeFiles { files: self.sources(), problems: self.diagnostics.clone() }
    }

    /// All files in path order, `portunus.toml` and list files among them.
    pub fn sources(&self) -> Vec<SourceFile> {
        self.files.iter().map(|file| file.source.clone()).collect()
    }
}

/// The list files that rule files name.
fn lists_of(files: &[TreeFile]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for file in files {
        named_lists(&file.source, &mut named);
    }
    named
}

/// A folder of the tree that belongs to another repository. In some work trees its rules would be there, in others not:
/// they must not look removed.
pub(in crate::act) fn submodule(label: &str) -> Diagnostic {
    directory::unreadable(label, "this is a submodule: its files are in another repository, which is not followed")
        .help("keep the rules in this repository, or add the folder to `[tree] ignore` in portunus.toml")
}
