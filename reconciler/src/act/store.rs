//! What must survive a restart: versioned values under text keys, in redb. I/O, blocking; the caller moves it off
//! the async threads.
//!
//! Keeps: a commit is all or nothing and on disk when it returns, one server at a time uses a state directory, and
//! a version names one write of the whole store, so that a key that was deleted and made anew never looks
//! unchanged. Only what etcd does as well: get, list by prefix, compare and put. After a failure the database takes
//! nothing more, so it is opened anew, and what the disk then holds says whether the failed commit happened.

mod batch;
mod export;
mod space;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use thiserror::Error;

use super::private_file::{self, PrivateFileError};
pub use batch::{Batch, Expect};
pub(super) use space::Compaction;

/// The file inside the state directory.
pub(super) const FILE: &str = "server.redb";

/// The format that this version reads and writes. A higher number on disk is refused.
const FORMAT: u64 = 1;

/// Key to (version, value).
const VALUES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("values");

/// Facts about the store itself.
const STORE: TableDefinition<'_, &str, u64> = TableDefinition::new("store");
const FORMAT_KEY: &str = "format";
const DAMAGED_KEY: &str = "damaged";
const REVISION_KEY: &str = "revision";

/// redb's own default is a gigabyte; what is kept here is a few megabytes.
const CACHE_BYTES: usize = 32 << 20;

/// What to do about a state that is damaged.
pub(super) const RESTORE: &str =
    "move the state directory away and restore a backup with `portunus restore FILE --state-dir DIR`";

/// Why the store could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The state directory or the file in it is not safely ours.
    #[error("the state directory cannot be used")]
    Unsafe(#[from] PrivateFileError),
    /// Another process has it open.
    #[error("another server uses the state directory {}", path.display())]
    InUse {
        /// The state directory.
        path: PathBuf,
    },
    /// Written by a later version of this program.
    #[error("the state in {} has format {found}; this version reads up to {FORMAT}", path.display())]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The content makes no sense.
    #[error("the state in {} is damaged: {reason}; {}", path.display(), RESTORE)]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A key does not have the version that the batch expects. Nothing was written.
    #[error("{key} was changed concurrently")]
    Conflict {
        /// The first such key.
        key: String,
    },
    /// A batch names a key twice. Nothing was written.
    #[error("a batch writes {key} twice")]
    KeyTwice {
        /// The key.
        key: String,
    },
    /// The disk failed. What was being written is not there, unless the disk cannot even be read.
    #[error("the state could not be read or written")]
    Io(#[source] io::Error),
    /// The database refused for a reason that none of the others names.
    #[error("the state database failed")]
    Database(#[source] Box<redb::Error>),
}

/// A value with the version of the store at which it was written. Versions only grow; 0 is never one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// When it was written.
    pub version: u64,
    /// What was written.
    pub value: Vec<u8>,
}

/// The open store of one server.
#[derive(Debug)]
pub struct Store {
    /// Shared by whoever reads or commits, alone for opening it anew; `None` after that failed.
    database: RwLock<Option<Database>>,
    path: PathBuf,
    /// Bytes of the file when it was compacted last.
    compacted: AtomicU64,
    /// Those that read all of it.
    exports: Arc<AtomicUsize>,
}

impl Store {
    /// Opens the store of a state directory, and creates both where there are none.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        private_file::ensure_private_dir(dir)?;
        let path = dir.join(FILE);
        match private_file::create_private(&path, b"") {
            Ok(()) | Err(PrivateFileError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let store = Self { database: RwLock::new(None), path, compacted: AtomicU64::new(0), exports: Arc::default() };
        store.reopen().map_err(|error| match error {
            StoreError::Database(error) if matches!(*error, redb::Error::DatabaseAlreadyOpen) => {
                StoreError::InUse { path: dir.to_owned() }
            }
            other => other,
        })?;
        store.verify()?;
        Ok(store)
    }

    /// Compares every page with its checksum, those of values included that nobody reads at a start. A file that the
    /// database could only repair by giving up what was written last stays refused.
    fn verify(&self) -> Result<(), StoreError> {
        let damaged = |reason: &str| StoreError::Corrupt { path: self.path.clone(), reason: reason.to_owned() };
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_mut().ok_or_else(|| damaged("it is not open"))?;
        let is_marked = guarded(&self.path, || {
            if is_marked_damaged(database)? {
                return Ok(true);
            }
            if database.check_integrity()? {
                return Ok(false);
            }
            mark_damaged(database)?;
            Ok(true)
        });
        if is_marked? { Err(damaged("parts of the file are damaged")) } else { Ok(()) }
    }

    /// Closes the database, if it is open, and opens it.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = slot.take() {
            // The file is locked for as long as it lives.
            guarded(&self.path, || {
                drop(failed);
                Ok(())
            })?;
        }
        let file = private_file::open_private(&self.path, OpenOptions::new().read(true).write(true))?;
        // A file that was damaged cleverly enough makes the database panic on what it believes impossible.
        let (database, found) =
            guarded(&self.path, || open_database(FileBackend::new(file).map_err(redb::Error::from)?))?;
        if found > FORMAT {
            return Err(StoreError::NewerFormat { path: self.path.clone(), found });
        }
        *slot = Some(database);
        Ok(())
    }

    /// Uses the database; opens it first if the last attempt left none.
    fn with<T>(&self, operation: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let is_open = || self.database.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_open() {
            self.reopen()?;
        }
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have failed to open it anew in between.
        let gone = || StoreError::Io(io::Error::other("the state database is closed after a failure"));
        let database = slot.as_ref().ok_or_else(gone)?;
        guarded(&self.path, || operation(database))
    }

    /// One value.
    pub fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.read(|table| Ok(table.get(key)?.map(|entry| versioned(entry.value()))))
    }

    /// All keys that start with the prefix, in key order, as of one moment.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.read(|table| {
            let mut entries = Vec::new();
            collect(table, (Bound::Included(prefix), Bound::Excluded(&past(prefix))), &mut entries)?;
            Ok(entries)
        })
    }

    /// Those of them that come behind this key.
    pub fn list_after(&self, prefix: &str, key: &str) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.read(|table| {
            let mut entries = Vec::new();
            collect(table, (Bound::Excluded(key), Bound::Excluded(&past(prefix))), &mut entries)?;
            Ok(entries)
        })
    }

    /// All keys that start with none of the prefixes, in key order, as of one moment. Their values are not read.
    pub fn list_without(&self, prefixes: &[&str]) -> Result<Vec<(String, Versioned)>, StoreError> {
        let mut prefixes = prefixes.to_vec();
        prefixes.sort_unstable();
        self.read(|table| {
            let mut entries = Vec::new();
            let mut from = String::new();
            for prefix in &prefixes {
                collect(table, (Bound::Included(&from), Bound::Excluded(prefix)), &mut entries)?;
                from = past(prefix);
            }
            collect(table, (Bound::Included(&from), Bound::Unbounded), &mut entries)?;
            Ok(entries)
        })
    }

    /// The keys that start with the prefix, in key order, without reading what they hold.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.read(|table| {
            let range = table.range::<&str>((Bound::Included(prefix), Bound::Excluded(&*past(prefix))))?;
            range.map(|entry| Ok(entry?.0.value().to_owned())).collect()
        })
    }

    /// Writes a batch; returns the version that its values now have. It is on disk when this returns.
    pub fn commit(&self, batch: &Batch) -> Result<u64, StoreError> {
        let mut keys = BTreeSet::new();
        if let Some((key, ..)) = batch.writes.iter().find(|(key, ..)| !keys.insert(key)) {
            return Err(StoreError::KeyTwice { key: key.clone() });
        }
        // What the store has to say before and after, for a failure that leaves it open which of the two is true.
        let before = self.with(revision)?;
        let outcome = self.with(|database| {
            // Dropped without a commit, a transaction leaves no trace; its default is to wait for the disk.
            let transaction = database.begin_write()?;
            let version = {
                let mut store = transaction.open_table(STORE)?;
                let version = store.get(REVISION_KEY)?.map_or(0, |entry| entry.value()) + 1;
                store.insert(REVISION_KEY, version)?;
                let mut values = transaction.open_table(VALUES)?;
                for prefix in &batch.cleared {
                    values.retain_in::<&str, _>(prefix.as_str()..past(prefix).as_str(), |_, _| false)?;
                }
                for (key, expect, value) in &batch.writes {
                    let present = values.get(key.as_str())?.map(|entry| entry.value().0);
                    let met = match expect {
                        Expect::Anything => true,
                        Expect::Absent => present.is_none(),
                        Expect::Version(version) => present == Some(*version),
                    };
                    if !met {
                        return Ok(Err(key.clone()));
                    }
                    match value {
                        Some(value) => drop(values.insert(key.as_str(), (version, &**value))?),
                        None => drop(values.remove(key.as_str())?),
                    }
                }
                version
            };
            transaction.commit()?;
            Ok(Ok(version))
        });
        match outcome {
            Ok(outcome) => outcome.map_err(|key| StoreError::Conflict { key }),
            Err(error) => match self.reopen().and_then(|()| self.with(revision)) {
                // The disk failed after the commit was complete.
                Ok(after) if after > before => Ok(after),
                _ => Err(error),
            },
        }
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&redb::ReadOnlyTable<&'static str, (u64, &'static [u8])>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let first = self.with(|database| look(&database.begin_read()?.open_table(VALUES)?));
        if first.is_err() {
            // Opened anew, the next one has a chance.
            self.reopen()?;
        }
        first
    }
}

/// The first text behind all that start with the prefix: keys are ASCII.
fn past(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    let next = text.pop().and_then(|last| char::from_u32(u32::from(last) + 1));
    text.push(next.unwrap_or(char::MAX));
    text
}

/// The entries of a range of keys, in their order.
fn collect(
    table: &redb::ReadOnlyTable<&'static str, (u64, &'static [u8])>,
    range: (Bound<&str>, Bound<&str>),
    into: &mut Vec<(String, Versioned)>,
) -> Result<(), redb::Error> {
    for entry in table.range::<&str>(range)? {
        let (key, value) = entry?;
        into.push((key.value().to_owned(), versioned(value.value())));
    }
    Ok(())
}

/// True for a file whose newest commit was lost to damage.
fn is_marked_damaged(database: &Database) -> Result<bool, redb::Error> {
    Ok(database.begin_read()?.open_table(STORE)?.get(DAMAGED_KEY)?.is_some())
}

fn mark_damaged(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(STORE)?.insert(DAMAGED_KEY, 1)?;
    Ok(transaction.commit()?)
}

/// The version of the newest commit.
fn revision(database: &Database) -> Result<u64, redb::Error> {
    let store = database.begin_read()?.open_table(STORE)?;
    Ok(store.get(REVISION_KEY)?.map_or(0, |entry| entry.value()))
}

/// The database on a backend, with its tables, and the format of the store.
fn open_database(backend: impl StorageBackend) -> Result<(Database, u64), redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let database = builder.create_with_backend(backend)?;
    let found = initialise(&database)?;
    Ok((database, found))
}

/// Creates the tables of an empty database; returns the format of the store.
fn initialise(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let found = {
        let mut store = transaction.open_table(STORE)?;
        let found = store.get(FORMAT_KEY)?.map(|entry| entry.value());
        if found.is_none() {
            store.insert(FORMAT_KEY, FORMAT)?;
        }
        found
    };
    match found {
        Some(found) if found != FORMAT => transaction.abort()?,
        _ => {
            transaction.open_table(VALUES)?;
            transaction.commit()?;
        }
    }
    Ok(found.unwrap_or(FORMAT))
}

fn versioned((version, value): (u64, &[u8])) -> Versioned {
    Versioned { version, value: value.to_vec() }
}

/// Runs a database operation; its errors, and its panics on a damaged file, become this module's.
fn guarded<T>(path: &Path, operation: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { path: path.to_owned(), reason };
    // After a panic nothing of the operation is used: its transaction is gone, and redb refuses to go on by itself.
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Corrupted(reason))) => Err(corrupt(reason)),
        Ok(Err(redb::Error::UpgradeRequired(version))) => Err(corrupt(format!("file format {version} is too old"))),
        Ok(Err(redb::Error::Io(error))) if error.kind() == io::ErrorKind::InvalidData => {
            Err(corrupt("the file is not a database".to_owned()))
        }
        Ok(Err(redb::Error::Io(error))) => Err(StoreError::Io(error)),
        Ok(Err(error)) => Err(StoreError::Database(Box::new(error))),
        Err(_) => Err(corrupt("the database is inconsistent".to_owned())),
    }
}

#[cfg(test)]
mod tests;
