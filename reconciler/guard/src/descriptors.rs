//! How many descriptors this process may have. I/O.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit as it is now; no figure means no limit.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit as far as it can be raised without privileges.
pub fn highest() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the limit as far as it goes without privileges, and says what it is then.
pub fn raise() -> u64 {
    let known = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: known.maximum, maximum: known.maximum };
    if known.current != known.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of descriptors could not be raised");
    }
    limit()
}
