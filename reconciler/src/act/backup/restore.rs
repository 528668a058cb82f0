//! Makes a state directory of a backup. I/O, blocking.
//!
//! Keeps: the whole file is checked before anything of it is used; the directory appears complete or not at all.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::archive::{InvalidArchive, Kind, Reader};
use super::save::{CREATED_AT, PROGRAM, REVISION};
use crate::act::private_file::{self, PrivateFileError};
use crate::act::store::{Store, StoreError};
use crate::decide::record::{self, InvalidRecord, LINEAGE_KEY};

/// Why a backup is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The backup.
        path: PathBuf,
        /// Why not.
        reason: InvalidArchive,
    },
    /// There is something in the directory.
    #[error(
        "{} is not empty: a backup is restored into an empty or new directory, so that no state is lost; name another \
         one, or move this one away", .0.display()
    )]
    NotEmpty(PathBuf),
    /// What the backup holds does not fit together.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The directory cannot be made.
    #[error("{} cannot be restored", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file in it cannot be made.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// The store cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RestoredBackup {
    /// When the backup was made.
    pub created_at: Option<Timestamp>,
    /// The version of the program that made it.
    pub program: String,
    /// The line of generations, which goes on.
    pub lineage: String,
    /// Lines of the ledger.
    pub ledger_lines: u64,
    /// Edges that the server had decided something for.
    pub edges: usize,
    /// Files of the state directory, without the store.
    pub files: usize,
}

/// Restores a backup into a directory that is empty or not there.
pub fn restore(backup: &Path, dir: &Path) -> Result<RestoredBackup, RestoreError> {
    refuse_taken(dir)?;
    // The checksum is at the end: nothing is believed before it was seen.
    read(backup, |_| Ok(()))?;
    let failed = |source| RestoreError::Io { path: dir.to_owned(), source };
    let dir = std::path::absolute(dir).map_err(failed)?;
    let parent = dir.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    fs::create_dir_all(parent).map_err(failed)?;
    let beside = beside(&dir).ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    fs::DirBuilder::new().mode(0o700).create(&beside).map_err(failed)?;
    let made = make(backup, &beside).and_then(|restored| {
        // A directory takes the place of an empty one in one step.
        fs::rename(&beside, &dir).map_err(failed)?;
        private_file::sync_folder_of(&dir).map_err(failed)?;
        Ok(restored)
    });
    if made.is_err() {
        // The first error says more than one about what is left.
        fs::remove_dir_all(&beside).ok();
    }
    made
}

fn refuse_taken(dir: &Path) -> Result<(), RestoreError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(false) => Ok(()),
        Ok(true) => Err(RestoreError::NotEmpty(dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RestoreError::Io { path: dir.to_owned(), source }),
    }
}

/// A directory in the same folder, under a name that nobody else uses.
fn beside(dir: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(dir.file_name()?);
    name.push(format!(".restoring-{}", std::process::id()));
    Some(dir.with_file_name(name))
}

fn read(
    backup: &Path,
    mut each: impl FnMut(super::archive::ArchiveEntry) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let invalid = |reason| RestoreError::Archive { path: backup.to_owned(), reason };
    let file = File::open(backup).map_err(|error| invalid(error.into()))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(invalid)?;
    while let Some(entry) = reader.next_entry().map_err(invalid)? {
        each(entry)?;
    }
    Ok(())
}

fn make(backup: &Path, dir: &Path) -> Result<RestoredBackup, RestoreError> {
    let content = |reason: String| RestoreError::Content { path: backup.to_owned(), reason };
    let mut restored = RestoredBackup {
        created_at: None,
        program: String::new(),
        lineage: String::new(),
        ledger_lines: 0,
        edges: 0,
        files: 0,
    };
    let (mut revision, mut records) = (0, Vec::new());
    read(backup, |entry| {
        match entry.kind {
            Kind::Fact => match entry.name.as_str() {
                CREATED_AT => restored.created_at = String::from_utf8_lossy(&entry.content).parse().ok(),
                PROGRAM => restored.program = String::from_utf8_lossy(&entry.content).into_owned(),
                REVISION => revision = entry.number,
                // A fact of a later version of the same format.
                _ => {}
            },
            Kind::Record => records.push((entry.name, entry.number, entry.content)),
            Kind::File => {
                let path = inside(dir, &entry.name)
                    .ok_or_else(|| content(format!("`{}` is not a path inside of the directory", entry.name)))?;
                if let Some(folder) = path.parent().filter(|folder| *folder != dir) {
                    private_file::ensure_private_dir(folder)?;
                }
                private_file::create_private(&path, &entry.content)?;
                restored.files += 1;
            }
        }
        Ok(())
    })?;
    check(&records, &mut restored).map_err(|error| content(error.to_string()))?;
    Store::create(dir, revision, &records)?;
    Ok(restored)
}

/// What the records say, as a server that starts reads them.
fn check(records: &[(String, u64, Vec<u8>)], restored: &mut RestoredBackup) -> Result<(), InvalidRecord> {
    let pairs = || records.iter().map(|(key, _, value)| (key.as_str(), value.as_slice()));
    let invalid = |key: &str, reason: &str| InvalidRecord { key: key.to_owned(), reason: reason.to_owned() };
    let lineage = pairs().find(|(key, _)| *key == LINEAGE_KEY).map(|(_, value)| String::from_utf8_lossy(value));
    restored.lineage = lineage.ok_or_else(|| invalid(LINEAGE_KEY, "it is missing"))?.into_owned();
    let state = record::restore(pairs())?;
    if let Some(line) = state.ledger_break {
        return Err(invalid(&format!("ledger line {line}"), "it does not match the hash chain"));
    }
    restored.ledger_lines = state.head.id;
    restored.edges = state.edges.len();
    Ok(())
}

/// A path inside the directory, if the name is one.
fn inside(dir: &Path, name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_plain = !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| dir.join(path))
}
