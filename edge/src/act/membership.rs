//! What an edge keeps of its membership in a fleet: server, name, key and certificate. I/O, blocking.
//!
//! Keeps: the key is made here and never leaves; the file is whole or the former one, and only this user reads it; no
//! key is in any debug output.

use std::fmt;
use std::path::{Path, PathBuf};

use prost::Message;
use schema::canonical::Digest;
use schema::join::Code;
use schema::name::EdgeName;

use super::folder;
use super::last_good::StateError;

/// First bytes of the file; the last two digits are the version of what follows.
const MAGIC: &[u8; 8] = b"PTNMBR01";
const FILE: &str = "membership";
const TEMPORARY: &str = "membership.tmp";
const DIGEST: usize = 32;
/// Used codes that are remembered, the newest last.
const CODES: usize = 16;

/// A certificate with its key.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Credentials {
    /// Private key (PKCS #8, DER).
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Certificate (DER).
    #[prost(bytes = "vec", tag = "2")]
    pub certificate: Vec<u8>,
    /// What the server's certificate is verified with (DER).
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub authorities: Vec<Vec<u8>>,
    /// When it was received, in milliseconds since 1970 by the clock of this host.
    #[prost(uint64, tag = "4")]
    pub received_ms: u64,
    /// How long it is valid from then on.
    #[prost(uint64, tag = "5")]
    pub lifetime_ms: u64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("lifetime_ms", &self.lifetime_ms).finish_non_exhaustive()
    }
}

/// What is kept.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Membership {
    /// The edge.
    #[prost(string, tag = "1")]
    pub edge: String,
    /// `HOST:PORT` of the control port.
    #[prost(string, tag = "2")]
    pub server: String,
    /// Absent before the first join.
    #[prost(message, optional, tag = "3")]
    pub credentials: Option<Credentials>,
    /// SHA-256 of codes that were used.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub used_codes: Vec<Vec<u8>>,
    /// The key of a join whose answer is not known: it is asked once more with it.
    #[prost(bytes = "vec", tag = "5")]
    pub joining_key: Vec<u8>,
    /// True if the server said that this edge was revoked.
    #[prost(bool, tag = "6")]
    pub revoked: bool,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("edge", &self.edge).field("server", &self.server).finish_non_exhaustive()
    }
}

impl Membership {
    /// True once a server has made the edge a member, whether it still is one or not.
    pub fn has_joined(&self) -> bool {
        self.credentials.is_some() || self.revoked
    }

    /// True if this code was used here.
    pub fn has_used(&self, code: &Code) -> bool {
        self.used_codes.iter().any(|used| used == code.digest().as_bytes())
    }

    /// Notes that a code was used.
    pub(crate) fn used(&mut self, code: &Code) {
        self.used_codes.push(code.digest().as_bytes().to_vec());
        let most = self.used_codes.len().saturating_sub(CODES);
        self.used_codes.drain(..most);
    }
}

/// Reads what an edge keeps in its state directory; `None` where it has not tried to join.
pub fn membership(state_dir: &Path) -> Result<Option<Membership>, StateError> {
    let Some(bytes) = folder::read(state_dir, FILE)? else { return Ok(None) };
    match decode(&bytes) {
        Some(membership) => Ok(Some(membership)),
        None => Err(StateError::Membership(state_dir.join(FILE))),
    }
}

fn decode(bytes: &[u8]) -> Option<Membership> {
    let (digest, payload) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    let is_whole = Digest::from_bytes(digest)? == Digest::of(payload);
    is_whole.then(|| Membership::decode(payload).ok()).flatten()
}

/// Replaces what is kept.
pub(crate) fn keep(state_dir: &Path, membership: &Membership) -> Result<(), StateError> {
    let payload = membership.encode_to_vec();
    let bytes = [&MAGIC[..], Digest::of(&payload).as_bytes(), &payload].concat();
    folder::replace(state_dir, FILE, TEMPORARY, &bytes)
}

/// The edges below a directory that have joined, with their state directories.
pub fn members_below(parent: &Path) -> Vec<(EdgeName, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<_> = folders
        .filter_map(|path| {
            let kept = membership(&path).ok().flatten().filter(Membership::has_joined)?;
            Some((EdgeName::new(&kept.edge).ok()?, path))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn member() -> Membership {
        let credentials = Credentials { key: b"SECRET".to_vec(), lifetime_ms: 7, ..Credentials::default() };
        Membership { edge: "edge-01".to_owned(), credentials: Some(credentials), ..Membership::default() }
    }

    #[test]
    fn what_is_kept_is_read_and_only_its_user_may() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(membership(folder.path()).unwrap(), None);
        keep(folder.path(), &Membership::default()).unwrap();
        keep(folder.path(), &member()).unwrap();
        assert_eq!(membership(folder.path()).unwrap(), Some(member()));
        assert_eq!(std::fs::metadata(folder.path().join(FILE)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path(), &member()).unwrap();
        let path = folder.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let text = membership(folder.path()).unwrap_err().to_string();
        assert!(text.contains("is damaged") && text.contains("--join"), "{text}");
    }

    #[test]
    fn no_key_is_in_debug_output() {
        let text = format!("{:?} {:?}", member(), member().credentials);
        assert!(!text.contains("SECRET") && !text.contains("83, 69"), "{text}");
    }

    #[test]
    fn used_codes_are_remembered_and_only_the_newest() {
        let code = |number: usize| Code::new(&format!("{number:032x}")).unwrap();
        let mut kept = member();
        for number in 0..20 {
            kept.used(&code(number));
        }
        assert!(kept.has_used(&code(19)) && kept.has_used(&code(4)) && !kept.has_used(&code(3)));
    }
}
