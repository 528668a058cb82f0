//! Which files of a folder belong to the tree. Pure.
//!
//! Keeps: the answer depends on names in the listing only, never on where a link leads, so that the files of a
//! Kubernetes ConfigMap (links into a folder whose name starts with a dot) are taken.

use std::collections::BTreeSet;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use schema::check::tree_ignore;
use schema::diagnostic::SourceFile;
use schema::networks::MAX_LIST_BYTES;
use schema::text::Syntax;

use super::{MAX_FILE_BYTES, SETTINGS};

/// The rules of CONTRACT §2 with the `[tree] ignore` globs of one tree.
#[derive(Debug, Clone)]
pub struct FileSelection {
    files: GlobSet,
    /// Folders that need not be entered: the globs themselves, and what stands before a final `/**`.
    folders: GlobSet,
    /// Files that rules name as lists of networks.
    lists: BTreeSet<String>,
}

impl Default for FileSelection {
    fn default() -> Self {
        Self { files: GlobSet::empty(), folders: GlobSet::empty(), lists: BTreeSet::new() }
    }
}

impl FileSelection {
    /// The selection that a `portunus.toml` asks for. What cannot be read there is skipped: checking the tree
    /// reports it, and a tree with an error is never applied.
    pub fn of_settings(settings: &SourceFile) -> Self {
        Self::of_globs(&tree_ignore(&settings.text))
    }

    /// A selection that ignores what these globs match, relative to the root of the tree. `*` stays inside one
    /// folder, `**` does not; a glob that is not valid matches nothing.
    pub fn of_globs(globs: &[impl AsRef<str>]) -> Self {
        let (mut files, mut folders) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for glob in globs {
            let trimmed = glob.as_ref().trim_start_matches("./").trim_end_matches('/');
            let Some(parsed) = compile(trimmed) else { continue };
            files.add(parsed.clone());
            folders.add(parsed);
            if let Some(folder) = trimmed.strip_suffix("/**").and_then(compile) {
                folders.add(folder);
            }
        }
        match (files.build(), folders.build()) {
            (Ok(files), Ok(folders)) => Self { files, folders, lists: BTreeSet::new() },
            _ => Self::default(),
        }
    }

    /// The same selection for a tree whose rules name these list files.
    #[must_use]
    pub(super) fn with_lists(self, lists: BTreeSet<String>) -> Self {
        Self { lists, ..self }
    }

    /// The list files that belong to the tree if they are there.
    pub(super) fn lists(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().map(String::as_str).filter(|label| self.takes(label))
    }

    /// The largest size of the file with this label.
    pub(super) fn most_bytes(&self, label: &str) -> u64 {
        if self.lists.contains(label) { MAX_LIST_BYTES } else { MAX_FILE_BYTES }
    }

    /// True if the file with this label belongs to the tree.
    pub fn takes(&self, label: &str) -> bool {
        if label == SETTINGS {
            return true;
        }
        let mut folders = label.match_indices('/').map(|(at, _)| &label[..at]);
        (Syntax::of_path(label).is_some() || self.lists.contains(label))
            && !label.split('/').any(|name| is_ignored_name(name.as_bytes()))
            && !self.files.is_match(label)
            && !folders.any(|folder| self.folders.is_match(folder))
    }

    /// True if the folder with this label may hold files of the tree.
    pub fn enters(&self, label: &str) -> bool {
        let name = label.rsplit('/').next().unwrap_or(label);
        !is_ignored_name(name.as_bytes()) && !self.folders.is_match(label)
    }
}

fn compile(glob: &str) -> Option<Glob> {
    GlobBuilder::new(glob).literal_separator(true).build().ok()
}

/// Names that editors and tools leave behind; `4913` is what vim writes to try a folder out.
pub(super) fn is_ignored_name(name: &[u8]) -> bool {
    name.starts_with(b".")
        || name.ends_with(b"~")
        || (name.len() > 1 && name.starts_with(b"#") && name.ends_with(b"#"))
        || name.ends_with(b".swp")
        || name == b"4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_leavings_and_dotfiles_are_ignored_at_any_depth() {
        let selection = FileSelection::default();
        for label in [".a.toml", ".git/x.toml", "a/.b/c.toml", "a.toml~", "#a.toml#", "a.toml.swp", "4913", "b~/c.toml"]
        {
            assert!(!selection.takes(label), "{label}");
        }
        for label in [
            "a.toml",
            "b/c.yaml",
            "b/c.yml",
            "d.json",
            "portunus.toml",
            "b/portunus.toml",
            "a#.toml",
            "a.TOML",
            "b.Yml",
            "c.YAML",
            "d.Json",
        ] {
            assert!(selection.takes(label), "{label}");
        }
        for label in ["a.md", "toml", "a.toml.orig"] {
            assert!(!selection.takes(label), "{label}");
        }
    }

    #[test]
    fn the_globs_of_the_settings_match_the_relative_path() {
        let settings = SourceFile::new(SETTINGS, "[tree]\nignore = [\"docs/**\", \"*.json\", \"[\", \"old\"]\n");
        let selection = FileSelection::of_settings(&settings);
        for label in ["docs/a.toml", "docs/b/c.toml", "x.json", "old/a.toml"] {
            assert!(!selection.takes(label), "{label}");
        }
        for label in ["a/docs/b.toml", "b/x.json", "a/old/b.toml", "docs.toml"] {
            assert!(selection.takes(label), "{label}");
        }
        assert!(!selection.enters("docs") && selection.enters("a/docs") && !selection.enters("old"));
    }

    #[test]
    fn settings_without_a_usable_list_ignore_nothing() {
        for text in ["", "[tree]\n", "[tree]\nignore = 1\n", "tree = [", "ignore = [\"*.toml\"]\n"] {
            assert!(FileSelection::of_settings(&SourceFile::new(SETTINGS, text)).takes("a.toml"), "{text}");
        }
    }

    #[test]
    fn no_glob_ignores_the_settings_themselves() {
        assert!(FileSelection::of_globs(&["**", "*.toml"]).takes(SETTINGS));
    }
}
