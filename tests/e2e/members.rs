//! Who may be an edge: codes work once, a revoked edge forwards and is not heard, and nobody else gets in.

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, wait_until};

/// A world with a server, and what its operator needs to invite edges.
struct Scene {
    world: World,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        world.serve(&["--mode", "heal"]);
        Self { world }
    }

    /// A URI with which an edge can join.
    fn invite(&self, name: &str) -> String {
        let token = self.world.cli(&["edge-token", "create", name, "-o", "json"]).exits(0).json();
        token["uri"].as_str().unwrap().to_owned()
    }

    /// How an edge ends that cannot join, and what it says.
    fn refused(&self, state: &str, args: &[&str]) -> (i32, String) {
        let dir = self.world.arg(state);
        let args = [&["edge", "--state-dir", &dir][..], args].concat();
        let edge = self.world.start_cli(state, &args);
        (edge.ended(), edge.log())
    }

    fn is_connected(&self, name: &str) -> bool {
        let edges = self.world.cli(&["edges", "-o", "json"]).exits(0).json();
        edges.as_array().unwrap().iter().any(|edge| edge["name"] == name && edge["connected"] == true)
    }
}

#[test]
fn a_code_works_once_for_its_name_and_is_burnt_by_wrong_tries() {
    let scene = Scene::new();
    let uri = scene.invite("edge-01");
    let joins = ["edge", "--state-dir", &scene.world.arg("one"), "--join", &uri];
    scene.world.start_cli("one", &joins);
    wait_until("the edge to join", || scene.is_connected("edge-01"));
    let (code, said) = scene.refused("again", &["--join", &uri]);
    assert!(code == 1 && said.contains("edge-token create"), "{code}: {said}");

    // Another name than that of the URI is a mistake of the command line.
    let uri = scene.invite("edge-02");
    let (code, said) = scene.refused("named", &["--join", &uri, "--name", "edge-03"]);
    assert_eq!(code, 64, "{said}");
    // A code for one name is worth nothing for another.
    let (code, said) = scene.refused("other", &["--join", &uri.replace("name=edge-02", "name=edge-03")]);
    assert!(code == 1 && said.contains("is for another name"), "{code}: {said}");
    // A server with another authority than the pinned one learns nothing.
    let (before, after) = (uri.find("sha256:").unwrap(), uri.find("&code").unwrap());
    let pin = format!("{}sha256:{}{}", &uri[..before], "0".repeat(64), &uri[after..]);
    let (code, said) = scene.refused("pinned", &["--join", &pin]);
    assert!(code == 1 && said.contains("pin"), "{code}: {said}");
    // Three wrong tries burn it.
    let wrong = format!("{}{}", &uri[..uri.len() - 32], "f".repeat(32));
    for number in 0..3 {
        let (code, said) = scene.refused(&format!("wrong-{number}"), &["--join", &wrong]);
        assert_eq!(code, 1, "{said}");
    }
    let (code, said) = scene.refused("burnt", &["--join", &uri]);
    assert!(code == 1 && said.contains("not valid"), "{code}: {said}");
    // A new code replaces the one before it.
    let (old, new) = (scene.invite("edge-02"), scene.invite("edge-02"));
    let (code, said) = scene.refused("replaced", &["--join", &old]);
    assert!(code == 1 && said.contains("replaced"), "{code}: {said}");
    // Each refusal is in the audit by the name that was asked for, and counted.
    let audit = scene.world.cli(&["audit", "-o", "json"]).exits(0).json();
    let entries = audit["entries"].as_array().unwrap();
    let joins = |name: &str| {
        let of = format!("join {name}");
        entries.iter().filter(|entry| entry["what"] == of && entry["outcome"] == "invalid_code").count()
    };
    assert_eq!((joins("edge-01"), joins("edge-02"), joins("edge-03")), (1, 5, 1), "{audit}");
    let metrics = World::scrape(scene.world.metrics);
    assert!(metrics.contains("portunus_edge_refused_total{reason=\"invalid_code\",wish=\"join\"} 7"), "{metrics}");
    // The directory of a join that was refused is nobody's, whatever name was in that URI.
    scene.world.start_cli("two", &["edge", "--state-dir", &scene.world.arg("other"), "--join", &new]);
    wait_until("the second edge to join", || scene.is_connected("edge-02"));
}

#[test]
fn a_revoked_edge_forwards_on_and_joins_again_only_with_a_new_code() {
    let echo = Echo::start();
    let port = ports(2);
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    world.cli(&["edges", "revoke", "edge-01"]).exits(0).says("revoked");
    world.wait_connected("edge-01", false);
    wait_until("the edge to say it", || edge.log().contains("revoked"));
    assert_eq!(answers(port), Some(echo.port), "it forwards what it has");
    // It stays revoked over a restart of either.
    server.kill();
    edge.kill();
    world.serve(&["--mode", "heal"]);
    let edge = world.start_edge("edge-01", &[]);
    wait_until("the last good state to be served", || answers(port) == Some(echo.port));
    wait_until("the edge to be refused", || edge.log().contains("this edge was revoked"));
    let edges = world.cli(&["edges", "-o", "json"]).exits(0).json();
    assert_eq!((&edges[0]["revoked"], &edges[0]["connected"]), (&true.into(), &false.into()), "{edges}");
    edge.kill();
    let token = world.cli(&["edge-token", "create", "edge-01", "-o", "json"]).exits(0).json();
    world.start_edge("edge-01", &["--join", token["uri"].as_str().unwrap()]);
    world.wait_connected("edge-01", true);
    world.edit_and_apply("b.toml", &rule("edge-01", "b", port + 1, echo.port, ""));
    assert_eq!(answers(port + 1), Some(echo.port));
}

#[test]
fn an_edge_that_does_not_renew_is_an_event_before_its_certificate_ends_and_one_after() {
    let world = World::new();
    world.serve(&["--mode", "heal", "--edge-cert-ttl", "5s"]);
    let edge = world.edge("edge-01");
    let events = world.events(&["--edges"]);
    edge.kill();
    let stage = |stage: &str| {
        let event = events.wait(stage, |event| event.to_string().contains(&format!("\"stage\":\"{stage}\"")));
        assert!(event.to_string().contains("\"edge\":\"edge-01\""), "{event}");
    };
    stage("ending");
    stage("ended");
    // Within the grace it renews and is back, which is an event as well.
    world.start_edge("edge-01", &[]);
    stage("valid");
    world.wait_connected("edge-01", true);
}
