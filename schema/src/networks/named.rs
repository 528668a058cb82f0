//! Which list files the rule files of a tree name, before anybody has checked them. Pure.
//!
//! A list file belongs to a tree only because a rule names it, so what reads a tree asks here for the other files of it.
//! Keeps: every list that a check would look for is named; a path that no check accepts is not.

use std::collections::BTreeSet;

use crate::diagnostic::SourceFile;
use crate::findings::Findings;
use crate::text::{self, Node, Syntax, Value};

/// The keys whose values name list files.
const KEYS: [&str; 2] = ["allow_file", "deny_file"];
/// Longer than any path that a file system takes.
const LONGEST: usize = 4096;

/// Adds the list files that a rule file names. A file without these keys costs a search for them.
pub fn named_lists(file: &SourceFile, named: &mut BTreeSet<String>) {
    if Syntax::of_path(&file.path).is_some() && KEYS.iter().any(|key| file.text.contains(key)) {
        // What is wrong with the file is found when it is checked.
        if let Some(node) = text::parse(file, &mut Findings::new()) {
            gather(&node, named);
        }
    }
}

fn gather(node: &Node<'_>, named: &mut BTreeSet<String>) {
    match &node.value {
        Value::Table(entries) => {
            for entry in entries {
                match &entry.node.value {
                    Value::String(path) if KEYS.contains(&&*entry.key) => {
                        if list_path_fault(path).is_none() {
                            named.insert(path.clone().into_owned());
                        }
                    }
                    _ => gather(&entry.node, named),
                }
            }
        }
        Value::Array(nodes) => nodes.iter().for_each(|node| gather(node, named)),
        _ => {}
    }
}

/// What is wrong with the path of a list file, if anything is: it leads from the root of the tree to a file inside it.
pub fn list_path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > LONGEST {
        return Some("it is longer than 4096 bytes");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.chars().any(char::is_control) {
        return Some("it contains a control character");
    }
    if Syntax::of_path(path).is_some() {
        return Some("its extension is that of a rule file");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("it has an empty part"),
        "." | ".." => Some("it has a part `.` or `..`"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, text: &str) -> Vec<String> {
        let mut named = BTreeSet::new();
        named_lists(&SourceFile::new(path, text), &mut named);
        named.into_iter().collect()
    }

    #[test]
    fn lists_are_found_in_every_syntax_and_in_defaults() {
        let toml = "[defaults.access]\nallow_file = \"lists/a.txt\"\n[[rule]]\naccess = { deny_file = \"b\" }\n";
        assert_eq!(named("a.toml", toml), ["b", "lists/a.txt"]);
        assert_eq!(named("a.yaml", "rule:\n  - access:\n      allow_file: lists/a.txt\n"), ["lists/a.txt"]);
        assert_eq!(named("a.json", r#"{"rule": [{"access": {"deny_file": "lists/a.txt"}}]}"#), ["lists/a.txt"]);
        assert_eq!(named("a.txt", toml), [""; 0]);
        assert_eq!(named("a.toml", "allow_file = [broken"), [""; 0]);
    }

    #[test]
    fn a_path_that_leads_out_or_could_lead_anywhere_is_named_by_nobody() {
        for path in
            ["", "/etc/passwd", "../a.txt", "a/../b.txt", "./a.txt", "a//b.txt", "a/", "lists/a.toml", "a\\u0000"]
        {
            let text = format!("[[rule]]\naccess = {{ allow_file = \"{path}\" }}\n");
            assert_eq!(named("a.toml", &text), [""; 0], "{path}");
        }
        assert_eq!(list_path_fault("lists/office.txt"), None);
    }
}
