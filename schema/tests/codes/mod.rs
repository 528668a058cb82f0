//! Every code of the tree has a golden case that shows it, with its place.

use std::path::{Path, PathBuf};

use schema::check::{CheckLimits, check_tree};
use schema::codes::TreeCode;
use schema::diagnostic::SourceFile;
use schema::ruleset::TreeFiles;

/// These need files that git or an editor would mend: the tool's own tests make them as they run.
const MADE_AT_RUN_TIME: [TreeCode; 3] = [TreeCode::UnreadableFile, TreeCode::NotUtf8, TreeCode::FileTooLarge];

/// Every key of the language works in this version.
const OF_NO_KEY: TreeCode = TreeCode::ReservedKey;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/diagnostics")
}

fn read(root: &Path, below: &Path, files: &mut Vec<SourceFile>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(below).expect("a case has a tree").map(|entry| entry.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read(root, &path, files);
        } else {
            let label = path.strip_prefix(root).expect("below the root").to_str().expect("a plain name").to_owned();
            files.push(SourceFile::new(label, std::fs::read_to_string(&path).expect("UTF-8")));
        }
    }
}

#[test]
fn every_code_has_a_case_that_shows_it_with_its_place() {
    for code in TreeCode::ALL.iter().filter(|code| !MADE_AT_RUN_TIME.contains(code) && **code != OF_NO_KEY) {
        let root = cases().join(code.as_str()).join("tree");
        let mut tree = TreeFiles::default();
        read(&root, &root, &mut tree.files);
        let checked = check_tree(&tree, &CheckLimits::default());
        assert!(checked.ruleset.is_none(), "{code}: the case is meant to be refused");
        let found: Vec<_> = checked.diagnostics.iter().filter(|one| one.code == *code).collect();
        assert!(!found.is_empty(), "{code}: not found, but {:?}", checked.diagnostics);
        for one in &found {
            let is_whole = matches!(code, TreeCode::EmptyTree | TreeCode::EmptyFile);
            assert_eq!(one.position().is_none(), is_whole, "{code}");
        }
        let two_places = [
            TreeCode::ConflictingKeys,
            TreeCode::DuplicateRule,
            TreeCode::DuplicateEdge,
            TreeCode::DuplicateOwner,
            TreeCode::DuplicateTarget,
            TreeCode::PortClash,
        ];
        if two_places.contains(code) {
            assert!(found.iter().all(|one| !one.related.is_empty()), "{code}: a clash names both places");
        }
    }
}

#[test]
fn no_case_stands_for_a_code_that_does_not_exist() {
    for entry in std::fs::read_dir(cases()).expect("the cases are in the repository") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if path.is_dir() && path.join("tree").is_dir() {
            let code = name.split('-').next().unwrap_or(name);
            assert!(TreeCode::parse(code).is_some(), "{name}");
        }
    }
}
