//! Bad input gets a clear error with its place, and the last good revision stays in force on every edge.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, skip, wait_until};

/// The diagnostics of `validate -o json`, which must fail.
#[track_caller]
fn invalid(world: &World) -> Vec<Value> {
    let said = world.cli(&["validate", &world.tree_arg(), "-o", "json"]).exits(1);
    said.json()["diagnostics"].as_array().expect("diagnostics").clone()
}

fn has(diagnostics: &[Value], code: &str, file: &str, line: Option<u32>) -> bool {
    diagnostics
        .iter()
        .any(|one| one["code"] == code && one["file"] == file && line.is_none_or(|line| one["line"] == line))
}

/// A fault: its name, how it is made in the tree, and the code, file and line that it must be reported with.
struct Fault {
    name: &'static str,
    make: fn(&World),
    code: &'static str,
    file: &'static str,
    line: Option<u32>,
}

#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn faults() -> Vec<Fault> {
    fn bad(world: &World, text: &str) {
        world.write("bad.toml", text);
    }
    fn keyed(key: &str) -> String {
        format!("[[rule]]\nname = \"bad\"\nedges = [\"edge-01\"]\n{key}\n")
    }
    let fault = |name, make, code, file, line| Fault { name, make, code, file, line };
    vec![
        fault("half-written", |w| bad(w, "[[rule]]\nname = \"bad\"\nlisten_po"), "syntax", "bad.toml", Some(3)),
        fault("broken syntax", |w| bad(w, "[[rule]\nname = \"x\"\n"), "syntax", "bad.toml", Some(1)),
        fault(
            "not UTF-8",
            |w| w.write("bad.toml", b"[[rule]]\nname = \"\xff\xfe\"\n"),
            "not_utf8",
            "bad.toml",
            Some(2),
        ),
        fault("9 MiB", |w| w.write("bad.toml", vec![b'#'; 9 << 20]), "file_too_large", "bad.toml", None),
        fault(
            "a link out of the tree",
            |w| {
                fs::write(w.path("outside.toml"), "").unwrap();
                symlink(w.path("outside.toml"), w.tree().join("bad.toml")).unwrap();
            },
            "unreadable_file",
            "bad.toml",
            None,
        ),
        fault(
            "a link in a loop",
            |w| symlink("bad.toml", w.tree().join("bad.toml")).unwrap(),
            "unreadable_file",
            "bad.toml",
            None,
        ),
        fault(
            "one name twice",
            |w| bad(w, "[[rule]]\nname = \"web\"\nedges = [\"edge-01\"]\nlisten_port = 9\ntarget = \"h:1\"\n"),
            "duplicate_rule",
            "web.toml",
            None,
        ),
        fault("port 0", |w| bad(w, &keyed("listen_port = 0\ntarget = \"h:1\"")), "out_of_range", "bad.toml", Some(4)),
        fault(
            "a range turned round",
            |w| bad(w, &keyed("listen_ports = \"200-100\"\ntarget = \"h:100-200\"")),
            "invalid_value",
            "bad.toml",
            Some(4),
        ),
        fault(
            "1025 ports",
            |w| bad(w, &keyed("listen_ports = \"1001-2025\"\ntarget = \"h:1001-2025\"")),
            "range_too_wide",
            "bad.toml",
            Some(4),
        ),
        fault(
            "a host of 300 characters",
            |w| bad(w, &keyed(&format!("listen_port = 9\ntarget = \"{}:1\"", "h".repeat(300)))),
            "invalid_host",
            "bad.toml",
            Some(5),
        ),
        fault(
            "an unknown edge",
            |w| {
                bad(w, &keyed("listen_port = 9\ntarget = \"h:1\"").replace("edge-01", "edge-99"));
                w.write("fleet.toml", "[[edge]]\nname = \"edge-01\"\n[[edge]]\nname = \"edge-02\"\n");
            },
            "unknown_edge",
            "bad.toml",
            Some(3),
        ),
        fault(
            "a pipe that nobody writes into",
            |w| {
                let made = std::process::Command::new("mkfifo").arg(w.tree().join("bad.toml")).status().unwrap();
                assert!(made.success());
            },
            "unreadable_file",
            "bad.toml",
            None,
        ),
        fault("a typing error", |w| bad(w, &keyed("listen_prot = 9")), "unknown_key", "bad.toml", Some(4)),
    ]
}

fn mend(world: &World) {
    for file in ["bad.toml", "fleet.toml"] {
        fs::remove_file(world.tree().join(file)).ok();
    }
}

#[test]
fn validate_names_code_file_and_line_of_every_fault() {
    let world = World::new();
    for Fault { name, make, code, file, line } in faults() {
        world.write("web.toml", rule("edge-01", "web", 8080, 80, ""));
        make(&world);
        let found = invalid(&world);
        let place = if code == "duplicate_rule" {
            has(&found, code, "bad.toml", None) || has(&found, code, file, None)
        } else {
            has(&found, code, file, line)
        };
        assert!(place, "{name}: expected {code} in {file}:{line:?}, found {found:#?}");
        let text = world.cli(&["validate", &world.tree_arg()]).exits(1);
        assert!(text.out.contains(code) && text.out.contains("bad.toml"), "{name}: {text}");
        mend(&world);
    }
    world.cli(&["validate", &world.tree_arg()]).exits(0);
}

#[test]
fn all_faults_of_all_files_are_named_in_one_run_and_a_clash_names_both_places() {
    let world = World::new();
    world.write("a.toml", rule("local", "one", 8080, 80, "colour = 1"));
    world.write("b.toml", rule("local", "two", 8080, 80, "") + "[[rule]\n");
    world.write("c.toml", rule("local", "three", 8081, 80, "").replace("8081", "70000"));
    world.write("d.toml", rule("local", "four", 8082, 80, "") + &rule("local", "five", 8082, 80, ""));
    let found = invalid(&world);
    assert!(has(&found, "unknown_key", "a.toml", Some(6)), "{found:#?}");
    assert!(has(&found, "syntax", "b.toml", None), "{found:#?}");
    assert!(has(&found, "out_of_range", "c.toml", Some(4)), "{found:#?}");
    let clash = found.iter().find(|one| one["code"] == "port_clash" && one["file"] == "d.toml");
    let clash = clash.unwrap_or_else(|| panic!("a clash in d.toml: {found:#?}"));
    assert!(clash["related"][0]["line"].is_u64() && clash["related"][0]["line"] != clash["line"], "{clash}");
}

#[test]
fn an_unreadable_file_is_an_error_and_not_a_removal() {
    let Some(world) = World::new().bound_by_modes() else {
        return skip("this user reads files whatever their mode");
    };
    let echo = Echo::start();
    let port = ports(2);
    world.write("web.toml", rule("edge-01", "web", port, echo.port, ""));
    let commit = world.edit("bad.toml", rule("edge-01", "bad", port + 1, echo.port, ""));
    world.follow("apply");
    world.edge("edge-01");
    world.wait_rule("edge-01", "bad", "active");
    let path = world.tree().join("bad.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    assert!(has(&invalid(&world), "unreadable_file", "bad.toml", None));
    let status = world.wait_status("the file to be missed", |status| status["revision"]["held"] == true);
    assert!(has(status["revision"]["errors"].as_array().unwrap(), "unreadable_file", "bad.toml", None), "{status}");
    assert_eq!((answers(port), answers(port + 1)), (Some(echo.port), Some(echo.port)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    world.wait_status("the tree to be whole", |status| {
        status["revision"]["held"] == false && status["revision"]["commit"] == commit.as_str()
    });
    assert_eq!(world.generations("edge-01"), (1, 1));
}

#[test]
fn an_empty_or_missing_tree_is_an_error() {
    let world = World::new();
    assert!(has(&invalid(&world), "empty_tree", "", None));
    fs::remove_dir_all(world.tree()).unwrap();
    world.cli(&["validate", &world.tree_arg()]).exits(1);
    world.cli(&["plan", &world.tree_arg(), "--live", "/dev/null"]).exits(1);
}

/// The followed tree breaks in one way after the other; nothing of it reaches an edge, and the mended file is followed.
#[test]
fn the_last_good_revision_stays_in_force_on_every_edge_whatever_the_tree_becomes() {
    let world = World::new();
    let echo = Echo::start();
    let port = ports(3);
    let tree = |max: u16| {
        let more = format!("max_connections = {max}");
        rule("edge-01", "web", port, echo.port, &more) + &rule("edge-02", "web", port + 1, echo.port, &more)
    };
    let mut good = world.edit("web.toml", tree(1000));
    world.follow("apply");
    for edge in ["edge-01", "edge-02"] {
        world.edge(edge);
        world.wait_rule(edge, "web", "active");
    }
    let mut is_sound = |name: &str, faulty: &dyn Fn(), check: &dyn Fn(&Value) -> bool, round: u16| {
        let before = [world.generations("edge-01"), world.generations("edge-02")];
        faulty();
        let status = world.wait_status(&format!("the fault to be seen: {name}"), |status| {
            status["revision"]["held"] == true && check(status)
        });
        assert_eq!(status["revision"]["commit"], good.as_str(), "{name}");
        assert_eq!([world.generations("edge-01"), world.generations("edge-02")], before, "{name}");
        assert_eq!((answers(port), answers(port + 1)), (Some(echo.port), Some(echo.port)), "{name}");
        fs::create_dir_all(world.tree()).unwrap();
        mend(&world);
        let is_another_history = !world.tree().join(".git").exists();
        if is_another_history {
            world.git(&["init", "-q", "-b", "main"]);
        }
        good = world.edit("web.toml", tree(1001 + round));
        if is_another_history {
            // It does not descend from what is in force: somebody has to say that this is meant.
            world.wait_status("the new history to be refused", |status| {
                let revision = &status["revision"];
                revision["attempted"]["commit"] == good.as_str() && revision["verdict"]["outcome"] == "railed"
            });
            world.apply_with(&["--allow-non-descendant"]).exits(0);
        }
        world.wait_status(&format!("the mended tree to be followed: {name}"), |status| {
            status["revision"]["held"] == false
                && status["revision"]["commit"] == good.as_str()
                && ["edge-01", "edge-02"].iter().all(|edge| {
                    crate::support::edge_of(status, edge)
                        .is_some_and(|edge| edge["generation"] == edge["desired_generation"])
                })
        });
        for (edge, before) in ["edge-01", "edge-02"].iter().zip(before) {
            assert!(world.generations(edge).0 > before.0, "{name}");
        }
    };
    let mut round = 0;
    for Fault { name, make, code, file, line } in faults() {
        let check = |status: &Value| {
            let errors = status["revision"]["errors"].as_array().unwrap();
            has(errors, code, file, line) || (code == "duplicate_rule" && has(errors, code, "bad.toml", None))
        };
        is_sound(name, &|| make(&world), &check, round);
        round += 1;
    }
    let empties = |status: &Value| !status["revision"]["errors"].as_array().unwrap().is_empty();
    is_sound("emptied", &|| fs::remove_file(world.tree().join("web.toml")).unwrap(), &empties, round);
    is_sound("vanished", &|| fs::remove_dir_all(world.tree()).unwrap(), &empties, round + 1);
}

#[test]
fn the_status_shows_the_errors_of_the_followed_tree_with_their_place() {
    let world = World::new();
    world.edit("web.toml", rule("local", "web", ports(1), 80, ""));
    world.follow("apply");
    wait_until("the tree to be in force", || world.status()["revision"]["digest"].is_string());
    world.write("web.toml", "[[rule]]\nname = \"web\"\nlisten_prot = 9\n");
    world.wait_status("the errors", |status| {
        has(status["revision"]["errors"].as_array().unwrap(), "unknown_key", "web.toml", Some(3))
    });
    let text = world.cli(&["status"]).exits(0);
    assert!(text.out.contains("web.toml:3") && text.out.contains("unknown_key"), "{text}");
}
