//! The state folder of an edge: made, trusted or refused, and held for one process. I/O, blocking.
//!
//! Keeps: nothing is read from a folder or file that another user owns or may write to; a folder that nothing can be
//! written to is read all the same.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use guard::trust;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::last_good::StateError;

const LOCK: &str = "lock";

/// A folder that is held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Unlocks when closed.
    _lock: File,
}

impl Folder {
    /// Makes, checks and locks the folder.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |doing| move |source| StateError::Io { path: path.to_owned(), doing, source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create it"))?;
        let meta = fs::metadata(path).map_err(failed("read its mode"))?;
        trust(path, &meta)?;
        if trust::open_to_others(&meta).is_some() {
            match fs::set_permissions(path, Permissions::from_mode(0o700)) {
                Err(error) if error.kind() != ErrorKind::ReadOnlyFilesystem => {
                    return Err(failed("close it to others")(error));
                }
                _ => {}
            }
        }
        let lock = lock_file(path).map_err(failed("open its lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(StateError::Locked(path.to_owned())),
            Err(error) => Err(failed("lock it")(error.into())),
        }
    }

    /// The bytes of a file of this edge in it, if there is one.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        read(&self.path, name)
    }
}

/// The bytes of a file of a state folder, if there is one.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |source| StateError::Io { path: folder.to_owned(), doing: "read a file of the state", source };
    let path = folder.join(name);
    let mut file = match trust::open(&path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    trust(&path, &file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Replaces a file of a state folder as a whole. What was half written is removed: on a full disk it would only be in
/// the way.
pub(crate) fn replace(folder: &Path, name: &str, temporary: &str, bytes: &[u8]) -> Result<(), StateError> {
    let written = rewrite(folder, name, temporary, bytes);
    if written.is_err() {
        // The failure itself is what matters; the next attempt removes the leftover.
        _ = fs::remove_file(folder.join(temporary));
    }
    written
}

fn rewrite(folder: &Path, name: &str, temporary: &str, bytes: &[u8]) -> Result<(), StateError> {
    let failed = |doing| move |source| StateError::Io { path: folder.to_owned(), doing, source };
    let temporary = folder.join(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove a leftover")(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("create a file in it"))?;
    io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all()).map_err(failed("write the state"))?;
    fs::rename(&temporary, folder.join(name)).map_err(failed("put the state in place"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync it"))
}

/// Opens a file to lock, and makes it where there is none.
pub(crate) fn lockable(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path)
}

/// The file that is locked; where none can be made, the folder itself.
fn lock_file(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK);
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    match lockable(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            tracing::warn!(folder = %folder.display(), "the state directory is read-only: the state in it is served, \
                and newer states are not stored");
            match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => File::open(folder),
                opened => opened,
            }
        }
        made => made,
    }
}

/// Refuses what another user owns, or could have written.
fn trust(path: &Path, meta: &Metadata) -> Result<(), StateError> {
    trust::check_owner(path, meta)?;
    match trust::writable_by_others(meta) {
        Some(mode) => Err(StateError::Writable { path: path.to_owned(), mode }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_read_is_closed_and_one_that_they_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        drop(Folder::open(folder.path()).unwrap());
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        for mode in [0o770, 0o707, 0o720, 0o777] {
            set_mode(folder.path(), mode);
            let text = Folder::open(folder.path()).unwrap_err().to_string();
            let path = folder.path().display();
            assert!(text.starts_with(&format!("{path} is writable by other users (mode {mode:04o})")), "{text}");
            assert!(text.ends_with(&format!("`chmod go-w {path}`")), "{text}");
            assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, mode, "nothing is changed");
        }
    }

    #[test]
    fn a_file_that_others_may_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        let file = parent.path().join("last-good");
        fs::write(&file, "state").unwrap();
        for (mode, is_trusted) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
            set_mode(&file, mode);
            match folder.read("last-good") {
                Ok(bytes) => assert!(is_trusted && bytes.as_deref() == Some(b"state")),
                Err(error) => {
                    let expected = format!("{} is writable by other users", file.display());
                    assert!(!is_trusted && error.to_string().starts_with(&expected), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_another_user_owns_is_refused() {
        if !rustix::process::geteuid().is_root() {
            #[expect(clippy::print_stderr, reason = "the one way to say why a test did not look")]
            {
                eprintln!("skipped: only root can give a file away");
            }
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        let file = parent.path().join("last-good");
        fs::write(&file, "state").unwrap();
        chown(&file, Some(65534), None).unwrap();
        let text = folder.read("last-good").unwrap_err().to_string();
        assert!(text.starts_with(&format!("{} belongs to user id 65534", file.display())), "{text}");
        drop(folder);
        chown(parent.path(), Some(65534), None).unwrap();
        let text = Folder::open(parent.path()).unwrap_err().to_string();
        let path = parent.path().display();
        assert!(text.starts_with(&format!("{path} belongs to user id 65534")), "{text}");
        assert!(text.ends_with(&format!("`chown 0 {path}`")), "{text}");
    }

    #[test]
    fn no_link_is_followed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", parent.path().join("last-good")).unwrap();
        folder.read("last-good").unwrap_err();
    }
}
