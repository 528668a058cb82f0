//! The last good state on disk: what an edge runs after its own restart without a server. I/O, blocking.
//!
//! Keeps: the file is whole or the former one (temporary file, fsync, rename, fsync of the folder); a file that
//! cannot be understood is moved aside and never stops the edge; one process uses a folder at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use rustix::fs::{FlockOperation, flock};
use schema::canonical::Digest;
use schema::proto::{DesiredState, RuleSpec};
use schema::rule::Rule;
use schema::wire;

/// First bytes of the file; the last two digits are the version of what follows.
const MAGIC: &[u8; 8] = b"PTNEDG01";
const FILE: &str = "last-good";
const TEMPORARY: &str = "last-good.tmp";
const CORRUPT: &str = "last-good.corrupt";
const LOCK: &str = "lock";
const DIGEST: usize = 32;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another edge uses it.
    #[error("state directory {0} is in use by another edge")]
    Locked(PathBuf),
    /// The system refused.
    #[error("state directory {path}: cannot {doing}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A rule that did not serve in its desired version.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exception {
    #[prost(string, tag = "1")]
    name: String,
    /// What served, if anything did.
    #[prost(message, optional, tag = "2")]
    running: Option<RuleSpec>,
}

impl Exception {
    pub(crate) fn new(name: String, running: Option<&Rule>) -> Self {
        Self { name, running: running.map(wire::rule_to_wire) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What served; `None` too where this version of the edge cannot read it.
    pub(crate) fn running(&self) -> Option<Arc<Rule>> {
        self.running.as_ref().and_then(|spec| wire::rule_from_wire(spec).ok()).map(Arc::new)
    }
}

/// What is kept.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stored {
    #[prost(message, optional, tag = "1")]
    pub(crate) desired: Option<DesiredState>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) exceptions: Vec<Exception>,
}

/// The state folder of one edge, held for itself.
#[derive(Debug)]
pub struct LastGood {
    folder: PathBuf,
    /// Unlocks when closed.
    _lock: File,
}

impl LastGood {
    /// Makes and locks the folder.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |doing| move |source| StateError::Io { path: folder.to_owned(), doing, source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create it"))?;
        let mode = fs::metadata(folder).map_err(failed("read its mode"))?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed("close it to others"))?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(folder.join(LOCK))
            .map_err(failed("open its lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Locked(folder.to_owned())),
            Err(error) => Err(failed("lock it")(error.into())),
        }
    }

    /// What was written last. A damaged file is moved aside, logged, and counts as nothing.
    pub(crate) fn read(&self) -> Result<Option<Stored>, StateError> {
        let failed = |doing| move |source| StateError::Io { path: self.folder.clone(), doing, source };
        let path = self.folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read the last good state")(error)),
        };
        if let Some(stored) = decode(&bytes) {
            return Ok(Some(stored));
        }
        let aside = self.folder.join(CORRUPT);
        tracing::error!(file = %path.display(), moved_to = %aside.display(), "the last good state is damaged");
        fs::rename(&path, &aside).map_err(failed("move the damaged state aside"))?;
        Ok(None)
    }

    /// Replaces what is kept.
    pub(crate) fn write(&self, stored: &Stored) -> Result<(), StateError> {
        let failed = |doing| move |source| StateError::Io { path: self.folder.clone(), doing, source };
        let temporary = self.folder.join(TEMPORARY);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove a leftover")(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed("create a file in it"))?;
        file.write_all(&encode(stored)).and_then(|()| file.sync_all()).map_err(failed("write the state"))?;
        fs::rename(&temporary, self.folder.join(FILE)).map_err(failed("put the state in place"))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed("sync it"))
    }
}

fn encode(stored: &Stored) -> Vec<u8> {
    let payload = stored.encode_to_vec();
    [&MAGIC[..], Digest::of(&payload).as_bytes(), &payload].concat()
}

fn decode(bytes: &[u8]) -> Option<Stored> {
    let (digest, payload) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    let is_whole = Digest::from_bytes(digest)? == Digest::of(payload);
    is_whole.then(|| Stored::decode(payload).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;

    fn stored() -> Stored {
        let desired = DesiredState { lineage: "line".to_owned(), generation: 7, ..DesiredState::default() };
        Stored { desired: Some(desired), exceptions: vec![Exception::new("a".to_owned(), Some(&rule("a", 1, 1)))] }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_read_and_only_its_owner_may() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new");
        let state = LastGood::open(&folder).unwrap();
        assert_eq!(state.read().unwrap(), None);
        state.write(&Stored::default()).unwrap();
        state.write(&stored()).unwrap();
        assert_eq!(state.read().unwrap(), Some(stored()));
        assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_in_use_is_refused_until_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = LastGood::open(folder.path()).unwrap();
        let error = LastGood::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is in use by another edge"), "{error}");
        drop(first);
        LastGood::open(folder.path()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_moved_aside_whatever_the_damage() {
        let whole = encode(&stored());
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [
            &[][..],
            &b"PTNEDG01"[..],
            &b"garbage that is long enough to be something else"[..],
            &whole[..50],
            &flipped,
        ] {
            let folder = tempfile::tempdir().unwrap();
            let state = LastGood::open(folder.path()).unwrap();
            fs::write(folder.path().join(FILE), damaged).unwrap();
            assert_eq!(state.read().unwrap(), None);
            assert_eq!(fs::read(folder.path().join(CORRUPT)).unwrap(), damaged);
            assert!(!folder.path().join(FILE).exists());
        }
    }

    #[test]
    fn a_leftover_of_a_crash_does_not_stop_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        let state = LastGood::open(folder.path()).unwrap();
        fs::write(folder.path().join(TEMPORARY), "half").unwrap();
        state.write(&stored()).unwrap();
        assert_eq!(state.read().unwrap(), Some(stored()));
    }
}
