//! What git knows about a tree: commit, branch, author, and which files are not what the commit says. I/O, blocking.
//!
//! Keeps: a repository is only read. It is opened isolated, so that neither the environment nor the user's
//! configuration is honoured, and contents are compared by their object ids over the bytes that were read, so that no filter,
//! hook, monitor or helper named in the repository's own configuration ever runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use gix::discover::upwards;
use gix::objs::tree::EntryKind;
use gix::sec::Trust;
use gix::{ObjectId, Repository};
use thiserror::Error;

use super::{BOM, Selection, TreeFile, TreeFiles};
use crate::decide::succession::Ancestry;

/// Links followed on the way to one file; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Folders in folders of a commit; more than a working copy of ours could have.
const MAX_DEPTH: usize = 128;

/// Commits looked at to find an ancestor. A history of a million commits takes a few seconds.
const MAX_COMMITS: usize = 1_000_000;

/// Why a repository that is there could not be read.
#[derive(Debug, Error)]
pub enum GitError {
    /// It cannot be opened.
    #[error("the git repository around {} cannot be opened", dir.display())]
    Open {
        /// The tree.
        dir: PathBuf,
        /// Why.
        source: Box<gix::Error>,
    },
    /// An object or a reference in it cannot be read.
    #[error("the git repository around {} cannot be read", dir.display())]
    Read {
        /// The tree.
        dir: PathBuf,
        /// Why.
        source: Box<gix::Error>,
    },
    /// The folder itself cannot be resolved.
    #[error("{} cannot be resolved", dir.display())]
    Folder {
        /// The tree.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no repository where one is needed.
    #[error("{} is in no git repository that we may read", dir.display())]
    NoRepository {
        /// The tree.
        dir: PathBuf,
    },
    /// Not a full hash.
    #[error("{hash:?} is no full commit hash")]
    Hash {
        /// As it came.
        hash: String,
    },
    /// The history is longer than anybody would wait for.
    #[error("no answer within {MAX_COMMITS} commits")]
    TooFar,
}

/// Where a tree comes from, as CONTRACT §4 shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// True in a git work tree.
    pub in_git: bool,
    /// The full hash of `HEAD`; `None` before the first commit.
    pub commit: Option<String>,
    /// The branch, or the full name of another reference; `None` when `HEAD` is detached.
    pub reference: Option<String>,
    /// `Name <mail>`
    pub author: Option<String>,
    /// RFC 3339, UTC.
    pub committed_at: Option<String>,
    /// The files that are not what the commit says, in path order: changed, not in it, or gone.
    pub dirty: Vec<String>,
    /// Why a repository that is there was not looked at.
    pub warning: Option<String>,
}

impl Provenance {
    /// The name in plans: `git` or `none`.
    pub fn vcs(&self) -> &'static str {
        if self.in_git { "git" } else { "none" }
    }
}

/// Says where the files come from that were read below `dir`.
pub fn provenance(dir: &Path, files: &TreeFiles) -> Result<Provenance, GitError> {
    let root = match &files.root {
        Some(root) => root.clone(),
        None => canonical(dir)?,
    };
    let repository = match discover(&root)? {
        Discovered::Open(repository) => repository,
        Discovered::Nothing => return Ok(Provenance::default()),
        Discovered::Untrusted(warning) => {
            return Ok(Provenance { warning: Some(warning), ..Provenance::default() });
        }
    };
    let Some(workdir) = repository.workdir() else { return Ok(Provenance::default()) };
    let workdir = canonical(workdir)?;
    let Ok(prefix) = root.strip_prefix(&workdir) else { return Ok(Provenance::default()) };
    let read_error = |source: gix::Error| GitError::Read { dir: dir.to_owned(), source: Box::new(source) };

    let mut found = Provenance { in_git: true, ..Provenance::default() };
    let mut committed = Committed { repository: &repository, workdir: workdir.clone(), entries: BTreeMap::new() };
    let mut head = repository.head().map_err(read_error)?;
    found.reference = head.referent_name().map(|name| name.shorten().to_string());
    if !head.is_unborn() {
        let commit = head.peel_to_commit().map_err(read_error)?;
        found.commit = Some(commit.id.to_string());
        let author = commit.author().map_err(read_error)?.trim();
        found.author = Some(format!("{} <{}>", author.name, author.email));
        let seconds = commit.time().map_err(read_error)?.seconds;
        found.committed_at = jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string());
        committed.load(&commit.tree().map_err(read_error)?, prefix).map_err(read_error)?;
    }
    found.dirty = committed.differences(prefix, files).map_err(read_error)?;
    Ok(found)
}

/// True if `commit` is `ancestor` or descends from it. False also if `ancestor` is not there at all, as after a
/// rewritten history.
pub fn is_descendant(dir: &Path, ancestor: &str, commit: &str) -> Result<bool, GitError> {
    let parse = |hash: &str| {
        ObjectId::from_hex(hash.as_bytes()).map_err(|_| GitError::Hash { hash: hash.chars().take(80).collect() })
    };
    let (ancestor, commit) = (parse(ancestor)?, parse(commit)?);
    let Discovered::Open(repository) = discover(&canonical(dir)?)? else {
        return Err(GitError::NoRepository { dir: dir.to_owned() });
    };
    let read_error = |source: gix::Error| GitError::Read { dir: dir.to_owned(), source: Box::new(source) };
    if !repository.has_object(ancestor) {
        return Ok(false);
    }
    // Newest first: in the usual case, a few commits ahead, the walk ends after those.
    let newest =
        gix::revision::walk::Sorting::ByCommitTime(gix::traverse::commit::simple::CommitTimeOrder::NewestFirst);
    let walk = repository.rev_walk([commit]).sorting(newest).all().map_err(read_error)?;
    for (count, step) in walk.enumerate() {
        if step.map_err(read_error)?.id == ancestor {
            return Ok(true);
        }
        if count >= MAX_COMMITS {
            return Err(GitError::TooFar);
        }
    }
    Ok(false)
}

/// What the repository around `dir` knows of two commits. `None` if it has no answer: there is no repository, it lacks
/// the commit, or it is a shallow clone in which the ancestor is not found.
pub fn ancestry(dir: &Path, ancestor: &str, commit: &str) -> Result<Option<Ancestry>, GitError> {
    let answer = |descends| Some(Ancestry { ancestor: ancestor.to_owned(), descends });
    if ancestor == commit {
        return Ok(answer(true));
    }
    let Discovered::Open(repository) = discover(&canonical(dir)?)? else { return Ok(None) };
    let has_commit = ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| repository.has_object(id));
    if !has_commit {
        return Ok(None);
    }
    let descends = is_descendant(dir, ancestor, commit)?;
    let read_error = |source: gix::Error| GitError::Read { dir: dir.to_owned(), source: Box::new(source) };
    let is_partial = repository.is_shallow().map_err(read_error)?;
    Ok(if !descends && is_partial { None } else { answer(descends) })
}

/// The files whose change means that `HEAD` may name another commit, `None` outside of a repository. A file need
/// not exist: what counts is that its name appears, changes or goes.
pub fn git_paths(dir: &Path) -> Option<Vec<PathBuf>> {
    let Ok(Discovered::Open(repository)) = discover(&dir.canonicalize().ok()?) else { return None };
    let git_dir = repository.git_dir().canonicalize().ok()?;
    let common = repository.common_dir().canonicalize().ok()?;
    let mut paths = vec![git_dir.join("HEAD"), common.join("packed-refs")];
    if let Some(name) = repository.head().ok().as_ref().and_then(|head| head.referent_name()) {
        let name: &[u8] = name.as_bstr();
        paths.push(common.join(OsStr::from_bytes(name)));
    }
    Some(paths)
}

enum Discovered {
    Open(Box<Repository>),
    Nothing,
    Untrusted(String),
}

fn discover(root: &Path) -> Result<Discovered, GitError> {
    let isolated = gix::open::Options::isolated;
    let trust = gix::sec::trust::Mapping { full: isolated(), reduced: isolated() };
    let search = upwards::Options { trust: upwards::TrustPolicy::Required(Trust::Full), ..Default::default() };
    let untrusted = |place: &Path| {
        let place = place.display();
        Discovered::Untrusted(format!("the git repository {place} belongs to another user and is not read"))
    };
    match gix::ThreadSafeRepository::discover_opts(root, search, trust) {
        Ok(repository) => {
            let repository = repository.to_thread_local();
            if repository.git_dir_trust() == Trust::Full {
                Ok(Discovered::Open(Box::new(repository)))
            } else {
                Ok(untrusted(repository.git_dir()))
            }
        }
        Err(error) => match error.downcast_any_ref::<upwards::Error>() {
            Some(upwards::Error::NoTrustedGitRepository { candidate, .. }) => Ok(untrusted(candidate)),
            Some(_) => Ok(Discovered::Nothing),
            None => Err(GitError::Open { dir: root.to_owned(), source: Box::new(error) }),
        },
    }
}

fn canonical(dir: &Path) -> Result<PathBuf, GitError> {
    dir.canonicalize().map_err(|source| GitError::Folder { dir: dir.to_owned(), source })
}

/// What the commit holds below the tree, by path from the top of the work tree.
struct Committed<'r> {
    repository: &'r Repository,
    workdir: PathBuf,
    entries: BTreeMap<PathBuf, (EntryKind, ObjectId)>,
}

impl Committed<'_> {
    fn load(&mut self, top: &gix::Tree<'_>, prefix: &Path) -> Result<(), gix::Error> {
        if prefix.as_os_str().is_empty() {
            return self.load_tree(top.id, prefix, 0);
        }
        match top.lookup_entry_by_path(prefix)? {
            Some(entry) if entry.mode().is_tree() => self.load_tree(entry.object_id(), prefix, 0),
            _ => Ok(()),
        }
    }

    fn load_tree(&mut self, id: ObjectId, at: &Path, depth: usize) -> Result<(), gix::Error> {
        for entry in self.repository.find_tree(id)?.iter() {
            let entry = entry?;
            let path = at.join(OsStr::from_bytes(entry.inner.filename));
            let (kind, id) = (entry.inner.mode.kind(), entry.inner.oid.to_owned());
            if kind == EntryKind::Tree && depth < MAX_DEPTH {
                self.load_tree(id, &path, depth + 1)?;
            }
            self.entries.insert(path, (kind, id));
        }
        Ok(())
    }

    fn differences(&self, prefix: &Path, files: &TreeFiles) -> Result<Vec<String>, gix::Error> {
        let mut dirty = BTreeSet::new();
        let mut present = BTreeSet::new();
        for file in &files.files {
            let label = &*file.source.path;
            present.insert(label);
            if !self.is_unchanged(&prefix.join(label), file)? {
                dirty.insert(label.to_owned());
            }
        }
        for (path, (kind, id)) in &self.entries {
            let Some(label) = path.strip_prefix(prefix).ok().and_then(Path::to_str) else { continue };
            let missed = match kind {
                EntryKind::Blob | EntryKind::BlobExecutable => files.selection.takes(label) && !present.contains(label),
                EntryKind::Link if files.selection.takes(label) => !present.contains(label),
                EntryKind::Link => self.is_changed_folder_link(path, *id, label, &files.selection)?,
                EntryKind::Tree | EntryKind::Commit => false,
            };
            if missed {
                dirty.insert(label.to_owned());
            }
        }
        Ok(dirty.into_iter().collect())
    }

    /// Follows the path on disk as the reading did: every link on the way must be the commit's link, and the file
    /// at the end must have the commit's content.
    fn is_unchanged(&self, path: &Path, file: &TreeFile) -> Result<bool, gix::Error> {
        let mut ahead: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(part) = ahead.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(name)) => at.push(name),
                Some(Component::ParentDir) if at.pop() => continue,
                Some(Component::CurDir) => continue,
                _ => return Ok(false),
            }
            let Ok(target) = fs::read_link(self.workdir.join(&at)) else { continue };
            links += 1;
            if links > MAX_LINKS || !self.holds(&at, &[EntryKind::Link], target.as_os_str().as_bytes())? {
                return Ok(false);
            }
            at.pop();
            let rest = if target.is_absolute() {
                let Ok(inside) = target.strip_prefix(&self.workdir) else { return Ok(false) };
                at.clear();
                inside
            } else {
                &target
            };
            for part in rest.iter().rev() {
                ahead.push_front(part.to_owned());
            }
        }
        let text = file.source.text.as_bytes();
        let kinds = [EntryKind::Blob, EntryKind::BlobExecutable];
        if file.bom { self.holds(&at, &kinds, &[BOM.as_bytes(), text].concat()) } else { self.holds(&at, &kinds, text) }
    }

    fn holds(&self, path: &Path, kinds: &[EntryKind], content: &[u8]) -> Result<bool, gix::Error> {
        let Some((kind, id)) = self.entries.get(path) else { return Ok(false) };
        let hash = gix::objs::compute_hash(self.repository.object_hash(), gix::objs::Kind::Blob, content)?;
        Ok(kinds.contains(kind) && *id == hash)
    }

    /// A link without the ending of a rule file matters if it led to a folder: rules may have been read through it.
    fn is_changed_folder_link(
        &self,
        path: &Path,
        id: ObjectId,
        label: &str,
        selection: &Selection,
    ) -> Result<bool, gix::Error> {
        let ends = label.match_indices('/').map(|(at, _)| at).chain([label.len()]);
        if !ends.map(|end| &label[..end]).all(|folder| selection.enters(folder)) {
            return Ok(false);
        }
        if let Ok(now) = fs::read_link(self.workdir.join(path))
            && self.holds(path, &[EntryKind::Link], now.as_os_str().as_bytes())?
        {
            return Ok(false);
        }
        let blob = self.repository.find_blob(id)?;
        let mut target = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        for part in Path::new(OsStr::from_bytes(&blob.data)).components() {
            match part {
                Component::Normal(name) => target.push(name),
                Component::ParentDir => drop(target.pop()),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Ok(self.entries.get(&target).is_some_and(|(kind, _)| *kind == EntryKind::Tree))
    }
}

#[cfg(test)]
mod tests;
