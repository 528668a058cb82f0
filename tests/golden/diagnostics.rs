//! What `validate` says about each kind of mistake: the folders of this name, and what no repository can hold.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use schema::codes::TreeCode;
use serde_json::Value;

use crate::support::{assert_golden, cases, folder, run, tree};

/// Cases that are made at run time: their files are no text, too large, or lead out of the tree.
const MADE: [&str; 3] = ["file_too_large", "not_utf8", "unreadable_file"];

#[test]
fn every_case_prints_what_its_file_says() {
    for case in cases("diagnostics") {
        let dir = folder().join("diagnostics").join(&case);
        if !dir.join("tree").is_dir() {
            continue;
        }
        let ran = run(&dir, &["validate", "tree"]);
        assert_golden(&ran.session(), &Path::new("diagnostics").join(&case).join("expected.txt"));
        assert!(ran.stdout.contains(&format!("[{case}]")), "{case} is not about its code:\n{}", ran.stdout);
    }
}

#[test]
fn no_code_lacks_a_case_and_no_case_a_code() {
    // Every key of the language works in this version, so that no tree shows a reserved one.
    let shown = TreeCode::ALL.iter().filter(|code| **code != TreeCode::ReservedKey);
    let codes: BTreeSet<String> = shown.map(|code| code.as_str().to_owned()).collect();
    let mut found: BTreeSet<String> = cases("diagnostics").into_iter().collect();
    found.extend(MADE.map(str::to_owned));
    assert_eq!(found, codes);
}

#[test]
fn json_carries_the_same_findings_with_their_places() {
    for case in cases("diagnostics") {
        let dir = folder().join("diagnostics").join(&case);
        if !dir.join("tree").is_dir() {
            continue;
        }
        let ran = run(&dir, &["validate", "tree", "-o", "json"]);
        let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let findings = answer["diagnostics"].as_array().expect("a list");
        let text = run(&dir, &["validate", "tree"]).stdout;
        assert_eq!(answer["valid"], Value::Bool(ran.code == 0), "{case}");
        assert!(findings.iter().any(|finding| finding["code"] == case.as_str()), "{case}");
        for finding in findings.iter().filter(|finding| !finding["line"].is_null()) {
            let place =
                format!("{}:{}:{}", finding["file"].as_str().expect("a file"), finding["line"], finding["column"]);
            assert!(text.contains(&place), "{case}: {place} in\n{text}");
        }
    }
}

#[test]
fn a_file_over_8_mib_is_refused_unread() {
    let dir = tree(&[("tree/a.toml", "")]);
    let file = fs::File::options().write(true).open(dir.path().join("tree/a.toml")).expect("opened");
    file.set_len(9 << 20).expect("sparse");
    assert_golden(
        &run(dir.path(), &["validate", "tree"]).session(),
        Path::new("diagnostics/file_too_large/expected.txt"),
    );
}

#[test]
fn a_file_that_is_no_utf8_is_shown_at_its_first_wrong_byte() {
    let dir = tree(&[]);
    fs::create_dir(dir.path().join("tree")).expect("a folder");
    fs::write(dir.path().join("tree/a.toml"), b"# caf\xe9\n[[rule]]\nname = \"web\"\n").expect("written");
    assert_golden(&run(dir.path(), &["validate", "tree"]).session(), Path::new("diagnostics/not_utf8/expected.txt"));
}

#[test]
fn links_out_of_the_tree_in_a_loop_and_to_nothing_are_not_followed() {
    let dir = tree(&[("outside.toml", ""), ("tree/a.toml", "")]);
    let link = |target: &str, name: &str| symlink(target, dir.path().join("tree").join(name)).expect("a link");
    link("../outside.toml", "b.toml");
    link("c.toml", "c.toml");
    link("nothing.toml", "d.toml");
    link(".", "e");
    let ran = run(dir.path(), &["validate", "tree"]);
    // The place that the first link leads to is another one in every run.
    let real = fs::canonicalize(dir.path()).expect("it exists").display().to_string();
    let session = ran.session().replace(&real, "OUTSIDE");
    assert_golden(&session, Path::new("diagnostics/unreadable_file/expected.txt"));
}

#[test]
fn a_tree_that_is_not_there_is_an_error_and_no_empty_tree() {
    let dir = tree(&[("file.toml", "")]);
    for path in ["nowhere", "file.toml"] {
        let ran = run(dir.path(), &["validate", path]);
        assert_eq!(ran.code, 1);
        assert!(ran.stdout.contains("error[unreadable_file]: the rule tree"), "{}", ran.stdout);
    }
}
