//! A token as it is given on the command line: itself, or `@FILE`. I/O: reads the file.
//!
//! Keeps: it is never part of an error, a log or the output of a debugger.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::failure::Failure;
use crate::output::say;

/// No token is longer.
const LONGEST: u64 = 64 << 10;

/// Says that others can read a file with a secret. It is used even so: its owner may have no say in its mode, as with
/// files that a container is given.
pub(crate) fn note_if_open(file: &File, path: &Path) {
    // A pipe has no mode of its own.
    let mode = file.metadata().ok().filter(Metadata::is_file).map_or(0, |meta| meta.mode() & 0o7777);
    if mode & 0o077 != 0 {
        let path = path.display();
        say(format!("note: {path} contains a secret, and its mode {mode:o} lets others read it: chmod 600 {path}"));
    }
}

/// A token, or the file that it is in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// From the command line. The message names no part of it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let file = text.strip_prefix('@');
        if file.unwrap_or(text).is_empty() {
            return Err("expected a token, or @FILE".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The token, from its file where that is named.
    pub(crate) fn read(&self) -> Result<Self, Failure> {
        let token = match self.0.strip_prefix('@') {
            Some(path) => {
                let path = Path::new(path);
                let mut text = String::new();
                let file = File::open(path).map_err(Failure::reading(path))?;
                note_if_open(&file, path);
                file.take(LONGEST).read_to_string(&mut text).map_err(Failure::reading(path))?;
                text.trim().to_owned()
            }
            None => self.0.clone(),
        };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = "the token must contain only letters, digits and punctuation";
            return Err(Failure::Usage(what.to_owned()));
        }
        Ok(Self(token))
    }

    /// The token itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}
