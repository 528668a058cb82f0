//! What was used of quotas, on disk. I/O, blocking.
//!
//! Keeps: the file is whole or the former one; one that cannot be understood is moved aside, logged, and counts as
//! nothing used.

use std::fs;
use std::path::Path;

use prost::Message;
use schema::canonical::Digest;

use super::folder;
use super::last_good::StateError;
use crate::decide::periods::PeriodBounds;
use crate::decide::quotas::{QuotaOf, Usage};

/// First bytes of the file; the last two digits are the version of what follows.
const MAGIC: &[u8; 8] = b"PTNQUO01";
const FILE: &str = "quotas";
const TEMPORARY: &str = "quotas.tmp";
const CORRUPT: &str = "quotas.corrupt";
const DIGEST: usize = 32;

/// What is kept.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredQuotas {
    #[prost(message, repeated, tag = "1")]
    quotas: Vec<StoredQuota>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredQuota {
    /// Empty: that of an owner.
    #[prost(string, tag = "1")]
    rule: String,
    #[prost(string, tag = "2")]
    owner: String,
    #[prost(uint64, tag = "3")]
    used: u64,
    #[prost(int64, tag = "4")]
    starts: i64,
    #[prost(int64, optional, tag = "5")]
    ends: Option<i64>,
    /// What the rule was called while the stored rules may still bear that name.
    #[prost(string, tag = "6")]
    former: String,
}

/// One quota: whose it is, what it was called before, and what was used.
pub(crate) type Kept = (QuotaOf, Option<String>, Usage);

impl StoredQuotas {
    pub(crate) fn new(kept: impl Iterator<Item = Kept>) -> Self {
        let stored = |(of, former, usage): Kept| {
            let (rule, owner) = match of {
                QuotaOf::Rule(rule) => (rule, String::new()),
                QuotaOf::Owner(owner) => (String::new(), owner),
            };
            let (PeriodBounds { starts, ends }, former) = (usage.within, former.unwrap_or_default());
            StoredQuota { rule, owner, used: usage.used, starts, ends, former }
        };
        Self { quotas: kept.map(stored).collect() }
    }

    pub(crate) fn into_kept(self) -> impl Iterator<Item = Kept> {
        self.quotas.into_iter().map(|stored| {
            let of = if stored.rule.is_empty() { QuotaOf::Owner(stored.owner) } else { QuotaOf::Rule(stored.rule) };
            let within = PeriodBounds { starts: stored.starts, ends: stored.ends };
            let former = Some(stored.former).filter(|former| !former.is_empty());
            (of, former, Usage { used: stored.used, within })
        })
    }
}

/// What was written last; nothing where there is no file, or a damaged one.
pub(crate) fn read(folder: &Path) -> Result<StoredQuotas, StateError> {
    let Some(bytes) = folder::read(folder, FILE)? else { return Ok(StoredQuotas::default()) };
    if let Some(stored) = decode(&bytes) {
        return Ok(stored);
    }
    let (path, aside) = (folder.join(FILE), folder.join(CORRUPT));
    let moved_to = aside.display().to_string();
    match fs::rename(&path, aside) {
        Ok(()) => tracing::error!(file = %path.display(), moved_to, "the counts of quotas are damaged"),
        Err(error) => tracing::error!(file = %path.display(), %error, "the counts of quotas are damaged"),
    }
    Ok(StoredQuotas::default())
}

/// Replaces what is kept.
pub(crate) fn write(folder: &Path, stored: &StoredQuotas) -> Result<(), StateError> {
    folder::replace(folder, FILE, TEMPORARY, &encode(stored))
}

pub(super) fn encode(stored: &StoredQuotas) -> Vec<u8> {
    let payload = stored.encode_to_vec();
    [&MAGIC[..], Digest::of(&payload).as_bytes(), &payload].concat()
}

pub(super) fn decode(bytes: &[u8]) -> Option<StoredQuotas> {
    let (digest, payload) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    let is_whole = Digest::from_bytes(digest)? == Digest::of(payload);
    is_whole.then(|| StoredQuotas::decode(payload).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_damaged_file_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), StoredQuotas::default());
        let usage = Usage { used: 7, within: PeriodBounds { starts: 3, ends: Some(9) } };
        let kept: Vec<Kept> = vec![
            (QuotaOf::Rule("web".to_owned()), Some("www".to_owned()), usage),
            (QuotaOf::Owner("team".to_owned()), None, Usage { within: PeriodBounds::default(), ..usage }),
        ];
        let stored = StoredQuotas::new(kept.clone().into_iter());
        write(folder.path(), &stored).unwrap();
        assert_eq!(read(folder.path()).unwrap().into_kept().collect::<Vec<_>>(), kept);
        let mut bytes = fs::read(folder.path().join(FILE)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.path().join(FILE), &bytes).unwrap();
        assert_eq!(read(folder.path()).unwrap(), StoredQuotas::default());
        assert_eq!(fs::read(folder.path().join(CORRUPT)).unwrap(), bytes);
    }
}
