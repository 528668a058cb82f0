//! Opens what a server must not forget: its records, its line of generations and the operator's token. I/O.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::private_file::{self, PrivateFileError};
use super::store::{Batch, Store, StoreError};
use crate::decide::fleet::Restored;
use crate::decide::record::{self, InvalidRecord, LEDGER_PREFIX, LINEAGE_KEY, PLAN_PREFIX, REVISION_PREFIX};

/// The name of the file with the operator's token, inside the state directory.
pub const TOKEN_FILE: &str = "operator.token";
/// Hex digits of a lineage: enough that no two servers ever choose the same.
const LINEAGE_LENGTH: usize = 16;
/// Trees that are kept with their files, newest first: a rollback further back begins in git. The ledger keeps all.
const KEPT_REVISIONS: usize = 200;

/// Plans that are kept, newest first: a revision that is applied again and again has many.
const KEPT_PLANS: usize = 1000;

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
    #[error("{} holds no token; remove it, and the next start makes one", path.display())]
    EmptyToken {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The opened state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) lineage: String,
    pub(super) restored: Restored,
    pub(super) token: String,
}

/// Opens the state directory and makes what the first start needs. Blocks.
pub(super) fn open(dir: &Path) -> Result<State, StateError> {
    let store = Store::open(dir)?;
    let lineage = if let Some(stored) = store.get(LINEAGE_KEY)? {
        String::from_utf8_lossy(&stored.value).into_owned()
    } else {
        let lineage = private_file::random_token()?[..LINEAGE_LENGTH].to_owned();
        store.commit(&Batch::new().put(LINEAGE_KEY, lineage.as_bytes()))?;
        lineage
    };
    prune(&store)?;
    let records = store.list("")?;
    let restored = record::restore(records.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())))?;
    let token = operator_token(&dir.join(TOKEN_FILE))?;
    Ok(State { store, lineage, restored, token })
}

/// Forgets the files of trees that were applied long ago.
fn prune(store: &Store) -> Result<(), StateError> {
    let lines = store.list(LEDGER_PREFIX)?;
    let entries = record::ledger(lines.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())))?;
    let mut kept = BTreeSet::new();
    let mut plans = BTreeSet::new();
    for entry in entries.iter().rev().filter(|entry| entry.is_start()) {
        if kept.len() == KEPT_REVISIONS {
            break;
        }
        kept.insert(format!("{REVISION_PREFIX}{}", entry.digest));
        if plans.len() < KEPT_PLANS {
            plans.insert(format!("{PLAN_PREFIX}{}", entry.apply_id));
        }
    }
    kept.append(&mut plans);
    let keys = store.list(REVISION_PREFIX)?.into_iter().chain(store.list(PLAN_PREFIX)?).map(|(key, _)| key);
    let old = keys.filter(|key| !kept.contains(key));
    let batch = old.fold(Batch::new(), Batch::delete);
    if !batch.is_empty() {
        store.commit(&batch)?;
    }
    Ok(())
}

/// The token of the state directory; the first start makes it.
fn operator_token(path: &Path) -> Result<String, StateError> {
    match private_file::read_private(path) {
        Ok(bytes) => {
            let token = String::from_utf8_lossy(&bytes).trim().to_owned();
            if token.is_empty() { Err(StateError::EmptyToken { path: path.to_owned() }) } else { Ok(token) }
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
        for number in 0..=KEPT_REVISIONS {
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
        assert_eq!(revisions.len(), KEPT_REVISIONS);
        assert!(revisions.iter().all(|(key, _)| !key.ends_with(&Digest::of(&0_usize.to_be_bytes()).to_string())));
        assert_eq!(state.restored.head.id, KEPT_REVISIONS as u64 + 1);
    }

    #[test]
    fn the_token_is_made_once_and_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("state");
        let first = open(&dir).expect("opens").token;
        assert_eq!(open(&dir).expect("opens again").token, first);
        assert_eq!(first.len(), 64);
    }
}
