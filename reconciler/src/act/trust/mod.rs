//! Who may take part: the certificate authority, the certificates that it issues, and how they are verified. I/O.
//!
//! - [`authority`]: the keys of the authority, as values: what they sign.
//! - [`keeping`]: where they are kept, and how a second authority takes over from the first.
//! - [`serving`]: the certificates that the server's own ports show, renewed before they expire.
//! - [`verifying`]: the certificates that edges show, and what each is good for.

pub mod authority;
pub mod keeping;
pub mod serving;
pub mod verifying;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::private_file::PrivateFileError;

/// Why the certificate authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file of it could not be created or read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The directory is not what this program left there.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("a certificate cannot be issued")]
    Issue(#[from] rcgen::Error),
    /// TLS refused a key or certificate.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The operator gave the authority, so that the operator replaces it.
    #[error(
        "this server uses the certificate authority of --ca-cert: it neither makes nor ends one, replace the files \
         and restart it"
    )]
    Given,
    /// There is a second authority already.
    #[error("the previous certificate authority is still trusted: end it first with `portunus ca retire`")]
    Overlap,
    /// There is one authority only.
    #[error("there is no previous certificate authority to end: `portunus ca rotate` makes the next one")]
    Single,
}

/// Seconds since 1970 by the clock of this host.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
