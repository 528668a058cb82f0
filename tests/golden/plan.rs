//! Plans against saved statuses, as text, JSON and Markdown.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Ran, assert_golden, cases, copy, folder, many_rules, run, run_with_input, tree};

const RULE: &str = "[[rule]]\nname = \"web\"\nlisten_port = 8443\ntarget = \"127.0.0.1:443\"\n";

/// Runs `plan` for a case in a copy of its folder: in this repository every tree would have a commit.
fn plan(case: &str, format: &str) -> Ran {
    let dir = copy(&folder().join("plan").join(case));
    let args = fs::read_to_string(dir.path().join("args")).unwrap_or_default();
    let mut line = vec!["plan", "tree", "--live", "live.json", "-o", format];
    line.extend(args.split_whitespace());
    run(dir.path(), &line)
}

fn golden(case: &str, format: &str, name: &str, redact: impl Fn(String) -> String) {
    let text = redact(plan(case, format).session());
    assert_golden(&text, &Path::new("plan").join(case).join(name));
}

#[test]
fn every_case_prints_what_its_file_says() {
    for case in cases("plan") {
        golden(&case, "text", "expected.txt", |text| text);
    }
}

#[test]
fn every_case_has_its_json() {
    for case in cases("plan") {
        golden(&case, "json", "expected.json.txt", |text| {
            let redacted = |line: &str| {
                let key = ["created_at", "expires_at", "plan_id"]
                    .into_iter()
                    .find(|key| line.starts_with(&format!("  \"{key}\"")));
                key.map_or_else(|| line.to_owned(), |key| format!("  \"{key}\": REDACTED,"))
            };
            text.lines().map(|line| redacted(line) + "\n").collect()
        });
    }
}

#[test]
fn every_case_has_its_comment_for_a_pull_request() {
    for case in cases("plan") {
        golden(&case, "markdown", "expected.md", |text| text);
    }
}

#[test]
fn the_same_inputs_give_the_same_plan_and_yaml_says_the_same_as_json() {
    let id = |format: &str| -> String {
        let ran = plan("update", format);
        let line = ran.stdout.lines().find(|line| line.contains("plan_id")).expect("an id");
        line.split("sha256:").nth(1).expect("a digest").chars().take(64).collect()
    };
    assert_eq!(id("json"), id("json"));
    assert_eq!(id("json"), id("yaml"));
}

#[test]
fn only_with_detailed_exitcode_changes_and_drift_are_2() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let code = |args: &[&str], live: &str| {
        let line: Vec<&str> = ["plan", "tree", "--live", "-"].into_iter().chain(args.iter().copied()).collect();
        run_with_input(dir.path(), &line, live).code
    };
    let running = |state: &str| {
        format!(
            r#"{{"edges":[{{"name":"local","connected":true,"rules":[{{"rule":"web","state":"{state}","spec":
            {{"listen_port":8443,"target":"127.0.0.1:443"}}}}]}}]}}"#
        )
    };
    assert_eq!(code(&[], "{}"), 0);
    assert_eq!(code(&["--detailed-exitcode"], "{}"), 2);
    assert_eq!(code(&["--detailed-exitcode"], &running("active")), 0);
    assert_eq!(code(&["--detailed-exitcode"], &running("failed")), 2);
}

#[test]
fn a_status_that_cannot_be_read_is_an_error_with_its_place() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let plan = |live: &str| run_with_input(dir.path(), &["plan", "tree", "--live", "-"], live);
    for (live, words) in [
        ("{\n  \"edges\": [", "line 2 column 12"),
        ("[]", "expected an object"),
        ("", "line 1 column 0"),
        (r#"{"kind": "plan"}"#, "a document of the kind `plan`"),
        (r#"{"edges":[{"name":"e","rules":[{"rule":"r","state":"active","spec":{}}]}]}"#, "edge e, rule r"),
    ] {
        let ran = plan(live);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{live}");
        assert!(ran.stderr.contains(words), "{live}: {}", ran.stderr);
    }
    let missing = run(dir.path(), &["plan", "tree", "--live", "nowhere.json"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("nowhere.json cannot be read"), "{}", missing.stderr);
}

#[test]
fn an_invalid_tree_is_1_before_anything_else() {
    let dir = tree(&[("tree/a.toml", "[[rule]]\n")]);
    let ran = run_with_input(dir.path(), &["plan", "tree", "--live", "-", "-o", "json"], "{}");
    assert_eq!(ran.code, 1);
    let error: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(error["kind"], "error");
    assert_eq!(error["code"], "invalid_tree");
    assert!(error["diagnostics"].as_array().is_some_and(|found| !found.is_empty()));
}

#[test]
fn an_empty_tree_needs_to_be_allowed() {
    let dir = tree(&[("tree/a.toml", "# nothing\n")]);
    let live = r#"{"edges":[{"name":"local","connected":true,"rules":[]}]}"#;
    assert_eq!(run_with_input(dir.path(), &["plan", "tree", "--live", "-"], live).code, 1);
    let allowed = run_with_input(dir.path(), &["plan", "tree", "--live", "-", "--allow-empty"], live);
    assert_eq!(allowed.code, 0, "{}", allowed.stderr);
    assert!(allowed.stderr.contains("warning[empty_tree]"), "{}", allowed.stderr);
}

#[test]
fn a_comment_stays_below_its_limit_and_counts_what_is_left_out() {
    let dir = tree(&[("tree/a.toml", &many_rules(900))]);
    let text = run_with_input(dir.path(), &["plan", "tree", "--live", "-", "-o", "markdown"], "{}").stdout;
    assert!(text.starts_with("<!-- portunus-plan -->\n### Plan: 900 to activate"), "{}", &text[..100]);
    assert!(text.len() < 60_000, "{}", text.len());
    let shown = text.matches("activate <code>rule-").count();
    assert!(shown > 300, "{shown}");
    assert!(text.contains(&format!("**{} changes left out**", 900 - shown)), "{shown}");
}
