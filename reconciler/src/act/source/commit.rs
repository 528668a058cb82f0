//! Reads a rule tree out of a commit, from the object database. I/O, blocking.
//!
//! Keeps: what is read is one committed tree, whole, whatever happens to the repository meanwhile. The same files
//! belong to it as to a directory with the same content, and the same names are refused.

use std::str;

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use schema::codes::TreeCode;
use schema::diagnostic::{Diagnostic, SourceFile};
use schema::findings::Findings;

use super::directory::{not_utf8, unreadable};
use super::git::{Provenance, author, committed_at, subject};
use super::look::{MAX_DEPTH, MAX_ENTRIES};
use super::select::is_ignored_name;
use super::upload::{too_large, without_bom};
use super::{FileSelection, MAX_FILE_BYTES, MAX_TREE_BYTES, SETTINGS, TreeFile, TreeFiles, lists_of, submodule};

/// Links followed on the way to one file; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Author and time of a commit, and the tree in a folder of it (empty: the whole).
pub(in crate::act) fn read_commit(
    repository: &Repository,
    id: ObjectId,
    folder: &str,
) -> Result<(Provenance, TreeFiles), gix::Error> {
    let commit = repository.find_commit(id)?;
    let provenance = Provenance {
        in_git: true,
        commit: Some(id.to_string()),
        author: author(&commit),
        subject: subject(&commit),
        committed_at: committed_at(&commit),
        folder: Some(folder.trim_matches('/').to_owned()).filter(|folder| !folder.is_empty()),
        ..Provenance::default()
    };
    let tree = TreeFiles {
        root: None,
        files: Vec::new(),
        diagnostics: Vec::new(),
        selection: FileSelection::default(),
        moved: false,
    };
    let top = commit.tree()?;
    let mut walk =
        CommitWalk { repository, root: top.id, tree, bytes: 0, entries: 0, trail: Vec::new(), found: Findings::new() };
    let root = match walk.lead(Vec::new(), folder.as_bytes())? {
        Led::Inside(_, EntryKind::Tree, id) => id,
        Led::Inside(..) | Led::Nowhere(_) => {
            walk.tree.diagnostics.push(unreadable("", format!("the commit has no folder `{folder}`")));
            return Ok((provenance, walk.tree));
        }
    };
    walk.root = root;
    walk.tree.selection = walk.selection()?;
    walk.folder(root, &[], &[])?;
    walk.lists()?;
    let mut tree = walk.tree;
    tree.files.sort_by(|a, b| a.source.path.cmp(&b.source.path));
    tree.diagnostics = walk.found.into_sorted();
    Ok((provenance, tree))
}

/// Why a link leads nowhere whose target is not in the tree.
const MISSING: &str = "the target of the symbolic link does not exist";

/// A path from the root of the tree, part by part.
type Parts = Vec<Vec<u8>>;

/// Where a link leads.
enum Led {
    /// To something inside the tree, by its own path.
    Inside(Parts, EntryKind, ObjectId),
    /// Nowhere, and why.
    Nowhere(&'static str),
}

struct CommitWalk<'r> {
    repository: &'r Repository,
    root: ObjectId,
    tree: TreeFiles,
    bytes: u64,
    entries: usize,
    /// The folders from the root to the present one, by their own paths.
    trail: Vec<Parts>,
    found: Findings,
}

/// A folder of a commit: its own path, and the label that it was reached by.
struct CommitFolder<'f> {
    real: &'f [Vec<u8>],
    label: &'f [u8],
}

/// What is wanted of a name: its file, or what is in its folder.
#[derive(Clone, Copy)]
struct SelectedAs {
    takes: bool,
    enters: bool,
}

impl CommitWalk<'_> {
    fn problem(&mut self, label: &[u8], message: impl Into<String>) {
        self.found.push(unreadable(&String::from_utf8_lossy(label), message));
    }

    /// What the tree's own settings ignore.
    fn selection(&self) -> Result<FileSelection, gix::Error> {
        let named = self.entry(self.root, SETTINGS.as_bytes())?;
        let id = match named {
            Some((EntryKind::Blob | EntryKind::BlobExecutable, id)) => id,
            Some((EntryKind::Link, id)) => match self.follow(&[], id)? {
                Led::Inside(_, EntryKind::Blob | EntryKind::BlobExecutable, id) => id,
                Led::Inside(..) | Led::Nowhere(_) => return Ok(FileSelection::default()),
            },
            _ => return Ok(FileSelection::default()),
        };
        if self.repository.find_header(id)?.size() > MAX_FILE_BYTES {
            return Ok(FileSelection::default());
        }
        let blob = self.repository.find_blob(id)?;
        let text = str::from_utf8(&blob.data).ok();
        Ok(text
            .map(|text| FileSelection::of_settings(&SourceFile::new(SETTINGS, without_bom(text))))
            .unwrap_or_default())
    }

    /// The list files that rules name. One that is not there is missed when the tree is checked.
    fn lists(&mut self) -> Result<(), gix::Error> {
        let selection = std::mem::take(&mut self.tree.selection).with_lists(lists_of(&self.tree.files));
        let labels: Vec<String> = selection.lists().map(str::to_owned).collect();
        self.tree.selection = selection;
        for label in labels {
            match self.lead(Vec::new(), label.as_bytes())? {
                Led::Inside(_, EntryKind::Blob | EntryKind::BlobExecutable, id) => self.file(id, label.as_bytes())?,
                Led::Inside(_, EntryKind::Tree, _) => {
                    self.problem(label.as_bytes(), "it is a folder, and not a file");
                }
                Led::Inside(..) => self.problem(label.as_bytes(), "the path leads into a submodule"),
                // A link among the rules' folders that leads out is found there.
                Led::Nowhere(why) if why == MISSING || self.found.any(|found| *found.path == *label) => {}
                Led::Nowhere(why) => self.problem(label.as_bytes(), why),
            }
        }
        Ok(())
    }

    fn entry(&self, tree: ObjectId, name: &[u8]) -> Result<Option<(EntryKind, ObjectId)>, gix::Error> {
        for entry in self.repository.find_tree(tree)?.iter() {
            let entry = entry?;
            if entry.inner.filename == name {
                return Ok(Some((entry.inner.mode.kind(), entry.inner.oid.to_owned())));
            }
        }
        Ok(None)
    }

    /// `real` is the folder's own path, `label` the one that it was reached by.
    fn folder(&mut self, id: ObjectId, real: &[Vec<u8>], label: &[u8]) -> Result<(), gix::Error> {
        if self.trail.len() >= MAX_DEPTH {
            self.problem(label, format!("folders are nested deeper than {MAX_DEPTH} levels"));
            return Ok(());
        }
        self.trail.push(real.to_vec());
        let tree = self.repository.find_tree(id)?;
        for entry in tree.iter() {
            let entry = entry?;
            let (name, kind) = (entry.inner.filename.to_vec(), entry.inner.mode.kind());
            self.node(&CommitFolder { real, label }, name, kind, entry.inner.oid.to_owned())?;
        }
        self.trail.pop();
        Ok(())
    }

    fn node(
        &mut self,
        folder: &CommitFolder<'_>,
        name: Vec<u8>,
        kind: EntryKind,
        id: ObjectId,
    ) -> Result<(), gix::Error> {
        if is_ignored_name(&name) {
            return Ok(());
        }
        let label = if folder.label.is_empty() { name.clone() } else { [folder.label, b"/", &name].concat() };
        let shown = String::from_utf8_lossy(&label).into_owned();
        let wanted =
            SelectedAs { takes: self.tree.selection.takes(&shown), enters: self.tree.selection.enters(&shown) };
        let SelectedAs { takes, enters } = wanted;
        if !takes && !enters {
            return Ok(());
        }
        self.entries += 1;
        if self.entries >= MAX_ENTRIES {
            if self.entries == MAX_ENTRIES {
                self.problem(&label, format!("the tree contains more than {MAX_ENTRIES} names up to here"));
            }
            return Ok(());
        }
        match kind {
            EntryKind::Tree if enters => {
                let mut real = folder.real.to_vec();
                real.push(name);
                self.folder(id, &real, &label)
            }
            EntryKind::Blob | EntryKind::BlobExecutable if takes => self.file(id, &label),
            EntryKind::Link => self.link(folder.real, id, &label, wanted),
            EntryKind::Commit if enters => {
                self.found.push(submodule(&String::from_utf8_lossy(&label)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn link(&mut self, folder: &[Vec<u8>], id: ObjectId, label: &[u8], wanted: SelectedAs) -> Result<(), gix::Error> {
        let SelectedAs { takes, enters } = wanted;
        match self.follow(folder, id)? {
            Led::Nowhere(why) => self.problem(label, why),
            Led::Inside(real, EntryKind::Tree, id) if enters => {
                if self.trail.contains(&real) {
                    self.problem(label, "the symbolic link forms a loop: it leads back to a folder that contains it");
                } else {
                    self.folder(id, &real, label)?;
                }
            }
            Led::Inside(_, EntryKind::Blob | EntryKind::BlobExecutable, id) if takes => self.file(id, label)?,
            Led::Inside(_, EntryKind::Commit, _) => self.problem(label, "the symbolic link leads into a submodule"),
            Led::Inside(..) => {}
        }
        Ok(())
    }

    /// Follows a link that stands in a folder, and all links on its way.
    fn follow(&self, folder: &[Vec<u8>], id: ObjectId) -> Result<Led, gix::Error> {
        let blob = self.repository.find_blob(id)?;
        if blob.data.starts_with(b"/") {
            return Ok(Led::Nowhere("the symbolic link leads out of the tree"));
        }
        self.lead(folder.to_vec(), &blob.data)
    }

    /// Follows a path from a folder, and all links on its way.
    fn lead(&self, mut at: Parts, path: &[u8]) -> Result<Led, gix::Error> {
        let mut ahead: Parts = path.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        let mut links = 1;
        let Some(start) = self.at(&at)? else {
            return Ok(Led::Nowhere(MISSING));
        };
        let mut found = (EntryKind::Tree, start);
        loop {
            match found {
                (EntryKind::Link, id) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Ok(Led::Nowhere("the symbolic link forms a loop"));
                    }
                    let blob = self.repository.find_blob(id)?;
                    if blob.data.starts_with(b"/") {
                        return Ok(Led::Nowhere("the symbolic link leads out of the tree"));
                    }
                    ahead.extend(blob.data.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
                    found = (EntryKind::Tree, self.root);
                }
                (EntryKind::Tree, _) if !ahead.is_empty() => {}
                (kind, id) if ahead.is_empty() => return Ok(Led::Inside(at, kind, id)),
                _ => return Ok(Led::Nowhere(MISSING)),
            }
            let Some(part) = ahead.pop() else { continue };
            match part.as_slice() {
                b"" | b"." => {}
                b".." => {
                    if at.pop().is_none() {
                        return Ok(Led::Nowhere("the symbolic link leads out of the tree"));
                    }
                }
                name => {
                    let Some(inside) = self.at(&at)? else {
                        return Ok(Led::Nowhere(MISSING));
                    };
                    match self.entry(inside, name)? {
                        Some((EntryKind::Link, id)) => {
                            found = (EntryKind::Link, id);
                            continue;
                        }
                        Some(entry) => {
                            at.push(name.to_vec());
                            found = entry;
                            continue;
                        }
                        None => return Ok(Led::Nowhere(MISSING)),
                    }
                }
            }
            if let Some(id) = self.at(&at)? {
                found = (EntryKind::Tree, id);
            }
        }
    }

    /// The folder with this path, of which no part is a link.
    fn at(&self, path: &[Vec<u8>]) -> Result<Option<ObjectId>, gix::Error> {
        let mut id = self.root;
        for name in path {
            match self.entry(id, name)? {
                Some((EntryKind::Tree, inside)) => id = inside,
                _ => return Ok(None),
            }
        }
        Ok(Some(id))
    }

    fn file(&mut self, id: ObjectId, label: &[u8]) -> Result<(), gix::Error> {
        let Ok(name) = str::from_utf8(label) else {
            self.problem(label, "the name of the file is not UTF-8");
            return Ok(());
        };
        let size = self.repository.find_header(id)?.size();
        let before = self.bytes;
        let most = self.tree.selection.most_bytes(name);
        self.bytes += size.min(most);
        if self.bytes > MAX_TREE_BYTES {
            if before <= MAX_TREE_BYTES {
                let message = format!("the tree contains more than {MAX_TREE_BYTES} bytes (256 MiB) up to here");
                self.found.push(Diagnostic::without_place(TreeCode::FileTooLarge, name, message));
            }
            return Ok(());
        }
        if size > most {
            self.found.push(too_large(name, size, most));
            return Ok(());
        }
        let bytes = self.repository.find_blob(id)?.take_data();
        match String::from_utf8(bytes) {
            Ok(text) => {
                let plain = without_bom(&text);
                let file = TreeFile { bom: plain.len() < text.len(), source: SourceFile::new(name, plain) };
                self.tree.files.push(file);
            }
            Err(error) => self.found.push(not_utf8(name, &error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
