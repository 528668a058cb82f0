//! Junk in the tree: what it costs is bounded, what serves does not wait for it, and following goes on after it.

use std::fs;
use std::time::{Duration, Instant};

use crate::git_source::Scene;
use crate::peers::{Echo, answers};
use crate::processes::Process;
use crate::support::{World, ports, rule, wait_for, wait_until};

/// What a junk file of 8 MiB may add to the memory of the process, in KiB; without a bound it is gigabytes.
const MORE: u64 = 256 << 10;
/// Within this a process ends beside a tree that takes several times as long to read. A second is promised; the rest is
/// for machines that do other things.
const SOON: Duration = Duration::from_secs(10);
/// Junk that keeps a debug build busy for several times [`SOON`].
const FILES: usize = 24;

/// 7.4 MiB in each of the languages, with more than 80,000 errors, or with as many values as fit.
fn junk(kind: &str) -> String {
    let values = "1,".repeat(3_900_000);
    match kind {
        "dense.toml" => format!("a = [{values}]\n"),
        "dense.yaml" => format!("- [{values}]\n"),
        "dense.json" => format!("{{\"rule\": [{values}1]}}"),
        "toml" => "= = =\n".repeat(1_290_000),
        "yaml" => format!("rule:\n{}", format!("- name: a\n  {}: [1, {{y: 2}}]\n", "x".repeat(55)).repeat(90_000)),
        "json" => format!(
            "{{\"rule\": [{}{{}}]}}",
            format!("{{\"name\": \"a\", \"{}\": [1, {{}}]}},\n", "x".repeat(50)).repeat(90_000)
        ),
        other => panic!("{other}"),
    }
}

fn fill(world: &World) {
    let junk = junk("toml");
    for number in 0..FILES {
        world.write(&format!("junk-{number}.toml"), &junk);
    }
}

fn clear(world: &World) {
    for number in 0..FILES {
        fs::remove_file(world.tree().join(format!("junk-{number}.toml"))).unwrap();
    }
}

/// Waits until the process is in the midst of reading.
fn wait_busy(process: &Process) {
    let before = process.computed();
    wait_until("the reading to be under way", || process.computed() > before + Duration::from_millis(300));
}

/// How many findings of the followed tree are known.
fn errors(world: &World) -> usize {
    world.status()["revision"]["errors"].as_array().map_or(0, Vec::len)
}

#[track_caller]
fn soon(what: &str, since: Instant) {
    assert!(since.elapsed() < SOON, "{what} took {:?}", since.elapsed());
}

#[test]
fn a_last_good_state_is_served_before_the_tree_is_read() {
    let world = World::new();
    let (echo, listen) = (Echo::start(), ports(1));
    world.write("a.toml", rule("local", "a", listen, echo.port, ""));
    let up = world.up(&[&world.tree_arg()]);
    wait_until("the port", || answers(listen) == Some(echo.port));
    up.kill();
    fill(&world);
    let mut args = vec!["up".to_owned(), world.tree_arg()];
    args.extend(world.server_args());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let started = Instant::now();
    let up = world.start("up", &args);
    wait_until("the last good state", || answers(listen) == Some(echo.port));
    soon("the last good state", started);
    // The tree is still being read: nothing of it is known yet, and operators are answered meanwhile.
    let status = world.wait_status("an answer", |_| true);
    assert!(status["revision"]["errors"].as_array().is_none_or(Vec::is_empty), "{status}");
    wait_until("the word about it", || up.log().contains("still being read"));
    let asked = Instant::now();
    up.stop();
    soon("the end", asked);
}

#[test]
fn a_first_start_with_a_tree_that_takes_long_ends_when_it_is_asked_to() {
    let world = World::new();
    fill(&world);
    let mut args = vec!["up".to_owned(), world.tree_arg()];
    args.extend(world.server_args());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let up = world.start("up", &args);
    wait_busy(&up);
    let asked = Instant::now();
    up.stop();
    soon("the end", asked);
}

#[test]
fn following_goes_on_as_soon_as_junk_is_gone_and_the_end_does_not_wait_for_it() {
    let world = World::new();
    let (one, two, listen) = (Echo::start(), Echo::start(), ports(1));
    world.write("a.toml", rule("edge-01", "a", listen, one.port, ""));
    let server = world.follow_uncommitted();
    world.edge("edge-01");
    wait_until("the port", || answers(listen) == Some(one.port));
    fill(&world);
    wait_busy(&server);
    clear(&world);
    world.write("a.toml", rule("edge-01", "a", listen, two.port, ""));
    wait_until("the new target, without a word about the junk", || {
        assert_eq!(errors(&world), 0, "the reading of junk was not given up");
        answers(listen) == Some(two.port)
    });

    fill(&world);
    wait_busy(&server);
    let asked = Instant::now();
    server.stop();
    soon("the end", asked);
    clear(&world);
    world.write("a.toml", rule("edge-01", "a", listen, one.port, ""));
    world.follow_uncommitted();
    wait_until("the old target again", || answers(listen) == Some(one.port));
}

#[test]
fn a_newer_commit_does_not_wait_for_the_check_of_one_with_junk() {
    let scene = Scene::new();
    let server = scene.follow(&[]);
    wait_until("the port", || answers(scene.port) == Some(scene.one.port));
    let junk = junk("toml");
    for number in 0..FILES {
        scene.world.write(&format!("rules.d/junk-{number}.toml"), &junk);
    }
    scene.world.commit();
    scene.publish(&[]);
    wait_busy(&server);
    fs::remove_dir_all(scene.world.tree().join("rules.d")).unwrap();
    scene.push(&scene.two);
    wait_until("the new target, without a word about the junk", || {
        assert_eq!(errors(&scene.world), 0, "the check of junk was not given up");
        answers(scene.port) == Some(scene.two.port)
    });
}

#[test]
fn the_memory_that_junk_takes_is_bounded_in_every_language() {
    let world = World::new();
    let (echo, listen) = (Echo::start(), ports(1));
    world.write("a.toml", rule("edge-01", "a", listen, echo.port, ""));
    let server = world.follow_uncommitted();
    world.edge("edge-01");
    wait_until("the port", || answers(listen) == Some(echo.port));
    for kind in ["toml", "yaml", "json", "dense.toml", "dense.yaml", "dense.json"] {
        let before = server.peak();
        let file = format!("junk.{kind}");
        world.write(&file, junk(kind));
        let errors = wait_for("the findings", || {
            let errors = world.status()["revision"]["errors"].as_array().cloned().unwrap_or_default();
            let is_there = errors.iter().any(|one| one["file"] == file.as_str());
            if is_there { Ok(errors) } else { Err(format!("{} errors", errors.len())) }
        });
        assert!(errors.len() <= 1001, "{kind}: {}", errors.len());
        let last = &errors.last().unwrap();
        let message = last["message"].as_str().unwrap();
        let is_cut = message.starts_with("and ") && message.contains(" more");
        assert!(is_cut || last["code"] == "file_too_large", "{kind}: {last}");
        let more = server.peak() - before;
        assert!(more < MORE, "{kind} took {more} KiB");
        fs::remove_file(world.tree().join(file)).unwrap();
        world.wait_status("the tree to be valid again", |status| {
            status["revision"]["errors"].as_array().is_none_or(Vec::is_empty)
        });
    }
    assert_eq!(answers(listen), Some(echo.port));
}

#[test]
fn the_memory_of_a_large_upload_is_twice_its_body_at_most_and_comes_back() {
    const FILES: usize = 6;
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let line = format!("# {}\n", "x".repeat(77));
    let text = line.repeat((7 << 20) / line.len());
    let mut files: Vec<_> =
        (0..FILES).map(|number| serde_json::json!({ "path": format!("f{number}.toml"), "text": text })).collect();
    files.push(serde_json::json!({ "path": "a.toml", "text": rule("edge-01", "a", ports(1), 9, "") }));
    let body = serde_json::json!({ "files": files }).to_string();
    let (peak, before) = (server.peak(), server.anonymous());
    // The first teaches an allocator that blocks can be large; what it then does with the second is what counts.
    for path in ["/v1/validate", "/v1/plan"] {
        let (status, answer) = world.api("POST", path, &body).unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    let more = server.peak() - peak;
    assert!(more < 2 * body.len() as u64 / 1024, "a body of {} KiB took {more}", body.len() / 1024);
    wait_until("the memory to come back", || server.anonymous() < before + (body.len() as u64 / 1024) / 4);
}

#[test]
fn files_that_people_name_are_read_within_their_bounds() {
    let world = World::new();
    world.write("a.toml", rule("edge-01", "a", ports(1), 9, ""));
    let (tree, file) = (world.tree_arg(), world.arg("large"));
    let of_size = |mib: u64| {
        let bytes = fs::File::create(world.path("large")).unwrap();
        bytes.set_len((mib << 20) + 1).unwrap();
    };
    of_size(256);
    world.cli(&["plan", &tree, "--live", &file]).exits(1).says("file_too_large");
    of_size(512);
    world.cli(&["apply", &file]).exits(1).says("file_too_large");
    of_size(64);
    world.cli(&["import", "--portunus", &file]).exits(1).says("file_too_large");
    of_size(1);
    world.cli(&["serve", "--config", &file]).exits(1).says("file_too_large");
    // A pipe without an end.
    let endless = "yes '[' | head -c 80000000 | tr -d '\\n' | \"$0\" import --portunus -";
    let mut shell = std::process::Command::new("sh");
    let said = shell.args(["-c", endless, env!("CARGO_BIN_EXE_portunus")]).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("file_too_large"), "{said:?}");
}
