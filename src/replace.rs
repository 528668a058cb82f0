//! Writing a file so that a reader sees the old or the new content and nothing between. I/O.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;

/// Names tried for the file beside the target, should others of this process id be left over.
const ATTEMPTS: u32 = 100;

/// Writes the file with exactly this mode, over whatever has its name. A link is replaced, not followed.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| {
        // The first error says more than one about the left-over would.
        fs::remove_file(&temporary).ok();
    })
}

/// Rewrites an existing file, which keeps its mode; of a link, the file behind it.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let real = fs::canonicalize(path)?;
    let mode = fs::metadata(&real)?.permissions().mode() & 0o7777;
    replace(&real, bytes, mode)
}

/// A new file in the same folder, open to nobody else. Its name is one that trees ignore.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..ATTEMPTS {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{attempt}", process::id()));
        let temporary = path.with_file_name(hidden);
        match File::options().write(true).create_new(true).mode(0o600).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_replaced_file_has_its_mode_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (target, link) = (dir.path().join("target"), dir.path().join("plan"));
        fs::write(&target, "old").expect("written");
        symlink(&target, &link).expect("a link");
        replace(&link, b"new", 0o600).expect("replaced");
        assert_eq!(fs::read_to_string(&target).expect("read"), "old");
        assert_eq!(fs::read_to_string(&link).expect("read"), "new");
        assert_eq!(mode_of(&link), 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_rewritten_file_keeps_its_mode_and_its_link() {
        let dir = tempfile::tempdir().expect("a folder");
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").expect("written");
        fs::set_permissions(&target, Permissions::from_mode(0o640)).expect("mode");
        symlink(&target, &link).expect("a link");
        rewrite(&link, b"new").expect("rewritten");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_to_string(&target).expect("read"), "new");
        assert_eq!(mode_of(&target), 0o640);
    }
}
