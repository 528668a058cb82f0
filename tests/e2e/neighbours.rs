//! Two edges on one host compete for its ports: the plan says it, and edges that swap ports settle.

use std::time::{Duration, Instant};

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, wait_until};

#[test]
fn two_edges_of_one_host_that_swap_ports_settle() {
    let world = World::with_edges(&["edge-a", "edge-b"]);
    let (one, two, port) = (Echo::start(), Echo::start(), ports(2));
    let tree = |a: u16, b: u16| rule("edge-a", "web", a, one.port, "") + &rule("edge-b", "api", b, two.port, "");
    world.edit_and_apply("a.toml", &tree(port, port + 1));
    assert_eq!((answers(port), answers(port + 1)), (Some(one.port), Some(two.port)));

    world.edit("a.toml", tree(port + 1, port));
    let said = world.cli(&["plan", &world.tree_arg()]).exits(0);
    assert!(said.out.contains("edge-a and edge-b run on one host") && said.out.contains("swap ports"), "{said}");
    world.apply_with(&[]).exits(0);
    assert_eq!((answers(port + 1), answers(port)), (Some(one.port), Some(two.port)));
    assert_eq!(world.status()["drift"].as_array().map(Vec::len), Some(0), "{}", world.status());
    // It stays so past the last retry.
    let until = Instant::now() + Duration::from_secs(2);
    wait_until("two seconds", || Instant::now() > until);
    assert_eq!((answers(port + 1), answers(port)), (Some(one.port), Some(two.port)));
}

const EDGES: &str = r#"
[[edge]]
name = "edge-a"
labels = { stage = "all" }
[[edge]]
name = "edge-b"
labels = { stage = "all" }
"#;

#[test]
fn they_settle_in_a_rollout_of_one_edge_at_a_time_and_where_nothing_is_healed() {
    let world = World::new();
    world.serve(&["--mode", "off"]);
    for edge in ["edge-a", "edge-b"] {
        world.edge(edge);
    }
    let (one, two, port) = (Echo::start(), Echo::start(), ports(2));
    let tree = |a: u16, b: u16| rule("edge-a", "web", a, one.port, "") + &rule("edge-b", "api", b, two.port, "");
    world.edit_and_apply("a.toml", &tree(port, port + 1));
    world.edit_and_apply("a.toml", &tree(port + 1, port));
    assert_eq!((answers(port + 1), answers(port)), (Some(one.port), Some(two.port)));

    world.edit("edges.toml", EDGES);
    world.edit("portunus.toml", "[rollout]\nwaves = [{ edge_labels = { stage = \"all\" } }]\n");
    world.edit("a.toml", tree(port, port + 1));
    world.cli(&["plan", &world.tree_arg()]).exits(0).says("the edges swap ports and change together");
    world.apply_with(&[]).exits(0);
    assert_eq!((answers(port), answers(port + 1)), (Some(one.port), Some(two.port)));
    assert_eq!(world.status()["drift"].as_array().map(Vec::len), Some(0), "{}", world.status());
}

#[test]
fn a_port_that_one_edge_passes_on_to_another_is_released_first() {
    let world = World::with_edges(&["edge-a", "edge-b"]);
    let (one, two, port) = (Echo::start(), Echo::start(), ports(3));
    let tree = |a: u16, b: u16| rule("edge-a", "web", a, one.port, "") + &rule("edge-b", "api", b, two.port, "");
    world.edit_and_apply("a.toml", &tree(port, port + 1));
    world.edit("a.toml", tree(port + 1, port + 2));
    let said = world.cli(&["plan", &world.tree_arg()]).exits(0);
    assert!(said.out.contains("once edge-b has released it"), "{said}");
    world.apply_with(&[]).exits(0);
    assert_eq!((answers(port + 1), answers(port + 2)), (Some(one.port), Some(two.port)));
}
