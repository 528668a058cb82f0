//! The whole store as of one moment, and a new store from what was taken out of another. I/O, blocking.
//!
//! Keeps: what is exported is one commit, whatever is committed meanwhile; the database is not rewritten while somebody
//! reads it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::{ReadTransaction, ReadableTable};

use super::{FILE, REVISION_KEY, STORE, Store, StoreError, VALUES, guarded};
use crate::act::private_file;

/// The store as of the moment at which this was made.
pub(in crate::act) struct Export {
    transaction: ReadTransaction,
    path: PathBuf,
    _counted: Counted,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Store {
    /// Holds on to the newest commit.
    pub(in crate::act) fn export(&self) -> Result<Export, StoreError> {
        self.exports.fetch_add(1, Ordering::Acquire);
        let counted = Counted(self.exports.clone());
        let transaction = self.with(|database| Ok(redb::ReadableDatabase::begin_read(database)?))?;
        Ok(Export { transaction, path: self.path.clone(), _counted: counted })
    }

    /// Makes the store of a new state directory, with records that have these versions.
    pub(in crate::act) fn create(
        dir: &Path,
        revision: u64,
        records: &[(String, u64, Vec<u8>)],
    ) -> Result<(), StoreError> {
        private_file::create_private(&dir.join(FILE), b"")?;
        let store = Self::open(dir)?;
        store.with(|database| {
            let transaction = database.begin_write()?;
            {
                transaction.open_table(STORE)?.insert(REVISION_KEY, revision)?;
                let mut values = transaction.open_table(VALUES)?;
                for (key, version, value) in records {
                    values.insert(key.as_str(), (*version, value.as_slice()))?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

impl Export {
    /// The version of its commit.
    pub(in crate::act) fn revision(&self) -> Result<u64, StoreError> {
        guarded(&self.path, || {
            let store = self.transaction.open_table(STORE)?;
            Ok(store.get(REVISION_KEY)?.map_or(0, |entry| entry.value()))
        })
    }

    /// Calls for every record, in the order of the keys, until that fails.
    pub(in crate::act) fn each<E>(
        &self,
        mut each: impl FnMut(&str, u64, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        guarded(&self.path, || {
            let values = self.transaction.open_table(VALUES)?;
            for entry in values.iter()? {
                let (key, value) = entry?;
                let (version, value) = value.value();
                if let Err(error) = each(key.value(), version, value) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })
    }
}
