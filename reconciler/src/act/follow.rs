//! Follows a directory: a hint or the clock makes it read the whole tree, and the fleet decides what comes of it. I/O.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schema::causes::with_causes;
use schema::check::{CheckLimits, Memo, check_tree_until};
use schema::codes::TreeCode;
use schema::diagnostic::{self, Diagnostic, SourceFile};
use schema::findings::Cancel;
use schema::ruleset::{self, RuleSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::driver::FleetHandle;
use super::remote::follower::Wake;
use super::source;
use super::watch::{Patience, TreeWatcher};
use crate::decide::fleet::{Event, TreeRead};
use crate::decide::plan::{FileDocument, Source};
use crate::decide::succession::Ancestry;

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
fn read_with(dir: &Path, limits: CheckLimits, memo: Option<&mut Memo>, cancel: &Cancel) -> CheckedTree {
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

/// How commits stand to the one in force; asked again only when one of them is another.
#[derive(Debug, Default)]
pub(super) struct Ancestries {
    last: Option<(String, Ancestry)>,
}

impl Ancestries {
    /// What the repository around `dir` knows of this commit and the one that is in force now.
    pub(super) async fn of(&mut self, dir: &Path, commit: Option<&str>, fleet: &FleetHandle) -> Option<Ancestry> {
        let commit = commit?.to_owned();
        let applied =
            fleet.read(|view| view.fleet.applied().and_then(|applied| applied.last_commit().map(str::to_owned)));
        let ancestor = applied.await.ok().flatten()?;
        let last = self.last.as_ref().filter(|(of, known)| *of == commit && known.ancestor == ancestor);
        if let Some((_, known)) = last {
            return Some(known.clone());
        }
        let (dir, of) = (dir.to_owned(), commit.clone());
        let asked = move || source::git::ancestry(&dir, &ancestor, &of);
        let known = match tokio::task::spawn_blocking(asked).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                warn!(
                    error = with_causes(&error),
                    "the relation of the commit to the one in force cannot be \
                    determined"
                );
                None
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        self.last = known.clone().map(|known| (commit, known));
        known
    }
}

/// Feeds the tree into the fleet for as long as the server runs.
pub async fn follow(dir: PathBuf, limits: CheckLimits, fleet: FleetHandle, wake: Wake, shutdown: CancellationToken) {
    let mut watcher = TreeWatcher::start(dir.clone(), Patience::default()).await;
    let mut ancestries = Ancestries::default();
    let mut memo = Memo::default();
    let mut cancelled = 0;
    loop {
        let (path, cancel) = (dir.clone(), Cancel::default());
        let flag = cancel.clone();
        let look = move || {
            let tree = read_with(&path, limits, Some(&mut memo), &flag);
            (tree, memo)
        };
        let mut job = tokio::task::spawn_blocking(look);
        let mut is_newer = false;
        let done = tokio::select! {
            done = &mut job => done,
            () = shutdown.cancelled() => {
                cancel.cancel();
                return;
            }
            // A tree that always changes is still read to its end now and then.
            () = watcher.changed(), if cancelled < MOST_CANCELLED => {
                cancel.cancel();
                is_newer = true;
                job.await
            }
        };
        let tree = match done {
            Ok((tree, kept)) => {
                memo = kept;
                tree
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        cancelled = if is_newer { cancelled + 1 } else { 0 };
        if tree.moved {
            debug!("the tree changed while it was being read and is read again");
        } else {
            let mut tree = tree.into_read();
            tree.ancestry = ancestries.of(&dir, tree.source.commit.as_deref(), &fleet).await;
            if fleet.event(Event::Tree(tree)).await.is_err() {
                return;
            }
        }
        if is_newer {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = watcher.changed() => {}
            () = wake.woken() => debug!("the tree is read on request"),
        }
    }
}
