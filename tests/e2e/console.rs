//! What a person at the console of a server reads: a save that is not applied as `validate` shows it, a tripped rail in
//! words, and one line where an edge connects.

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, wait_for, wait_until};

/// Waits until the log holds a text; all of it by then.
fn logged(process: &crate::support::Handle, text: &str) -> String {
    wait_for(text, || {
        let log = process.log();
        if log.contains(text) { Ok(log) } else { Err(log) }
    })
}

#[test]
fn a_save_with_errors_is_shown_as_validate_shows_it() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(1));
    world.write("a.toml", rule("local", "web", port, echo.port, ""));
    let up = world.up(&[&world.tree_arg()]);
    wait_until("the rule to serve", || answers(port) == Some(echo.port));
    world.write("b.toml", "[[rule]]\nname = \"api\"\nlisten_prot = 8080\ntarget = \"https://h:443\"\n");
    let shown = world.cli(&["validate", &world.tree_arg()]).exits(1).out.clone();
    assert!(shown.contains("3 | listen_prot = 8080\n  | ^^^^^^^^^^^"), "{shown}");
    let log = logged(&up, "2 errors");
    assert!(log.contains(shown.trim_end()), "{log}\n--- validate:\n{shown}");
    assert!(log.contains("the last good revision stays in force"), "{log}");
    assert_eq!(answers(port), Some(echo.port));
    // The same save is said once; one that is valid again is applied.
    world.write("b.toml", "# later\n");
    logged(&up, "outcome=\"applied\"");
    assert_eq!(up.log().matches("error[unknown_key]").count(), 1, "{}", up.log());
}

#[test]
fn a_tripped_rail_is_told_in_words_with_the_flag_that_allows_it() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(4));
    let tree = |count: u16| -> String {
        (0..count).map(|n| rule("local", &format!("r{n}"), port + n, echo.port, "")).collect()
    };
    world.write("a.toml", tree(4));
    let up = world.up(&[&world.tree_arg()]);
    wait_until("the rules to serve", || answers(port + 3) == Some(echo.port));
    world.write("a.toml", tree(1));
    let log = logged(&up, "held: the followed tree is not applied");
    assert!(log.contains("  max_removed_percent: 75 % where 30 % are allowed"), "{log}");
    assert!(log.contains("run `portunus apply DIR --allow-removals 3`"), "{log}");
    assert!(!log.contains("Railed"), "{log}");
    assert_eq!(answers(port + 3), Some(echo.port));
}

#[test]
fn a_log_for_programs_has_one_line_for_each_finding() {
    let world = World::new();
    world.edit("a.toml", "[[rule]]\nname = \"api\"\nlisten_prot = 8080\ntarget = \"h:443\"\n");
    let server = world.serve(&["--mode", "apply", "--rules", &world.tree_arg(), "--log-format", "json"]);
    let log = logged(&server, "error in the tree");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let found = lines.iter().find(|line| line["message"] == "error in the tree" || line["code"] == "unknown_key");
    let found = found.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&found["file"], &found["line"], &found["column"]), (&"a.toml".into(), &3.into(), &1.into()), "{found}");
    assert_eq!(found["hint"], "did you mean `listen_port`?");
}

#[test]
fn an_edge_that_connects_again_is_one_line_of_the_log() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(5));
    let tree: String = (0..5).map(|n| rule("edge-01", &format!("r{n}"), port + n, echo.port, "")).collect();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    world.edit_and_apply("a.toml", &tree);
    // First the server is another process, then the edge.
    let lines_after = |before: usize| {
        wait_for("the edge to be logged", || {
            let log = server.log();
            let news = log[before..].to_owned();
            if news.contains("connected=true") { Ok(news) } else { Err(news) }
        })
    };
    let before = server.log().len();
    server.stop();
    let again = world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
    let log = lines_after(before);
    let of_edge: Vec<&str> = log.lines().filter(|line| line.contains("edge=edge-01 connected=true")).collect();
    assert_eq!(of_edge.len(), 1, "{log}");
    assert!(of_edge[0].contains("rules=5 failed=0 targets_down=0"), "{log}");
    assert!(!log.contains("rule=r"), "{log}");

    let before = again.log().len();
    edge.stop();
    world.wait_connected("edge-01", false);
    world.edge("edge-01");
    let log = lines_after(before);
    assert!(!log.contains("rule=r"), "{log}");
}

#[test]
fn up_logs_what_it_read_and_applied_and_every_rule_only_where_that_is_asked_for() {
    const RULES: u16 = 5;
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(RULES));
    let tree: String = (0..RULES).map(|n| rule("local", &format!("r{n}"), port + n, echo.port, "")).collect();
    world.write("a.toml", tree);
    let lines = |more: &[&str]| {
        let up = world.up(&[&[world.tree_arg().as_str()], more].concat());
        let log = logged(&up, "apply ended");
        wait_until("the rules to serve", || (0..RULES).all(|n| answers(port + n) == Some(echo.port)));
        up.signal("TERM");
        assert_eq!(up.ended(), 0, "{}", up.log());
        log.lines().filter(|line| line.contains(" INFO ") || line.contains(" DEBUG ")).count()
    };
    let quiet = lines(&[]);
    assert!(quiet <= 2, "{quiet} lines");
    let all = lines(&["--log-level", "info"]);
    assert!(all > usize::from(RULES), "{all} lines");
}
