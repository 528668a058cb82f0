//! A rule tree in a remote git repository: where it is, how it is asked, and what is kept of it here. I/O.
//!
//! Keeps: the remote is only read; nothing that it sends is executed, and no secret is written down, logged or shown.

mod address;
mod clone;
pub mod follower;
mod transport;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use address::{Address, AddressError, RefName, RefNameError, TreePath, TreePathError};
pub use clone::RemoteError;

/// The folder of the state directory that holds what was fetched.
pub const CLONE_DIR: &str = "git";

/// What is followed, and how.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// The repository.
    pub address: Address,
    /// The branch or tag.
    pub reference: RefName,
    /// The folder of the rule tree inside the repository.
    pub path: TreePath,
    /// Time between two looks.
    pub interval: Duration,
    /// How long one look may take.
    pub timeout: Duration,
    /// A file with the password for https, read anew for each look.
    pub token_file: Option<PathBuf>,
    /// What is run instead of `ssh`, as a shell command; git's `GIT_SSH_COMMAND`.
    pub ssh_command: Option<OsString>,
    /// A file with the secret that webhooks prove to know; without one there is no webhook.
    pub webhook_secret_file: Option<PathBuf>,
}
