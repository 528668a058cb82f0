//! Writing a file so that a reader sees the old or the new content and nothing between. I/O.
//!
//! Keeps: a rewritten file keeps its mode, its owner and its group. One with several names keeps them: it is written in
//! place, for a new file under one of its names would leave the others with the old content.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Writes the file with exactly this mode, over whatever has its name. A link is replaced, not followed.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes)?;
    finish(file, path, mode)
}

/// Rewrites an existing file, which keeps its mode, owner and names; of a link, the file behind it.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let real = fs::canonicalize(path)?;
    let known = fs::metadata(&real)?;
    if known.nlink() > 1 {
        return write_in_place(&real, bytes);
    }
    let mut file = beside(&real)?;
    file.write_all(bytes)?;
    let own = file.as_file().metadata()?;
    let is_same = (own.uid(), own.gid()) == (known.uid(), known.gid());
    if !is_same && fchown(file.as_file(), Some(known.uid()), Some(known.gid())).is_err() {
        // Who may write a file may not always give one away; writing in place changes no owner.
        return write_in_place(&real, bytes);
    }
    finish(file, &real, known.mode() & 0o7777)
}

/// A new file in the same folder, open to nobody else and gone if it is dropped. Its name is one that trees ignore.
pub(crate) fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Builder::new().prefix(&hidden).tempfile_in(folder)
}

/// Puts it in the place of `path`, with this mode, once it is on disk.
pub(crate) fn finish(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    // After the owner: a change of it takes the bits away that give a program its owner's rights.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map(|_: File| ()).map_err(|error| error.error)
}

/// A failure on the way leaves the old content: what was there is written back.
fn write_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::read(path)?;
    let write = |bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    write(bytes).inspect_err(|_| {
        // The first error says more than one about the way back would.
        write(&before).ok();
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

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
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_rewritten_file_keeps_its_other_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for (before, after) in [("long before", "short"), ("short", "long afterwards")] {
            fs::remove_file(&other).ok();
            fs::write(&one, before).expect("written");
            fs::hard_link(&one, &other).expect("a second name");
            rewrite(&one, after.as_bytes()).expect("rewritten");
            assert_eq!(fs::read_to_string(&other).expect("read"), after);
            assert_eq!(fs::metadata(&one).expect("there").nlink(), 2);
        }
    }

    #[test]
    fn a_rewritten_file_keeps_its_owner() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("rules.toml");
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("mode");
        // Only root may give a file away; for others the file keeps the owner that it has.
        chown(&file, Some(12345), Some(23456)).ok();
        let before = fs::metadata(&file).expect("there");
        rewrite(&file, b"new").expect("rewritten");
        let after = fs::metadata(&file).expect("there");
        assert_eq!((after.uid(), after.gid(), after.mode()), (before.uid(), before.gid(), before.mode()));
        assert_eq!(fs::read_to_string(&file).expect("read"), "new");
    }
}
