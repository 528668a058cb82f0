//! Rules of upstream as a rule tree: what is printed, what is written, and what is never replaced.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{assert_golden, cases, copy, folder, run, run_with_input, tree};

const RULES: &str = r#"[{"client":"edge-01","name":"web","listen_port":80,"target":"a.example:80"}]"#;

/// The input of a case.
fn input(case: &str) -> &'static str {
    if case == "standalone" { "standalone.toml" } else { "rules.json" }
}

#[test]
fn every_case_prints_what_its_file_says() {
    for case in cases("import") {
        let dir = copy(&folder().join("import").join(&case));
        let ran = run(dir.path(), &["import", "--portunus", input(&case)]);
        assert_golden(&ran.session(), &Path::new("import").join(&case).join("expected.txt"));
    }
}

#[test]
fn what_is_written_is_a_tree_that_is_valid_formatted_and_the_same_as_what_is_printed() {
    for case in cases("import") {
        let dir = copy(&folder().join("import").join(&case));
        let ran = run(dir.path(), &["import", "--portunus", input(&case), "--out", "new/rules.d", "-o", "json"]);
        let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON also where something is missing");
        let expected = match case.as_str() {
            "partial" => 5,
            "garbage" | "nothing" => 1,
            _ => 0,
        };
        assert_eq!(ran.code, expected, "{case}: {}", ran.stderr);
        if expected == 1 {
            assert!(!dir.path().join("new").exists(), "{case}: nothing is written");
            continue;
        }
        assert_eq!(answer["complete"], expected == 0, "{case}");
        for file in answer["files"].as_array().expect("files") {
            let path = dir.path().join("new/rules.d").join(file["path"].as_str().expect("a path"));
            assert_eq!(fs::read_to_string(path).expect("written"), file["text"].as_str().expect("a text"), "{case}");
        }
        let valid = run(dir.path(), &["validate", "new/rules.d"]);
        assert_eq!(valid.code, 0, "{case}: {}", valid.stdout);
        let said = format!("{} rule", answer["rules"]);
        // A rule that is not enabled is in the tree, and on no edge.
        assert!(valid.stdout.contains(&said) || case == "api", "{case}: {}", valid.stdout);
        let formatted = run(dir.path(), &["fmt", "new/rules.d", "--check"]);
        assert_eq!(formatted.code, 0, "{case}: {}", formatted.stdout);
    }
}

#[test]
fn a_file_that_is_there_is_replaced_only_where_that_was_said() {
    let dir = tree(&[("rules.json", RULES), ("out/edge-01.toml", "# mine\n")]);
    let line = ["import", "--portunus", "rules.json", "--out", "out"];
    let refused = run(dir.path(), &line);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("nothing was written: out/edge-01.toml exists"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(dir.path().join("out/edge-01.toml")).expect("there"), "# mine\n");
    let allowed = run(dir.path(), &[&line[..], &["--allow-overwrite"]].concat());
    assert_eq!(allowed.code, 0, "{}", allowed.stderr);
    assert!(fs::read_to_string(dir.path().join("out/edge-01.toml")).expect("there").contains("name = \"web\""));
}

#[test]
fn several_files_make_one_tree_and_standard_input_is_one_of_them() {
    let standalone = "[[rule]]\nname = \"ssh\"\nlisten_port = 22\ntarget = \"192.0.2.1:22\"\n";
    let dir = tree(&[("standalone.toml", standalone)]);
    let args = ["import", "--portunus", "-", "standalone.toml", "--edge", "edge-01"];
    let ran = run_with_input(dir.path(), &args, RULES);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("name = \"web\"") && ran.stdout.contains("name = \"ssh\""), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("edges = [\"edge-01\"]").count(), 2, "{}", ran.stdout);
    assert_eq!(run(dir.path(), &["import"]).code, 64);
    assert_eq!(run(dir.path(), &["import", "--portunus", "nowhere.json"]).code, 1);
}

#[test]
fn a_file_in_another_encoding_is_read_or_says_where_it_fails() {
    let dir = tree(&[]);
    let utf16: Vec<u8> = "\u{feff}".encode_utf16().chain(RULES.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(dir.path().join("windows.json"), utf16).expect("written");
    let ran = run(dir.path(), &["import", "--portunus", "windows.json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("name = \"web\""), "{}", ran.stdout);
    fs::write(dir.path().join("latin.toml"), b"[[rule]]\nname = \"\xe4\"\n").expect("written");
    let ran = run(dir.path(), &["import", "--portunus", "latin.toml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("latin.toml:2:9") && ran.stderr.contains("0xe4"), "{}", ran.stderr);
}
