//! A part that panics ends its process with exit code 1 and an error that names it, by the real binary; started again,
//! it serves what it served before within a second.

use std::fs;
use std::time::{Duration, Instant};

use crate::peers::{Client, Echo, Steady, answers, refuses};
use crate::processes::Process;
use crate::support::{Handle, World, ports, rule, wait_for};

/// Within this, whoever starts a process again has the last good state served.
const AT_ONCE: Duration = Duration::from_secs(1);

const SERVER_PARTS: [&str; 7] = [
    "the owner of the fleet",
    "the control port",
    "the operator port",
    "the metrics port",
    "the owner of operators and audit",
    "the follower of the directory",
    "the upkeep of the state",
];
const EDGE_PARTS: [&str; 7] = [
    "worker 0 of the data plane",
    "the data plane's lookup of names",
    "the owner of rules and sockets",
    "the owner of the targets' health",
    "the resolver of names",
    "the session with the server",
    "the metrics port",
];

struct Scene {
    world: World,
    echo: Echo,
    port: u16,
    args: Vec<String>,
}

impl Scene {
    /// A process with these arguments, which a test can make panic.
    fn new(world: World, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { world, echo: Echo::start(), port: ports(1), args }
    }

    fn start(&self) -> Handle {
        fs::remove_file(self.world.path("kill")).ok();
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let kill = self.world.arg("kill");
        self.world.start_with_env("killed", &args, &[("PORTUNUS_TESTING_KILL_FILE", &kill)])
    }

    /// Starts it, and says how long it took until it was as it should be.
    fn start_until(&self, is_so: impl Fn() -> bool) -> (Handle, Duration) {
        let start = Instant::now();
        let process = self.start();
        wait_for("the process to serve", || is_so().then_some(()).ok_or_else(|| process.log()));
        (process, start.elapsed())
    }

    /// Kills a part, and looks at what the process ends with.
    fn kill(&self, process: &Process, part: &str) {
        let before = process.log().len();
        fs::write(self.world.path("kill"), format!("{part}\n")).unwrap();
        assert_eq!(process.ended(), 1, "{part}: {}", process.log());
        let said = process.log()[before..].to_owned();
        let error = format!("error: {part} panicked: killed by a test; this is a bug, restart the process");
        assert!(said.lines().any(|line| line == error), "{part}: {said}");
        assert!(said.contains("a thread panicked"), "where it was: {said}");
    }
}

/// The shortest of them: a machine that is busy with something else holds some starts up.
fn assert_at_once(starts: &[Duration]) {
    assert!(starts.iter().min() < Some(&AT_ONCE), "{starts:?}");
}

#[test]
fn a_part_of_an_edge_that_panics_ends_it_and_it_serves_at_once_after_its_restart() {
    let world = World::with_edges(&[]);
    let (server, state) = (format!("http://127.0.0.1:{}", world.control), world.arg("edge-01-state"));
    let metrics = format!("127.0.0.1:{}", ports(1));
    let args = ["edge", "--name", "edge-01", "--server", &server, "--state-dir", &state, "--metrics-listen", &metrics];
    let scene = Scene::new(world, &args);
    let mut edge = scene.start();
    scene.world.wait_connected("edge-01", true);
    scene.world.edit_and_apply("a.toml", &rule("edge-01", "a", scene.port, scene.echo.port, ""));
    let mut starts = Vec::new();
    for part in EDGE_PARTS {
        let mut client = Client::to(scene.port);
        client.ping(1, 0, 100).unwrap();
        scene.kill(&edge, part);
        assert!(client.is_cut(), "{part}: its connections end with it");
        let (again, start) = scene.start_until(|| answers(scene.port) == Some(scene.echo.port));
        edge = again;
        starts.push(start);
    }
    assert_at_once(&starts);
    edge.stop();
}

#[test]
fn a_part_of_a_server_that_panics_ends_it_while_its_edge_forwards_and_it_goes_on_after_its_restart() {
    let world = World::new();
    let (tree, own) = (world.tree_arg(), world.server_args());
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let scene = Scene::new(world, &[&["serve", "--rules", &tree], &own[..]].concat());
    let world = &scene.world;
    let commit = world.edit("a.toml", rule("edge-01", "a", scene.port, scene.echo.port, ""));
    let is_in_force = || world.try_status().is_ok_and(|status| status["revision"]["commit"] == *commit);
    let mut server = scene.start_until(is_in_force).0;
    world.edge("edge-01");
    world.wait_rule("edge-01", "a", "active");
    let probe = Steady::probe(scene.port, vec![scene.echo.port]);
    let mut starts = Vec::new();
    for part in SERVER_PARTS {
        scene.kill(&server, part);
        assert_eq!(answers(scene.port), Some(scene.echo.port), "{part}: an edge without its server forwards");
        let (again, start) = scene.start_until(is_in_force);
        server = again;
        starts.push(start);
    }
    assert_at_once(&starts);
    world.wait_connected("edge-01", true);
    probe.finish();
    server.stop();
}

#[test]
fn up_ends_as_a_whole_whichever_half_of_it_panics() {
    let world = World::new();
    let (tree, own) = (world.tree_arg(), world.server_args());
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let scene = Scene::new(world, &[&["up", &tree], &own[..]].concat());
    scene.world.edit("a.toml", rule("local", "a", scene.port, scene.echo.port, ""));
    let serves = || answers(scene.port) == Some(scene.echo.port);
    let mut up = scene.start_until(serves).0;
    let mut starts = Vec::new();
    for part in ["worker 0 of the data plane", "the owner of the fleet", "the in-process session of the edge"] {
        scene.kill(&up, part);
        assert!(refuses(scene.port), "{part}");
        let (again, start) = scene.start_until(serves);
        up = again;
        starts.push(start);
    }
    assert_at_once(&starts);
    up.stop();
}
