//! Break-glass rules: in place without git, shown everywhere, gone by themselves, taken over by a commit.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::peers::{Echo, Steady, answers, refuses};
use crate::support::{Handle, World, ports, rule, rule_of, skip, wait_until};

struct Scene {
    world: World,
    echo: Echo,
    port: u16,
}

impl Scene {
    /// An edge that runs one rule of a tree; two more ports are free.
    fn new() -> Self {
        let scene = Self { world: World::with_edges(&["edge-01"]), echo: Echo::start(), port: ports(3) };
        scene.world.edit_and_apply("a.toml", &rule("edge-01", "web", scene.port, scene.echo.port, ""));
        scene
    }

    fn add(&self, name: &str, port: u16, ttl: &str) -> crate::processes::Said {
        let (port, target) = (port.to_string(), format!("127.0.0.1:{}", self.echo.port));
        let why = "the pager rang";
        self.world.cli(&[
            "override",
            "add",
            "edge-01",
            "--name",
            name,
            "--listen-port",
            &port,
            "--target",
            &target,
            "--ttl",
            ttl,
            "--why",
            why,
        ])
    }
}

#[test]
fn an_override_serves_is_shown_and_expires() {
    let scene = Scene::new();
    let world = &scene.world;
    let port = scene.port + 1;
    scene.add("glass", port, "2s").exits(0);
    world.wait_rule("edge-01", "glass", "active");
    assert_eq!(answers(port), Some(scene.echo.port));
    let status = world.status();
    let shown = rule_of(&status, "edge-01", "glass").unwrap();
    assert_eq!(shown["override"]["why"], "the pager rang");
    assert!(status["drift"].as_array().unwrap().iter().any(|drift| drift["kind"] == "override"), "{status}");
    let plan = world.plan();
    assert_eq!(plan["changes"].as_array().unwrap().len(), 0, "{plan}");
    assert_eq!(plan["drift"][0]["kind"], "override");
    let listed = world.cli(&["override", "list"]).exits(0).out.clone();
    assert!(listed.contains("edge-01/glass") && listed.contains("the pager rang"), "{listed}");
    wait_until("the override to end", || refuses(port));
    world.wait_status("the rule to be gone", |status| rule_of(status, "edge-01", "glass").is_none());
    assert_eq!(answers(scene.port), Some(scene.echo.port));
}

#[test]
fn an_override_that_is_exported_and_committed_is_taken_over_without_a_gap() {
    let scene = Scene::new();
    let world = &scene.world;
    let port = scene.port + 1;
    scene.add("glass", port, "1h").exits(0);
    world.wait_rule("edge-01", "glass", "active");
    let before = world.generations("edge-01");
    let toml = world.cli(&["override", "export"]).exits(0).out.clone();
    assert!(toml.contains("# the pager rang"), "{toml}");
    world.edit_and_apply("glass.toml", &toml);
    assert_eq!(world.generations("edge-01"), before, "nothing that runs has changed");
    world.cli(&["override", "remove", "edge-01/glass"]).exits(1);
    assert_eq!(answers(port), Some(scene.echo.port));
    assert_eq!(world.status()["drift"].as_array().unwrap().len(), 0);
}

#[test]
fn an_override_takes_nothing_from_the_tree_and_needs_a_reason() {
    let scene = Scene::new();
    let world = &scene.world;
    for (said, words) in [
        (scene.add("glass", scene.port, "1h"), "web"),
        (scene.add("web", scene.port + 1, "1h"), "the tree already has a rule web"),
        (scene.add("Glass", scene.port + 1, "1h"), "name"),
        (scene.add("glass", scene.port + 1, "200h"), "7 days"),
        (world.cli(&["override", "remove", "edge-01/none"]), "no override none"),
        (world.cli(&["override", "export", "edge-01/none"]), "no override edge-01/none"),
    ] {
        assert_eq!(said.code, 1, "{said}");
        assert!(said.err.contains(words), "{said}");
    }
    assert!(refuses(scene.port + 1));
    // A rule of the tree that wants the port waits for the end of the override.
    scene.add("glass", scene.port + 1, "1h").exits(0);
    world.wait_rule("edge-01", "glass", "active");
    world.edit("b.toml", rule("edge-01", "b", scene.port + 1, scene.echo.port, ""));
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
    assert_eq!((&plan["changes"][0]["action"], &plan["changes"][0]["code"]), (&"reject".into(), &"port_in_use".into()));
    world.cli(&["override", "remove", "edge-01/glass"]).exits(0);
    world.apply();
    assert_eq!(answers(scene.port + 1), Some(scene.echo.port));
}

#[test]
fn an_override_that_ends_while_the_server_is_down_ends_on_its_edge_and_nothing_else_changes() {
    let scene = Scene { world: World::new(), echo: Echo::start(), port: ports(4) };
    let world = &scene.world;
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    world.edge("edge-02");
    let tree = rule("edge-01", "web", scene.port, scene.echo.port, "")
        + &rule("edge-02", "web", scene.port + 2, scene.echo.port, "");
    world.edit_and_apply("a.toml", &tree);
    scene.add("stays", scene.port + 3, "1h").exits(0);
    scene.add("glass", scene.port + 1, "2s").exits(0);
    let ends = Instant::now() + Duration::from_secs(2);
    world.wait_rule("edge-01", "stays", "active");
    world.wait_rule("edge-01", "glass", "active");
    let (one, other) = (world.generations("edge-01"), world.generations("edge-02"));
    let kept = |world: &World| {
        let status = world.status();
        ["web", "stays"].map(|name| rule_of(&status, "edge-01", name).unwrap()["spec"].clone())
    };
    let before = kept(world);
    let steady = Steady::transfer(scene.port, 3);
    let probes = [0, 2, 3].map(|number| Steady::probe(scene.port + number, vec![scene.echo.port]));
    server.kill();
    wait_until("its time to be over", || Instant::now() > ends);
    wait_until("the override to end without the server", || refuses(scene.port + 1));
    assert_eq!(answers(scene.port), Some(scene.echo.port), "an edge without its server forwards");

    let server = world.serve(&["--mode", "heal"]);
    let is_over = |world: &World| {
        let is_settled = |status: &Value| {
            let is_here = |edge: &Value| edge["connected"] == true && edge["generation"] == edge["desired_generation"];
            status["edges"].as_array().unwrap().iter().all(is_here) && rule_of(status, "edge-01", "glass").is_none()
        };
        let status = world.wait_status("both edges without it", is_settled);
        let drift: Vec<&Value> = status["drift"].as_array().unwrap().iter().map(|drift| &drift["rule"]).collect();
        assert_eq!(drift, ["stays"], "{status}");
        assert_eq!((kept(world), world.generations("edge-02")), (before.clone(), other));
        assert_eq!(world.generations("edge-01"), (one.0 + 1, one.1 + 1), "one step, for one rule less");
        assert_eq!(world.plan()["changes"], serde_json::json!([]));
        let listed = world.cli(&["override", "list"]).exits(0).out.clone();
        assert!(listed.contains("edge-01/stays") && !listed.contains("glass"), "{listed}");
        let history = world.cli(&["history", "-o", "json"]).exits(0).json();
        let ended = history.as_array().unwrap().iter().filter(|line| line["outcome"] == "rule_expired");
        assert_eq!(ended.map(|line| &line["actor"]).collect::<Vec<_>>(), ["clock"], "{history}");
        world.cli(&["history", "--verify"]).exits(0);
    };
    is_over(world);
    // It does not come back with another start.
    server.kill();
    world.serve(&["--mode", "heal"]);
    is_over(world);
    assert!(refuses(scene.port + 1));
    for probe in probes {
        probe.finish();
    }
    steady.finish();
}

#[test]
fn what_an_edge_cannot_do_is_said_and_no_success() {
    let scene = Scene::new();
    let world = &scene.world;
    let port = scene.port + 1;
    let stranger = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
    let taken = scene.add("glass", port, "1h").exits(5);
    taken.says(&format!("port {port} already bound")).says("not in place");
    world.cli(&["override", "list"]).exits(0).says("failed").says("port_in_use");
    // It heals like every rule, and then adding it once more is a success.
    drop(stranger);
    world.wait_rule("edge-01", "glass", "active");
    scene.add("glass", port, "1h").exits(0).says("is in place");
}

#[test]
fn an_edge_that_is_away_gets_it_when_it_is_back_and_nobody_says_that_it_has_it() {
    let world = World::new();
    let _server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let scene = Scene { echo: Echo::start(), port: ports(2), world };
    scene.world.edit_and_apply("a.toml", &rule("edge-01", "web", scene.port, scene.echo.port, ""));
    edge.stop();
    scene.world.wait_connected("edge-01", false);
    scene.add("glass", scene.port + 1, "1h").exits(5).says("client_not_connected").says("not in place");
    scene.world.edge("edge-01");
    scene.world.wait_rule("edge-01", "glass", "active");
    assert_eq!(answers(scene.port + 1), Some(scene.echo.port));
}

#[test]
fn an_override_that_ends_while_both_are_down_never_serves_again() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let scene = Scene { echo: Echo::start(), port: ports(2), world };
    let world = &scene.world;
    world.edit_and_apply("a.toml", &rule("edge-01", "web", scene.port, scene.echo.port, ""));
    scene.add("glass", scene.port + 1, "4s").exits(0);
    let ends = Instant::now() + Duration::from_secs(4);
    world.wait_rule("edge-01", "glass", "active");
    server.kill();
    edge.kill();
    // It is back before the end, and gone again over it.
    let again = world.start_edge("edge-01", &[]);
    if Instant::now() + Duration::from_secs(1) < ends {
        wait_until("the last good state", || answers(scene.port + 1) == Some(scene.echo.port));
    }
    again.kill();
    wait_until("its time to be over", || Instant::now() > ends);
    world.start_edge("edge-01", &[]);
    wait_until("the rule of the tree", || answers(scene.port) == Some(scene.echo.port));
    assert!(refuses(scene.port + 1), "its time is over");
    world.serve(&["--mode", "heal"]);
    world.wait_status("both to agree", |status| {
        let edge = &status["edges"][0];
        edge["connected"] == true
            && edge["generation"] == edge["desired_generation"]
            && rule_of(status, "edge-01", "glass").is_none()
            && status["drift"] == serde_json::json!([])
    });
    assert!(refuses(scene.port + 1));
}

/// Starts an edge whose clock since the start of the host is so many seconds ahead; `None` where this user cannot
/// arrange that.
fn edge_ahead_by(world: &World, name: &str, secs: i64) -> Option<Handle> {
    let boottime = format!("--boottime={secs}");
    let uptime = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).arg("/proc/uptime").output().ok()?;
        String::from_utf8(output.stdout).ok()?.split('.').next()?.parse::<i64>().ok()
    };
    let ahead = uptime("unshare", &["--time", &boottime, "cat"])? - uptime("cat", &[])?;
    if ahead.abs_diff(secs) > 5 {
        return None;
    }
    let (server, state) = (format!("http://127.0.0.1:{}", world.control), world.arg(&format!("{name}-state")));
    let portunus = env!("CARGO_BIN_EXE_portunus");
    let edge = ["--time", &boottime, portunus, "edge", "--name", name, "--server", &server, "--state-dir", &state];
    Some(world.start_program("unshare", &edge))
}

/// Of one process the kernel moves only the clock since the start of the host, and never while it runs. To an edge that
/// starts again with that clock an hour ahead, the wall clock has been set back by an hour since its first start.
#[test]
fn a_wall_clock_that_was_set_between_two_starts_of_an_edge_moves_no_end() {
    const HOUR: i64 = 3600;
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let scene = Scene { echo: Echo::start(), port: ports(3), world };
    let world = &scene.world;
    world.edit_and_apply("a.toml", &rule("edge-01", "web", scene.port, scene.echo.port, ""));
    scene.add("short", scene.port + 1, "30m").exits(0);
    scene.add("long", scene.port + 2, "2h").exits(0);
    world.wait_rule("edge-01", "short", "active");
    world.wait_rule("edge-01", "long", "active");
    server.kill();
    edge.kill();
    // Set ahead by an hour: nothing ends early. An hour after the start of the host at the latest, this cannot be shown.
    match edge_ahead_by(world, "edge-01", -HOUR) {
        Some(early) => {
            for offset in 0..3 {
                wait_until("the last good state", || answers(scene.port + offset) == Some(scene.echo.port));
            }
            early.kill();
        }
        None => skip("the clock of a process cannot be set back here"),
    }
    // Set back by an hour: what ends after half of one is over.
    let Some(_late) = edge_ahead_by(world, "edge-01", HOUR) else {
        return skip("no time namespaces here (root and `unshare --time` make them)");
    };
    for offset in [0, 2] {
        wait_until("what has not ended", || answers(scene.port + offset) == Some(scene.echo.port));
    }
    wait_until("the end of the other one", || refuses(scene.port + 1));
}

#[test]
fn an_override_that_was_renewed_or_taken_over_outlives_its_first_end_without_the_server() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let scene = Scene { echo: Echo::start(), port: ports(4), world };
    let world = &scene.world;
    world.edit_and_apply("a.toml", &rule("edge-01", "web", scene.port, scene.echo.port, ""));
    for (name, offset) in [("ends", 1), ("renewed", 2), ("taken", 3)] {
        scene.add(name, scene.port + offset, "6s").exits(0);
    }
    let ends = Instant::now() + Duration::from_secs(6);
    scene.add("renewed", scene.port + 2, "1h").exits(0);
    let before = world.generations("edge-01");
    let toml = world.cli(&["override", "export", "edge-01/taken"]).exits(0).out.clone();
    world.edit_and_apply("taken.toml", &toml);
    assert_eq!(world.generations("edge-01"), before, "nothing that runs has changed");
    let probes = [0, 2, 3].map(|offset| Steady::probe(scene.port + offset, vec![scene.echo.port]));
    server.kill();
    wait_until("the first end", || Instant::now() > ends);
    wait_until("the one that was not renewed to end", || refuses(scene.port + 1));
    for offset in [0, 2, 3] {
        assert_eq!(answers(scene.port + offset), Some(scene.echo.port), "{offset}");
    }
    world.serve(&["--mode", "heal"]);
    world.wait_status("both to agree", |status| {
        let edge = &status["edges"][0];
        edge["connected"] == true && edge["generation"] == edge["desired_generation"]
    });
    for probe in probes {
        probe.finish();
    }
}

#[test]
fn an_override_that_would_close_a_loop_is_refused_with_both_places_and_so_is_a_rule_that_meets_one() {
    let scene = Scene { world: World::with_edges(&["edge-01"]), echo: Echo::start(), port: ports(3) };
    let (world, port) = (&scene.world, scene.port);
    for protocol in ["tcp", "udp"] {
        let more = format!("protocol = \"{protocol}\"");
        world.edit_and_apply("a.toml", &rule("edge-01", "web", port, port + 1, &more));
        let add = |listen: u16, target: u16| {
            let (listen, target) = (listen.to_string(), format!("localhost:{target}"));
            let args =
                ["override", "add", "edge-01", "--name", "glass", "--protocol", protocol, "--listen-port", &listen];
            let rest = ["--target", &target, "--ttl", "1h", "--why", "the pager rang", "-o", "json"];
            world.cli(&[&args[..], &rest[..]].concat())
        };
        let before = world.generations("edge-01");
        for (listen, target) in [(port + 1, port), (port + 1, 9), (port + 2, port)] {
            let refused = add(listen, target).exits(5);
            assert_eq!(refused.json()["code"], "self_lockout", "{refused}");
            refused.says("the override `glass` (in no file)").says("rule `web` (a.toml:1)");
        }
        assert_eq!((world.generations("edge-01"), refuses(port + 1)), (before, true), "nothing was sent");

        // Now the override is first, and the rule of the tree would close the loop.
        world.edit_and_apply("a.toml", &rule("edge-01", "web", port, scene.echo.port, &more));
        add(port + 1, 9).exits(0);
        world.edit("a.toml", rule("edge-01", "web", port, port + 1, &more));
        let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
        let change = &plan["changes"][0];
        assert_eq!((&change["action"], &change["code"]), (&"reject".into(), &"self_lockout".into()), "{plan}");
        let message = change["message"].as_str().unwrap();
        assert!(message.contains("rule `web` (a.toml:1)") && message.contains("`glass` (in no file;"), "{message}");
        world.apply_with(&[]).exits(5).says("self_lockout");
        if protocol == "tcp" {
            assert_eq!(answers(port), Some(scene.echo.port), "what serves goes on");
        }
        world.cli(&["override", "remove", "edge-01/glass"]).exits(0);
        world.apply();
    }
}
