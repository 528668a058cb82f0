//! A tree that was read and checked, from a directory or a commit, as followers and the command line need it. I/O.
//!
//! Keeps: reading never fails; what is wrong is a diagnostic, and a tree that changed meanwhile is marked as moved.

use std::path::Path;
use std::sync::Arc;

use schema::causes::with_causes;
use schema::check::{CheckLimits, Memo, check_tree_until};
use schema::codes::TreeCode;
use schema::diagnostic::{self, Diagnostic, SourceFile};
use schema::findings::Cancel;
use schema::ruleset::{self, RuleSet};

use super::source;
use crate::decide::fleet::TreeRead;
use crate::decide::plan::{FileDocument, Source};

/// Paths of dirty files that are shown; more are only counted.
const SHOWN_DIRTY: usize = 20;

/// Readings in a row that a newer tree may cancel.
pub(super) const MOST_CANCELLED: usize = 3;

/// A tree as it was read and checked, with its diagnostics still spanned.
#[derive(Debug)]
pub struct CheckedTree {
    /// Provenance and digest.
    pub source: Source,
    /// The valid tree, `None` where it has errors.
    pub ruleset: Option<Arc<RuleSet>>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
    /// The files as they were read.
    pub files: Vec<SourceFile>,
    /// True if it changed while it was read, so that nothing may be concluded from it.
    pub moved: bool,
}

impl CheckedTree {
    /// The form that the fleet takes.
    pub fn into_read(self) -> TreeRead {
        TreeRead {
            source: self.source,
            ruleset: self.ruleset,
            diagnostics: diagnostic::all_to_json(&self.diagnostics),
            files: self.files.iter().map(FileDocument::from).collect(),
            ancestry: None,
        }
    }
}

/// Reads and checks a directory. Never fails: what is wrong is in the diagnostics. Blocks.
pub fn read_and_check(dir: &Path, limits: &CheckLimits) -> CheckedTree {
    read_and_check_until(dir, limits, &Cancel::default())
}

/// The same; a tree whose reading was cancelled counts as moved.
pub fn read_and_check_until(dir: &Path, limits: &CheckLimits, cancel: &Cancel) -> CheckedTree {
    read_with(dir, *limits, None, cancel)
}

/// The same; with a memo, files that did not change since the last time are not parsed again.
pub(super) fn read_with(dir: &Path, limits: CheckLimits, memo: Option<&mut Memo>, cancel: &Cancel) -> CheckedTree {
    let tree = match source::directory::read_stable_until(dir, cancel) {
        Ok(tree) => tree,
        Err(error) => return unusable(&[], error.to_diagnostic(), false),
    };
    if cancel.is_cancelled() {
        return overtaken(&tree.sources());
    }
    match source::git::provenance(dir, &tree) {
        Ok(provenance) => check(provenance, &tree, limits, memo, cancel),
        // A repository that cannot be read could hide that the tree is dirty or old: nothing follows from it.
        Err(error) => {
            let unreadable = Diagnostic::without_place(TreeCode::UnreadableFile, "", with_causes(&error));
            unusable(&tree.sources(), unreadable, tree.moved)
        }
    }
}

fn unusable(files: &[SourceFile], why: Diagnostic, moved: bool) -> CheckedTree {
    CheckedTree {
        source: Source::unversioned(ruleset::tree_digest(files)),
        ruleset: None,
        diagnostics: vec![why],
        files: files.to_vec(),
        moved,
    }
}

/// A tree that was not read or checked to its end.
fn overtaken(files: &[SourceFile]) -> CheckedTree {
    let message = "a newer tree has arrived; the check of this one was cancelled";
    unusable(files, Diagnostic::without_place(TreeCode::UnreadableFile, "", message), true)
}

/// Checks a tree that was read; one that is cancelled counts as moved.
pub(super) fn check(
    provenance: source::git::Provenance,
    tree: &source::TreeFiles,
    limits: CheckLimits,
    memo: Option<&mut Memo>,
    cancel: &Cancel,
) -> CheckedTree {
    let files = tree.sources();
    let mut files_to_check = tree.to_checkable();
    files_to_check.problems.extend(provenance.submodules.iter().map(|label| source::submodule(label)));
    diagnostic::sort(&mut files_to_check.problems);
    let Some(checked) = check_tree_until(&files_to_check, &limits, memo, cancel) else {
        return overtaken(&files);
    };
    let vcs = provenance.vcs().to_owned();
    let source = Source {
        vcs,
        commit: provenance.commit,
        reference: provenance.reference,
        author: provenance.author,
        subject: provenance.subject,
        committed_at: provenance.committed_at,
        dirty: !provenance.dirty.is_empty(),
        dirty_paths: shown(provenance.dirty),
        filtered_paths: shown(provenance.filtered),
        shallow: provenance.shallow,
        folder: provenance.folder,
        digest: ruleset::tree_digest(&files),
    };
    let (ruleset, diagnostics) = (checked.ruleset.map(Arc::new), checked.diagnostics);
    CheckedTree { source, ruleset, diagnostics, files, moved: tree.moved }
}

/// As many paths as people read, and how many more there are.
fn shown(mut paths: Vec<String>) -> Vec<String> {
    let more = paths.len().saturating_sub(SHOWN_DIRTY);
    paths.truncate(SHOWN_DIRTY);
    paths.extend((more > 0).then(|| format!("and {more} more")));
    paths
}
