//! Opens what a server must not forget: its records, its line of generations and the operator's token. I/O.

use std::path::{Path, PathBuf};
use std::{fs, io};

use schema::canonical::Digest;
use schema::networks::Lists;

use super::private_file::{self, PrivateFileError};
use super::revisions::{self, RevisionError};
use super::store::{self, Batch, Compaction, RESTORE, Store, StoreError};
use crate::decide::fleet::settings_of;
use crate::decide::kept::Kept;
use crate::decide::operators::audit::AUDIT_PREFIX;
use crate::decide::record::{
    self, InvalidRecord, LEDGER_PREFIX, LINEAGE_KEY, PLAN_PREFIX, REVISION_FILE_PREFIX, REVISION_PREFIX,
    USED_PLAN_PREFIX,
};
use crate::decide::restored::Restored;

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
    #[error("{0}; {RESTORE}")]
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
        "{} is empty, and the operator token beside it shows that this server has run before: {RESTORE}, or \
         remove both files to start without history", path.display()
    )]
    EmptiedStore {
        /// The database file.
        path: PathBuf,
    },
    /// A line of the ledger is not the one that was written.
    #[error(
        "line {line} of the ledger in {} does not match its hash chain: it was modified outside of the server; {RESTORE}",
        path.display()
    )]
    BrokenLedger {
        /// The database file.
        path: PathBuf,
        /// The first line that does not fit.
        line: u64,
    },
    /// The system has no random numbers.
    #[error("random numbers are not available: {0}")]
    Random(#[from] getrandom::Error),
}

impl From<RevisionError> for StateError {
    fn from(error: RevisionError) -> Self {
        match error {
            RevisionError::Store(error) => Self::Store(error),
            RevisionError::Invalid(error) => Self::Record(error),
        }
    }
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
    store.compact(Compaction::Start)?;
    // What takes the room is read when it is asked for; the audit is.
    let records = store.list_without(&[REVISION_PREFIX, REVISION_FILE_PREFIX, PLAN_PREFIX, AUDIT_PREFIX])?;
    let mut restored = record::restore(records.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())))?;
    if let Some(applied) = restored.applied.as_mut().filter(|applied| applied.settings.is_none()) {
        // An earlier version wrote it down without its settings; its files are kept.
        let revision = revisions::read(&store, applied.source.digest)?;
        applied.settings = revision.map(|revision| settings_of(&revision.files));
    }
    resolve_lists(&store, &mut restored)?;
    if let Some(line) = restored.ledger_break {
        return Err(StateError::BrokenLedger { path: dir.join(store::FILE), line });
    }
    let token = operator_token(&dir.join(TOKEN_FILE))?;
    Ok(OpenedState { store, lineage, restored, kept, token })
}

/// Finds what the list files of rules hold: the records of edges name them by digest, and the trees that were applied have
/// them. A list of a tree that is not kept any more is with the edge that runs it.
fn resolve_lists(store: &Store, restored: &mut Restored) -> Result<(), StateError> {
    let mut missing = restored.missing_lists();
    if missing.is_empty() {
        return Ok(());
    }
    let applied = restored.applied.iter().map(|applied| record::revision_key(applied.source.digest));
    let keys: Vec<String> = applied.chain(store.keys(REVISION_PREFIX)?).collect();
    let mut lists = Lists::default();
    for key in keys {
        let digest = key.strip_prefix(REVISION_PREFIX).and_then(Digest::parse);
        let Some(revision) = digest.map(|digest| revisions::read(store, digest)).transpose()?.flatten() else {
            continue;
        };
        for list in revision.lists() {
            missing.remove(&list.digest());
            lists.add(&list);
        }
        if missing.is_empty() {
            break;
        }
    }
    restored.resolve_lists(&lists);
    Ok(())
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
    let batch = old.fold(Batch::new(), revisions::without);
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
    use std::sync::Arc;

    use schema::canonical::Digest;

    use super::*;
    use crate::decide::kept;
    use crate::decide::ledger::{Entry, Head};
    use crate::decide::plan::{FileDocument, Source};
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
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        let file = |path: &str, text: String| FileDocument { path: path.into(), text: text.into() };
        let files_of = |number| [file("a.toml", format!("# {number} ä")), file("b.toml", String::new())];
        for number in 0..=kept::REVISIONS {
            let tree = Record::revision(&Source::unversioned(digest(number)), &Arc::from(files_of(number)));
            batch =
                [tree, Record::ledger(&started(digest(number), &mut head))].into_iter().fold(batch, revisions::with);
        }
        store.commit(&batch).expect("written");
        assert_eq!(store.keys(REVISION_FILE_PREFIX).expect("readable").len(), kept::REVISIONS + 1);
        drop(store);
        let state = open(&dir).expect("opens again");
        for prefix in [REVISION_PREFIX, REVISION_FILE_PREFIX] {
            assert_eq!(state.store.keys(prefix).expect("readable").len(), kept::REVISIONS);
        }
        assert!(revisions::read(&state.store, digest(0)).expect("readable").is_none());
        for number in 1..=kept::REVISIONS {
            let tree = revisions::read(&state.store, digest(number)).expect("readable").expect("kept");
            assert_eq!((tree.source.digest, &*tree.files), (digest(number), &files_of(number)[..]));
        }
        assert_eq!(state.restored.head.id, kept::REVISIONS as u64 + 1);
        // What takes the room is not read at a start.
        state.store.commit(&Batch::new().put(record::revision_key(digest(1)), *b"no record")).expect("written");
        let key = record::file_key(&record::revision_key(digest(2)), 0);
        state.store.commit(&Batch::new().put(key, *b"cut")).expect("written");
        drop(state);
        let state = open(&dir).expect("opens again");
        let error = revisions::read(&state.store, digest(2)).expect_err("one of its files was cut");
        assert!(error.to_string().ends_with("it has 3 of 6 bytes"), "{error}");
        revisions::read(&state.store, digest(1)).expect_err("damaged");
    }

    #[test]
    fn a_tree_that_an_earlier_version_stored_in_one_piece_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("state")).expect("opens");
        let digest = Digest::of(b"tree");
        let files = vec![FileDocument { path: "a.toml".into(), text: "# one".into() }];
        let stored = serde_json::json!({ "source": Source::unversioned(digest), "files": files });
        store
            .commit(&Batch::new().put(record::revision_key(digest), stored.to_string().into_bytes()))
            .expect("written");
        let tree = revisions::read(&store, digest).expect("readable").expect("there");
        assert_eq!(tree.files, files);
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
        assert!(text.contains("portunus restore FILE"), "{text}");
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
