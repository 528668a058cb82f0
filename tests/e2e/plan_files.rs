//! Plan files: applied once, unchanged, and only while what they were made from still holds.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, ports, rule};

fn tree(port: u16, first: u16, second: u16) -> String {
    rule("edge-01", "a", port, first, "") + &rule("edge-02", "b", port + 1, second, "")
}

#[test]
fn a_plan_file_is_private_and_is_applied_once() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "a", port, echo.port, ""));
    let (tree, file) = (world.tree_arg(), world.arg("plan.json"));
    world.cli(&["plan", &tree, "--out", &file]).exits(0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refuses(port));
    // The file carries its tree: what happens to the directory afterwards does not matter.
    world.edit("a.toml", "# nothing\n");
    world.cli(&["apply", &file]).exits(0);
    assert_eq!(answers(port), Some(echo.port));
    let generations = world.generations("edge-01");
    world.cli(&["apply", &file]).exits(4);
    assert_eq!(world.generations("edge-01"), generations);
}

#[test]
fn an_edited_plan_file_is_refused() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(2);
    world.edit("a.toml", rule("edge-01", "a", port, 9, ""));
    let (tree, file) = (world.tree_arg(), world.arg("plan.json"));
    world.cli(&["plan", &tree, "--out", &file]).exits(0);
    let text = fs::read_to_string(&file).unwrap();
    for (from, to) in [
        (format!("listen_port = {port}"), format!("listen_port = {}", port + 1)),
        (format!("*:{port}"), format!("*:{}", port + 1)),
        ("\"seal\"".to_owned(), "\"SEAL\"".to_owned()),
    ] {
        let edited = text.replace(&from, &to);
        assert_ne!(edited, text, "{from} is in the file");
        fs::write(&file, edited).unwrap();
        let said = world.cli(&["apply", &file]);
        assert!(said.code == 4 || (from == "\"seal\"" && said.code == 1), "{from}: {said}");
    }
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert_ne!(world.cli(&["apply", &file]).code, 0);
    assert_eq!(world.generations("edge-01"), (0, 0));
    assert!(refuses(port) && refuses(port + 1));
}

#[test]
fn a_plan_file_is_stale_after_a_change_of_its_edge_and_of_no_other() {
    let world = World::with_edges(&["edge-01", "edge-02"]);
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(2);
    world.edit_and_apply("a.toml", &tree(port, one.port, one.port));
    let (dir, file) = (world.tree_arg(), world.arg("plan.json"));

    world.edit("a.toml", tree(port, two.port, one.port));
    let plan = world.cli(&["plan", &dir, "--out", &file, "-o", "json"]).exits(0).json();
    assert_eq!(plan["summary"]["edges"], 1);
    // Another edge moves on.
    world.edit_and_apply("a.toml", &tree(port, one.port, two.port));
    assert_eq!(answers(port + 1), Some(two.port));
    let second = world.generations("edge-02");
    let said = world.cli(&["apply", &file]);
    assert_eq!(said.code, 0, "an edge that the plan does not touch makes it no less valid: {said}");
    assert_eq!(answers(port), Some(two.port));
    assert_eq!(world.generations("edge-02"), second, "what the plan does not touch it does not undo");
    assert_eq!(answers(port + 1), Some(two.port));

    // The edge itself moves on.
    world.edit("a.toml", tree(port, one.port, two.port));
    world.cli(&["plan", &dir, "--out", &file]).exits(0);
    world.edit_and_apply("a.toml", &(tree(port, two.port, two.port).replace("\"a\"", "\"renamed\"")));
    let before = world.generations("edge-01");
    world.cli(&["apply", &file]).exits(4);
    assert_eq!(world.generations("edge-01"), before);
    assert_eq!(answers(port), Some(two.port));
}

#[test]
fn a_plan_of_a_dirty_tree_that_is_applied_with_the_flag_asks_for_no_flag() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(1));
    world.edit("a.toml", "# nothing yet\n");
    world.write("a.toml", rule("edge-01", "a", port, echo.port, ""));
    let (dir, file) = (world.tree_arg(), world.arg("plan.json"));
    world.cli(&["plan", &dir, "--out", &file]).exits(0).says("apply needs --allow-dirty");
    let refused = world.cli(&["apply", &file]).exits(3);
    assert!(refused.out.contains("apply needs --allow-dirty"), "{refused}");
    let said = world.cli(&["apply", &file, "--allow-dirty"]).exits(0);
    assert!(said.out.contains("differs from its commit") && !said.out.contains("apply needs"), "{said}");
    assert_eq!(answers(port), Some(echo.port));
}

#[test]
fn a_plan_in_every_format_has_the_same_changes() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "a", port, 9, ""));
    let tree = world.tree_arg();
    assert_eq!(world.plan()["changes"][0]["ports"]["bind"], json!([format!("*:{port}")]));
    for format in ["text", "yaml", "markdown"] {
        world.cli(&["plan", &tree, "-o", format]).exits(0).says(&port.to_string());
    }
}
