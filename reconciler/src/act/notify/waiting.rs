//! The letters of the store: what waited at a start, and what changes of it. I/O, blocking.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use tracing::warn;

use crate::act::store::{Batch, Store, StoreError};
use crate::decide::notices::{
    GIVEN_UP_PREFIX, GivenUp, LETTER_PREFIX, Letter, StoreChange, TOLD_PREFIX, Told, letter_key,
};

/// What the store keeps of notices.
#[derive(Debug, Default)]
pub(super) struct KeptNotices {
    /// Letters by notifier, oldest first.
    pub(super) letters: BTreeMap<String, Vec<Letter>>,
    /// What was given up, by notifier.
    pub(super) given_up: BTreeMap<String, GivenUp>,
    /// What was reported as wrong.
    pub(super) told: Told,
}

/// Reads all of it. A record that cannot be read is left where it is, and is reported.
pub(super) fn read(store: &Store) -> Result<KeptNotices, StoreError> {
    let told = entries(store, TOLD_PREFIX)?;
    let mut kept = KeptNotices { told: Told::restored(told), letters: letters(store)?, ..KeptNotices::default() };
    kept.given_up = entries(store, GIVEN_UP_PREFIX)?.into_iter().collect();
    Ok(kept)
}

/// The letters by notifier, oldest first.
pub(super) fn letters(store: &Store) -> Result<BTreeMap<String, Vec<Letter>>, StoreError> {
    let mut letters: BTreeMap<String, Vec<Letter>> = BTreeMap::new();
    for (key, letter) in entries::<Letter>(store, LETTER_PREFIX)? {
        let to = key.rsplit_once('/').map_or(key.as_str(), |(to, _)| to);
        letters.entry(to.to_owned()).or_default().push(letter);
    }
    Ok(letters)
}

fn entries<T: DeserializeOwned>(store: &Store, prefix: &str) -> Result<Vec<(String, T)>, StoreError> {
    let read = |(key, stored): (String, crate::act::store::Versioned)| match serde_json::from_slice(&stored.value) {
        Ok(value) => Some((key.strip_prefix(prefix)?.to_owned(), value)),
        Err(error) => {
            warn!(key, %error, "a record of a notice cannot be read");
            None
        }
    };
    Ok(store.list(prefix)?.into_iter().filter_map(read).collect())
}

/// The changes to the letters of a notifier, as writes.
pub(super) fn with_changes(batch: Batch, to: &str, changes: &[StoreChange]) -> Batch {
    changes.iter().fold(batch, |batch, change| match change {
        StoreChange::Delete(id) => batch.delete(letter_key(to, *id)),
        StoreChange::Write(letter) => {
            let value = serde_json::to_vec(letter).expect("letters hold only lists and texts");
            batch.put(letter_key(to, letter.id), value)
        }
    })
}

/// What was given up, as a write.
pub(super) fn with_given_up(batch: Batch, to: &str, given_up: &GivenUp) -> Batch {
    let value = serde_json::to_vec(given_up).expect("it holds only texts and numbers");
    batch.put(format!("{GIVEN_UP_PREFIX}{to}"), value)
}
