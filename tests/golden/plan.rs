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
    // What applying does nothing about is shown and changes no exit code.
    let away = running("active").replace("\"connected\":true", "\"connected\":false");
    assert_eq!(code(&["--detailed-exitcode"], &away), 0);
}

#[test]
fn a_status_that_cannot_be_read_is_an_error_with_its_place() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let plan = |live: &str| run_with_input(dir.path(), &["plan", "tree", "--live", "-"], live);
    for (live, words) in [
        ("{\n  \"edges\": [", "line 2 column 12"),
        ("[]", "expected an object"),
        ("", "line 1 column 0"),
        (r#"{"kind": "plan"}"#, "a document of kind `plan`"),
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

/// Each opened element is closed, in order; nothing of a row, an entity or a fence is cut off.
fn assert_whole(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.strip_prefix("<!-- portunus-plan -->\n").expect("the marker is the first line");
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, behind) = after.split_once('>').expect("a tag ends");
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "before {behind:.80}"),
            None if tag == "br" => {}
            None => open.push(tag),
        }
        rest = behind;
    }
    assert!(open.is_empty(), "left open: {open:?}");
    for row in text.lines().filter(|line| line.starts_with("  |")) {
        assert!(row.ends_with('|') && row.matches('|').count() == 4, "{row}");
    }
    for entity in text.split("&#").skip(1) {
        assert!(entity.split_once(';').is_some_and(|(number, _)| number.parse::<u32>().is_ok()), "&#{entity:.20}");
    }
    assert!(text.ends_with('\n') && !text.contains("```"));
}

#[test]
fn a_comment_stays_below_its_limit_and_counts_what_is_left_out() {
    let dir = tree(&[("tree/a.toml", &many_rules(900))]);
    let text = run_with_input(dir.path(), &["plan", "tree", "--live", "-", "-o", "markdown"], "{}").stdout;
    assert!(text.starts_with("<!-- portunus-plan -->\n### Plan: 900 to activate"), "{}", &text[..100]);
    assert!(text.len() < 60_000, "{}", text.len());
    let shown = text.matches("activate <code>rule-").count();
    assert!(shown > 300, "{shown}");
    assert!(
        text.contains(&format!("**{0} changes left out** for length: {0} activate on 1 edge.", 900 - shown)),
        "{shown}"
    );
    assert_whole(&text);
}

/// 5,000 changes on 100 edges: 4,000 updates of long texts in letters of two to four bytes, 900 new rules and, last by
/// name, 100 removals; and drift on top.
#[test]
fn a_plan_of_thousands_is_cut_between_changes_and_shows_removals_first() {
    let note = "ü|`<b>é日本語🦀&_*[x](y)~$\\n".repeat(20);
    let (mut tree_text, mut edges) = (String::new(), Vec::new());
    for edge in 0..100_u32 {
        let mut rules = Vec::new();
        for number in 0..50_u32 {
            let (port, name) = (10_000 + number, if number < 49 { format!("r{number}") } else { "z".to_owned() });
            let running = |more: Value| {
                let mut spec = serde_json::json!({ "listen_port": port, "target": "127.0.0.1:1" });
                spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
                serde_json::json!({ "rule": name, "state": "active", "spec": spec })
            };
            match number {
                0..40 => rules.push(running(serde_json::json!({ "description": "before" }))),
                49 => rules.push(running(serde_json::json!({}))),
                _ => {}
            }
            if number < 49 {
                let description = if number < 40 { format!("description = \"{note}\"\n") } else { String::new() };
                let rule = format!("[[rule]]\nname = \"{name}\"\nedges = [\"e{edge}\"]\nlisten_port = {port}\n");
                tree_text += &(rule + "target = \"127.0.0.1:1\"\n" + &description);
            }
        }
        edges.push(serde_json::json!({ "name": format!("e{edge}"), "connected": edge % 2 == 0, "rules": rules }));
    }
    let live = serde_json::json!({ "edges": edges }).to_string();
    let dir = tree(&[("tree/a.toml", &tree_text), ("live.json", &live)]);
    let ran = run(dir.path(), &["plan", "tree", "--live", "live.json", "-o", "markdown", "--allow-removals", "100"]);
    let text = ran.stdout;
    assert!(text.len() < 60_000, "{}", text.len());
    assert!(text.len() > 50_000, "the room is used: {}", text.len());
    assert_whole(&text);
    assert_eq!(text.matches("</code> remove <code>z").count(), 100, "removals are not what is left out");
    let updates = text.matches("</code> update <code>").count();
    let left_out = format!("**{} changes left out**", 4900 - updates);
    let kinds = format!("{} update, {} activate", 4000 - updates, 900);
    let line = text.lines().find(|line| line.contains("left out** for length")).expect("the line");
    assert!(line.contains(&left_out), "{line}");
    assert!(kinds.split(", ").all(|kind| line.contains(kind)) && line.contains("`portunus plan` shows all"), "{line}");
    let again = run(dir.path(), &["plan", "tree", "--live", "live.json", "-o", "markdown", "--allow-removals", "100"]);
    assert_eq!(again.stdout, text, "the same inputs give the same bytes");
}

/// 2,000 rules that their edges cannot do, 2,000 that failed, and as many lines of what stands in the way and of drift.
#[test]
fn a_plan_of_blockers_and_drift_alone_is_cut_as_well() {
    let (mut tree_text, mut edges) = (String::new(), Vec::new());
    for edge in 0..1000_u32 {
        let failed = |number: u32| {
            let spec = serde_json::json!({ "listen_port": 10_000 + number, "target": "127.0.0.1:1" });
            let message = "<port> ü|`already` *bound*".repeat(5);
            serde_json::json!({ "rule": format!("f{number}"), "state": "failed", "code": "port_in_use",
                "message": message, "spec": spec })
        };
        edges.push(serde_json::json!({ "name": format!("e{edge}"), "connected": edge % 3 == 0, "generation": 1,
            "desired_generation": 2, "capabilities": ["tcp"], "rules": [failed(0), failed(1)] }));
        for number in 0..2 {
            for (name, protocol, port) in [("f", "tcp", 10_000), ("u", "udp", 20_000)] {
                let rule =
                    format!("[[rule]]\nname = \"{name}{number}\"\nedges = [\"e{edge}\"]\nprotocol = \"{protocol}\"\n");
                tree_text += &(rule + &format!("listen_port = {}\ntarget = \"127.0.0.1:1\"\n", port + number));
            }
        }
    }
    let live = serde_json::json!({ "edges": edges }).to_string();
    let dir = tree(&[("tree/a.toml", &tree_text), ("live.json", &live)]);
    let ran = run(dir.path(), &["plan", "tree", "--live", "live.json", "-o", "markdown"]);
    let text = ran.stdout;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(text.len() < 60_000, "{}", text.len());
    assert_whole(&text);
    assert!(text.contains("\n- and 1980 more\n"), "what stands in the way is counted");
    let shown = text.matches("</code> reject <code>u").count();
    assert!(shown > 200, "{shown}");
    assert!(text.contains(&format!(
        "**{} changes left out** for length: {} reject, 2000 retry",
        4000 - shown,
        2000 - shown
    )));
    assert!(text.contains("<summary>Drift: "), "drift is counted");
}

#[test]
fn a_saved_status_may_come_from_powershell() {
    let dir = copy(&folder().join("plan/update"));
    let live = fs::read_to_string(dir.path().join("live.json")).expect("a status");
    let expected = run(dir.path(), &["plan", "tree", "--live", "live.json"]);
    let marked = format!("\u{feff}{live}");
    let utf16 = |bytes: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for bytes in [marked.clone().into_bytes(), utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
        fs::write(dir.path().join("live.json"), bytes).expect("written");
        let ran = run(dir.path(), &["plan", "tree", "--live", "live.json"]);
        assert_eq!((ran.code, &ran.stdout), (expected.code, &expected.stdout), "{}", ran.stderr);
    }
}
