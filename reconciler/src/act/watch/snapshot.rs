//! What a tree looks like at one moment, and which folders have to be watched to notice the next one. I/O, blocking.
//!
//! Keeps: two equal scenes mean that neither the tree nor the commit moved; and for every name on the way to the
//! tree that can be made to lead elsewhere (a link, the folder itself, a folder that is missing), that name is
//! watched in its parent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::act::source::directory::look;
use crate::act::source::git::git_paths;
use crate::act::source::{Look, Stamp};

/// Links followed on one way; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// The tree and the commit, without any content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeSnapshot {
    look: Option<Look>,
    commit: BTreeMap<PathBuf, Option<Stamp>>,
    pub(super) wanted: Wanted,
}

impl TreeSnapshot {
    pub(super) fn of(dir: &Path) -> Self {
        let look = look(dir).ok();
        let mut wanted = Wanted::default();
        wanted.way(dir);
        for folder in look.iter().flat_map(|look| &look.folders) {
            wanted.0.insert(folder.clone(), Interest::Everything);
        }
        for link in look.iter().flat_map(|look| &look.links) {
            wanted.way(link);
        }
        let commit: BTreeMap<_, _> = git_paths(dir)
            .unwrap_or_default()
            .into_iter()
            .map(|path| {
                let stamp = fs::symlink_metadata(&path).ok().map(|meta| Stamp::of(&meta));
                (path, stamp)
            })
            .collect();
        for path in commit.keys() {
            wanted.way(path);
        }
        Self { look, commit, wanted }
    }
}

/// The folders to watch, and what counts in each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted(BTreeMap<PathBuf, Interest>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Interest {
    /// A folder of the tree.
    Everything,
    /// A folder that we share with others, such as the parent of the tree.
    Names(BTreeSet<OsString>),
}

impl Wanted {
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// True if something that happened to this path may concern the tree.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        if self.0.contains_key(path) {
            return true;
        }
        match path.parent().and_then(|parent| self.0.get(parent)) {
            Some(Interest::Everything) => true,
            Some(Interest::Names(names)) => path.file_name().is_some_and(|name| names.contains(name)),
            None => false,
        }
    }

    fn name(&mut self, folder: &Path, name: &OsStr) {
        let interest = self.0.entry(folder.to_owned()).or_insert_with(|| Interest::Names(BTreeSet::new()));
        if let Interest::Names(names) = interest {
            names.insert(name.to_owned());
        }
    }

    /// Adds what decides where an absolute path leads: every link on the way, the first name that is missing, and
    /// the last one.
    fn way(&mut self, path: &Path) {
        let mut ahead: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = ahead.pop_front() {
            let name = match Path::new(&part).components().next() {
                Some(Component::Normal(name)) => name,
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at = PathBuf::from("/");
                    continue;
                }
                _ => continue,
            };
            let next = at.join(name);
            match fs::symlink_metadata(&next) {
                Ok(meta) if meta.is_symlink() && links < MAX_LINKS => {
                    links += 1;
                    self.name(&at, name);
                    let target = fs::read_link(&next).unwrap_or_default();
                    for part in target.iter().rev() {
                        ahead.push_front(part.to_owned());
                    }
                }
                Ok(_) if !ahead.is_empty() => at = next,
                _ => return self.name(&at, name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn links_the_last_name_and_a_missing_one_are_watched_in_their_parents() {
        let dir = TempDir::new().expect("a folder");
        let top = dir.path().canonicalize().expect("exists");
        fs::create_dir_all(top.join("v1/rules")).expect("folders");
        symlink("v1", top.join("current")).expect("link");
        let mut wanted = Wanted::default();
        wanted.way(&top.join("current/rules"));
        wanted.way(&top.join("v1/missing/deeper"));
        assert_eq!(wanted.folders().collect::<Vec<_>>(), [top.clone(), top.join("v1")]);
        assert!(wanted.concerns(&top.join("current")) && wanted.concerns(&top.join("v1/rules")));
        assert!(wanted.concerns(&top.join("v1/missing")));
        assert!(!wanted.concerns(&top.join("other")) && !wanted.concerns(&top.join("v1/rules/a.toml")));
    }

    #[test]
    fn a_loop_of_links_ends() {
        let dir = TempDir::new().expect("a folder");
        symlink("b", dir.path().join("a")).expect("link");
        symlink("a", dir.path().join("b")).expect("link");
        let mut wanted = Wanted::default();
        wanted.way(&dir.path().join("a/x"));
        assert!(wanted.concerns(&dir.path().canonicalize().expect("exists").join("a")));
    }
}
