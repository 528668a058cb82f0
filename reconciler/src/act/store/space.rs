//! How much room the store takes, and giving back what it does not use. I/O, blocking.
//!
//! Keeps: nobody waits long for it. While the server serves, only a store that is quickly rewritten is; a larger one is
//! compacted at the next start.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use redb::Database;

use super::{Store, StoreError, guarded};

/// A file up to this size is left as it is: the database grows it in steps of about so much.
const SMALLEST: u64 = 4 << 20;
/// What is rewritten while commits wait: a second on a slow disk.
const QUICK: u64 = 64 << 20;

/// When the store may be compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::act) enum Compaction {
    /// Nobody is served yet.
    Start,
    /// Commits wait meanwhile.
    Serving,
}

impl Store {
    /// Bytes of its file.
    pub(in crate::act) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Gives free space back if at least half of the file is free; true if the file is smaller now.
    pub(in crate::act) fn compact(&self, when: Compaction) -> Result<bool, StoreError> {
        let before = self.bytes();
        // Values are rounded up to pages: what the last time left is not free, and is not tried again until it has grown.
        let left = self.compacted.load(Ordering::Relaxed);
        if before <= SMALLEST.max(left + left / 2) {
            return Ok(false);
        }
        let used = self.with(used)?;
        if used > before / 2 || (when == Compaction::Serving && used > QUICK) {
            return Ok(false);
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // It may have been closed by a failure in between; whoever needs it opens it.
        let Some(database) = slot.as_mut() else { return Ok(false) };
        // A reader of the whole store holds on to pages: the next time compacts it.
        if self.exports.load(Ordering::Acquire) > 0 {
            return Ok(false);
        }
        let compacted = guarded(&self.path, || database.compact().map_err(redb::Error::from));
        drop(slot);
        if compacted.is_err() {
            self.reopen()?;
        }
        compacted?;
        let after = self.bytes();
        self.compacted.store(after, Ordering::Relaxed);
        Ok(after < before)
    }
}

/// Bytes of what is stored.
fn used(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    Ok(stats.stored_bytes() + stats.metadata_bytes())
}
