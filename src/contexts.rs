//! Contexts: the servers that an operator signed in to, with their pins and tokens. I/O.
//!
//! Keeps: the file has mode 0600 and is not used otherwise; a token is given out for its own origin only.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;

use reconciler::act::private_file::{PrivateFileError, ensure_private_dir, read_private};
use schema::canonical::Digest;
use serde::{Deserialize, Serialize};

use crate::address::ServerUrl;
use crate::failure::Failure;
use crate::replace::replace;

/// The format that this version reads and writes.
const FORMAT: u32 = 1;
const FILE: &str = "contexts.json";

/// A server that an operator signed in to.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    /// Its URL.
    pub(crate) server: String,
    /// The pin of its certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Digest>,
    /// The operator.
    pub(crate) operator: String,
    /// Its token.
    pub(crate) token: String,
}

/// A token has no place in a log.
impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("server", &self.server).finish_non_exhaustive()
    }
}

/// All of them, as they are stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    format: u32,
    /// The one that commands use.
    pub(crate) current: Option<String>,
    /// By `HOST:PORT`.
    #[serde(rename = "contexts")]
    pub(crate) by_place: BTreeMap<String, SignedIn>,
}

impl Default for Contexts {
    fn default() -> Self {
        Self { format: FORMAT, current: None, by_place: BTreeMap::new() }
    }
}

/// The folder of the file; `None` where the user has none.
fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?.join("portunus"))
}

impl Contexts {
    /// Reads the file; without a file there are none.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = folder().map(|folder| folder.join(FILE)) else { return Ok(Self::default()) };
        let bytes = match read_private(&path) {
            Ok(bytes) => bytes,
            Err(PrivateFileError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::Other(format!("the contexts are not used: {error}"))),
        };
        let unreadable = |reason: String| {
            let advice = "sign in again after removing it";
            Failure::Other(format!("the contexts in {} cannot be read: {reason}; {advice}", path.display()))
        };
        // An error of the parser quotes no value of a text.
        let contexts: Self = serde_json::from_slice(&bytes)
            .map_err(|error| unreadable(format!("line {}, column {}", error.line(), error.column())))?;
        if contexts.format > FORMAT {
            return Err(unreadable(format!("its format {} is newer than {FORMAT}", contexts.format)));
        }
        Ok(contexts)
    }

    /// Writes the file as a whole.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let none =
            || Failure::Other("neither HOME nor XDG_CONFIG_HOME is set: there is no place for contexts".to_owned());
        let folder = folder().ok_or_else(none)?;
        ensure_private_dir(&folder)
            .map_err(|error| Failure::Other(format!("the contexts are not written: {error}")))?;
        let path = folder.join(FILE);
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Failure::Other(error.to_string()))?;
        text.push('\n');
        replace(&path, text.as_bytes(), 0o600).map_err(Failure::writing(&path))
    }

    /// The current one.
    pub(crate) fn current(&self) -> Option<&SignedIn> {
        self.by_place.get(self.current.as_ref()?)
    }

    /// That of a server: the same scheme, host and port.
    pub(crate) fn of(&self, server: &ServerUrl) -> Option<&SignedIn> {
        let context = self.by_place.get(&server.place())?;
        context.server.parse::<ServerUrl>().is_ok_and(|known| known == *server).then_some(context)
    }
}
