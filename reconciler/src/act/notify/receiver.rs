//! A notifier with its secrets, which are read for each message, so that a new token needs no restart. I/O, blocking.

use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use thiserror::Error;

use super::address::{AddressProblem, ReceiverAddress};
use crate::act::private_file::{self, PrivateFileError};
use crate::decide::notices::{Notifier, UrlSource};

/// Why a notifier cannot be used.
#[derive(Debug, Error)]
pub enum ReceiverError {
    /// One of its files cannot be read.
    #[error("notifier {name}: `{key}` cannot be read")]
    File {
        /// The notifier.
        name: String,
        /// The key that names the file.
        key: &'static str,
        /// Why.
        source: PrivateFileError,
    },
    /// One of its files is empty, or is not one line of text.
    #[error("notifier {name}: {} contains no {what} on one line", path.display())]
    Content {
        /// The notifier.
        name: String,
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        what: &'static str,
    },
    /// The URL in its file cannot be used.
    #[error("notifier {name}: the URL in {}: {problem}", path.display())]
    UrlFile {
        /// The notifier.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        problem: AddressProblem,
    },
    /// Its URL cannot be used.
    #[error("notifier {name}: `url`: {problem}")]
    Url {
        /// The notifier.
        name: String,
        /// Why.
        problem: AddressProblem,
    },
}

/// A notifier that can be sent to.
pub(super) struct Receiver {
    pub(super) address: ReceiverAddress,
    pub(super) token: Option<String>,
    pub(super) key: Option<hmac::Key>,
}

impl Receiver {
    /// Reads the files of a notifier. Blocks for a moment.
    pub(super) fn open(notifier: &Notifier) -> Result<Self, ReceiverError> {
        let (kind, forge, name) = (notifier.kind, notifier.forge, &notifier.name);
        let address = match &notifier.url {
            UrlSource::Inline(url) => ReceiverAddress::parse(kind, forge, url)
                .map_err(|problem| ReceiverError::Url { name: name.clone(), problem })?,
            UrlSource::InFile(path) => {
                let url = secret(name, "url_file", path, "URL")?;
                let at = |problem| ReceiverError::UrlFile { name: name.clone(), path: path.clone(), problem };
                ReceiverAddress::parse(kind, forge, &url).map_err(at)?
            }
        };
        let token = notifier.token_file.as_ref().map(|path| secret(name, "token_file", path, "token")).transpose()?;
        let key = notifier.secret_file.as_ref().map(|path| secret(name, "secret_file", path, "secret")).transpose()?;
        let key = key.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        Ok(Self { address, token, key })
    }

    /// A text without the secrets of this receiver.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut secrets = self.address.secrets();
        secrets.extend(self.token.clone());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }
}

/// The one line of a private file.
fn secret(name: &str, key: &'static str, path: &Path, what: &'static str) -> Result<String, ReceiverError> {
    let failed = |source| ReceiverError::File { name: name.to_owned(), key, source };
    let bytes = private_file::read_private(path).map_err(failed)?;
    let text = String::from_utf8(bytes).ok().map(|text| text.trim().to_owned());
    let is_line = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
    text.filter(is_line).ok_or_else(|| ReceiverError::Content { name: name.to_owned(), path: path.to_owned(), what })
}
