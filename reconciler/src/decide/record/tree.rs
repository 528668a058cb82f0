//! The record of a tree that was applied, whose files are stored beside it. Pure.

use std::sync::Arc;

use schema::canonical::Digest;
use schema::diagnostic::SourceFile;
use schema::findings::Findings;
use schema::networks::{NetworkList, read_list};
use schema::text::Syntax;
use serde::{Deserialize, Serialize};

use super::{InvalidRecord, REVISION_FILE_PREFIX, REVISION_PREFIX, Record, read};
use crate::decide::plan::{FileDocument, Source};

/// A tree that was applied, with its files.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Where it came from.
    pub source: Source,
    /// Its files.
    pub files: Vec<FileDocument>,
}

impl Revision {
    /// What its list files hold.
    pub fn lists(&self) -> impl Iterator<Item = NetworkList> {
        let is_list = |file: &&FileDocument| Syntax::of_path(&file.path).is_none();
        self.files.iter().filter(is_list).filter_map(|file| {
            let file = SourceFile::new(file.path.clone(), file.text.clone());
            read_list(&file, &mut Findings::new())
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StoredRevision {
    source: Source,
    /// The files of a store that an earlier version wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<StoredFile>,
}

/// A file that is stored under its [`file_key`].
#[derive(Serialize, Deserialize)]
struct StoredFile {
    path: Arc<str>,
    bytes: usize,
}

impl Record {
    /// A tree that was applied.
    pub fn revision(source: &Source, files: &Arc<[FileDocument]>) -> Self {
        let part = |file: &FileDocument| StoredFile { path: file.path.clone(), bytes: file.text.len() };
        let parts = files.iter().map(part).collect();
        let stored = StoredRevision { source: source.clone(), files: Vec::new(), parts };
        Self { files: files.clone(), ..Self::json(revision_key(source.digest), &stored) }
    }
}

/// A tree that was applied, from its record; `text_of` reads what is stored under the key of a file.
pub fn revision<E: From<InvalidRecord>>(
    key: &str,
    value: &[u8],
    mut text_of: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
) -> Result<Revision, E> {
    let stored: StoredRevision = read(key, value)?;
    let mut files = stored.files;
    for (number, StoredFile { path, bytes }) in stored.parts.into_iter().enumerate() {
        let key = file_key(key, number);
        // A file without content has no value.
        let text = text_of(&key)?.unwrap_or_default();
        if text.len() != bytes {
            let reason = format!("it has {} of {bytes} bytes", text.len());
            return Err(InvalidRecord { key, reason }.into());
        }
        let text = String::from_utf8(text).map_err(|error| InvalidRecord { key, reason: error.to_string() })?;
        files.push(FileDocument { path, text: text.into() });
    }
    Ok(Revision { source: stored.source, files })
}

/// The key of a tree that was applied.
pub fn revision_key(digest: Digest) -> String {
    format!("{REVISION_PREFIX}{digest}")
}

/// The prefix of the keys of all files of a tree, whose own key this is; `None` for the key of anything else.
pub fn files_of(key: &str) -> Option<String> {
    Some(format!("{REVISION_FILE_PREFIX}{}/", key.strip_prefix(REVISION_PREFIX)?))
}

/// The key of a file of a tree, whose own key this is.
pub fn file_key(key: &str, number: usize) -> String {
    format!("{}{number:06}", files_of(key).unwrap_or_default())
}
