//! `apply --confirm-within`: an edge that does not hear in time that its state is good returns to the one before.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::peers::{Echo, answers, refuses, serve};
use crate::support::{Handle, World, let_pass, ports, rule, wait_until};

/// Long enough for a loaded machine to get a state on trial, short enough to be waited for.
const WINDOW: Duration = Duration::from_secs(4);

/// An edge whose rule is to move, beside a new one that is good once somebody listens on `gate`.
struct Scene {
    world: World,
    server: Handle,
    edge: Handle,
    echo: Echo,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let server = world.serve(&["--mode", "heal"]);
        let edge = world.edge("edge-01");
        let scene = Self { world, server, edge, echo: Echo::start(), port: ports(4) };
        scene.world.edit_and_apply("a.toml", &rule("edge-01", "a", scene.port, scene.echo.port, ""));
        scene
    }

    fn gate(&self) -> u16 {
        self.port + 3
    }

    /// Starts the apply and waits until the new state is on trial.
    fn try_next(&self) -> Handle {
        let checked = rule("edge-01", "gate", self.port + 2, self.gate(), "health_check_interval_secs = 1");
        self.world.edit("a.toml", rule("edge-01", "a", self.port + 1, self.echo.port, "") + &checked);
        let window = format!("{}s", WINDOW.as_secs());
        let tree = self.world.tree_arg();
        let args = ["apply", &tree, "--yes", "--wait-healthy", "--timeout", "20s", "--confirm-within", &window];
        let apply = self.world.start_cli("apply", &args);
        wait_until("the new state on trial", || answers(self.port + 1) == Some(self.echo.port));
        self.world.wait_status("the trial to be shown", |status| status["edges"][0]["confirmation"] == "awaited");
        self.world.cli(&["status"]).exits(0).says("on trial");
        apply
    }

    fn open_gate(&self) {
        serve(TcpListener::bind(("127.0.0.1", self.gate())).unwrap(), drop);
    }

    fn wait_returned(&self) {
        wait_until("the old state", || refuses(self.port + 1) && answers(self.port) == Some(self.echo.port));
    }

    /// The newest line of the ledger with that outcome.
    fn ledger_has(&self, outcome: &str) -> bool {
        let history = self.world.cli(&["history", "-o", "json"]).exits(0).json();
        let entries = history.as_array().or_else(|| history["entries"].as_array()).cloned().unwrap_or_default();
        entries.iter().any(|entry: &Value| entry["outcome"] == outcome)
    }
}

#[test]
fn a_state_that_is_found_good_is_confirmed_and_stays() {
    let scene = Scene::new();
    let apply = scene.try_next();
    scene.open_gate();
    assert_eq!(apply.ended(), 0, "{}", apply.log());
    let_pass(WINDOW + Duration::from_secs(1));
    assert_eq!(answers(scene.port + 1), Some(scene.echo.port));
    assert!(refuses(scene.port));
    assert_eq!(scene.world.generations("edge-01"), (2, 2));
    // Not even a restart of both brings it back to where it was.
    scene.server.kill();
    scene.edge.stop();
    scene.world.serve(&["--mode", "heal"]);
    scene.world.edge("edge-01");
    assert_eq!(answers(scene.port + 1), Some(scene.echo.port));
}

#[test]
fn a_state_that_is_not_good_in_time_gives_way_and_is_held_so() {
    let scene = Scene::new();
    let apply = scene.try_next();
    assert_eq!(apply.ended(), 5, "{}", apply.log());
    assert!(apply.log().contains("reverted to its previous state"), "{}", apply.log());
    scene.wait_returned();
    let status = scene.world.wait_status("everybody to agree", |status| {
        status["edges"][0]["generation"] == 3 && status["edges"][0]["desired_generation"] == 3
    });
    assert_eq!(status["drift"].as_array().unwrap().len(), 0, "{status}");
    assert!(scene.ledger_has("returned"));
    let metrics = World::scrape(scene.world.metrics);
    assert!(metrics.contains("portunus_apply_total{outcome=\"returned\"} 1"), "{metrics}");
    // Somebody applies it again, once it is good.
    scene.open_gate();
    scene.world.apply_with(&["--wait-healthy", "--confirm-within", "30s"]).exits(0);
    assert_eq!(answers(scene.port + 1), Some(scene.echo.port));
}

#[test]
fn a_server_that_dies_before_it_confirms_leaves_an_edge_that_returns_alone() {
    let scene = Scene::new();
    let apply = scene.try_next();
    scene.world.wait_rule("edge-01", "gate", "active");
    scene.server.kill();
    // What would have been good is not confirmed by anybody.
    scene.open_gate();
    scene.wait_returned();
    assert_ne!(apply.ended(), 0);
    // The next server takes note of it, and does not begin again.
    scene.world.serve(&["--mode", "heal"]);
    scene.world.wait_connected("edge-01", true);
    scene.world.wait_status("everybody to agree", |status| {
        status["edges"][0]["generation"] == 3 && status["edges"][0]["desired_generation"] == 3
    });
    assert!(scene.ledger_has("returned"));
    assert_eq!(answers(scene.port), Some(scene.echo.port));
}

#[test]
fn a_session_that_is_silent_at_the_moment_makes_the_edge_return() {
    let scene = Scene::new();
    let apply = scene.try_next();
    scene.world.wait_rule("edge-01", "gate", "active");
    scene.server.signal("STOP");
    scene.open_gate();
    scene.wait_returned();
    scene.server.signal("CONT");
    assert_eq!(apply.ended(), 5, "{}", apply.log());
    scene.wait_returned();
}

#[test]
fn an_edge_that_restarts_on_trial_goes_on_waiting_and_returns() {
    let scene = Scene::new();
    let apply = scene.try_next();
    scene.world.wait_rule("edge-01", "gate", "active");
    scene.edge.kill();
    let edge = scene.world.start_edge("edge-01", &[]);
    scene.wait_returned();
    assert_eq!(apply.ended(), 5, "{}", apply.log());
    assert!(edge.log().contains("no confirmation arrived in time"), "{}", edge.log());
}

/// A session that is older than a state says nothing about it: it may live on where no new one could begin.
#[test]
fn a_confirmation_counts_only_where_a_new_connection_comes_through() {
    let scene = Scene::new();
    let world = &scene.world;
    // The edge's way to the server is a rule of its own.
    let rules = |way: u16| {
        rule("edge-01", "a", scene.port, scene.echo.port, "") + &rule("edge-01", "way", scene.port + 1, way, "")
    };
    world.edit_and_apply("a.toml", &rules(world.control));
    scene.edge.stop();
    let (server, state) = (format!("http://127.0.0.1:{}", scene.port + 1), world.arg("edge-01-state"));
    world.start("edge-01", &["edge", "--name", "edge-01", "--server", &server, "--state-dir", &state]);
    world.wait_connected("edge-01", true);
    // Now it leads nowhere; the session of before drains for longer than the trial lasts.
    let before = world.generations("edge-01").0;
    world.edit("a.toml", rules(scene.gate()));
    let tried = world.apply_with(&["--timeout", "20s", "--confirm-within", "3s"]).exits(5);
    assert!(tried.to_string().contains("reverted to its previous state"), "{tried}");
    world.wait_status("everybody to agree", |status| {
        status["edges"][0]["generation"] == before + 2 && status["edges"][0]["desired_generation"] == before + 2
    });
    assert!(scene.ledger_has("returned"));
    // Where the way is open, a state is confirmed over it.
    world.edit("a.toml", rules(world.control) + &rule("edge-01", "b", scene.port + 2, scene.echo.port, ""));
    world.apply_with(&["--timeout", "20s", "--confirm-within", "10s"]).exits(0);
    assert_eq!(answers(scene.port + 2), Some(scene.echo.port));
}
