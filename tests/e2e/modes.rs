//! What the server does by itself, and what it leaves to people.

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, edge_of, ports, rule, wait_until};

/// A tree whose rule goes to one of two upstreams.
struct Scene {
    world: World,
    one: Echo,
    two: Echo,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { world: World::new(), one: Echo::start(), two: Echo::start(), port: ports(2) };
        scene.world.edit("a.toml", scene.text(&scene.one));
        scene
    }

    fn text(&self, target: &Echo) -> String {
        rule("edge-01", "a", self.port, target.port, "")
    }

    fn tree_digest(&self) -> serde_json::Value {
        self.world.plan()["source"]["digest"].clone()
    }

    /// Waits until the server has read the tree as it is on disk.
    fn is_read(&self) {
        let digest = self.tree_digest();
        self.world.wait_status("the tree to be read", |status| status["revision"]["attempted"]["digest"] == digest);
    }
}

#[test]
fn mode_apply_follows_the_tree_and_a_late_edge_gets_it_too() {
    let scene = Scene::new();
    let world = &scene.world;
    world.follow("apply");
    scene.is_read();
    world.edge("edge-01");
    world.wait_rule("edge-01", "a", "active");
    assert_eq!(answers(scene.port), Some(scene.one.port));
    world.edit("a.toml", scene.text(&scene.two));
    wait_until("the new target to serve", || answers(scene.port) == Some(scene.two.port));
    // A dirty tree waits for its commit.
    world.write("a.toml", scene.text(&scene.one));
    world.wait_status("the dirty tree to be held", |status| status["revision"]["held"] == true);
    assert_eq!(answers(scene.port), Some(scene.two.port));
    let commit = world.commit();
    world.wait_status("the commit to be in force", |status| status["revision"]["commit"] == commit.as_str());
    wait_until("the committed target to serve", || answers(scene.port) == Some(scene.one.port));
}

#[test]
fn mode_apply_holds_a_tree_that_trips_a_rail() {
    let world = World::new();
    let echo = Echo::start();
    let port = ports(8);
    let tree = |count: u16| -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, "")).collect()
    };
    world.edit("a.toml", tree(8));
    world.follow("apply");
    world.edge("edge-01");
    world.wait_rule("edge-01", "r7", "active");
    world.edit("a.toml", tree(1));
    let status = world.wait_status("the rail", |status| status["revision"]["held"] == true);
    assert!(status["revision"]["reason"].as_str().unwrap().contains("max_removed_percent"), "{status}");
    assert_eq!(answers(port + 7), Some(echo.port));
    world.apply_with(&["--allow-removals", "7"]).exits(0);
    assert!(refuses(port + 7));
    world.wait_status("nothing held", |status| status["revision"]["held"] == false);
}

#[test]
fn mode_plan_records_and_waits_for_an_apply() {
    let scene = Scene::new();
    let world = &scene.world;
    world.follow("plan");
    world.edge("edge-01");
    scene.is_read();
    let status = world.status();
    assert_eq!(status["revision"]["verdict"]["outcome"], "waiting");
    assert_eq!(edge_of(&status, "edge-01").unwrap()["desired_generation"], 0);
    assert!(refuses(scene.port));
    world.apply();
    assert_eq!(answers(scene.port), Some(scene.one.port));
    // The watcher never reverts what was applied by hand, whatever is on disk.
    world.edit("a.toml", scene.text(&scene.two));
    scene.is_read();
    assert_eq!(answers(scene.port), Some(scene.one.port));
    std::fs::create_dir(world.path("other")).unwrap();
    std::fs::write(world.path("other/a.toml"), rule("edge-01", "a", scene.port + 1, scene.one.port, "")).unwrap();
    world.cli(&["apply", &world.arg("other"), "--yes", "--allow-dirty"]).exits(0);
    assert_eq!(answers(scene.port + 1), Some(scene.one.port));
    world.edit("b.toml", "# touched\n");
    scene.is_read();
    assert_eq!((answers(scene.port), answers(scene.port + 1)), (None, Some(scene.one.port)));
}

#[test]
fn mode_heal_holds_what_was_applied_and_brings_back_an_edge_that_lost_it() {
    let scene = Scene::new();
    let world = &scene.world;
    world.follow("heal");
    let edge = world.edge("edge-01");
    scene.is_read();
    assert!(refuses(scene.port), "nothing has been applied yet");
    world.apply();
    assert_eq!(answers(scene.port), Some(scene.one.port));
    world.edit("a.toml", scene.text(&scene.two));
    scene.is_read();
    assert_eq!(answers(scene.port), Some(scene.one.port), "the tree on disk is not followed");
    // The edge loses its state: a local modification as thorough as can be.
    edge.kill();
    world.wait_connected("edge-01", false);
    std::fs::remove_dir_all(world.path("edge-01-state")).unwrap();
    world.edge("edge-01");
    world.wait_rule("edge-01", "a", "active");
    assert_eq!(answers(scene.port), Some(scene.one.port));
    assert_eq!(world.status()["drift"], serde_json::json!([]));
}

#[test]
fn mode_heal_puts_back_what_somebody_else_told_an_edge() {
    let world = World::new();
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(2);
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, one.port, ""));
    server.stop();
    // Another server with a state of its own tells the edge something else in the meantime.
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").arg(world.path("server-state")).arg(world.path("kept-state"));
    assert!(copy.status().unwrap().success());
    world.lose_records();
    let stranger = world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port + 1, two.port, ""));
    let stray = world.generations("edge-01").0;
    assert_eq!(answers(port + 1), Some(two.port));
    stranger.stop();
    std::fs::rename(world.path("server-state"), world.path("stray-state")).unwrap();
    std::fs::rename(world.path("kept-state"), world.path("server-state")).unwrap();
    world.serve(&["--mode", "heal"]);
    wait_until("what was applied to be back", || answers(port) == Some(one.port));
    world.wait_status("the edge to be settled", |status| status["drift"] == serde_json::json!([]));
    assert!(refuses(port + 1));
    assert!(world.generations("edge-01").0 > stray, "a generation never goes down");
    assert!(edge.has_ended().is_none());
}

#[test]
fn mode_off_does_nothing_by_itself_and_applies_when_told() {
    let scene = Scene::new();
    let world = &scene.world;
    let server = world.follow("off");
    let edge = world.edge("edge-01");
    scene.is_read();
    assert!(refuses(scene.port));
    world.apply();
    assert_eq!(answers(scene.port), Some(scene.one.port));
    edge.kill();
    world.wait_connected("edge-01", false);
    std::fs::remove_dir_all(world.path("edge-01-state")).unwrap();
    world.edge("edge-01");
    let status = world.status();
    assert_ne!(status["drift"], serde_json::json!([]), "the drift is shown");
    assert!(refuses(scene.port), "and left");
    world.apply();
    assert_eq!(answers(scene.port), Some(scene.one.port));
    server.stop();
}
