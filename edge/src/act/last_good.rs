//! The last good state on disk: what an edge runs after its own restart without a server. I/O, blocking.
//!
//! Keeps: the file is whole or the former one (temporary file, fsync, rename, fsync of the folder); a file that
//! cannot be understood is moved aside and never stops the edge; one process uses a folder at a time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guard::trust::NotOurs;
use prost::Message;
use schema::canonical::Digest;
use schema::name::EdgeName;
use schema::networks::Lists;
use schema::proto::{DesiredState, NetworkRecords, RuleSpec, TargetOverrides};
use schema::rule::Rule;
use schema::wire;
use tokio::time::{Instant, sleep};

use super::folder::{self, Folder};
use super::steady::Steady;

/// First bytes of the file; the last two digits are the version of what follows.
const MAGIC: &[u8; 8] = b"PTNEDG01";
const FILE: &str = "last-good";
const TEMPORARY: &str = "last-good.tmp";
const CORRUPT: &str = "last-good.corrupt";
const DIGEST: usize = 32;
/// How often a folder in use is asked for again: a gap of forwarding that nobody notices in a restart.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another edge uses it.
    #[error("state directory {0} is in use by another edge")]
    Locked(PathBuf),
    /// Another user owns the folder or a file in it.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// Others may have left something in the folder or file.
    #[error(
        "{path} is writable by other users (mode {mode:04o}), who could have added rules: check its content, then \
         restrict it with `chmod go-w {path}`", path = path.display()
    )]
    Writable {
        /// The folder or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds the rules of an edge of another name.
    #[error(
        "state directory {path} contains the rules of edge `{owner}`, but this edge is `{name}`: start it as \
         `{owner}`, or with a different state directory"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose rules they are.
        owner: String,
        /// Who asked for them.
        name: EdgeName,
    },
    /// The membership cannot be understood.
    #[error(
        "{0} is damaged: restore it from a backup, or remove it and join again with --join and a new URI from \
         `portunus edge-token create`"
    )]
    Membership(PathBuf),
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

    /// What served; `None` too where this version of the edge cannot read it, or a list of it is missing.
    pub(crate) fn running(&self, lists: &Lists) -> Option<Arc<Rule>> {
        let rule = self.running.as_ref().and_then(|spec| wire::rule_from_wire(spec).ok())?.resolved(lists);
        rule.is_resolved().then(|| Arc::new(rule))
    }
}

/// A state that is kept only if it is confirmed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredTrial {
    /// What runs again otherwise.
    #[prost(message, optional, tag = "1")]
    pub(crate) previous: Option<DesiredState>,
    /// By the clock that is stored beside it.
    #[prost(uint64, tag = "2")]
    pub(crate) until_ms: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) within_ms: u64,
    /// True once its time is over: the rules that are kept are those of before, under the number of the unconfirmed.
    #[prost(bool, tag = "4")]
    pub(crate) is_missed: bool,
}

/// What is kept.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stored {
    #[prost(message, optional, tag = "1")]
    pub(crate) desired: Option<DesiredState>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) exceptions: Vec<Exception>,
    /// Whose rules these are; empty in files of before this was kept.
    #[prost(string, tag = "3")]
    pub(crate) edge: String,
    /// What operators ordered about targets: in force without the server too.
    #[prost(message, optional, tag = "4")]
    pub(crate) overrides: Option<TargetOverrides>,
    #[prost(message, optional, tag = "5")]
    pub(crate) trial: Option<StoredTrial>,
    /// The clock that the ends in it are of.
    #[prost(message, optional, tag = "6")]
    pub(crate) clock: Option<Steady>,
    /// What the list files hold of rules that did not serve in their desired version.
    #[prost(message, repeated, tag = "7")]
    pub(crate) lists: Vec<NetworkRecords>,
}

impl Stored {
    /// How many listeners served, or were to serve.
    pub(crate) fn listeners(&self) -> u64 {
        let rules = self.desired.iter().flat_map(|desired| &desired.rules).map(|spec| {
            match self.exceptions.iter().find(|exception| exception.name == spec.name) {
                Some(exception) => exception.running.as_ref().map_or(0, width),
                None => width(spec),
            }
        });
        rules.sum()
    }
}

fn width(spec: &RuleSpec) -> u64 {
    (u64::from(spec.last_port) + 1).saturating_sub(spec.first_port.into())
}

/// True if an edge left a state in this folder that its next start serves.
pub fn has_last_good(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// The state folder of one edge, held for itself.
#[derive(Debug)]
pub struct LastGood {
    folder: Folder,
    /// The edge whose rules are kept here.
    name: EdgeName,
}

impl LastGood {
    /// Makes and locks the folder, and waits so long for another edge that is about to leave it.
    pub async fn open_within(folder: &Path, name: &EdgeName, patience: Duration) -> Result<Self, StateError> {
        let end = Instant::now() + patience;
        let mut is_told = false;
        loop {
            match Self::open(folder, name) {
                Err(StateError::Locked(_)) if Instant::now() < end => {
                    if !is_told {
                        tracing::info!(folder = %folder.display(), "another edge uses the state directory, waiting for \
                            it to stop");
                        is_told = true;
                    }
                    sleep(ASK_AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    /// Makes, checks and locks the folder.
    pub fn open(folder: &Path, name: &EdgeName) -> Result<Self, StateError> {
        Ok(Self { folder: Folder::open(folder)?, name: name.clone() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.folder.path
    }

    /// The edge whose rules are kept here.
    pub(crate) fn name(&self) -> &EdgeName {
        &self.name
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// What was written last. A damaged file is moved aside, logged, and counts as nothing; another edge's rules
    /// are an error.
    pub(crate) fn read(&self) -> Result<Option<Stored>, StateError> {
        let Some(bytes) = self.folder.read(FILE)? else { return Ok(None) };
        let folder = &self.folder.path;
        if let Some(stored) = decode(&bytes) {
            if !stored.edge.is_empty() && stored.edge != self.name.as_str() {
                let (path, name) = (folder.clone(), self.name.clone());
                return Err(StateError::Foreign { path, owner: stored.edge, name });
            }
            return Ok(Some(stored));
        }
        let (path, aside) = (folder.join(FILE), folder.join(CORRUPT));
        match fs::rename(&path, &aside) {
            Ok(()) => {
                tracing::error!(file = %path.display(), moved_to = %aside.display(), "the last good state is damaged");
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "the last good state is damaged and cannot be renamed");
            }
        }
        Ok(None)
    }

    /// Replaces what is kept.
    pub(crate) fn write(&self, stored: &Stored) -> Result<(), StateError> {
        folder::replace(&self.folder.path, FILE, TEMPORARY, &encode(stored))
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use schema::testing::rule;

    fn stored() -> Stored {
        let desired = DesiredState { lineage: "line".to_owned(), generation: 7, ..DesiredState::default() };
        let exceptions = vec![Exception::new("a".to_owned(), Some(&rule("a", 1, 1)))];
        Stored { desired: Some(desired), exceptions, edge: "edge-01".to_owned(), ..Stored::default() }
    }

    fn open(folder: &Path) -> Result<LastGood, StateError> {
        LastGood::open(folder, &EdgeName::new("edge-01").unwrap())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_read_and_only_its_owner_may() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new");
        let state = open(&folder).unwrap();
        assert_eq!(state.read().unwrap(), None);
        state.write(&Stored::default()).unwrap();
        state.write(&stored()).unwrap();
        assert_eq!(state.read().unwrap(), Some(stored()));
        assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_in_use_is_refused_until_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is in use by another edge"), "{error}");
        drop(first);
        open(folder.path()).unwrap();
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
            let state = open(folder.path()).unwrap();
            fs::write(folder.path().join(FILE), damaged).unwrap();
            assert_eq!(state.read().unwrap(), None);
            assert_eq!(fs::read(folder.path().join(CORRUPT)).unwrap(), damaged);
            assert!(!folder.path().join(FILE).exists());
        }
    }

    #[test]
    fn a_leftover_of_a_crash_does_not_stop_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        let state = open(folder.path()).unwrap();
        fs::write(folder.path().join(TEMPORARY), "half").unwrap();
        state.write(&stored()).unwrap();
        assert_eq!(state.read().unwrap(), Some(stored()));
    }

    #[test]
    fn a_write_that_fails_leaves_no_file_behind_and_the_next_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let state = open(folder.path()).unwrap();
        // A file cannot be renamed to a folder: the last step fails.
        fs::create_dir(folder.path().join(FILE)).unwrap();
        state.write(&stored()).unwrap_err();
        assert!(!folder.path().join(TEMPORARY).exists());
        fs::remove_dir(folder.path().join(FILE)).unwrap();
        state.write(&stored()).unwrap();
        assert_eq!(state.read().unwrap(), Some(stored()));
    }

    #[test]
    fn the_rules_of_another_edge_are_an_error_that_names_both() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap().write(&stored()).unwrap();
        let error = LastGood::open(folder.path(), &EdgeName::new("other").unwrap()).unwrap().read().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("contains the rules of edge `edge-01`, but this edge is `other`"), "{text}");
        assert!(folder.path().join(FILE).exists());
    }

    #[test]
    fn rules_of_before_names_were_kept_belong_to_whoever_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let state = open(folder.path()).unwrap();
        let nameless = Stored { edge: String::new(), ..stored() };
        state.write(&nameless).unwrap();
        assert_eq!(state.read().unwrap(), Some(nameless));
    }

    #[test]
    fn listeners_are_counted_as_they_served() {
        let mut state = stored();
        let rules = [rule("a", 1, 9), rule("b", 20, 24)];
        state.desired.as_mut().unwrap().rules = rules.iter().map(|rule| wire::rule_to_wire(rule)).collect();
        assert_eq!(state.listeners(), 1 + 5);
    }

    #[tokio::test]
    async fn a_folder_in_use_is_waited_for_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let name = EdgeName::new("edge-01").unwrap();
        let first = open(folder.path()).unwrap();
        let error = LastGood::open_within(folder.path(), &name, ASK_AGAIN * 2).await.unwrap_err();
        assert!(matches!(error, StateError::Locked(_)), "{error}");
        let (waiting, ()) = tokio::join!(LastGood::open_within(folder.path(), &name, Duration::from_mins(1)), async {
            // The other side has been refused once by now.
            tokio::task::yield_now().await;
            drop(first);
        });
        waiting.unwrap();
    }
}
