//! A tree that came in a request body. Pure.
//!
//! Keeps: a label is a relative path without `.` or `..`, never used to open a file, and names one file only.

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::codes::TreeCode;
use schema::diagnostic::{Diagnostic, SourceFile};
use schema::findings::Findings;
use thiserror::Error;

use super::{BOM, FileSelection, SETTINGS, TreeFile, TreeFiles, lists_of};

/// Longer than any path that a file system takes.
const MAX_LABEL_BYTES: usize = 4096;

/// Why an upload is not a tree. The text names the label.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UploadError {
    /// The label is not a plain relative path.
    #[error("{label:?} is not a valid path inside a tree: {reason}")]
    Label {
        /// As it came.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two files with one label.
    #[error("{label:?} is given twice")]
    Duplicate {
        /// The label.
        label: String,
    },
}

/// Takes labels and texts as a tree, by the same selection as a directory.
pub fn from_upload(files: Vec<(Arc<str>, Arc<str>)>) -> Result<TreeFiles, UploadError> {
    let mut by_label = BTreeMap::new();
    for (label, text) in files {
        if let Some(reason) = label_fault(&label) {
            return Err(UploadError::Label { label: label.to_string(), reason });
        }
        if by_label.contains_key(&label) {
            return Err(UploadError::Duplicate { label: label.to_string() });
        }
        by_label.insert(label, text);
    }
    let mut tree = TreeFiles {
        root: None,
        files: Vec::with_capacity(by_label.len()),
        diagnostics: Vec::new(),
        selection: by_label
            .get(SETTINGS)
            .map(|text| FileSelection::of_settings(&SourceFile::new(SETTINGS, without_bom(text))))
            .unwrap_or_default(),
        moved: false,
    };
    let mut found = Findings::new();
    let (rules, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        by_label.into_iter().partition(|(label, _)| tree.selection.takes(label));
    take(&mut tree, rules, &mut found);
    tree.selection = tree.selection.with_lists(lists_of(&tree.files));
    take(&mut tree, others, &mut found);
    tree.files.sort_by(|one, other| one.source.path.cmp(&other.source.path));
    tree.diagnostics = found.into_sorted();
    Ok(tree)
}

/// Takes those files that belong to the tree.
fn take(tree: &mut TreeFiles, files: BTreeMap<Arc<str>, Arc<str>>, found: &mut Findings) {
    for (label, text) in files.into_iter().filter(|(label, _)| tree.selection.takes(label)) {
        let (bytes, most) = (text.len() as u64, tree.selection.most_bytes(&label));
        if bytes > most {
            found.push(too_large(&label, bytes, most));
            continue;
        }
        let plain = without_bom(&text);
        let bom = plain.len() < text.len();
        // What the request brought is shared, and only a text that changes is copied.
        let text = if bom { plain.into() } else { text };
        tree.files.push(TreeFile { bom, source: SourceFile::new(label, text) });
    }
}

pub(super) fn without_bom(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

pub(super) fn too_large(label: &str, bytes: u64, most: u64) -> Diagnostic {
    let message = format!("the file has {bytes} bytes; at most {most} ({} MiB) are allowed", most >> 20);
    Diagnostic::without_place(TreeCode::FileTooLarge, label, message)
}

fn label_fault(label: &str) -> Option<&'static str> {
    if label.is_empty() {
        return Some("it is empty");
    }
    if label.len() > MAX_LABEL_BYTES {
        return Some("it is longer than 4096 bytes");
    }
    if label.starts_with('/') {
        return Some("it is absolute");
    }
    if label.chars().any(char::is_control) {
        return Some("it contains a control character");
    }
    label.split('/').find_map(|part| match part {
        "" => Some("it has an empty part"),
        "." | ".." => Some("it has a part `.` or `..`"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(files: &[(&str, &str)]) -> Result<TreeFiles, UploadError> {
        from_upload(files.iter().map(|(label, text)| ((*label).into(), (*text).into())).collect())
    }

    #[test]
    fn an_upload_is_sorted_selected_and_freed_of_marks() {
        let tree = upload(&[
            ("b.toml", "\u{feff}b = 1"),
            ("a/z.yaml", "a: 1"),
            (".hidden.toml", ""),
            ("docs/x.toml", ""),
            ("portunus.toml", "\u{feff}[tree]\nignore = [\"docs/**\"]\n"),
        ])
        .expect("valid labels");
        let labels: Vec<_> = tree.files.iter().map(|file| (&*file.source.path, file.bom)).collect();
        assert_eq!(labels, [("a/z.yaml", false), ("b.toml", true), ("portunus.toml", true)]);
        assert_eq!(&*tree.files[1].source.text, "b = 1");
        assert!(tree.settings().is_some());
        assert_eq!(tree.rule_files().count(), 2);
    }

    #[test]
    fn a_list_that_a_rule_names_belongs_to_the_upload_and_other_texts_do_not() {
        let rules = "[[rule]]\nname = \"a\"\naccess = { allow_file = \"lists/a.txt\", deny_file = \".b.txt\" }\n";
        let files = [("web.toml", rules), ("lists/a.txt", "10.0.0.0/8"), ("lists/c.txt", "x"), (".b.txt", "x")];
        let tree = upload(&files).expect("valid labels");
        let labels: Vec<_> = tree.files.iter().map(|file| &*file.source.path).collect();
        assert_eq!(labels, ["lists/a.txt", "web.toml"]);
        assert_eq!(tree.rule_files().count(), 1);
        let long = "# a long list\n".repeat(700_000);
        let tree = upload(&[("web.toml", rules), ("lists/a.txt", &long)]).expect("valid labels");
        assert_eq!((tree.files.len(), tree.diagnostics.len()), (2, 0), "9 MiB of a list");
        let too_long = long.repeat(4);
        let tree = upload(&[("web.toml", rules), ("lists/a.txt", &too_long)]).expect("valid labels");
        assert_eq!((tree.files.len(), tree.diagnostics[0].code), (1, TreeCode::FileTooLarge));
    }

    #[test]
    fn a_label_that_could_lead_anywhere_is_refused_by_name() {
        for label in ["", "/etc/x.toml", "../x.toml", "a/../x.toml", "./x.toml", "a//x.toml", "a/", "a\n.toml"] {
            let error = upload(&[(label, "")]).expect_err(label);
            assert!(matches!(&error, UploadError::Label { label: named, .. } if named == label), "{error}");
        }
    }

    #[test]
    fn one_label_twice_is_refused() {
        let error = upload(&[("a.toml", "a = 1"), ("a.toml", "a = 2")]).expect_err("a duplicate");
        assert_eq!(error, UploadError::Duplicate { label: "a.toml".into() });
    }

    #[test]
    fn a_file_over_8_mib_is_a_finding_about_that_file() {
        let tree = upload(&[("a.toml", &"#".repeat(9 << 20)), ("b.toml", "")]).expect("valid labels");
        assert_eq!(tree.diagnostics[0].code, TreeCode::FileTooLarge);
        assert_eq!(&*tree.diagnostics[0].path, "a.toml");
        assert_eq!(tree.files.len(), 1);
    }
}
