//! Opens what a server must not forget: its records, its line of generations and the operator's token. I/O.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::private_file::{self, PrivateFileError};
use super::store::{self, Batch, Moment, Store, StoreError};
use crate::decide::fleet::Restored;
use crate::decide::kept::Kept;
use crate::decide::record::{
    self, InvalidRecord, LEDGER_PREFIX, LINEAGE_KEY, PLAN_PREFIX, REVISION_PREFIX, USED_PLAN_PREFIX,
};

/// The name of the file with the operator's token, inside the state directory.
pub const TOKEN_FILE: &str = "operator.token";
/// Hex digits of a lineage: enough that no two servers ever choose the same.
const LINEAGE_LENGTH: usize = 16;
/// Fewest characters of a token: 128 bits as hexadecimal digits.
const SHORTEST_TOKEN: usize = 32;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has a record that this version cannot read.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// The token could not be read or made.
    #[error(transparent)]
    Token(#[from] PrivateFileError),
    /// The token's file was cut short, or emptied.
    #[error("{} contains no token: remove it, and the next start creates one", path.display())]
    EmptyToken {
        /// The file.
        path: PathBuf,
    },
    /// The token can be guessed.
    #[error(
        "the operator token in {} has {length} characters, but at least {SHORTEST_TOKEN} are required: remove the \
         file, and the next start creates a token", path.display()
    )]
    ShortToken {
        /// The file.
        path: PathBuf,
        /// Its characters.
        length: usize,
    },
    /// The store was emptied: a first start has no token yet.
    #[error(
        "{} is empty, and the operator token beside it shows that this server has run before: restore the file from a \
         backup, or remove both files to start without history", path.display()
    )]
    EmptiedStore {
        /// The database file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("random numbers are not available: {0}")]
    Random(#[from] getrandom::Error),
}

/// The opened state.
#[derive(Debug)]
pub(super) struct OpenedState {
    pub(super) store: Store,
    pub(super) lineage: String,
    pub(super) restored: Restored,
    pub(super) kept: Kept,
    pub(super) token: String,
}

/// Opens the state directory and makes what the first start needs. Blocks.
pub(super) fn open(dir: &Path) -> Result<OpenedState, StateError> {
    refuse_emptied(dir)?;
    let store = Store::open(dir)?;
    let lineage = if let Some(stored) = store.get(LINEAGE_KEY)? {
        String::from_utf8_lossy(&stored.value).into_owned()
    } else {
        let lineage = private_file::random_token()?[..LINEAGE_LENGTH].to_owned();
        store.commit(&Batch::new().put(LINEAGE_KEY, lineage.as_bytes()))?;
        lineage
    };
    let kept = prune(&store)?;
    store.compact(Moment::Start)?;
    let records = store.list("")?;
    let restored = record::restore(records.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())))?;
    let token = operator_token(&dir.join(TOKEN_FILE))?;
    Ok(OpenedState { store, lineage, restored, kept, token })
}

/// The store is made before the token, so that an empty store beside a token is damage and no interrupted first start.
fn refuse_emptied(dir: &Path) -> Result<(), StateError> {
    let path = dir.join(store::FILE);
    let is_empty = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == 0);
    let has_token = || fs::symlink_metadata(dir.join(TOKEN_FILE)).is_ok();
    if is_empty && has_token() { Err(StateError::EmptiedStore { path }) } else { Ok(()) }
}

/// Forgets the files of trees that were applied long ago, with their plans; what is kept.
fn prune(store: &Store) -> Result<Kept, StateError> {
    let lines = store.list(LEDGER_PREFIX)?;
    let entries = record::ledger(lines.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())))?;
    let mut kept = Kept::default();
    for entry in entries.iter().filter(|entry| entry.is_start()) {
        kept.wrote(&format!("{REVISION_PREFIX}{}", entry.digest));
        kept.wrote(&format!("{PLAN_PREFIX}{}", entry.apply_id));
    }
    let mut seals = Vec::new();
    for (key, value) in store.list(USED_PLAN_PREFIX)? {
        seals.push((record::used_at(&key, &value.value)?, key));
    }
    seals.sort_unstable();
    for (_, key) in seals {
        kept.wrote(&key);
    }
    let mut keys = store.keys(REVISION_PREFIX)?;
    keys.extend(store.keys(PLAN_PREFIX)?);
    keys.extend(store.keys(USED_PLAN_PREFIX)?);
    let old = keys.into_iter().filter(|key| !kept.has(key));
    let batch = old.fold(Batch::new(), Batch::delete);
    if !batch.is_empty() {
        store.commit(&batch)?;
    }
    Ok(kept)
}

/// The token of the state directory; the first start makes it.
fn operator_token(path: &Path) -> Result<String, StateError> {
    match private_file::read_private(path) {
        Ok(bytes) => {
            let token = String::from_utf8_lossy(&bytes).trim().to_owned();
            let path = || path.to_owned();
            match token.chars().count() {
                0 => Err(StateError::EmptyToken { path: path() }),
                length if length < SHORTEST_TOKEN => Err(StateError::ShortToken { path: path(), length }),
                _ => Ok(token),
            }
        }
        Err(PrivateFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let token = private_file::random_token()?;
            private_file::create_private(path, format!("{token}\n").as_bytes())?;
            Ok(token)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use schema::canonical::Digest;

    use super::*;
    use crate::decide::kept;
    use crate::decide::ledger::{Entry, Head};
    use crate::decide::plan::Source;
    use crate::decide::record::Record;

    fn started(digest: Digest, head: &mut Head) -> Entry {
        let entry = Entry {
            apply_id: format!("a{}", head.id + 1),
            digest,
            actor: "test".to_owned(),
            outcome: "started".to_owned(),
            ..Entry::default()
        };
        entry.chained(head)
    }

    #[test]
    fn trees_of_long_ago_are_forgotten_and_the_ledger_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("state");
        let store = Store::open(&dir).expect("opens");
        let mut head = Head::default();
        let mut batch = Batch::new();
        for number in 0..=kept::REVISIONS {
            let digest = Digest::of(&number.to_be_bytes());
            for record in
                [Record::revision(&Source::unversioned(digest), &[]), Record::ledger(&started(digest, &mut head))]
            {
                batch = batch.put(record.key, record.value);
            }
        }
        store.commit(&batch).expect("written");
        drop(store);
        let state = open(&dir).expect("opens again");
        let revisions = state.store.list(REVISION_PREFIX).expect("readable");
        assert_eq!(revisions.len(), kept::REVISIONS);
        assert!(revisions.iter().all(|(key, _)| !key.ends_with(&Digest::of(&0_usize.to_be_bytes()).to_string())));
        assert_eq!(state.restored.head.id, kept::REVISIONS as u64 + 1);
    }

    #[test]
    fn the_token_is_made_once_and_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("state");
        let first = open(&dir).expect("opens").token;
        assert_eq!(open(&dir).expect("opens again").token, first);
        assert_eq!(first.len(), 64);
    }

    #[test]
    fn an_emptied_store_beside_a_token_is_no_first_start() {
        let parent = tempfile::tempdir().expect("a folder");
        let dir = parent.path().join("state");
        open(&dir).expect("opens");
        let file = dir.join(store::FILE);
        let whole = fs::read(&file).expect("the store");
        fs::write(&file, "").expect("emptied");
        let error = open(&dir).expect_err("the history is gone");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{} is empty", file.display())), "{text}");
        assert!(text.contains("restore the file from a backup"), "{text}");
        assert_eq!(fs::metadata(&file).expect("there").len(), 0, "nothing was made of it");
        fs::write(&file, whole).expect("restored");
        open(&dir).expect("opens again");
        // A first start that was interrupted before it made the token goes on.
        let other = parent.path().join("other");
        private_file::ensure_private_dir(&other).expect("made");
        private_file::create_private(&other.join(store::FILE), b"").expect("made");
        open(&other).expect("opens");
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        for (length, is_taken) in [(1, false), (31, false), (32, true)] {
            let dir = parent.path().join(length.to_string());
            private_file::ensure_private_dir(&dir).expect("made");
            let token = dir.join(TOKEN_FILE);
            private_file::create_private(&token, format!("{}\n", "x".repeat(length)).as_bytes()).expect("written");
            let opened = open(&dir).map(|state| state.token.len()).map_err(|error| error.to_string());
            let words = format!("the operator token in {} has {length} characters", token.display());
            match opened {
                Ok(found) => assert!(is_taken && found == length),
                Err(text) => assert!(!is_taken && text.starts_with(&words), "{text}"),
            }
        }
    }
}
