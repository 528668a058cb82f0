//! A large fleet at a glance: 50 edges with 3,000 rules, 45 of them away.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{run, tree};

const EDGES: usize = 50;
const RULES: usize = 60;
const HERE: usize = 5;

fn name(edge: usize) -> String {
    format!("edge-{edge:02}")
}

/// A tree in which each rule of an edge that is offline, and six of each other edge, has another limit than what runs.
fn rules() -> String {
    let mut text = String::new();
    for edge in 1..=EDGES {
        writeln!(text, "[[edge]]\nname = \"{}\"\n", name(edge)).expect("a string grows as needed");
    }
    for edge in 1..=EDGES {
        for rule in 0..RULES {
            let limit = if edge > HERE || rule < 6 { "max_connections = 9\n" } else { "" };
            let (edge_name, port) = (name(edge), 20000 + rule);
            writeln!(
                text,
                "[[rule]]\nname = \"r{edge:02}-{rule:02}\"\nedges = [\"{edge_name}\"]\nlisten_port = {port}\n\
                 target = \"10.0.0.1:80\"\n{limit}"
            )
            .expect("a string grows as needed");
        }
    }
    text
}

/// What a server has saved: edges that are offline were sent the tree's rules and have not taken them.
fn live() -> String {
    let rule = |edge: usize, rule: usize| {
        let spec = json!({"listen_port": 20000 + rule, "target": "10.0.0.1:80"});
        let name = format!("r{edge:02}-{rule:02}");
        if edge <= HERE {
            return json!({"rule": name, "state": "active", "spec": spec});
        }
        let mut wanted = spec.clone();
        wanted["max_connections"] = json!(9);
        json!({"rule": name, "state": "unknown", "last_state": "active", "spec": spec, "wanted": wanted})
    };
    let edge = |edge: usize| {
        let rules: Vec<Value> = (0..RULES).map(|number| rule(edge, number)).collect();
        let desired = 1 + usize::from(edge > HERE);
        json!({"name": name(edge), "connected": edge <= HERE, "generation": 1, "desired_generation": desired,
            "last_seen": format!("2026-01-02T08:00:{edge:02}Z"), "rules": rules})
    };
    json!({"kind": "status", "edges": (1..=EDGES).map(edge).collect::<Vec<_>>()}).to_string()
}

#[test]
fn a_plan_of_30_changes_fits_two_screens_while_45_edges_are_away() {
    let dir = tree(&[("tree/a.toml", &rules()), ("live.json", &live())]);
    let ran = run(dir.path(), &["plan", "tree", "--live", "live.json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = &ran.stdout;
    assert!(
        text.starts_with("Plan: 30 to update on 5 edges. 2700 earlier changes wait for edges that are offline."),
        "{text}"
    );
    assert!(text.lines().count() <= 48, "{} lines: {text}", text.lines().count());
    for part in [
        "~ edge-01/r01-00  update  a.toml:",
        "max_connections: 0 → 9; new connections only",
        "45 edges are offline: 2700 changes, decided before, in effect when the edge is back: edge-06, ",
        "edge_offline 45 edges (edge-06, ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("  update  ")).count(), 30, "{text}");
    let wide = run(dir.path(), &["plan", "tree", "--live", "live.json", "-o", "wide"]);
    assert!(wide.stdout.lines().count() > 2730, "each change in full");
    let json: Value =
        serde_json::from_str(&run(dir.path(), &["plan", "tree", "--live", "live.json", "-o", "json"]).stdout)
            .expect("JSON");
    assert_eq!(json["summary"]["update"], 2730, "the document has all");
    assert_eq!(json["base"]["edges"]["edge-06"]["decided"], true);
    assert_eq!(json["base"]["edges"]["edge-01"]["decided"], Value::Null);
}
