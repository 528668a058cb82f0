//! A server process that is killed at every message of an apply: each edge ends old or new, never between.
//!
//! What of it is on disk at each moment, record by record, is walked through in the reconciler's own tests.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::peers::{Echo, Steady, answers};
use crate::relay::Relay;
use crate::support::{Handle, World, edge_of, ports, rule};

const EDGES: [&str; 2] = ["edge-01", "edge-02"];
/// Far above the messages of an apply to two edges, so that a walk without an end fails.
const MOST: usize = 60;
const WAVES: &str = "[rollout]\nwaves = [\n  { edge_labels = { stage = \"canary\" } },\n  { edge_labels = {} },\n]\n";
const INVENTORY: &str =
    "[[edge]]\nname = \"edge-01\"\nlabels = { stage = \"canary\" }\n\n[[edge]]\nname = \"edge-02\"\n\n";

/// Two edges behind a relay, each with two rules of one version.
struct Scene {
    world: World,
    relay: Relay,
    server: Handle,
    echoes: [Echo; 2],
    port: u16,
    version: u16,
}

impl Scene {
    fn new(is_in_waves: bool) -> Self {
        let world = World::new();
        let server = world.serve(&["--mode", "heal"]);
        let relay = Relay::to(world.control);
        let through = format!("http://127.0.0.1:{}", relay.port);
        for name in EDGES {
            let state = world.arg(&format!("{name}-state"));
            world.start(name, &["edge", "--name", name, "--server", &through, "--state-dir", &state]);
            world.wait_connected(name, true);
        }
        if is_in_waves {
            world.write("portunus.toml", WAVES);
        }
        let echoes = [Echo::start(), Echo::start()];
        let mut scene = Self { world, relay, server, echoes, port: ports(4), version: 0 };
        scene.next_version();
        scene.world.apply();
        scene
    }

    /// The next tree: all rules forward to the other upstream.
    fn next_version(&mut self) {
        self.version += 1;
        let target = self.echoes[usize::from(self.version) % 2].port;
        let more = format!("max_connections = {}", 100 + self.version);
        let rules = |(number, edge): (u16, &&str)| {
            let port = self.port + 2 * number;
            rule(edge, "web", port, target, &more) + &rule(edge, "api", port + 1, target, &more)
        };
        let text = (0..).zip(&EDGES).map(rules).fold(INVENTORY.to_owned(), |text, rules| text + &rules);
        self.world.edit("a.toml", text);
    }

    /// The versions of the rules of an edge, as it reports them.
    fn reported(status: &Value, number: u16) -> BTreeSet<u16> {
        let edge = edge_of(status, EDGES[usize::from(number)]).unwrap();
        let rules = edge["rules"].as_array().unwrap();
        assert_eq!(rules.len(), 2, "{edge}");
        rules.iter().map(|rule| rule["spec"]["max_connections"].as_u64().unwrap() as u16 - 100).collect()
    }

    /// The same, where nothing changes them meanwhile: it also looks at who answers on the ports.
    fn runs(&self, status: &Value, number: u16) -> BTreeSet<u16> {
        let edge = edge_of(status, EDGES[usize::from(number)]).unwrap();
        let versions = Self::reported(status, number);
        for port in [self.port + 2 * number, self.port + 2 * number + 1] {
            let targets: BTreeSet<u16> =
                versions.iter().map(|version| self.echoes[usize::from(*version) % 2].port).collect();
            assert!(targets.contains(&answers(port).expect("a listener")), "{port}: {edge}");
        }
        versions
    }

    /// One apply, with the server killed in place of a message. False if the apply was through before that.
    fn cut_at(&mut self, message: usize, is_in_waves: bool) -> bool {
        let before = BTreeSet::from([self.version]);
        self.next_version();
        let after = BTreeSet::from([self.version]);
        let commit = self.world.git(&["rev-parse", "HEAD"]);
        self.relay.kill_after(message, &self.server);
        let said = self.world.apply_with(&[]);
        if !self.relay.disarm() {
            said.exits(0);
            return false;
        }
        self.server = self.world.serve(&["--mode", "heal"]);
        let status = self.world.wait_status("both edges to be settled", |status| {
            let is_settled =
                |edge: &Value| edge["connected"] == true && edge["generation"] == edge["desired_generation"];
            status["edges"].as_array().unwrap().iter().all(is_settled)
        });
        self.world.cli(&["history", "--verify"]).exits(0);
        let history = self.world.cli(&["history", "-o", "json"]).exits(0).json();
        let newest = history.as_array().unwrap().last().unwrap();
        let is_begun = newest["commit"] == commit.as_str();
        let (first, second) = (Self::reported(&status, 0), Self::reported(&status, 1));
        let is_whole = |runs: &BTreeSet<u16>| *runs == before || *runs == after;
        assert!(is_whole(&first) && is_whole(&second), "message {message}: {first:?} {second:?} {status}");
        if is_in_waves {
            assert!(second == before || first == after, "the second wave came first: {status}");
        } else {
            let expected = if is_begun { &after } else { &before };
            assert!(first == *expected && second == *expected, "message {message}, begun {is_begun}: {status}");
            assert_eq!((self.runs(&status, 0), self.runs(&status, 1)), (first.clone(), second.clone()), "{status}");
        }
        if is_begun {
            let entries = history.as_array().unwrap().iter().filter(|entry| entry["commit"] == commit.as_str());
            let outcomes: Vec<&Value> = entries.map(|entry| &entry["outcome"]).collect();
            // A server that had recorded the end may have had no time to tell it.
            let is_through = outcomes.contains(&&json!("applied")) && first == after && second == after;
            assert!(outcomes.contains(&&json!("interrupted")) || is_through, "{outcomes:?} {said}");
        }
        match (is_begun, is_in_waves) {
            // A rollout goes on by itself.
            (true, true) => {
                self.world.wait_status("the rest of the waves", |status| {
                    [0, 1].into_iter().all(|number| Self::reported(status, number) == after)
                });
            }
            (true, false) => {
                self.world.cli(&["resume"]).exits(0);
            }
            (false, _) => {
                assert_ne!(said.code, 0, "{said}");
                self.world.apply();
            }
        }
        let status = self.world.status();
        assert_eq!((self.runs(&status, 0), self.runs(&status, 1)), (after.clone(), after), "{status}");
        assert_eq!(self.world.plan()["changes"], json!([]));
        true
    }
}

fn walk(is_in_waves: bool) {
    let mut scene = Scene::new(is_in_waves);
    let tags: Vec<u16> = scene.echoes.iter().map(|echo| echo.port).collect();
    let probes = [0, 1, 2, 3].map(|number| Steady::probe(scene.port + number, tags.clone()));
    let messages = (0..MOST).take_while(|message| scene.cut_at(*message, is_in_waves)).count();
    // Two states and two answers at least.
    assert!((4..MOST).contains(&messages), "an apply of {messages} messages");
    for probe in probes {
        probe.finish();
    }
    scene.world.cli(&["history", "--verify"]).exits(0);
}

#[test]
fn a_server_killed_at_any_message_of_an_apply_leaves_old_or_new() {
    walk(false);
}

#[test]
fn a_server_killed_at_any_message_of_a_rollout_leaves_old_or_new_and_waves_in_order() {
    walk(true);
}
