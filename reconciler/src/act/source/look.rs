//! What a directory looks like at one moment: which files belong to the tree, where they really are, and their
//! stamps; no content. I/O, blocking.
//!
//! Keeps: every file found is a regular one inside the canonical root, every way through the folders ends, and what
//! is wrong with a name is part of the look. Two equal looks mean that nothing changed in between.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::FileSelection;
use super::select::is_ignored_name;

/// Deeper folders are refused: links inside the root can make very long ways out of few folders.
pub(super) const MAX_DEPTH: usize = 64;

/// More names in one tree are refused, for the same reason.
pub(super) const MAX_ENTRIES: usize = 250_000;

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::act) struct Stamp {
    dev: u64,
    ino: u64,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(in crate::act) fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file that was found, or why it will not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundFile {
    File { real: PathBuf, stamp: Stamp },
    Problem(String),
}

/// What a directory looks like at one moment: names, stamps and problems, no content. Two equal looks mean that
/// nothing changed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::act) struct Look {
    root: PathBuf,
    /// Labels in path order, each with what it stands for.
    pub(super) found: Vec<(String, FoundFile)>,
    /// Every folder that holds a file of the tree or a folder of it.
    pub(in crate::act) folders: BTreeSet<PathBuf>,
    /// Every link that was followed.
    pub(in crate::act) links: Vec<PathBuf>,
    entries: usize,
}

/// Looks at everything below a canonical root that the selection takes.
pub(super) fn look_at(root: &Path, selection: &FileSelection) -> Look {
    let mut walk = DirectoryWalk::new(root.to_owned());
    walk.folder(root, OsStr::new(""), selection);
    let mut look = walk.look;
    look.found.sort_by(|a, b| a.0.cmp(&b.0));
    look.links.sort();
    look
}

/// Looks at the list files that the rules of a tree name, and adds them to what was found. One that is not there is
/// missed when the tree is checked.
pub(super) fn look_at_lists(mut look: Look, selection: &FileSelection) -> Look {
    let mut walk = DirectoryWalk::new(look.root.clone());
    for label in selection.lists() {
        walk.list(label, selection);
    }
    look.found.extend(walk.look.found);
    look.found.sort_by(|a, b| a.0.cmp(&b.0));
    look.folders.extend(walk.look.folders);
    look.links.extend(walk.look.links);
    look.links.sort();
    look
}

/// Looks at one name directly below a canonical root.
pub(super) fn look_at_name(root: &Path, name: &str) -> Option<FoundFile> {
    let mut walk = DirectoryWalk::new(root.to_owned());
    walk.entry(root, OsStr::new(name), OsStr::new(""), &FileSelection::default());
    walk.look.found.into_iter().find_map(|(label, found)| (label == name).then_some(found))
}

struct DirectoryWalk {
    look: Look,
    /// The folders from the root to the present one, by their real paths.
    trail: Vec<PathBuf>,
}

impl DirectoryWalk {
    fn new(root: PathBuf) -> Self {
        let look = Look { root, found: Vec::new(), folders: BTreeSet::new(), links: Vec::new(), entries: 0 };
        Self { look, trail: Vec::new() }
    }

    fn problem(&mut self, label: &OsStr, message: impl Into<String>) {
        self.look.found.push((label.to_string_lossy().into_owned(), FoundFile::Problem(message.into())));
    }

    /// `label` is empty for the root, else it ends without `/`.
    fn folder(&mut self, real: &Path, label: &OsStr, selection: &FileSelection) {
        if self.trail.len() >= MAX_DEPTH {
            self.problem(label, format!("folders are nested deeper than {MAX_DEPTH} levels"));
            return;
        }
        self.look.folders.insert(real.to_owned());
        self.trail.push(real.to_owned());
        match fs::read_dir(real) {
            Ok(names) => {
                for name in names {
                    match name {
                        Ok(name) => self.entry(real, &name.file_name(), label, selection),
                        Err(error) => self.problem(label, os_words(&error)),
                    }
                }
            }
            Err(error) => self.problem(label, os_words(&error)),
        }
        self.trail.pop();
    }

    fn entry(&mut self, folder: &Path, name: &OsStr, folder_label: &OsStr, selection: &FileSelection) {
        if is_ignored_name(name.as_bytes()) {
            return;
        }
        let label = joined(folder_label, name);
        let shown = label.to_string_lossy();
        if !selection.takes(&shown) && !selection.enters(&shown) {
            return;
        }
        self.look.entries += 1;
        if self.look.entries >= MAX_ENTRIES {
            if self.look.entries == MAX_ENTRIES {
                self.problem(&label, format!("the tree contains more than {MAX_ENTRIES} names up to here"));
            }
            return;
        }
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => self.link(&path, &label, selection),
            Ok(meta) => self.node(path, &label, &meta, selection),
            // A name that is gone again is not a part of the tree; the second look tells if that matters.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.problem(&label, os_words(&error)),
        }
    }

    fn link(&mut self, path: &Path, label: &OsStr, selection: &FileSelection) {
        self.look.links.push(path.to_owned());
        let resolved = fs::canonicalize(path).and_then(|real| fs::metadata(&real).map(|meta| (real, meta)));
        let (real, meta) = match resolved {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.problem(label, "the target of the symbolic link does not exist");
            }
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return self.problem(label, "the symbolic link forms a loop");
            }
            Err(error) => return self.problem(label, format!("a symbolic link: {}", os_words(&error))),
        };
        if !meta.is_dir() && !selection.takes(&label.to_string_lossy()) {
            return;
        }
        if !real.starts_with(&self.look.root) {
            return self.problem(label, format!("the symbolic link leads out of the tree, to {}", real.display()));
        }
        if self.trail.contains(&real) {
            return self.problem(label, "the symbolic link forms a loop: it leads back to a folder that contains it");
        }
        if let (false, Some(parent)) = (meta.is_dir(), real.parent()) {
            self.look.folders.insert(parent.to_owned());
        }
        self.node(real, label, &meta, selection);
    }

    /// A file that is known by its whole path.
    fn list(&mut self, label: &str, selection: &FileSelection) {
        let path = self.look.root.join(label);
        let resolved = fs::canonicalize(&path).and_then(|real| fs::metadata(&real).map(|meta| (real, meta)));
        let (real, meta) = match resolved {
            Ok(resolved) => resolved,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return,
            Err(error) => return self.problem(OsStr::new(label), os_words(&error)),
        };
        if real != path {
            self.look.links.push(path);
        }
        if !real.starts_with(&self.look.root) {
            let message = format!("the path leads out of the tree, to {}", real.display());
            return self.problem(OsStr::new(label), message);
        }
        if meta.is_dir() {
            return self.problem(OsStr::new(label), "it is a folder, and not a file");
        }
        self.look.folders.extend(real.parent().map(Path::to_owned));
        self.node(real, OsStr::new(label), &meta, selection);
    }

    fn node(&mut self, real: PathBuf, label: &OsStr, meta: &Metadata, selection: &FileSelection) {
        let shown = label.to_string_lossy();
        if meta.is_dir() {
            if selection.enters(&shown) {
                self.folder(&real, label, selection);
            }
        } else if selection.takes(&shown) {
            match (label.to_str(), kind_of_special(meta)) {
                (None, _) => self.problem(label, "the name of the file is not UTF-8"),
                (_, Some(kind)) => self.problem(label, format!("{kind} is not a regular file")),
                (Some(text), None) => {
                    self.look.found.push((text.to_owned(), FoundFile::File { real, stamp: Stamp::of(meta) }));
                }
            }
        }
    }
}

fn joined(folder: &OsStr, name: &OsStr) -> OsString {
    let mut label = folder.to_owned();
    if !label.is_empty() {
        label.push("/");
    }
    label.push(name);
    label
}

fn kind_of_special(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    if kind.is_file() {
        None
    } else if kind.is_fifo() {
        Some("a named pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// The system's words without its number: `permission denied`.
pub(super) fn os_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
