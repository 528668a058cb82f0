//! What counts as committed: only a clean tree with a commit is applied without a word, and a repository that cannot be
//! read is an error.

use std::fs;

use serde_json::{Value, json};

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, wait_until};

#[test]
fn a_tree_in_no_repository_is_planned_and_applied_only_where_that_is_allowed() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(1));
    fs::remove_dir_all(world.tree().join(".git")).unwrap();
    world.write("web.toml", rule("edge-01", "web", port, echo.port, ""));
    let plan = world.cli(&["plan", &world.tree_arg()]).exits(0);
    assert!(plan.out.contains("the tree has no commit") && plan.out.contains("--allow-dirty"), "{plan}");
    assert_eq!(world.plan()["applyable"], json!(false));

    let refused = world.apply_with(&[]).exits(3);
    assert!(refused.err.contains("no commit") && refused.err.contains("not in a git repository"), "{refused}");
    let text = fs::read_to_string(world.tree().join("web.toml")).unwrap();
    let body = json!({ "files": [{ "path": "web.toml", "text": text }] }).to_string();
    let (status, answer) = world.api("POST", "/v1/apply", &body).unwrap();
    let problem: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &problem["code"]), (409, &json!("no_commit")), "{answer}");
    world.cli(&["plan", &world.tree_arg(), "--out", &world.arg("plan.json")]).exits(0);
    world.cli(&["apply", &world.arg("plan.json")]).exits(3);
    assert_eq!(world.generations("edge-01").1, 0, "nothing was sent");

    world.apply_with(&["--allow-dirty"]).exits(0);
    assert_eq!(answers(port), Some(echo.port));
    assert!(world.cli(&["status"]).exits(0).out.contains("no commit"));
    assert!(world.cli(&["history"]).exits(0).out.contains("no commit"));
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    assert!(history[0]["id"] == 1 && history[0]["commit"].is_null(), "{history}");
}

#[test]
fn a_followed_tree_outside_git_is_held_with_its_reason_until_the_server_allows_it() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(1));
    fs::remove_dir_all(world.tree().join(".git")).unwrap();
    world.write("web.toml", rule("edge-01", "web", port, echo.port, ""));
    let server = world.follow("apply");
    world.edge("edge-01");
    let held = world.wait_status("the tree to be held", |status| status["revision"]["held"] == json!(true));
    let reason = held["revision"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no commit") && reason.contains("--allow-dirty"), "{held}");
    assert_eq!(world.generations("edge-01").1, 0);
    server.stop();
    world.follow_uncommitted();
    world.wait_rule("edge-01", "web", "active");
}

#[test]
fn a_repository_that_cannot_be_read_is_an_error_and_not_no_repository() {
    let world = World::with_edges(&["edge-01"]);
    world.edit("web.toml", rule("edge-01", "web", ports(1), 9, ""));
    fs::remove_dir_all(world.tree().join(".git")).unwrap();
    fs::write(world.tree().join(".git"), "gitdir: /nowhere\n").unwrap();
    for args in [&["plan"][..], &["apply", "--yes", "--allow-dirty"]] {
        let mut all = args.to_vec();
        let tree = world.tree_arg();
        all.insert(1, &tree);
        let refused = world.cli(&all).exits(1);
        let said = format!("{}{}", refused.out, refused.err);
        assert!(said.contains("does not lead to a git repository") && said.contains(".git"), "{refused}");
    }
}

#[test]
fn a_file_that_is_emptied_keeps_its_rules_until_it_is_gone_or_has_a_line() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(2));
    world.write("web.toml", rule("local", "web", port, echo.port, ""));
    world.write("other.toml", rule("local", "other", port + 1, echo.port, ""));
    world.up(&[&world.tree_arg()]);
    world.wait_rule("local", "web", "active");
    world.write("web.toml", "");
    let held = world.wait_status("the emptied file to be held", |status| status["revision"]["held"] == json!(true));
    assert!(held["revision"]["reason"].as_str().unwrap_or_default().contains("empty_file"), "{held}");
    assert_eq!(answers(port), Some(echo.port), "its rule serves");
    assert!(world.cli(&["status"]).exits(0).out.contains("web.toml contained rules in"), "people see which file");
    let warned = world.cli(&["validate", &world.tree_arg()]).exits(0);
    assert!(format!("{}{}", warned.out, warned.err).contains("empty_file"), "{warned}");
    for blank in [" \n\n\t", "\u{feff}", "\n"] {
        world.write("web.toml", blank);
        let shown = || world.status()["revision"]["attempted"]["digest"].clone();
        let before = held["revision"]["attempted"]["digest"].clone();
        wait_until("the blank file to be looked at", || shown() != before);
        assert_eq!(world.status()["revision"]["held"], json!(true), "{blank:?}");
        assert_eq!(answers(port), Some(echo.port), "{blank:?}");
    }
    world.write("web.toml", "# no rule on purpose\n");
    wait_until("the rule to go", || answers(port).is_none());
    assert_eq!(answers(port + 1), Some(echo.port));
}
