//! Files that only this user may read: tokens, keys, the state directory. I/O, blocking.
//!
//! Keeps: a secret is created exclusively with mode 0600 and through no link, and is never read from a file that
//! somebody else could have read or written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use guard::trust::{self, NotOurs};
use rustix::fs::OFlags;
use rustix::io::Errno;
use thiserror::Error;

/// No token, key or certificate is larger.
const MAX_SECRET_BYTES: u64 = 1 << 20;

/// Why a private file or folder was not created or not trusted.
#[derive(Debug, Error)]
pub enum PrivateFileError {
    /// The system refused.
    #[error("{}: {verb} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Something is there already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is a symbolic link.
    #[error("{} is a symbolic link", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// Not the expected kind of thing.
    #[error("{} is not a {expected}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// `regular file` or `directory`.
        expected: &'static str,
    },
    /// Another user owns it.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// Others may read or write it.
    #[error(
        "{} is accessible to other users (mode {mode:04o}): check its content, then restrict it with `chmod go-rwx {}`",
        path.display(), path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No secret has this size.
    #[error("{} is larger than 1 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

fn io_error(path: &Path, verb: &'static str) -> impl Fn(io::Error) -> PrivateFileError {
    move |source| match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::EXIST) => PrivateFileError::Exists { path: path.to_owned() },
        Some(Errno::LOOP) => PrivateFileError::Link { path: path.to_owned() },
        _ => PrivateFileError::Io { path: path.to_owned(), verb, source },
    }
}

/// Creates a file that did not exist, with mode 0600, and returns once it is on disk. After an error there is
/// no file.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(io_error(path, "creating"))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_folder_of(path));
    written.map_err(|source| {
        // The file is ours and incomplete; if it cannot be removed either, the first error says more.
        fs::remove_file(path).ok();
        io_error(path, "writing")(source)
    })
}

/// Reads a secret, if nobody else could have read or written it.
pub fn read_private(path: &Path) -> Result<Vec<u8>, PrivateFileError> {
    let file = open_private(path, OpenOptions::new().read(true))?;
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(io_error(path, "reading"))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(PrivateFileError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Opens a file by the given options, if it is a regular file of ours that is closed to everybody else.
pub(super) fn open_private(path: &Path, options: &mut OpenOptions) -> Result<File, PrivateFileError> {
    let file = trust::open(path, options).map_err(io_error(path, "opening"))?;
    let meta = file.metadata().map_err(io_error(path, "looking at it"))?;
    if !meta.is_file() {
        return Err(PrivateFileError::WrongKind { path: path.to_owned(), expected: "regular file" });
    }
    trust::check_owner(path, &meta)?;
    match trust::open_to_others(&meta) {
        Some(mode) => Err(PrivateFileError::TooOpen { path: path.to_owned(), mode }),
        None => Ok(file),
    }
}

/// Makes sure that a directory exists which only we may enter. One of ours that others may read is tightened to
/// mode 0700; one that others may write to is refused, because they may have left something in it.
pub fn ensure_private_dir(path: &Path) -> Result<(), PrivateFileError> {
    match DirBuilder::new().recursive(false).mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io_error(parent, "creating"))?;
            }
            DirBuilder::new().mode(0o700).create(path).map_err(io_error(path, "creating"))?;
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(path, "creating")(error)),
        _ => {}
    }
    let meta = fs::metadata(path).map_err(io_error(path, "looking at it"))?;
    if !meta.is_dir() {
        return Err(PrivateFileError::WrongKind { path: path.to_owned(), expected: "directory" });
    }
    trust::check_owner(path, &meta)?;
    if let Some(mode) = trust::writable_by_others(&meta) {
        return Err(PrivateFileError::TooOpen { path: path.to_owned(), mode });
    }
    if meta.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io_error(path, "setting mode 0700"))?;
    }
    Ok(())
}

/// A fresh secret: 32 random bytes from the system as 64 hexadecimal digits.
pub fn random_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(HEXLOWER.encode(&bytes))
}

/// A new name is durable only once its folder is on disk as well.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").mode() & 0o777
    }

    #[test]
    fn a_secret_is_created_once_with_mode_0600_and_read_back() {
        let dir = TempDir::new().expect("a folder");
        let path = dir.path().join("operator.token");
        create_private(&path, b"secret").expect("created");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(read_private(&path).expect("read"), b"secret");
        assert!(matches!(create_private(&path, b"other"), Err(PrivateFileError::Exists { .. })));
        assert_eq!(read_private(&path).expect("read"), b"secret");
    }

    #[test]
    fn no_link_is_followed_to_create_or_to_read() {
        let dir = TempDir::new().expect("a folder");
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        symlink(&target, &link).expect("link");
        assert!(matches!(create_private(&link, b"x"), Err(PrivateFileError::Exists { .. })));
        assert!(!target.exists());
        create_private(&target, b"x").expect("created");
        assert!(matches!(read_private(&link), Err(PrivateFileError::Link { .. })));
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_its_mode() {
        let dir = TempDir::new().expect("a folder");
        let path = dir.path().join("token");
        create_private(&path, b"x").expect("created");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
            let error = read_private(&path).expect_err("too open");
            assert!(matches!(error, PrivateFileError::TooOpen { mode: found, .. } if found == mode), "{error}");
        }
    }

    #[test]
    fn a_pipe_a_folder_and_a_huge_file_are_no_secrets() {
        let dir = TempDir::new().expect("a folder");
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        assert!(matches!(read_private(&pipe), Err(PrivateFileError::WrongKind { .. })));
        assert!(matches!(read_private(dir.path()), Err(PrivateFileError::WrongKind { .. })));
        let huge = dir.path().join("huge");
        create_private(&huge, b"").expect("created");
        File::options().write(true).open(&huge).expect("open").set_len(2 << 20).expect("sparse");
        assert!(matches!(read_private(&huge), Err(PrivateFileError::TooLarge { .. })));
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
        let dir = TempDir::new().expect("a folder");
        let path = dir.path().join("token");
        create_private(&path, b"x").expect("created");
        chown(&path, Some(65534), None).expect("given away");
        let error = read_private(&path).expect_err("given away");
        assert!(matches!(error, PrivateFileError::NotOurs(NotOurs { owner: 65534, us: 0, .. })), "{error}");
        assert!(error.to_string().ends_with(&format!("`chown 0 {}`", path.display())), "{error}");
    }

    #[test]
    fn a_state_directory_is_made_or_tightened_and_a_shared_one_is_refused() {
        let dir = TempDir::new().expect("a folder");
        let state = dir.path().join("a/b/state");
        ensure_private_dir(&state).expect("created");
        assert_eq!(mode_of(&state), 0o700);
        fs::set_permissions(&state, Permissions::from_mode(0o755)).expect("mode");
        ensure_private_dir(&state).expect("tightened");
        assert_eq!(mode_of(&state), 0o700);
        fs::set_permissions(&state, Permissions::from_mode(0o777)).expect("mode");
        assert!(matches!(ensure_private_dir(&state), Err(PrivateFileError::TooOpen { .. })));
        assert_eq!(mode_of(&state), 0o777);
        let file = dir.path().join("file");
        fs::write(&file, "").expect("a file");
        assert!(matches!(ensure_private_dir(&file), Err(PrivateFileError::WrongKind { .. })));
    }

    #[test]
    fn tokens_are_64_digits_and_differ() {
        let (a, b) = (random_token().expect("random"), random_token().expect("random"));
        assert!(a.len() == 64 && a.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(a, b);
    }
}
