//! Finds the repository around a tree, and decides whether it may be read. I/O, blocking.
//!
//! Keeps: a repository that is there and cannot be read is an error, never "no repository", so that no guard of a
//! committed tree is off without a word. It is opened isolated: of the user's configuration only the values of
//! [`UserConfig`] count, and none of those is a program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::Repository;
use gix::bstr::{BString, ByteSlice};
use gix::discover::upwards;
use gix::sec::Trust;

use super::GitError;

/// What a checkout of git leaves at the top of a work tree: a folder, or a file that names one.
const DOT_GIT: &str = ".git";

/// What counts of the configuration of the system, the user and the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct UserConfig {
    /// `safe.directory`, all values in order.
    pub(super) safe_directories: Vec<BString>,
    /// `core.autocrlf`
    pub(super) auto_crlf: Option<BString>,
    /// `core.eol`
    pub(super) eol: Option<BString>,
    pub(super) home: Option<PathBuf>,
}

impl UserConfig {
    /// Reads it as git would. What cannot be read is taken for unset, which is the strict side for each of the values.
    pub(super) fn read() -> Self {
        let files = [gix::config::File::from_globals(), gix::config::File::from_environment_overrides()];
        let mut found = Self { home: std::env::home_dir(), ..Self::default() };
        for file in files.into_iter().flatten() {
            found.safe_directories.extend(file.strings("safe.directory").unwrap_or_default());
            found.auto_crlf = file.string("core.autocrlf").or(found.auto_crlf);
            found.eol = file.string("core.eol").or(found.eol);
        }
        found
    }

    /// True if `safe.directory` names one of these folders, by the rules of git-config(1).
    fn is_safe(&self, folders: &[&Path]) -> bool {
        self.safe_directories.iter().fold(false, |is_safe, value| match value.as_slice() {
            b"" => false,
            b"*" => true,
            value => is_safe || folders.iter().any(|folder| self.names(value, folder)),
        })
    }

    fn names(&self, value: &[u8], folder: &Path) -> bool {
        let (value, is_prefix) = match value.strip_suffix(b"/*") {
            Some(prefix) => (prefix, true),
            None => (value, false),
        };
        let named = match (value.strip_prefix(b"~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest.to_path_lossy()),
            _ => value.to_path_lossy().into_owned(),
        };
        let named = named.canonicalize().unwrap_or(named);
        if is_prefix { folder.starts_with(&named) && folder != named } else { folder == named }
    }
}

/// The repository whose work tree holds `root`, a canonical path, or that `root` itself is; `None` where there is none.
pub(super) fn discover(root: &Path, user: &UserConfig) -> Result<Option<Box<Repository>>, GitError> {
    let (top, place) = if gix::discover::is_git(root).is_ok() {
        (root.to_owned(), root.to_owned())
    } else {
        let Some(top) = nearest(root)? else { return Ok(None) };
        let place = top.join(DOT_GIT);
        // Else the search below would go on further up.
        if gix::discover::is_git(&place).is_err() {
            return Err(GitError::Nowhere { place });
        }
        (top, place)
    };
    let repository = match open(&top, upwards::TrustPolicy::Required(Trust::Full)) {
        Err(error) => match error.downcast_any_ref::<upwards::Error>() {
            Some(upwards::Error::NoTrustedGitRepository { candidate, .. }) => {
                let candidate = candidate.canonicalize().unwrap_or_else(|_| candidate.clone());
                if !user.is_safe(&[&top, &place, &candidate]) {
                    return Err(GitError::Foreign { top });
                }
                open(&top, upwards::TrustPolicy::Assume(Trust::Full))
            }
            _ => Err(error),
        },
        opened => opened,
    };
    match repository {
        Ok(repository) => checked(repository, &place).map(|repository| Some(Box::new(repository))),
        Err(error) => Err(GitError::Open { dir: root.to_owned(), source: Box::new(error) }),
    }
}

/// The nearest folder from `root` upwards that git would take for the top of a work tree.
fn nearest(root: &Path) -> Result<Option<PathBuf>, GitError> {
    for folder in root.ancestors() {
        match fs::symlink_metadata(folder.join(DOT_GIT)) {
            Ok(_) => return Ok(Some(folder.to_owned())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(source) => return Err(GitError::Folder { dir: folder.join(DOT_GIT), source }),
        }
    }
    Ok(None)
}

fn open(top: &Path, trust: upwards::TrustPolicy) -> Result<Repository, gix::Error> {
    let isolated = gix::open::Options::isolated;
    let options = gix::sec::trust::Mapping { full: isolated(), reduced: isolated() };
    let search = upwards::Options { trust, ..Default::default() };
    gix::ThreadSafeRepository::discover_opts(top, search, options).map(|repository| repository.to_thread_local())
}

/// Refuses what opens and reads as if it were empty.
fn checked(repository: Repository, place: &Path) -> Result<Repository, GitError> {
    let storage = repository.config_snapshot().string("extensions.refStorage");
    if storage.is_some_and(|storage| storage.as_bytes() != b"files") {
        return Err(GitError::Reftable { place: place.to_owned() });
    }
    Ok(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(values: &[&str]) -> UserConfig {
        UserConfig {
            safe_directories: values.iter().map(|value| BString::from(*value)).collect(),
            home: Some(PathBuf::from("/users/ann")),
            ..UserConfig::default()
        }
    }

    #[test]
    fn safe_directories_are_read_as_git_reads_them() {
        let is_safe = |values: &[&str], folder: &str| user(values).is_safe(&[Path::new(folder)]);
        assert!(
            is_safe(&["/srv/rules"], "/srv/rules")
                && is_safe(&["*"], "/x")
                && is_safe(&["~/rules"], "/users/ann/rules")
        );
        assert!(is_safe(&["/srv/*"], "/srv/rules/deep") && is_safe(&["", "/srv/rules"], "/srv/rules"));
        assert!(!is_safe(&["/srv/rules"], "/srv/rules2") && !is_safe(&["/srv/*"], "/srv"));
        assert!(!is_safe(&["/srv/rules", ""], "/srv/rules"), "an empty value takes back all before it");
        assert!(!is_safe(&[], "/srv/rules"));
    }
}
