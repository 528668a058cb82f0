//! Backups of a server's state directory: one file with everything that a new server needs to go on as this one. I/O.
//!
//! `archive` is the form of the file, `save` writes it while the server runs, `restore` makes a state directory
//! of it.
//!
//! Keeps: the records in a backup are those of one moment; a file that is cut, changed or from a later version is never
//! restored, and a state directory is restored whole or not at all.

pub mod archive;
pub mod restore;
pub(super) mod save;

#[cfg(test)]
mod tests;

use super::remote::CLONE_DIR;
use super::store;

/// What a state directory holds that is in no backup, because the server makes it again: the folder of the git clone,
/// the last good state of the edge that `up` runs (its server sends it again), and what a rewrite of a file leaves
/// behind. The database is in the backup as its records.
const DERIVED: [&str; 3] = [CLONE_DIR, "edge", store::FILE];

/// True for an entry of the state directory that a backup leaves out.
fn is_derived(name: &str) -> bool {
    DERIVED.contains(&name)
}
