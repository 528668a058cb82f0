//! Records that bring files along, the trees that were applied: into the store and out of it. I/O, blocking.

use schema::canonical::Digest;
use thiserror::Error;

use super::store::{Batch, Store, StoreError};
use crate::decide::record::{self, InvalidRecord, Record, Revision};

/// Why a tree that was applied cannot be read.
#[derive(Debug, Error)]
pub(super) enum RevisionError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidRecord),
}

/// A tree that was applied; `None` if its files are not kept any more.
pub(super) fn read(store: &Store, digest: Digest) -> Result<Option<Revision>, RevisionError> {
    let key = record::revision_key(digest);
    let Some(stored) = store.get(&key)? else { return Ok(None) };
    let text_of = |key: &str| Ok::<_, RevisionError>(store.get(key)?.map(|stored| stored.value));
    record::revision(&key, &stored.value, text_of).map(Some)
}

/// Writes or ends a record, with the files that belong to it.
pub(super) fn with(batch: Batch, record: Record) -> Batch {
    let Record { key, value, files } = record;
    let stored = files.iter().enumerate().filter(|(_, file)| !file.text.is_empty());
    let batch = stored.fold(batch, |batch, (number, file)| {
        batch.put_shared(record::file_key(&key, number), file.text.clone().into())
    });
    if value.is_empty() { batch.delete(key) } else { batch.put(key, value) }
}

/// Deletes a record that is kept for a while only, with the files that belong to it.
pub(super) fn without(batch: Batch, key: String) -> Batch {
    let batch = record::files_of(&key).into_iter().fold(batch, Batch::delete_prefix);
    batch.delete(key)
}
