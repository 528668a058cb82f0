//! A fleet of 50 edges with 3,000 rules, 45 of them away: what a person reads fits two screens.

use std::fmt::Write;

use crate::support::{World, ports};

const EDGES: u16 = 50;
const RULES: u16 = 60;
const HERE: u16 = 5;
/// Two screens of 24 lines.
const TWO_SCREENS: usize = 48;

/// A tree in which some rules of some edges have a limit.
fn tree(first_port: u16, limit: impl Fn(u16, u16) -> Option<u16>) -> String {
    let mut text = String::new();
    for edge in 1..=EDGES {
        writeln!(text, "[[edge]]\nname = \"edge-{edge:02}\"\n").unwrap();
    }
    for (edge, rule) in (1..=EDGES).flat_map(|edge| (0..RULES).map(move |rule| (edge, rule))) {
        // Each edge has an address of its own on this host.
        let port = first_port + rule;
        writeln!(
            text,
            "[[rule]]\nname = \"r{rule:02}\"\nedges = [\"edge-{edge:02}\"]\nlisten_address = \"127.0.50.{edge}\"\n\
             listen_port = {port}\ntarget = \"127.0.0.1:9\""
        )
        .unwrap();
        if let Some(limit) = limit(edge, rule) {
            writeln!(text, "max_connections = {limit}").unwrap();
        }
    }
    text
}

#[test]
fn fifty_edges_of_which_most_are_away_are_read_at_a_glance() {
    let world = World::with_edges(&[]);
    let first = ports(RULES);
    let names: Vec<String> = (1..=EDGES).map(|edge| format!("edge-{edge:02}")).collect();
    let mut edges: Vec<_> = names.iter().map(|name| world.start_edge(name, &[])).collect();
    let wait = |most: u16| {
        world.wait_status("the edges to come or go", |status| {
            let connected = status["edges"].as_array().into_iter().flatten().filter(|edge| edge["connected"] == true);
            connected.count() == usize::from(most)
        });
    };
    wait(EDGES);
    world.edit("a.toml", tree(first, |_, _| None));
    world.cli(&["apply", &world.tree_arg(), "--yes", "--timeout", "120s"]).exits(0);
    for edge in edges.drain(usize::from(HERE)..) {
        edge.kill();
    }
    wait(HERE);

    // What the edges that are offline have not taken yet is decided, and is not told again.
    let is_away = |edge: u16| edge > HERE;
    world.edit("a.toml", tree(first, |edge, _| is_away(edge).then_some(9)));
    world.apply_with(&[]).exits(5);
    world.edit("a.toml", tree(first, |edge, rule| (is_away(edge) || rule < 6).then_some(9)));
    let plan = world.cli(&["plan", &world.tree_arg()]).exits(0);
    let verdict = "Plan: 30 to update on 5 edges. 2700 earlier changes wait for edges that are offline.";
    assert!(plan.out.starts_with(verdict), "{plan}");
    assert!(plan.out.lines().count() <= TWO_SCREENS, "{plan}");

    let applied = world.apply_with(&[]).exits(5);
    assert!(
        applied.out.contains("45 edges are offline and take the state when they come back: edge-06, "),
        "{applied}"
    );
    assert!(!applied.err.contains("edge-06") && !applied.err.contains("edge-01"), "{applied}");
    let history = world.cli(&["history"]).exits(0);
    let last = history.out.lines().last().unwrap_or_default();
    assert!(last.contains("+0 ~30 -0"), "{history}");
    let entry = world.cli(&["history", "3"]).exits(0);
    assert!(entry.out.starts_with("Entry 3 · partial · +0 ~30 -0 · 50 edges: 5 done, 45 offline"), "{entry}");
    assert!(entry.out.lines().count() <= TWO_SCREENS && entry.out.contains("edge-01/r05"), "{entry}");
    assert!(!entry.out.contains("edge-06/"), "{entry}");
    let status = world.cli(&["status"]).exits(0);
    assert!(status.out.starts_with("Out of sync · applied in part: 5 of 50 edges · "), "{status}");
    assert!(status.out.lines().count() <= TWO_SCREENS + usize::from(EDGES), "a row for each edge: {status}");
}
