//! Proposals over the real API: what they answer, whom they refuse, and that git takes their patches.

use std::fs;
use std::path::Path;
use std::process::Command;

use reconciler::act::checked_tree::read_and_check;
use schema::check::CheckLimits;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{RULES, Running};

const TWO: &str = "# The shop.\n[[rule]]\nname = \"web\"\nowner = \"team\"\nlisten_port = 18080\ntarget = \"127.0.0.1:80\" # main\n\n\
                   [[rule]]\nname = \"db\"\nowner = \"other\"\nlisten_port = 19090\ntarget = \"127.0.0.1:81\"\n";

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("HOME", "/nonexistent")
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CEILING_DIRECTORIES", "/")])
        .envs([("GIT_AUTHOR_NAME", "Ann"), ("GIT_AUTHOR_EMAIL", "ann@example.org")])
        .envs([("GIT_COMMITTER_NAME", "Ann"), ("GIT_COMMITTER_EMAIL", "ann@example.org")])
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Applies the tree in a folder as the command line does.
async fn apply(server: &Running, dir: &Path) {
    let tree = read_and_check(dir, &CheckLimits::default());
    assert!(tree.ruleset.is_some(), "{:?}", tree.diagnostics);
    let files: Vec<Value> = tree.files.iter().map(|file| json!({ "path": &*file.path, "text": &*file.text })).collect();
    let body = json!({ "files": files, "source": tree.source, "allowances": { "dirty": true } });
    let begun = server.api().post("/v1/apply", &body).await;
    assert_eq!(begun.status, 202, "{begun:?}");
}

async fn propose(server: &Running, rule: &str, change: Value) -> Value {
    let mut body = json!({ "edge": "local", "rule": rule });
    body.as_object_mut().expect("a body").extend(change.as_object().expect("a change").clone());
    let answer = server.api().post("/v1/proposals", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn new_target() -> Value {
    json!({ "target": { "host": "127.0.0.2", "ports": "80", "weight": 10 } })
}

/// Has git apply a patch, and reads the file afterwards.
fn applied(top: &Path, proposal: &Value, file: &str) -> String {
    let patch = top.join("change.patch");
    fs::write(&patch, proposal["patch"].as_str().expect("a patch")).expect("written");
    git(top, &["apply", "--whitespace=error-all", "change.patch"]);
    fs::read_to_string(top.join(file)).expect("read")
}

#[tokio::test]
async fn git_takes_the_patch_of_a_tree_in_a_folder_of_its_repository() {
    let server = Running::start().await;
    let repository = TempDir::new().expect("a folder");
    let (top, dir) = (repository.path(), repository.path().join("live rules"));
    fs::create_dir_all(dir.join("a b")).expect("made");
    fs::write(dir.join("a b/web shop.toml"), TWO).expect("written");
    git(top, &["init", "-q"]);
    git(top, &["add", "."]);
    git(top, &["commit", "-q", "-m", "rules"]);
    apply(&server, &dir).await;
    let proposal = propose(&server, "web", new_target()).await;
    assert_eq!(proposal["file"], "live rules/a b/web shop.toml");
    assert_eq!(proposal["plan"]["summary"]["update"].as_u64(), Some(0), "nothing runs yet: {proposal}");
    assert_eq!(proposal["spec"]["targets"][1]["host"], "127.0.0.2");
    let text = applied(top, &proposal, "live rules/a b/web shop.toml");
    let expected = "targets = [\n  { host = \"127.0.0.1\", port = 80 },\n  { host = \"127.0.0.2\", port = 80, weight = 10 },\n] # main\n";
    assert_eq!(text, TWO.replace("target = \"127.0.0.1:80\" # main\n", expected));
    // What git has changed is the tree that was planned.
    let tree = read_and_check(&dir, &CheckLimits::default());
    assert_eq!(json!(tree.source.digest), proposal["plan"]["source"]["digest"]);
    server.stop().await;
}

#[tokio::test]
async fn git_takes_patches_with_line_ends_of_windows_and_without_a_last_one() {
    let server = Running::start().await;
    let repository = TempDir::new().expect("a folder");
    let top = repository.path();
    let text = TWO.trim_end().replace('\n', "\r\n");
    fs::write(top.join("web.toml"), &text).expect("written");
    git(top, &["init", "-q"]);
    git(top, &["add", "."]);
    git(top, &["commit", "-q", "-m", "rules"]);
    apply(&server, top).await;
    // As a form sends it: with line ends of its own, whatever the file has.
    let source: Value = server.api().get("/v1/rules/local/db/source").await.json();
    let new = source["text"].as_str().expect("a text").replace("19090", "19091");
    let proposal = propose(&server, "db", json!({ "text": new })).await;
    let patch = top.join("change.patch");
    fs::write(&patch, proposal["patch"].as_str().expect("a patch")).expect("written");
    git(top, &["apply", "change.patch"]);
    assert_eq!(fs::read_to_string(top.join("web.toml")).expect("read"), text.replace("19090", "19091"));
    server.stop().await;
}

#[tokio::test]
async fn outside_of_git_paths_are_those_of_the_tree() {
    let server = Running::start().await;
    let folder = TempDir::new().expect("a folder");
    let top = folder.path();
    fs::create_dir(top.join("sub")).expect("made");
    fs::write(top.join("sub/web.toml"), TWO).expect("written");
    apply(&server, top).await;
    let proposal = propose(&server, "web", new_target()).await;
    assert_eq!(proposal["file"], "sub/web.toml");
    let text = applied(top, &proposal, "sub/web.toml");
    assert!(text.contains("127.0.0.2"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_invalid_edit_says_where_and_an_unknown_rule_is_not_there() {
    let server = Running::start().await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": TWO }], "allowances": { "dirty": true } });
    server.api().get("/v1/plan").await.is_problem(404, "no_tree");
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let wrong =
        json!({ "edge": "local", "rule": "db", "text": "[[rule]]\nname = \"db\"\nlisten_prt = 1\ntarget = \"a:1\"\n" });
    let answer = server.api().post("/v1/proposals", &wrong).await;
    answer.is_problem(422, "invalid_tree");
    let found: Value = answer.json();
    assert!(found["diagnostics"].to_string().contains("\"line\":10"), "{found}");
    let none = json!({ "edge": "local", "rule": "nothing", "text": "" });
    server.api().post("/v1/proposals", &none).await.is_problem(404, "not_found");
    server.api().post("/v1/proposals", &json!({ "edge": "local", "rule": "db" })).await.is_problem(400, "bad_request");
    // The plan of what is in force, of a revision, and of none.
    let plan: Value = server.api().get("/v1/plan").await.json();
    assert_eq!(plan["kind"], "plan");
    let plan: Value = server.api().get("/v1/plan?revision=1").await.json();
    assert_eq!(plan["kind"], "plan");
    server.api().get("/v1/plan?revision=99").await.is_problem(404, "unknown_revision");
    let drift: Value = server.api().get("/v1/drift?limit=1").await.json();
    assert_eq!((&drift["kind"], &drift["total"]), (&json!("drift"), &json!(1)), "the edge is offline: {drift}");
    let history: Value = server.api().get("/v1/history?action=apply&before=2").await.json();
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    server.api().get("/v1/history?action=nothing").await.is_problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn proposals_need_a_planner_and_show_nothing_of_others() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": TWO }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = session.desired().await;
    session.accept(&desired).await;
    let viewer = server.operator("vera", "viewer", json!({})).await;
    let change = json!({ "edge": "local", "rule": "web", "target": { "host": "127.0.0.2", "ports": "80" } });
    viewer.post("/v1/proposals", &change).await.is_problem(403, "forbidden");
    viewer.get("/v1/rules/local/web/source").await.is_problem(403, "forbidden");
    assert_eq!(viewer.get("/v1/plan").await.status, 200);
    let limited = server.operator("paul", "planner", json!({ "owners": ["team"] })).await;
    let answer = limited.post("/v1/proposals", &change).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let proposal: Value = answer.json();
    let patch = proposal["patch"].as_str().expect("a patch of its own lines");
    assert!(patch.contains('+') && !patch.contains("db"), "{patch}");
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.toml"), TWO).unwrap();
    fs::write(dir.path().join("own.patch"), patch).unwrap();
    git(dir.path(), &["apply", "own.patch"]);
    assert!(fs::read_to_string(dir.path().join("a.toml")).unwrap().contains("127.0.0.2"));
    let text = proposal.to_string();
    assert!(proposal["diff"].to_string().contains("127.0.0.2") && !text.contains("19090"), "{text}");
    let other = json!({ "edge": "local", "rule": "db", "target": { "host": "127.0.0.2", "ports": "80" } });
    limited.post("/v1/proposals", &other).await.is_problem(404, "not_found");
    let clash = json!({ "edge": "local", "rule": "web", "text": RULES.replace("18080", "19090").trim_end() });
    let clash = limited.post("/v1/proposals", &clash).await;
    clash.is_problem(422, "invalid_tree");
    assert!(!clash.body.contains("local/db") && !clash.body.contains("related"), "{clash:?}");
    server.stop().await;
}
