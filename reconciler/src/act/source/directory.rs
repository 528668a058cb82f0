//! Reads a rule tree from a directory. I/O, blocking.
//!
//! Keeps: nothing outside the canonical root is read, nothing but regular files is opened, and every problem of
//! every file is reported in one run. A look before and after the reading says whether the files belong together.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use schema::codes::TreeCode;
use schema::diagnostic::{Diagnostic, SourceFile, Span};
use schema::findings::{Cancel, Findings};
use thiserror::Error;

use super::look::{FoundFile, Look, Stamp, look_at, look_at_lists, look_at_name, os_words};
use super::upload::too_large;
use super::{BOM, FileSelection, MAX_FILE_BYTES, MAX_TREE_BYTES, SETTINGS, TreeFile, TreeFiles, lists_of};

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
    #[error("the rule tree {} is not a directory", path.display())]
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

/// Looks at the directory once, by the selection that its own settings ask for.
pub(in crate::act) fn look(dir: &Path) -> Result<Look, SourceError> {
    let root = resolve(dir)?;
    let selection = selection(&root);
    Ok(look_at(&root, &selection))
}

/// Reads the directory once. `moved` says whether a file changed while it was read.
pub fn read_tree(dir: &Path) -> Result<TreeFiles, SourceError> {
    Ok(read_once(dir, &Cancel::default())?.0)
}

/// Reads the directory again until two consecutive looks agree, a few times at most and without waiting; `moved`
/// in the result, and a finding about the whole tree, say that they never did.
pub fn read_stable(dir: &Path) -> Result<TreeFiles, SourceError> {
    read_stable_until(dir, &Cancel::default())
}

/// The same; once it is cancelled the result is of no use, and comes soon.
pub fn read_stable_until(dir: &Path, cancel: &Cancel) -> Result<TreeFiles, SourceError> {
    settle(|| read_once(dir, cancel), |lists| Ok(look_at_lists(look(dir)?, lists)))
}

fn settle(
    mut read: impl FnMut() -> Result<(TreeFiles, Look), SourceError>,
    mut look: impl FnMut(&FileSelection) -> Result<Look, SourceError>,
) -> Result<TreeFiles, SourceError> {
    let (mut tree, mut before) = read()?;
    for attempt in 1..=ATTEMPTS {
        let after = look(&tree.selection)?;
        tree.moved |= before != after;
        if !tree.moved || attempt == ATTEMPTS {
            break;
        }
        (tree, before) = read()?;
    }
    if tree.moved {
        // A finding and not only a flag: a file that is missing from a moving tree must not look removed.
        tree.diagnostics.insert(0, unreadable("", "the tree changes faster than it can be read"));
    }
    Ok(tree)
}

fn read_once(dir: &Path, cancel: &Cancel) -> Result<(TreeFiles, Look), SourceError> {
    let root = resolve(dir)?;
    let selection = selection(&root);
    let mut look = look_at(&root, &selection);
    let tree = TreeFiles { root: Some(root), files: Vec::new(), diagnostics: Vec::new(), selection, moved: false };
    let mut reading = TreeReading { tree, found: Findings::new(), total: 0 };
    reading.take(&look, |_| true, cancel);
    let lists = lists_of(&reading.tree.files);
    if !lists.is_empty() {
        let known: BTreeSet<String> = look.found.iter().map(|(label, _)| label.clone()).collect();
        reading.tree.selection = reading.tree.selection.with_lists(lists);
        look = look_at_lists(look, &reading.tree.selection);
        reading.take(&look, |label| !known.contains(label), cancel);
        reading.tree.files.sort_by(|one, other| one.source.path.cmp(&other.source.path));
    }
    let TreeReading { mut tree, found, .. } = reading;
    tree.diagnostics = found.into_sorted();
    Ok((tree, look))
}

/// A tree that is being read.
struct TreeReading {
    tree: TreeFiles,
    found: Findings,
    /// Bytes so far.
    total: u64,
}

impl TreeReading {
    /// Reads those of the files that were found.
    fn take(&mut self, look: &Look, is_meant: impl Fn(&str) -> bool, cancel: &Cancel) {
        for (label, is) in look.found.iter().filter(|(label, _)| is_meant(label)) {
            if cancel.is_cancelled() {
                return;
            }
            let (real, stamp) = match is {
                FoundFile::Problem(message) => {
                    self.found.push(unreadable(label, message.clone()));
                    continue;
                }
                FoundFile::File { real, stamp } => (real, stamp),
            };
            let most = self.tree.selection.most_bytes(label);
            self.total += stamp.size.min(most);
            if self.total > MAX_TREE_BYTES {
                let message = format!("the tree contains more than {MAX_TREE_BYTES} bytes (256 MiB) up to here");
                self.found.push(Diagnostic::without_place(TreeCode::FileTooLarge, label.as_str(), message));
                return;
            }
            match read_file(label, real, stamp, most) {
                Ok(file) => self.tree.files.push(file),
                Err(Unread::Moved) => {
                    self.tree.moved = true;
                    self.found.push(unreadable(label, "the file changed while it was read"));
                }
                Err(Unread::Refused(diagnostic)) => self.found.push(*diagnostic),
            }
        }
    }
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
fn selection(root: &Path) -> FileSelection {
    match look_at_name(root, SETTINGS) {
        Some(FoundFile::File { real, stamp }) => {
            let file = read_file(SETTINGS, &real, &stamp, MAX_FILE_BYTES);
            file.map(|file| FileSelection::of_settings(&file.source)).unwrap_or_default()
        }
        _ => FileSelection::default(),
    }
}

enum Unread {
    /// Not the file that the look saw, or it changed while it was read.
    Moved,
    Refused(Box<Diagnostic>),
}

fn read_file(label: &str, real: &Path, seen: &Stamp, most: u64) -> Result<TreeFile, Unread> {
    if seen.size > most {
        return Err(Unread::Refused(Box::new(too_large(label, seen.size, most))));
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

pub(super) fn unreadable(label: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::without_place(TreeCode::UnreadableFile, label, message)
}

/// Bytes after the first that is no UTF-8 which a finding shows.
const AFTER_FAULT: usize = 200;

/// The finding about a file that is not UTF-8: which byte, and where it is.
pub fn not_utf8(label: &str, error: &std::string::FromUtf8Error) -> Diagnostic {
    let at = error.utf8_error().valid_up_to();
    let bytes = error.as_bytes();
    let line = bytes[..at].split(|byte| *byte == b'\n').count();
    let message = format!("not UTF-8: byte 0x{:02x} at offset {at} in line {line}", bytes[at]);
    // Up to the fault both texts are the same bytes, so the place is right; the fault shows as U+FFFD. What follows
    // could be three times as long as the file, and is not looked at.
    let shown = SourceFile::new(label, String::from_utf8_lossy(&bytes[..bytes.len().min(at + AFTER_FAULT)]));
    let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
    let diagnostic = Diagnostic::error(TreeCode::NotUtf8, &shown, Span::new(at, end), message);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        diagnostic.help("the file looks like UTF-16; save it as UTF-8")
    } else {
        diagnostic
    }
}

#[cfg(test)]
mod tests;
