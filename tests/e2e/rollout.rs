//! Rollout in waves: a canary first, and a failed wave stops the rest.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, ports, rule, wait_until};

const WAVES: &str =
    "[rollout]\nwaves = [\n  { edge_labels = { stage = \"canary\" } },\n  { edge_labels = {}, max_parallel = 2 },\n]\n";
const EDGES: &str = "[[edge]]\nname = \"edge-01\"\nlabels = { stage = \"canary\" }\n\n[[edge]]\nname = \
    \"edge-02\"\n\n[[edge]]\nname = \"edge-03\"\n\n";

/// Three edges; the rule of each listens on a port of its own.
struct Scene {
    world: World,
    echo: Echo,
    port: u16,
}

impl Scene {
    fn new() -> Self {
        let names = ["edge-01", "edge-02", "edge-03"];
        let scene = Self { world: World::with_edges(&names), echo: Echo::start(), port: ports(8) };
        scene.world.write("portunus.toml", WAVES);
        scene.world.edit_and_apply("a.toml", &scene.tree(0));
        scene
    }

    fn tree(&self, by: u16) -> String {
        let rule =
            |number: u16| rule(&format!("edge-0{}", number + 1), "a", self.port + number + by, self.echo.port, "");
        (0..3).map(rule).fold(EDGES.to_owned(), |text, rule| text + &rule)
    }
}

#[test]
fn a_rollout_that_goes_well_reaches_every_edge() {
    let scene = Scene::new();
    scene.world.edit_and_apply("a.toml", &scene.tree(4));
    for number in 0..3 {
        assert_eq!(answers(scene.port + 4 + number), Some(scene.echo.port));
        assert!(refuses(scene.port + number));
    }
}

#[test]
fn a_failed_canary_stops_the_rest_and_is_brought_back_where_asked() {
    let scene = Scene::new();
    let world = &scene.world;
    // A stranger holds the port that the canary is to bind.
    let stranger = TcpListener::bind(("0.0.0.0", scene.port + 4)).unwrap();
    world.edit("a.toml", scene.tree(4));
    let said = world.apply_with(&[]).exits(5).to_string();
    assert!(said.contains("wave 1 failed on edge-01"), "{said}");
    for number in 0..3 {
        assert_eq!(answers(scene.port + number), Some(scene.echo.port), "the old version serves");
    }
    assert!(refuses(scene.port + 5) && refuses(scene.port + 6));
    assert_eq!(world.generations("edge-02"), (1, 1));
    // What was not reached is not in sync, whatever the canary does by itself.
    let drift = |status: &Value| -> Vec<(String, String)> {
        let all = status["drift"].as_array().unwrap().iter();
        let stale = all.filter(|each| each["code"] == "rollout_unfinished");
        stale.map(|each| (each["edge"].as_str().unwrap().to_owned(), each["kind"].to_string())).collect()
    };
    let stale = |edge: &str| (edge.to_owned(), "\"stale_generation\"".to_owned());
    assert_eq!(drift(&world.status()), [stale("edge-02"), stale("edge-03")]);
    world.cli(&["status", "--detailed-exitcode"]).exits(2).says("the rollout stopped before it: wave 1 failed");
    assert!(World::scrape(world.metrics).contains("portunus_drift{kind=\"stale_generation\"} 2\n"));
    // Back to the old tree, and the same once more; this time everything that changed goes back to what it was.
    world.edit_and_apply("a.toml", &scene.tree(0));
    assert_eq!(drift(&world.status()), []);
    world.edit("a.toml", scene.tree(4));
    world.apply_with(&["--rollback", "fleet"]).exits(5);
    world.wait_rule("edge-01", "a", "active");
    let status = world.status();
    assert_eq!(status["drift"].as_array().unwrap().len(), 0, "{status}");
    // The ledger has what each edge was given on the way, what went back, and why.
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    let newest = history.as_array().unwrap().last().unwrap();
    assert_eq!((&newest["outcome"], &newest["brought_back"]), (&json!("partial"), &json!(["edge-01"])), "{newest}");
    assert_eq!(newest["generations"].as_object().unwrap().keys().collect::<Vec<_>>(), ["edge-01"], "{newest}");
    let said = world.cli(&["history", &newest["id"].to_string()]).exits(0);
    said.says("wave 1 failed on edge-01").says(", then reverted");
    // Once the port is free, the rollout goes through.
    drop(stranger);
    world.apply();
    for number in 0..3 {
        assert_eq!(answers(scene.port + 4 + number), Some(scene.echo.port));
    }
}

#[test]
fn an_edge_in_no_wave_and_a_wave_without_an_edge_are_errors() {
    let world = World::new();
    world.write("a.toml", EDGES.to_owned() + &rule("edge-02", "a", 8000, 9, ""));
    for (waves, code, words) in [
        ("waves = [{ edge_labels = { stage = \"canary\" } }]", "invalid_value", "edge-02"),
        ("waves = [{ edge_labels = { stage = \"cannary\" } }, { edge_labels = {} }]", "no_edge_matches", "wave 1"),
    ] {
        world.write("portunus.toml", format!("[rollout]\n{waves}\n"));
        let said = world.cli(&["validate", &world.tree_arg()]).exits(1).to_string();
        assert!(said.contains(code) && said.contains(words), "{said}");
    }
}

#[test]
fn a_rollout_that_a_restart_cut_off_goes_on_by_itself_and_the_ledger_knows_each_edge() {
    let names = ["edge-01", "edge-02", "edge-03"];
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    for name in names {
        world.edge(name);
    }
    let scene = Scene { world, echo: Echo::start(), port: ports(8) };
    let world = &scene.world;
    // Long enough to be cut off while the first wave is watched.
    world.write("portunus.toml", WAVES.replace("\"canary\" } }", "\"canary\" }, soak_secs = 8 }"));
    world.edit("a.toml", scene.tree(0));
    let tree = world.tree_arg();
    let apply = world.start_cli("apply", &["apply", &tree, "--yes", "--actor", "ann", "--rollback", "fleet"]);
    world.wait_status("the canary to be done", |status| status["apply"]["edges"][0]["outcome"] == "done");
    server.kill();
    apply.kill();
    let again = world.serve(&["--mode", "heal"]);
    let status = world.wait_status("the rest of the rollout", |status| {
        status["apply"]["continues"] == "a1" && status["apply"]["outcome"] == "applied"
    });
    assert_eq!(status["drift"], json!([]), "{status}");
    wait_until("what it continues without", || again.log().contains("without `--rollback fleet`"));
    for number in 0..3 {
        assert_eq!(answers(scene.port + number), Some(scene.echo.port));
    }
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    let outcome = |entry: usize, edge: &str| history[entry]["edges"][edge]["outcome"].clone();
    assert_eq!(history[0]["outcome"], "interrupted", "{history}");
    assert_eq!(names.map(|name| outcome(0, name)), ["done", "skipped", "skipped"], "{history}");
    assert_eq!((&history[1]["action"], &history[1]["actor"]), (&json!("resume"), &json!("server")), "{history}");
    assert_eq!((&history[1]["applied_by"], &history[1]["outcome"]), (&json!("ann"), &json!("applied")), "{history}");
    assert_eq!([outcome(1, "edge-02"), outcome(1, "edge-03")], ["done", "done"], "{history}");
    assert!(history[1]["why"].as_str().is_some_and(|why| why.contains("a1")), "{history}");
    let (_, body) = world.api("GET", "/v1/applies/a1", "").unwrap();
    let apply: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&apply["outcome"], &apply["edges"][0]["outcome"]), (&json!("interrupted"), &json!("done")), "{body}");
    world.cli(&["events", "--since", "1h", "--limit", "1", "-o", "json"]).exits(0);
}
