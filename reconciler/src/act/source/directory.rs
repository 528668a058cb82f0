//! Reads a rule tree from a directory. I/O, blocking.
//!
//! Keeps: nothing outside the canonical root is read, nothing but regular files is opened, and every problem of
//! every file is reported in one run. A look (names and stamps) before and after the reading says whether the
//! files belong together.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use schema::codes::TreeCode;
use schema::diagnostic::{self, Diagnostic, SourceFile, Span};
use thiserror::Error;

use super::select::is_ignored_name;
use super::upload::too_large;
use super::{BOM, MAX_FILE_BYTES, MAX_TREE_BYTES, SETTINGS, Selection, TreeFile, TreeFiles};

/// Deeper folders are refused: links inside the root can make very long ways out of few folders.
const MAX_DEPTH: usize = 64;

/// More names in one tree are refused, for the same reason.
const MAX_ENTRIES: usize = 250_000;

/// A tree that still moves after so many looks is reported as moving; the next hint leads to a new reading.
const ATTEMPTS: usize = 3;

/// Why there is no tree at all.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The path does not exist or cannot be resolved.
    #[error("the rule tree {} cannot be read", path.display())]
    Unreachable {
        /// As it was named.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path is something else.
    #[error("the rule tree {} is no directory", path.display())]
    NotADirectory {
        /// As it was named.
        path: PathBuf,
    },
}

impl SourceError {
    /// The same as a finding about the whole tree.
    pub fn to_diagnostic(&self) -> Diagnostic {
        let message = match self {
            Self::Unreachable { source, .. } => format!("{self}: {}", os_words(source)),
            Self::NotADirectory { .. } => self.to_string(),
        };
        Diagnostic::without_place(TreeCode::UnreadableFile, "", message)
    }
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::act) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
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
enum Found {
    File { real: PathBuf, stamp: Stamp },
    Problem(String),
}

/// What a directory looks like at one moment: names, stamps and problems, no content. Two equal looks mean that
/// nothing changed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::act) struct Look {
    root: PathBuf,
    found: Vec<(String, Found)>,
    /// Every folder that holds a file of the tree or a folder of it.
    pub(in crate::act) folders: BTreeSet<PathBuf>,
    /// Every link that was followed.
    pub(in crate::act) links: Vec<PathBuf>,
    entries: usize,
}

/// Looks at the directory once, by the selection that its own settings ask for.
pub(in crate::act) fn look(dir: &Path) -> Result<Look, SourceError> {
    let root = resolve(dir)?;
    let selection = selection(&root);
    Ok(look_at(root, &selection))
}

/// Reads the directory once. `moved` says whether a file changed while it was read.
pub fn read_tree(dir: &Path) -> Result<TreeFiles, SourceError> {
    Ok(read_once(dir)?.0)
}

/// Reads the directory again until two consecutive looks agree, a few times at most and without waiting; `moved`
/// in the result says that they never did.
pub fn read_stable(dir: &Path) -> Result<TreeFiles, SourceError> {
    let (mut tree, mut before) = read_once(dir)?;
    for attempt in 1..=ATTEMPTS {
        let after = look(dir)?;
        tree.moved |= before != after;
        if !tree.moved || attempt == ATTEMPTS {
            break;
        }
        (tree, before) = read_once(dir)?;
    }
    Ok(tree)
}

fn read_once(dir: &Path) -> Result<(TreeFiles, Look), SourceError> {
    let root = resolve(dir)?;
    let selection = selection(&root);
    let look = look_at(root.clone(), &selection);
    let mut tree = TreeFiles { root: Some(root), files: Vec::new(), diagnostics: Vec::new(), selection, moved: false };
    let mut total = 0;
    for (label, found) in &look.found {
        let (real, stamp) = match found {
            Found::Problem(message) => {
                tree.diagnostics.push(unreadable(label, message.clone()));
                continue;
            }
            Found::File { real, stamp } => (real, stamp),
        };
        total += stamp.size.min(MAX_FILE_BYTES);
        if total > MAX_TREE_BYTES {
            let message = format!("the tree holds more than {MAX_TREE_BYTES} bytes (256 MiB) up to here");
            tree.diagnostics.push(Diagnostic::without_place(TreeCode::FileTooLarge, label.as_str(), message));
            break;
        }
        match read_file(label, real, stamp) {
            Ok(file) => tree.files.push(file),
            Err(Unread::Moved) => tree.moved = true,
            Err(Unread::Refused(diagnostic)) => tree.diagnostics.push(*diagnostic),
        }
    }
    diagnostic::sort(&mut tree.diagnostics);
    Ok((tree, look))
}

fn resolve(dir: &Path) -> Result<PathBuf, SourceError> {
    let root = fs::canonicalize(dir).map_err(|source| SourceError::Unreachable { path: dir.to_owned(), source })?;
    match fs::metadata(&root) {
        Ok(meta) if meta.is_dir() => Ok(root),
        Ok(_) => Err(SourceError::NotADirectory { path: dir.to_owned() }),
        Err(source) => Err(SourceError::Unreachable { path: dir.to_owned(), source }),
    }
}

/// What the tree's own settings ignore. Settings that cannot be read are reported when the files are read.
fn selection(root: &Path) -> Selection {
    let mut looking = Walk::new(root.to_owned());
    looking.entry(root, OsStr::new(SETTINGS), OsStr::new(""), &Selection::default());
    match looking.look.found.first() {
        Some((label, Found::File { real, stamp })) if label == SETTINGS => {
            read_file(label, real, stamp).map(|file| Selection::of_settings(&file.source)).unwrap_or_default()
        }
        _ => Selection::default(),
    }
}

fn look_at(root: PathBuf, selection: &Selection) -> Look {
    let mut walk = Walk::new(root.clone());
    walk.folder(&root, OsStr::new(""), selection);
    let mut look = walk.look;
    look.found.sort_by(|a, b| a.0.cmp(&b.0));
    look.links.sort();
    look
}

struct Walk {
    look: Look,
    /// The folders from the root to the present one, by their real paths.
    trail: Vec<PathBuf>,
}

impl Walk {
    fn new(root: PathBuf) -> Self {
        let look = Look { root, found: Vec::new(), folders: BTreeSet::new(), links: Vec::new(), entries: 0 };
        Self { look, trail: Vec::new() }
    }

    fn problem(&mut self, label: &OsStr, message: impl Into<String>) {
        self.look.found.push((label.to_string_lossy().into_owned(), Found::Problem(message.into())));
    }

    /// `label` is empty for the root, else it ends without `/`.
    fn folder(&mut self, real: &Path, label: &OsStr, selection: &Selection) {
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

    fn entry(&mut self, folder: &Path, name: &OsStr, folder_label: &OsStr, selection: &Selection) {
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
                self.problem(&label, format!("the tree holds more than {MAX_ENTRIES} names up to here"));
            }
            return;
        }
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => self.link(&path, &label, selection),
            Ok(meta) => self.node(path, &label, &meta, selection),
            // A name that is gone again is no part of the tree; the second look tells if that matters.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.problem(&label, os_words(&error)),
        }
    }

    fn link(&mut self, path: &Path, label: &OsStr, selection: &Selection) {
        self.look.links.push(path.to_owned());
        let resolved = fs::canonicalize(path).and_then(|real| fs::metadata(&real).map(|meta| (real, meta)));
        let (real, meta) = match resolved {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.problem(label, "a symbolic link whose target does not exist");
            }
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return self.problem(label, "a symbolic link that leads in a loop");
            }
            Err(error) => return self.problem(label, format!("a symbolic link: {}", os_words(&error))),
        };
        if !meta.is_dir() && !selection.takes(&label.to_string_lossy()) {
            return;
        }
        if !real.starts_with(&self.look.root) {
            return self.problem(label, format!("a symbolic link that leads out of the tree, to {}", real.display()));
        }
        if self.trail.contains(&real) {
            return self.problem(label, "a symbolic link that leads in a loop: back to a folder that holds it");
        }
        if let (false, Some(parent)) = (meta.is_dir(), real.parent()) {
            self.look.folders.insert(parent.to_owned());
        }
        self.node(real, label, &meta, selection);
    }

    fn node(&mut self, real: PathBuf, label: &OsStr, meta: &Metadata, selection: &Selection) {
        let shown = label.to_string_lossy();
        if meta.is_dir() {
            if selection.enters(&shown) {
                self.folder(&real, label, selection);
            }
        } else if selection.takes(&shown) {
            match (label.to_str(), kind_of_special(meta)) {
                (None, _) => self.problem(label, "the name of the file is not UTF-8"),
                (_, Some(kind)) => self.problem(label, format!("{kind} is no regular file")),
                (Some(text), None) => {
                    self.look.found.push((text.to_owned(), Found::File { real, stamp: Stamp::of(meta) }));
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

enum Unread {
    /// Not the file that the look saw, or it changed while it was read.
    Moved,
    Refused(Box<Diagnostic>),
}

fn read_file(label: &str, real: &Path, seen: &Stamp) -> Result<TreeFile, Unread> {
    if seen.size > MAX_FILE_BYTES {
        return Err(Unread::Refused(Box::new(too_large(label, seen.size))));
    }
    let bytes = read_bytes(real, seen).map_err(|error| match error {
        Some(error) if error.kind() != io::ErrorKind::NotFound => {
            Unread::Refused(Box::new(unreadable(label, os_words(&error))))
        }
        _ => Unread::Moved,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| Unread::Refused(Box::new(not_utf8(label, &error))))?;
    let bom = text.starts_with(BOM);
    let text = if bom { text[BOM.len()..].to_owned() } else { text };
    Ok(TreeFile { source: SourceFile::new(label, text), bom })
}

/// `None` as the error: the file is not, or is no longer, the one that was seen.
fn read_bytes(real: &Path, seen: &Stamp) -> Result<Vec<u8>, Option<io::Error>> {
    // Non-blocking, and following no link at the end: what was a regular file a moment ago may now be a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(real)?;
    let unchanged = |file: &File| io::Result::Ok(Stamp::of(&file.metadata()?) == *seen);
    if !unchanged(&file)? {
        return Err(None);
    }
    let mut bytes = Vec::with_capacity(seen.size as usize + 1);
    (&file).take(seen.size + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == seen.size && unchanged(&file)? { Ok(bytes) } else { Err(None) }
}

fn unreadable(label: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::without_place(TreeCode::UnreadableFile, label, message)
}

fn not_utf8(label: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = format!("not UTF-8: the byte 0x{:02x} at offset {at} in line {line}", bytes[at]);
    // Up to the fault both texts are the same bytes, so the place is right; the fault shows as U+FFFD.
    let shown = SourceFile::new(label, String::from_utf8_lossy(bytes));
    let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
    let diagnostic = Diagnostic::error(TreeCode::NotUtf8, &shown, Span::new(at, end), message);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        diagnostic.help("the file looks like UTF-16; save it as UTF-8")
    } else {
        diagnostic
    }
}

/// The system's words without its number: `permission denied`.
fn os_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests;
