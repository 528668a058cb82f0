//! Who may take part: the certificate authority, the certificates that it issues, and how they are verified. I/O.
//!
//! - [`authority`]: the keys of the authority, as values: what they sign.
//! - [`keeping`]: where they are kept, and how a second authority takes over from the first.
//! - [`serving`]: the certificates that the server's own ports show, renewed before they expire.
//! - [`registrar`]: the task that owns the register of edges: codes, epochs, revocations.
//! - [`enrolling`]: the calls by which an edge gets its certificate.
//! - [`verifying`]: the certificates that edges show, and what each is good for.

pub mod authority;
pub mod enrolling;
pub mod keeping;
pub mod refusals;
pub mod registrar;
pub mod serving;
pub mod verifying;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::private_file::PrivateFileError;
use super::store::StoreError;

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
    /// The register could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry of the register makes no sense.
    #[error("the record {key} of the state cannot be read: {reason}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk took no change.
    #[error("the server cannot write its state: nothing was changed")]
    NotWritten,
    /// The task that owns the register is gone.
    #[error("the server is stopping")]
    Stopped,
    /// The system has no random numbers.
    #[error("random numbers are not available: {0}")]
    Random(#[from] getrandom::Error),
    /// There is one authority only.
    #[error("there is no previous certificate authority to end: `portunus ca rotate` makes the next one")]
    Single,
}

/// Seconds since 1970 by the clock of this host.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
