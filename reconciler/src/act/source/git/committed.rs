//! The files of a commit below a tree, compared with what was read. I/O, blocking.
//!
//! Keeps: a file is clean only where git would store the committed bytes for it, and an entry of the commit that has no
//! file is never clean.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};

use super::super::{BOM, FileSelection, TreeFile, TreeFiles};
use super::clean::Cleaner;
use super::discover::UserConfig;

/// Links followed on the way to one file; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Folders in folders of a commit; more than a working copy of ours could have.
const MAX_DEPTH: usize = 128;

/// What a tree is not, beside its commit.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Labels of files that are changed, not committed, or gone.
    pub(super) dirty: BTreeSet<String>,
    /// Of those, the ones that a filter stands before.
    pub(super) filtered: BTreeSet<String>,
    /// Folders that are submodules.
    pub(super) submodules: BTreeSet<String>,
}

/// What the commit holds below the tree, by path from the top of the work tree.
pub(super) struct Committed<'r> {
    repository: &'r Repository,
    workdir: PathBuf,
    entries: BTreeMap<PathBuf, (EntryKind, ObjectId)>,
    user: &'r UserConfig,
    /// Made for the first file that is not the committed one byte by byte.
    cleaner: Option<Cleaner<'r>>,
}

impl<'r> Committed<'r> {
    pub(super) fn new(repository: &'r Repository, workdir: PathBuf, user: &'r UserConfig) -> Self {
        Self { repository, workdir, entries: BTreeMap::new(), user, cleaner: None }
    }

    /// Lists what the commit holds below `prefix`.
    pub(super) fn load(&mut self, top: &gix::Tree<'_>, prefix: &Path) -> Result<(), gix::Error> {
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

    /// Compares the files that were read below `prefix`.
    pub(super) fn differences(&mut self, prefix: &Path, files: &TreeFiles) -> Result<Differences, gix::Error> {
        let mut found = Differences::default();
        let mut present = BTreeSet::new();
        for file in &files.files {
            let label = &*file.source.path;
            present.insert(label);
            match self.compare(&prefix.join(label), file)? {
                Content::Same => {}
                Content::Other => drop(found.dirty.insert(label.to_owned())),
                Content::Filtered => {
                    found.dirty.insert(label.to_owned());
                    found.filtered.insert(label.to_owned());
                }
            }
        }
        for (path, (kind, id)) in &self.entries {
            let Some(label) = path.strip_prefix(prefix).ok().and_then(Path::to_str) else { continue };
            let missed = match kind {
                EntryKind::Blob | EntryKind::BlobExecutable => files.selection.takes(label) && !present.contains(label),
                EntryKind::Link if files.selection.takes(label) => !present.contains(label),
                EntryKind::Link => self.is_changed_folder_link(path, *id, label, &files.selection)?,
                EntryKind::Commit if is_entered(label, &files.selection) => {
                    found.submodules.insert(label.to_owned());
                    false
                }
                EntryKind::Tree | EntryKind::Commit => false,
            };
            if missed {
                found.dirty.insert(label.to_owned());
            }
        }
        Ok(found)
    }

    /// Follows the path on disk as the reading did: every link on the way must be the commit's link, and the file
    /// at the end must have the commit's content.
    fn compare(&mut self, path: &Path, file: &TreeFile) -> Result<Content, gix::Error> {
        let mut ahead: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(part) = ahead.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(name)) => at.push(name),
                Some(Component::ParentDir) if at.pop() => continue,
                Some(Component::CurDir) => continue,
                _ => return Ok(Content::Other),
            }
            let Ok(target) = fs::read_link(self.workdir.join(&at)) else { continue };
            links += 1;
            if links > MAX_LINKS || !self.holds(&at, &[EntryKind::Link], target.as_os_str().as_bytes())? {
                return Ok(Content::Other);
            }
            at.pop();
            let rest = if target.is_absolute() {
                let Ok(inside) = target.strip_prefix(&self.workdir) else { return Ok(Content::Other) };
                at.clear();
                inside
            } else {
                &target
            };
            for part in rest.iter().rev() {
                ahead.push_front(part.to_owned());
            }
        }
        let mark = if file.bom { BOM.as_bytes() } else { b"" };
        self.compare_content(&at, &[mark, file.source.text.as_bytes()].concat())
    }

    /// Compares the content of a file that no link is on the way to.
    fn compare_content(&mut self, path: &Path, content: &[u8]) -> Result<Content, gix::Error> {
        let kinds = [EntryKind::Blob, EntryKind::BlobExecutable];
        if self.holds(path, &kinds, content)? {
            return Ok(Content::Same);
        }
        if !self.entries.get(path).is_some_and(|(kind, _)| kinds.contains(kind)) {
            return Ok(Content::Other);
        }
        let mut cleaner = match self.cleaner.take() {
            Some(cleaner) => cleaner,
            None => Cleaner::new(self.repository, self.user)?,
        };
        let cleaned = cleaner.cleaned(path, content)?;
        let found = if self.holds(path, &kinds, &cleaned)? {
            Content::Same
        } else if cleaner.filter(path)?.is_some() {
            Content::Filtered
        } else {
            Content::Other
        };
        self.cleaner = Some(cleaner);
        Ok(found)
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
        selection: &FileSelection,
    ) -> Result<bool, gix::Error> {
        if !is_entered(label, selection) {
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

/// How a file stands to the commit.
enum Content {
    /// Git would store the committed bytes.
    Same,
    Other,
    /// It is another one, or a filter makes it look so.
    Filtered,
}

/// True if files may be read below the folder with this label.
fn is_entered(label: &str, selection: &FileSelection) -> bool {
    let ends = label.match_indices('/').map(|(at, _)| at).chain([label.len()]);
    ends.map(|end| &label[..end]).all(|folder| selection.enters(folder))
}
