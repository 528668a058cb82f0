//! What connections move after their edge has left its state folder, for the edge that has the folder next. I/O, blocking.
//!
//! An edge that drains no longer owns the counts, but the bytes that it forwards are used. It adds them to one file, and the
//! next edge, which may run already, counts and removes them.
//!
//! Keeps: what was added is taken once; the file is read and written under its lock.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::folder;
use super::last_good::StateError;
use super::quota_file::{StoredQuotas, decode, encode};
use crate::decide::quotas::joined;

const FILE: &str = "quotas.drained";
const TEMPORARY: &str = "quotas.drained.tmp";
const LOCK: &str = "quotas.lock";

/// What was added and is taken now. Nobody adds anything while this lives.
pub(crate) struct Spooled {
    used: StoredQuotas,
    path: PathBuf,
    _lock: File,
}

impl Spooled {
    /// What was used, by whom.
    pub(crate) fn used(&self) -> StoredQuotas {
        self.used.clone()
    }

    /// It is counted.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::error!(file = %self.path.display(), %error, "what was counted for quotas cannot be removed");
        }
    }
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let locked = folder::lockable(&folder.join(LOCK)).and_then(|file| {
        flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        Ok(file)
    });
    locked.map_err(|source| StateError::Io { path: folder.to_owned(), doing: "lock the counts of quotas", source })
}

/// What is there; a file that cannot be understood counts as nothing.
fn read(folder: &Path) -> Result<StoredQuotas, StateError> {
    let Some(bytes) = folder::read(folder, FILE)? else { return Ok(StoredQuotas::default()) };
    Ok(decode(&bytes).unwrap_or_else(|| {
        tracing::error!(file = %folder.join(FILE).display(), "the counts of an edge that drained are damaged");
        StoredQuotas::default()
    }))
}

/// Takes what edges that left the folder have added, if there is anything.
pub(crate) fn take(folder: &Path) -> Result<Option<Spooled>, StateError> {
    let path = folder.join(FILE);
    if matches!(fs::symlink_metadata(&path), Err(error) if error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let lock = lock(folder)?;
    Ok(Some(Spooled { used: read(folder)?, path, _lock: lock }))
}

/// Adds to what is there.
pub(crate) fn add(folder: &Path, used: StoredQuotas) -> Result<(), StateError> {
    let _lock = lock(folder)?;
    let all = joined(read(folder)?.into_kept().chain(used.into_kept()).map(|(of, _, usage)| (of, usage)));
    let all = StoredQuotas::new(all.into_iter().map(|(of, usage)| (of, None, usage)));
    folder::replace(folder, FILE, TEMPORARY, &encode(&all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::periods::PeriodBounds;
    use crate::decide::quotas::{QuotaOf, Usage};

    #[test]
    fn what_was_added_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(take(folder).unwrap().is_none());
        let of = |name: &str, used| {
            let usage = Usage { used, within: PeriodBounds { starts: 3, ends: Some(9) } };
            StoredQuotas::new(std::iter::once((QuotaOf::Rule(name.to_owned()), None, usage)))
        };
        add(folder, of("a", 7)).unwrap();
        add(folder, of("b", 1)).unwrap();
        add(folder, of("a", 8)).unwrap();
        let taken = take(folder).unwrap().unwrap();
        let used: Vec<u64> = taken.used().into_kept().map(|(_, _, usage)| usage.used).collect();
        assert_eq!(used, [15, 1]);
        taken.remove();
        assert!(take(folder).unwrap().is_none());
        fs::write(folder.join(FILE), b"garbage").unwrap();
        let taken = take(folder).unwrap().unwrap();
        assert_eq!(taken.used(), StoredQuotas::default());
        taken.remove();
        add(folder, of("a", 2)).unwrap();
        assert_eq!(take(folder).unwrap().unwrap().used(), of("a", 2));
    }
}
