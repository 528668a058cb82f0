//! What a script learns from exit codes, and that nothing is sent where they refuse.

use serde_json::json;

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, edge_of, ports, rule, wait_until};

#[test]
fn a_dead_server_is_7_for_every_command_that_needs_one() {
    let world = World::new();
    world.edit("a.toml", rule("local", "a", 8080, 80, ""));
    let tree = world.tree_arg();
    for args in [
        &["plan", &tree][..],
        &["apply", &tree, "--yes"],
        &["status"],
        &["rules"],
        &["stats", "local/a"],
        &["events"],
        &["history"],
    ] {
        world.cli_with(args, &[("PORTUNUS_OPERATOR_TOKEN", "x")]).exits(7);
    }
}

#[test]
fn usage_errors_are_64() {
    let world = World::new();
    for args in [
        &["unheard-of"][..],
        &["plan", "--unheard-of"],
        &["status", "-o", "xml"],
        &["stats", "No Name"],
        &["apply", "--timeout", "soon"],
        &["status", "--server", "http://192.0.2.1:7080"],
        &["serve", "--mode", "wild"],
        &["edge"],
    ] {
        let said = world.cli(args).exits(64);
        assert!(!said.err.is_empty() && said.out.is_empty(), "{said}");
    }
    world.cli(&["--help"]).exits(0);
    world.cli(&["--version"]).exits(0);
}

#[test]
fn an_empty_token_in_the_environment_is_none_and_one_on_the_command_line_is_an_error() {
    let world = World::with_edges(&[]);
    world.cli_with(&["status"], &[("PORTUNUS_OPERATOR_TOKEN", "")]).exits(0);
    world.cli(&["status", "--token", ""]).exits(64).says("token");
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_sent() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "a", port, 9, ""));
    world.cli(&["apply", &world.tree_arg()]).exits(64).says("--yes");
    assert_eq!(world.generations("edge-01"), (0, 0));
    assert!(refuses(port));
    assert_eq!(world.cli(&["history", "-o", "json"]).exits(0).json(), json!([]));
    // What must be said each time cannot be said once in the environment.
    world.cli_with(&["apply", &world.tree_arg()], &[("PORTUNUS_YES", "true")]).exits(64);
}

#[test]
fn a_tripped_rail_is_3_and_the_flag_that_it_names_lifts_it() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(10);
    let tree = |names: std::ops::Range<u16>, more: &str| -> String {
        names.map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, more)).collect()
    };
    world.edit_and_apply("a.toml", &tree(0..8, ""));
    world.edit("a.toml", tree(0..4, ""));
    world.cli(&["plan", &world.tree_arg()]).exits(3).says("--allow-removals 4");
    world.apply_with(&[]).exits(3).says("--allow-removals 4");
    world.apply_with(&["--allow-removals", "3"]).exits(3);
    assert_eq!(answers(port + 7), Some(echo.port), "nothing was sent");
    world.apply_with(&["--allow-removals", "4"]).exits(0);
    assert!(refuses(port + 7));

    // The last rule of an edge, by an empty file and by an empty tree.
    world.edit("a.toml", "# no rules\n");
    world.apply_with(&[]).exits(1);
    let said = world.apply_with(&["--allow-empty"]).exits(3);
    assert!(said.err.contains("--allow-removals 4"), "{said}");
    assert_eq!(answers(port), Some(echo.port));
    world.apply_with(&["--allow-empty", "--allow-removals", "4"]).exits(0);
    assert!(refuses(port));
}

#[test]
fn a_rebind_of_many_rules_trips_its_rail() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(10);
    let tree = |shift: u16| -> String {
        (0..4).map(|index| rule("edge-01", &format!("r{index}"), port + shift + index, echo.port, "")).collect()
    };
    world.edit_and_apply("a.toml", &tree(0));
    world.edit("a.toml", tree(4));
    world.apply_with(&[]).exits(3).says("--allow-rebinds 4");
    assert_eq!(answers(port), Some(echo.port));
    world.apply_with(&["--allow-rebinds", "4"]).exits(0);
    assert_eq!(answers(port + 7), Some(echo.port));
}

#[test]
fn no_commit_lifts_its_own_guard() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(8);
    let tree = |count: u16, more: &str| -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, more)).collect()
    };
    world.edit_and_apply("a.toml", &tree(8, ""));
    world.write("portunus.toml", "[rails]\nmax_removed_percent = 100\n");
    world.edit("a.toml", tree(2, ""));
    world.apply_with(&[]).exits(3);
    // One commit to lift the guard, another one to use it.
    world.edit("a.toml", tree(8, ""));
    world.apply();
    world.edit("a.toml", tree(2, ""));
    world.apply();
    assert!(refuses(port + 7));

    world.edit_and_apply("a.toml", &tree(2, "protected = true"));
    world.edit("a.toml", tree(1, ""));
    world.apply_with(&["--allow-removals", "1"]).exits(3).says("protected");
    assert_eq!(answers(port + 1), Some(echo.port));
}

#[test]
fn a_refusal_names_every_flag_that_is_needed_and_none_that_cannot_help() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(5));
    let tree = |count: u16| -> String {
        (0..count).map(|n| rule("edge-01", &format!("r{n}"), port + n, echo.port, "")).collect()
    };
    world.edit_and_apply("a.toml", &tree(5));
    world.write("a.toml", tree(1));
    let said = world.apply_with(&[]).exits(3);
    assert!(said.err.contains("--allow-removals 4") && said.err.contains("`--allow-dirty`"), "{said}");
    let said = world.apply_with(&["--allow-dirty"]).exits(3);
    assert!(said.err.contains("--allow-removals 4") && !said.err.contains("--allow-dirty"), "{said}");
    assert!(!said.out.contains("apply needs --allow-dirty"), "{said}");
    world.apply_with(&["--allow-dirty", "--allow-removals", "4"]).exits(0);

    // In mode apply no flag makes another tree the followed one.
    let world = World::new();
    world.edit("a.toml", tree(5));
    world.follow("apply");
    world.edge("edge-01");
    world.wait_rule("edge-01", "r4", "active");
    std::fs::create_dir(world.path("other")).unwrap();
    std::fs::write(world.path("other/a.toml"), tree(1)).unwrap();
    let said = world.cli(&["apply", &world.arg("other"), "--yes"]).exits(3);
    assert!(said.err.contains("in mode apply only the followed tree can be applied"), "{said}");
    assert!(!said.err.contains("--allow"), "{said}");
}

#[test]
fn a_dirty_tree_is_planned_and_not_applied() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(3);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let dirty = rule("edge-01", "a", port, echo.port, "") + &rule("edge-01", "b", port + 1, echo.port, "");
    world.write("a.toml", dirty);
    let plan = world.plan();
    assert_eq!(plan["source"]["dirty"], true);
    world.apply_with(&[]).exits(3).says("a.toml");
    assert!(refuses(port + 1));
    world.apply_with(&["--allow-dirty"]).exits(0);
    assert_eq!(answers(port + 1), Some(echo.port));
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    assert!(history.as_array().unwrap().iter().any(|entry| entry["dirty"] == true), "{history}");
    // A file of no concern to rules makes nothing dirty; an untracked rule file does.
    world.commit();
    world.write("notes.txt", "x");
    assert_eq!(world.plan()["source"]["dirty"], false);
    world.write("new.toml", rule("edge-01", "c", port + 2, echo.port, ""));
    world.apply_with(&[]).exits(3).says("new.toml");
}

#[test]
fn in_mode_apply_another_tree_is_refused() {
    let world = World::new();
    let echo = Echo::start();
    let port = ports(2);
    world.edit("a.toml", rule("edge-01", "a", port, echo.port, ""));
    world.follow("apply");
    world.edge("edge-01");
    world.wait_rule("edge-01", "a", "active");
    world.apply_with(&[]).exits(0);
    std::fs::create_dir(world.path("other")).unwrap();
    std::fs::write(world.path("other/a.toml"), rule("edge-01", "a", port + 1, echo.port, "")).unwrap();
    world.cli(&["apply", &world.arg("other"), "--yes"]).exits(3);
    assert_eq!((answers(port), answers(port + 1)), (Some(echo.port), None));
}

#[test]
fn names_that_nobody_bears_and_wrong_tokens_are_1() {
    let world = World::with_edges(&["edge-01"]);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", ports(1), 9, ""));
    for args in [
        &["status", "edge-99"][..],
        &["status", "edge-01/nothing"],
        &["status", "edge-99/a"],
        &["stats", "edge-01/nothing"],
        &["stats", "edge-99/a"],
        &["history", "999"],
    ] {
        let said = world.cli(args).exits(1);
        assert!(!said.err.is_empty(), "{said}");
    }
    world.cli(&["status", "edge-01"]).exits(0);
    world.cli(&["status", "edge-01/a"]).exits(0);
    world.cli(&["status", "--token", "wrong"]).exits(1).says("token");
    let missing = world.arg("home");
    world.cli_with(&["status"], &[("PORTUNUS_STATE_DIR", &missing)]).exits(1);
}

#[test]
fn an_edge_that_does_not_answer_is_unknown_until_it_reports() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "a", port, echo.port, ""));
    edge.signal("STOP");
    let said = world.apply_with(&["--timeout", "1", "-o", "json"]).exits(5);
    assert!(said.json().to_string().contains("ack_timeout"), "{said}");
    let status = world.status();
    assert_eq!(edge_of(&status, "edge-01").unwrap()["desired_generation"], 1);
    assert_eq!(edge_of(&status, "edge-01").unwrap()["generation"], 0);
    assert_ne!(status["drift"], json!([]), "unknown is not in sync");
    edge.signal("CONT");
    world.wait_rule("edge-01", "a", "active");
    assert_eq!(answers(port), Some(echo.port));
    assert_eq!(world.status()["drift"], json!([]));
    assert_eq!(world.generations("edge-01"), (1, 1));
}

#[test]
fn an_offline_edge_is_5_unless_that_is_allowed_and_takes_its_state_when_it_comes() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    world.edge("edge-02");
    let echo = Echo::start();
    let port = ports(2);
    let tree = |max: u16| {
        let more = format!("max_connections = {max}");
        rule("edge-01", "a", port, echo.port, &more) + &rule("edge-02", "b", port + 1, echo.port, &more)
    };
    world.edit_and_apply("a.toml", &tree(10));
    edge.stop();
    world.wait_connected("edge-01", false);
    world.edit("a.toml", tree(11));
    let plan = world.plan();
    assert_eq!(plan["complete"], false);
    let change = plan["changes"].as_array().unwrap().iter().find(|change| change["edge"] == "edge-01").unwrap();
    assert_eq!(change["code"], "client_not_connected");
    let started = std::time::Instant::now();
    world.apply_with(&[]).exits(5).says("edge-01");
    world.edit("a.toml", tree(12));
    world.apply_with(&["--allow-offline"]).exits(0);
    assert!(started.elapsed().as_secs() < 30, "edges that are offline are not waited for");
    assert!(world.status()["drift"].as_array().unwrap().iter().any(|drift| drift["kind"] == "edge_offline"));
    world.cli(&["status", "--detailed-exitcode"]).exits(2);
    world.edge("edge-01");
    world.wait_status("the newest state there", |status| {
        edge_of(status, "edge-01").is_some_and(|edge| edge["rules"][0]["spec"]["max_connections"] == 12)
    });
    assert_eq!(answers(port), Some(echo.port));
}

#[test]
fn json_goes_to_standard_output_also_where_the_exit_code_is_not_0() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(8);
    let tree = |count: u16| -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, "")).collect()
    };
    world.edit_and_apply("a.toml", &tree(8));
    world.edit("a.toml", tree(2));
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(3).json();
    let rail = plan["rails"].as_array().unwrap().iter().find(|rail| rail["name"] == "max_removed_percent").unwrap();
    assert_eq!((&rail["tripped"], &rail["override"]), (&json!(true), &json!("--allow-removals 6")));
    assert_eq!((&rail["limit"], &rail["actual"]), (&json!(30), &json!(75)));
    assert_eq!(plan["applyable"], false);
    world.apply_with(&["-o", "json"]).exits(3).json();
    world.edit("a.toml", "[[rule]]\n");
    let found = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(1).json();
    assert_eq!(found["diagnostics"][0]["code"], "missing_key", "{found}");
    world.cli(&["status", "edge-99", "-o", "json"]).exits(1).json();
}

#[test]
fn a_second_apply_is_6_while_one_runs_and_an_interrupted_one_is_130() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "a", port, echo.port, ""));
    edge.signal("STOP");
    let first = world.start_cli("first", &["apply", &world.tree_arg(), "--yes", "--timeout", "30s"]);
    wait_until("the first apply to run", || world.status()["apply"]["outcome"] == "running");
    world.apply_with(&[]).exits(6).says("operator");
    first.signal("INT");
    assert_eq!(first.ended(), 130, "{}", first.log());
    edge.signal("CONT");
    // Whoever waits may go; what was applied stays applied.
    world.wait_rule("edge-01", "a", "active");
    wait_until("the first apply to end", || world.status()["apply"]["outcome"] == "applied");
    world.apply();
    assert_eq!(world.generations("edge-01"), (1, 1));
    let events = world.start_cli("events", &["events"]);
    wait_until("the snapshot", || events.log().contains("snapshot"));
    events.signal("INT");
    assert_eq!(events.ended(), 130);
}

#[test]
fn an_edge_that_was_never_seen_is_5_and_gets_its_rules_when_it_comes() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(2);
    let tree = rule("edge-01", "a", port, echo.port, "") + &rule("edge-77", "b", port + 1, echo.port, "");
    world.edit("a.toml", tree);
    let plan = world.plan();
    assert_eq!((&plan["complete"], &plan["applyable"]), (&json!(false), &json!(true)));
    world.apply_with(&[]).exits(5).says("edge-77");
    assert_eq!((answers(port), answers(port + 1)), (Some(echo.port), None));
    world.cli(&["status", "edge-77"]).exits(0);
    world.edge("edge-77");
    world.wait_rule("edge-77", "b", "active");
    assert_eq!(answers(port + 1), Some(echo.port));
}
