//! Whether a commit follows the one that was applied last. Pure: who has the repository says what it knows.
//!
//! Keeps: what nobody could look up counts as not following, so that a missing history never lets an old tree pass.

use serde::{Deserialize, Serialize};

/// What somebody with the repository said about a tree's commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ancestry {
    /// The full hash that the tree's commit was compared with.
    pub ancestor: String,
    /// True if the tree's commit is that one or descends from it.
    pub descends: bool,
}

/// The commit that was applied last, and what is known of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Succession<'a> {
    /// The commit in force, `None` before the first apply and outside of git.
    pub applied: Option<&'a str>,
    /// What is known of the tree's commit.
    pub known: Option<&'a Ancestry>,
}

impl Succession<'_> {
    /// True if `commit` is the applied one or is known to descend from it; `None` where one of them has no commit,
    /// so that there is nothing to compare.
    pub fn is_kept_by(&self, commit: Option<&str>) -> Option<bool> {
        let (applied, commit) = (self.applied?, commit?);
        Some(applied == commit || self.answer().is_some_and(|known| known.descends))
    }

    /// The answer, if it is about the commit in force.
    pub fn answer(&self) -> Option<&Ancestry> {
        self.known.filter(|known| Some(known.ancestor.as_str()) == self.applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(ancestor: &str, descends: bool) -> Ancestry {
        Ancestry { ancestor: ancestor.to_owned(), descends }
    }

    #[test]
    fn only_an_answer_about_the_commit_in_force_counts() {
        let kept = |applied, known: Option<&Ancestry>, commit| Succession { applied, known }.is_kept_by(commit);
        assert_eq!(kept(Some("a"), Some(&known("a", true)), Some("b")), Some(true));
        assert_eq!(kept(Some("a"), Some(&known("a", false)), Some("b")), Some(false));
        assert_eq!(kept(Some("a"), Some(&known("z", true)), Some("b")), Some(false));
        assert_eq!(kept(Some("a"), None, Some("b")), Some(false));
        assert_eq!(kept(Some("a"), None, Some("a")), Some(true));
    }

    #[test]
    fn a_tree_without_a_commit_has_nothing_to_follow() {
        assert_eq!(Succession { applied: Some("a"), known: None }.is_kept_by(None), None);
        assert_eq!(Succession::default().is_kept_by(Some("b")), None);
    }
}
