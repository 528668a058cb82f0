//! Where a tree comes from, and whether that counts as committed. Pure.
//!
//! Keeps: planner, fleet, server and tool ask [`Source::uncommitted`], so a tree that one of them takes for committed
//! is committed for all of them.

use schema::canonical::Digest;
use serde::{Deserialize, Serialize};

use crate::decide::codes::ProblemCode;

/// Characters of an author, a subject and a branch: longer ones are no longer read as a whole.
pub const LONGEST_LABEL: usize = 200;

/// Bytes of a folder: longer than any path that a file system takes.
const LONGEST_FOLDER: usize = 4096;

/// Where a tree comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `git` or `none`.
    pub vcs: String,
    /// Full hash.
    pub commit: Option<String>,
    /// Branch or other ref.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// `Name <mail>`.
    pub author: Option<String>,
    /// The first line of the commit's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// RFC 3339.
    pub committed_at: Option<String>,
    /// True if a rule file differs from the commit.
    pub dirty: bool,
    /// The files that differ, at most a screenful.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirty_paths: Vec<String>,
    /// Of those, the ones that pass through a filter of git, which is never run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered_paths: Vec<String>,
    /// How many commits a shallow clone has; absent in a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shallow: Option<u32>,
    /// The folder of the repository that the tree is, with `/` between its parts; absent at the root of the repository
    /// and outside of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Digest of the tree's files.
    pub digest: Digest,
}

impl Source {
    /// A tree outside version control.
    pub fn unversioned(digest: Digest) -> Self {
        Self {
            vcs: "none".to_owned(),
            commit: None,
            reference: None,
            author: None,
            subject: None,
            committed_at: None,
            dirty: false,
            dirty_paths: Vec::new(),
            filtered_paths: Vec::new(),
            shallow: None,
            folder: None,
            digest,
        }
    }

    /// True if both name the same files of the same commit. Subject and folder tell nothing apart: a record of an earlier
    /// version has none.
    pub fn is_same(&self, other: &Self) -> bool {
        *self == Self { subject: self.subject.clone(), folder: self.folder.clone(), ..other.clone() }
    }

    /// A file of the tree, from the root of the repository; without one, from the root of the tree.
    pub fn path_of(&self, file: &str) -> String {
        self.folder.as_ref().map_or_else(|| file.to_owned(), |folder| format!("{folder}/{file}"))
    }

    /// Cuts what a client says of its commit to lengths that a list can show.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let texts = [&mut self.reference, &mut self.author, &mut self.subject, &mut self.committed_at];
        for text in texts {
            if let Some(long) = text.as_ref().filter(|text| text.chars().count() > LONGEST_LABEL) {
                *text = Some(long.chars().take(LONGEST_LABEL).collect());
            }
        }
        // A folder outside of the repository would lead a patch elsewhere.
        self.folder = self.folder.filter(|folder| is_folder(folder));
        self
    }

    /// Why the tree does not count as committed (CONTRACT §7); `None` where it does.
    pub fn uncommitted(&self) -> Option<Uncommitted> {
        if self.commit.is_none() {
            let in_git = self.vcs == "git";
            Some(Uncommitted::NoCommit { in_git })
        } else if self.dirty {
            Some(Uncommitted::Dirty { paths: self.dirty_paths.clone(), filtered: self.filtered_paths.clone() })
        } else {
            None
        }
    }
}

/// True for a relative path without `.`, `..` and control characters.
fn is_folder(text: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    text.len() <= LONGEST_FOLDER && text.split('/').all(is_part)
}

/// Why a tree does not count as committed. Such a tree can be planned; applying it takes `--allow-dirty`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Uncommitted {
    /// It names no commit.
    NoCommit {
        /// True in a repository that has no commit yet.
        in_git: bool,
    },
    /// It differs from its commit.
    Dirty {
        /// Which files.
        paths: Vec<String>,
        /// Of those, the ones that pass through a filter of git.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filtered: Vec<String>,
    },
}

impl Uncommitted {
    /// The code of a problem document.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCommit { .. } => ProblemCode::NoCommit.as_str(),
            Self::Dirty { .. } => ProblemCode::Dirty.as_str(),
        }
    }

    /// The title of a problem document.
    pub fn title(&self) -> &'static str {
        match self {
            Self::NoCommit { .. } => "The tree has no commit",
            Self::Dirty { .. } => "The tree differs from its commit",
        }
    }

    /// What is wrong, in a sentence without its full stop.
    pub fn message(&self) -> String {
        match self {
            Self::NoCommit { in_git: true } => "the tree has no commit: its git repository is still empty".to_owned(),
            Self::NoCommit { in_git: false } => "the tree has no commit: it is not in a git repository".to_owned(),
            Self::Dirty { paths, .. } if paths.is_empty() => "the tree differs from its commit".to_owned(),
            Self::Dirty { paths, filtered } => {
                let paths = paths.join(", ");
                format!("the tree differs from its commit: {paths}{}", filter_note(filtered))
            }
        }
    }
}

/// What to know about files that a filter of git stands before.
pub fn filter_note(filtered: &[String]) -> String {
    match filtered {
        [] => String::new(),
        paths => format!(
            "; {} passes through a git filter, which is never run here: `serve --git` reads the committed content",
            paths.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_repository_and_a_folder_is_inside_it() {
        let none = Source::unversioned(Digest::default());
        assert_eq!(none.path_of("web.toml"), "web.toml");
        let of = |folder: &str| Source { folder: Some(folder.to_owned()), ..none.clone() }.bounded();
        assert_eq!(of("my rules/live").path_of("a/web.toml"), "my rules/live/a/web.toml");
        for bad in ["", "/etc", "..", "a/../..", "a//b", "a\nb"] {
            assert_eq!(of(bad).folder, None, "{bad:?}");
        }
        assert!(none.is_same(&of("rules")), "an earlier version recorded no folder");
    }

    #[test]
    fn only_a_clean_tree_with_a_commit_counts_as_committed() {
        let none = Source::unversioned(Digest::default());
        let empty = Source { vcs: "git".to_owned(), ..none.clone() };
        let clean = Source { commit: Some("c0ffee".to_owned()), ..empty.clone() };
        let dirty = Source { dirty: true, dirty_paths: vec!["a.toml".to_owned()], ..clean.clone() };
        let code = |source: &Source| source.uncommitted().map(|why| why.code());
        assert_eq!(
            [&none, &empty, &clean, &dirty].map(code),
            [Some("no_commit"), Some("no_commit"), None, Some("dirty")]
        );
        let words = |source: &Source| source.uncommitted().expect("not committed").message();
        assert!(words(&none).ends_with("not in a git repository") && words(&empty).ends_with("still empty"));
        assert!(words(&dirty).ends_with(": a.toml"));
    }
}
