//! What git knows about a tree: commit, branch, author, and which files are not what the commit says. I/O, blocking.
//!
//! Keeps: a repository is only read. It is opened isolated, so that neither the environment nor the user's
//! configuration is honoured, and contents are compared by their object ids over the bytes that were read, so that no
//! filter, hook, monitor or helper named in the repository's own configuration ever runs.

mod clean;
mod committed;
mod discover;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use thiserror::Error;

use self::committed::Committed;
use self::discover::{UserConfig, discover};
use super::TreeFiles;
use crate::decide::plan::LONGEST_LABEL;
use crate::decide::succession::Ancestry;

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
    #[error("{} is not in a git repository", dir.display())]
    NoRepository {
        /// The tree.
        dir: PathBuf,
    },
    /// It belongs to another user.
    #[error(
        "the git repository in {0} belongs to another user and is not read: if you trust it, run `git config --global \
         --add safe.directory {0}` as the user that runs portunus",
        top.display()
    )]
    Foreign {
        /// The top of its work tree.
        top: PathBuf,
    },
    /// There is something that git calls a repository, and it is not one.
    #[error(
        "{} does not lead to a git repository, so the commit cannot be determined: repair the checkout, or remove the \
         file",
        place.display()
    )]
    Nowhere {
        /// The `.git` folder or file.
        place: PathBuf,
    },
    /// References are stored in a way that is not read.
    #[error(
        "the git repository {} stores its references as reftable, which is not supported: run `git refs migrate \
         --ref-format=files` in it (git before 2.48 cannot migrate a repository that has reflogs: use a fresh clone, \
         `git clone --ref-format=files`)",
        place.display()
    )]
    Reftable {
        /// The `.git` folder or file.
        place: PathBuf,
    },
    /// Not a full hash.
    #[error("{hash:?} is not a full commit hash")]
    Hash {
        /// As it came.
        hash: String,
    },
    /// The history is longer than anybody would wait for.
    #[error("the ancestor was not found within {MAX_COMMITS} commits")]
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
    /// The first line of the commit's message.
    pub subject: Option<String>,
    /// RFC 3339, UTC.
    pub committed_at: Option<String>,
    /// The files that are not what the commit says, in path order: changed, not in it, or gone.
    pub dirty: Vec<String>,
    /// Of those, the ones that pass through a filter of git, which is never run.
    pub filtered: Vec<String>,
    /// Folders of the tree that are submodules, whose files belong to another repository.
    pub submodules: Vec<String>,
    /// How many commits a shallow clone has; `None` in a whole one.
    pub shallow: Option<u32>,
    /// The folder of the work tree that the tree is; `None` for its top, or where its name is not UTF-8.
    pub folder: Option<String>,
}

impl Provenance {
    /// The name in plans: `git` or `none`.
    pub fn vcs(&self) -> &'static str {
        if self.in_git { "git" } else { "none" }
    }
}

/// Says where the files come from that were read below `dir`.
pub fn provenance(dir: &Path, files: &TreeFiles) -> Result<Provenance, GitError> {
    provenance_for(dir, files, &UserConfig::read())
}

fn provenance_for(dir: &Path, files: &TreeFiles, user: &UserConfig) -> Result<Provenance, GitError> {
    let root = match &files.root {
        Some(root) => root.clone(),
        None => canonical(dir)?,
    };
    let Some(repository) = discover(&root, user)? else { return Ok(Provenance::default()) };
    let Some(workdir) = repository.workdir() else { return Ok(Provenance::default()) };
    let workdir = canonical(workdir)?;
    let Ok(prefix) = root.strip_prefix(&workdir) else { return Ok(Provenance::default()) };
    let read_error = |source: gix::Error| GitError::Read { dir: dir.to_owned(), source: Box::new(source) };

    let folder = prefix.to_str().filter(|folder| !folder.is_empty()).map(str::to_owned);
    let mut found = Provenance { in_git: true, folder, ..Provenance::default() };
    let mut committed = Committed::new(&repository, workdir.clone(), user);
    let mut head = repository.head().map_err(read_error)?;
    found.reference = head.referent_name().map(|name| name.shorten().to_string());
    if !head.is_unborn() {
        let commit = head.peel_to_commit().map_err(read_error)?;
        found.commit = Some(commit.id.to_string());
        found.author = author(&commit);
        found.subject = subject(&commit);
        found.committed_at = committed_at(&commit);
        found.shallow = shallow(&repository, commit.id).map_err(read_error)?;
        committed.load(&commit.tree().map_err(read_error)?, prefix).map_err(read_error)?;
    }
    let differences = committed.differences(prefix, files).map_err(read_error)?;
    found.dirty = differences.dirty.into_iter().collect();
    found.filtered = differences.filtered.into_iter().collect();
    found.submodules = differences.submodules.into_iter().collect();
    Ok(found)
}

/// `Name <mail>`; of a line that is broken, as much as can be shown.
pub(super) fn author(commit: &gix::Commit<'_>) -> Option<String> {
    if let Ok(author) = commit.author() {
        let author = author.trim();
        return Some(format!("{} <{}>", author.name, author.email));
    }
    let line =
        commit.data.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(b"author "))?;
    let end = line.find_byte(b'>').map_or(line.len(), |at| at + 1);
    let text: String = line[..end].to_str_lossy().chars().filter(|letter| !letter.is_control()).take(200).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The first line of the message, also of a commit whose other lines are broken.
pub(super) fn subject(commit: &gix::Commit<'_>) -> Option<String> {
    let message = commit.message_raw().unwrap_or_else(|_| commit.message_raw_sloppy());
    let line = message.lines().map(ByteSlice::trim).find(|line| !line.is_empty())?;
    let text: String = line.to_str_lossy().chars().filter(|letter| !letter.is_control()).take(LONGEST_LABEL).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// RFC 3339, UTC; `None` where the commit has no time that can be read.
pub(super) fn committed_at(commit: &gix::Commit<'_>) -> Option<String> {
    jiff::Timestamp::from_second(commit.time().ok()?.seconds).ok().map(|at| at.to_string())
}

/// How many commits lead to this one in a shallow clone.
fn shallow(repository: &gix::Repository, commit: ObjectId) -> Result<Option<u32>, gix::Error> {
    if !repository.is_shallow()? {
        return Ok(None);
    }
    let walk = repository.rev_walk([commit]).all()?;
    Ok(Some(walk.filter_map(Result::ok).take(MAX_COMMITS).count() as u32))
}

/// True if `commit` is `ancestor` or descends from it. False also if `ancestor` is not there at all, as after a
/// rewritten history.
pub fn is_descendant(dir: &Path, ancestor: &str, commit: &str) -> Result<bool, GitError> {
    let parse = |hash: &str| {
        ObjectId::from_hex(hash.as_bytes()).map_err(|_| GitError::Hash { hash: hash.chars().take(80).collect() })
    };
    let (ancestor, commit) = (parse(ancestor)?, parse(commit)?);
    let Some(repository) = discover(&canonical(dir)?, &UserConfig::read())? else {
        return Err(GitError::NoRepository { dir: dir.to_owned() });
    };
    let read_error = |source: gix::Error| GitError::Read { dir: dir.to_owned(), source: Box::new(source) };
    // A commit of the other kind is in no history here; one of this kind that is missing is an error of the walk.
    if !holds(&repository, ancestor) || commit.kind() != repository.object_hash() {
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

/// True if the repository has this object. It never has one whose hash is of the other kind (SHA-1, SHA-256), and the
/// object database must not be asked for it.
fn holds(repository: &gix::Repository, id: ObjectId) -> bool {
    id.kind() == repository.object_hash() && repository.has_object(id)
}

/// What the repository around `dir` knows of two commits. `None` if it has no answer: there is no repository, it lacks
/// the commit, or it is a shallow clone in which the ancestor is not found.
pub fn ancestry(dir: &Path, ancestor: &str, commit: &str) -> Result<Option<Ancestry>, GitError> {
    let answer = |descends| Some(Ancestry { ancestor: ancestor.to_owned(), descends });
    if ancestor == commit {
        return Ok(answer(true));
    }
    let Some(repository) = discover(&canonical(dir)?, &UserConfig::read())? else { return Ok(None) };
    let has_commit = ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| holds(&repository, id));
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
    let repository = discover(&dir.canonicalize().ok()?, &UserConfig::read()).ok().flatten()?;
    let git_dir = repository.git_dir().canonicalize().ok()?;
    let common = repository.common_dir().canonicalize().ok()?;
    let mut paths = vec![git_dir.join("HEAD"), common.join("packed-refs")];
    if let Some(name) = repository.head().ok().as_ref().and_then(|head| head.referent_name()) {
        let name: &[u8] = name.as_bstr();
        paths.push(common.join(OsStr::from_bytes(name)));
    }
    Some(paths)
}

fn canonical(dir: &Path) -> Result<PathBuf, GitError> {
    dir.canonicalize().map_err(|source| GitError::Folder { dir: dir.to_owned(), source })
}

#[cfg(test)]
mod tests;
