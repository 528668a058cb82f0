//! Writes a backup while the server runs. I/O, blocking.
//!
//! Keeps: the records are those of one moment, and the files are read after them, so that a key or a certificate that a
//! record names is there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use super::archive::{Kind, Writer};
use super::is_derived;
use crate::act::store::{Store, StoreError};

/// The fact that says when a backup was made.
pub(super) const CREATED_AT: &str = "created_at";
/// The fact that says which program made it.
pub(super) const PROGRAM: &str = "program";
/// The fact whose number is the newest version in the store.
pub(super) const REVISION: &str = "revision";

/// Why a backup cannot be written.
#[derive(Debug, thiserror::Error)]
pub(in crate::act) enum SaveError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state directory cannot be read, or nobody takes the backup any more.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes everything that a restore needs.
pub(in crate::act) fn save(store: &Store, dir: &Path, now: Timestamp, to: impl Write) -> Result<(), SaveError> {
    let export = store.export()?;
    let mut writer = Writer::new(to)?;
    writer.entry(Kind::Fact, CREATED_AT, 0, now.to_string().as_bytes())?;
    writer.entry(Kind::Fact, PROGRAM, 0, env!("CARGO_PKG_VERSION").as_bytes())?;
    writer.entry(Kind::Fact, REVISION, export.revision()?, b"")?;
    export.each(|key, version, value| writer.entry(Kind::Record, key, version, value))??;
    drop(export);
    add_files(dir, "", &mut writer)?;
    writer.finish()?;
    Ok(())
}

/// Adds the files of a folder, and those below it.
fn add_files(folder: &Path, prefix: &str, writer: &mut Writer<impl Write>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // Names of this program are text; what somebody else left there is not its state.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if prefix.is_empty() && is_derived(&name) {
            continue;
        }
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        // Of the entry itself: a link leads out of the state.
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            add_files(&path, &format!("{name}/"), writer)?;
        } else if meta.is_file() {
            writer.entry(Kind::File, &name, u64::from(meta.mode() & 0o777), &fs::read(&path)?)?;
        }
    }
    Ok(())
}
