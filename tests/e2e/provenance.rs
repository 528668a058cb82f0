//! Where a tree comes from: the commit, the ref, the author, and what of it is not committed.

use std::fs;

use serde_json::json;

use crate::support::{World, ports, rule};

fn source(world: &World, dir: &str) -> serde_json::Value {
    fs::write(world.path("empty.json"), "{}").unwrap();
    let plan = world.cli(&["plan", dir, "--live", &world.arg("empty.json"), "-o", "json"]).exits(0).json();
    plan["source"].clone()
}

#[test]
fn only_what_lies_below_the_directory_makes_it_dirty() {
    let world = World::new();
    world.write("fleet/a.toml", rule("local", "a", 8080, 80, ""));
    world.write("other/b.toml", "# not ours\n");
    let commit = world.commit();
    let dir = world.arg("rules/fleet");
    let clean = source(&world, &dir);
    assert_eq!((&clean["commit"], &clean["ref"], &clean["dirty"]), (&json!(commit), &json!("main"), &json!(false)));
    assert_eq!(clean["author"], "Ada <ada@example.org>");
    world.write("other/b.toml", "# changed\n");
    world.write("fleet/notes.md", "no rule");
    world.write("fleet/a.toml~", "a backup");
    assert_eq!(source(&world, &dir)["dirty"], false);
    // Touched and the same is not changed.
    world.write("fleet/a.toml", rule("local", "a", 8080, 80, ""));
    assert_eq!(source(&world, &dir)["dirty"], false);
    world.write("fleet/portunus.toml", "[rails]\nmax_removed_percent = 40\n");
    assert_eq!(source(&world, &dir)["dirty_paths"], json!(["portunus.toml"]));
    fs::remove_file(world.tree().join("fleet/portunus.toml")).unwrap();
    // What git ignores is a rule all the same.
    world.write(".gitignore", "ignored.toml\n");
    world.write("fleet/ignored.toml", rule("local", "b", 8081, 80, ""));
    assert_eq!(source(&world, &dir)["dirty"], true);
    fs::remove_file(world.tree().join("fleet/ignored.toml")).unwrap();
    // A file that the commit has and the directory has not.
    fs::rename(world.tree().join("fleet/a.toml"), world.tree().join("fleet/c.toml")).unwrap();
    assert_eq!(source(&world, &dir)["dirty"], true);
}

#[test]
fn a_detached_head_and_a_second_work_tree_know_their_commit() {
    let world = World::new();
    let first = world.edit("a.toml", rule("local", "a", 8080, 80, ""));
    let second = world.edit("a.toml", rule("local", "a", 8081, 80, ""));
    world.git(&["worktree", "add", "-q", &world.arg("second"), &first]);
    assert_eq!(source(&world, &world.tree_arg())["commit"], second.as_str());
    let detached = source(&world, &world.arg("second"));
    assert_eq!((&detached["commit"], &detached["dirty"]), (&json!(first), &json!(false)));
    world.git(&["gc", "-q"]);
    world.git(&["pack-refs", "--all"]);
    assert_eq!(source(&world, &world.tree_arg())["commit"], second.as_str());
}

#[test]
fn nothing_that_a_repository_configures_is_run() {
    let world = World::new();
    let marker = world.arg("marker");
    world.edit("a.toml", rule("local", "a", 8080, 80, ""));
    for key in ["core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "core.sshCommand"] {
        world.git(&["config", key, &format!("touch {marker}")]);
    }
    world.write(".gitattributes", "*.toml filter=evil\n");
    world.write("a.toml", rule("local", "a", 8082, 80, ""));
    assert_eq!(source(&world, &world.tree_arg())["dirty"], true);
    assert!(!world.path("marker").exists());
}

#[test]
fn a_tree_outside_git_has_no_commit_and_is_not_dirty() {
    let world = World::new();
    fs::create_dir(world.path("plain")).unwrap();
    fs::write(world.path("plain/a.toml"), rule("local", "a", 8080, 80, "")).unwrap();
    let plain = source(&world, &world.arg("plain"));
    assert_eq!((&plain["vcs"], &plain["commit"], &plain["dirty"]), (&json!("none"), &json!(null), &json!(false)));
    // A repository without a commit: everything in it is untracked.
    world.write("a.toml", rule("local", "a", 8080, 80, ""));
    let unborn = source(&world, &world.tree_arg());
    assert_eq!((&unborn["commit"], &unborn["dirty"]), (&json!(null), &json!(true)));
}

#[test]
fn a_copy_without_git_does_not_make_an_older_commit_welcome() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(2);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, 9, ""));
    let older = world.git(&["rev-parse", "HEAD"]);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, 10, ""));
    let text = rule("edge-01", "a", port, 11, "");
    fs::create_dir(world.path("copy")).unwrap();
    fs::write(world.path("copy/a.toml"), text).unwrap();
    world.cli(&["apply", &world.arg("copy"), "--yes", "--allow-dirty"]).exits(0);
    assert_eq!(world.status()["revision"]["commit"], json!(null));
    world.git(&["checkout", "-q", &older]);
    world.cli(&["plan", &world.tree_arg()]).exits(3).says("--allow-non-descendant");
    world.apply_with(&[]).exits(3).says("--allow-non-descendant");
    world.git(&["checkout", "-q", "main"]);
    world.apply_with(&[]).exits(0);
}
