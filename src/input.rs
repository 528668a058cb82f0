//! Files that people name, and standard input, read within a bound. I/O.
//!
//! Keeps: no file is read further than its bound, a device or a pipe without an end included.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use schema::codes::TreeCode;
use schema::diagnostic::Diagnostic;

use crate::failure::Failure;

/// The name that stands for standard input.
const STDIN: &str = "-";

/// A saved `status -o json`: 100,000 rules with their targets take some 100 MiB.
pub(crate) const STATUS: u64 = 256 << 20;
/// A plan file: the largest tree, with every character that JSON escapes.
pub(crate) const PLAN: u64 = 512 << 20;
/// A file of rules to import: some 300,000 of them.
pub(crate) const IMPORT: u64 = 64 << 20;
/// A `server.toml`: a dozen lines.
pub(crate) const SETTINGS: u64 = 1 << 20;

/// Characters of an error that are shown.
const QUOTED: usize = 300;

/// What it is called in messages, and its bytes, of which there may be so many.
pub(crate) fn read(path: &Path, most: u64) -> Result<(String, Vec<u8>), Failure> {
    let (label, bytes) = if path == Path::new(STDIN) {
        ("standard input".to_owned(), bounded(io::stdin().lock(), most))
    } else {
        (path.display().to_string(), File::open(path).and_then(|file| of_file(&file, most)))
    };
    match bytes.map_err(Failure::reading(Path::new(&label)))? {
        Some(bytes) => Ok((label, bytes)),
        None => Err(Failure::InvalidTree(vec![too_large(&label, most)])),
    }
}

/// The same of a file that is never standard input, as text.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, Failure> {
    let (_, bytes) = read(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()), most)?;
    String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
        .map_err(Failure::reading(path))
}

/// An error or a word as it is shown: what it quotes can be as long as its file.
pub(crate) fn shown(what: &impl std::fmt::Display) -> String {
    let text = what.to_string();
    match text.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn of_file(file: &File, most: u64) -> io::Result<Option<Vec<u8>>> {
    let meta = file.metadata()?;
    // A pipe says nothing of its length.
    if meta.is_file() && meta.len() > most { Ok(None) } else { bounded(file, most) }
}

/// `None` where there are more.
fn bounded(from: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

fn too_large(label: &str, most: u64) -> Diagnostic {
    let message = format!("more than {most} bytes ({} MiB); no more are read", most >> 20);
    Diagnostic::without_place(TreeCode::FileTooLarge, label, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_met_and_not_passed() {
        assert_eq!(bounded(&b"12345678"[..], 8).expect("readable").map(|bytes| bytes.len()), Some(8));
        assert_eq!(bounded(&b"123456789"[..], 8).expect("readable"), None);
        assert_eq!(bounded(io::repeat(0), 1 << 20).expect("readable"), None, "a device without an end");
    }

    #[test]
    fn a_long_error_is_cut() {
        assert_eq!(shown(&"x".repeat(QUOTED)), "x".repeat(QUOTED));
        assert_eq!(shown(&"ß".repeat(1_000_000)).chars().count(), QUOTED + 1);
    }
}
