//! Whether files and folders of a process's state could be somebody else's doing. I/O, blocking.
//!
//! Keeps: nothing is followed, waited for or believed that another user could have put there.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Bits that let others write.
const WRITABLE: u32 = 0o022;
/// Bits of everybody but the owner.
const OPEN: u32 = 0o077;

/// Another user owns a file or folder.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} belongs to user id {owner}, and this process runs as user id {us}: start it as the owner, or give it to \
     this user with `chown {us} {}`", path.display(), path.display()
)]
pub struct NotOurs {
    /// The file or folder.
    pub path: PathBuf,
    /// Who owns it.
    pub owner: u32,
    /// Who this process runs as.
    pub us: u32,
}

/// Refuses what another user owns.
pub fn check_owner(path: &Path, meta: &Metadata) -> Result<(), NotOurs> {
    let us = rustix::process::geteuid().as_raw();
    let owner = meta.uid();
    if owner == us { Ok(()) } else { Err(NotOurs { path: path.to_owned(), owner, us }) }
}

/// The mode, where others may write.
pub fn writable_by_others(meta: &Metadata) -> Option<u32> {
    (meta.mode() & WRITABLE != 0).then_some(meta.mode() & 0o7777)
}

/// The mode, where others may read or write.
pub fn open_to_others(meta: &Metadata) -> Option<u32> {
    (meta.mode() & OPEN != 0).then_some(meta.mode() & 0o7777)
}

/// Opens a file by these options, through no link, and without waiting for whoever is at the other end of a pipe.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed()).open(path)
}
