//! `plan --prove`: the edges really reserve what the plan needs, and an apply uses what they hold.

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, edge_of, ports, range_rule, rule, wait_for, wait_until};

fn is_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

fn change<'a>(plan: &'a Value, rule: &str) -> &'a Value {
    plan["changes"].as_array().unwrap().iter().find(|change| change["rule"] == rule).unwrap()
}

#[test]
fn a_port_that_somebody_took_is_found_before_anything_is_applied() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(6));
    let stranger = TcpListener::bind(("0.0.0.0", port + 2)).unwrap();
    let more = rule("edge-01", "free", port + 5, echo.port, "");
    world.edit("a.toml", range_rule("edge-01", "many", port, 9000, 4, "") + &more);
    let tree = world.tree_arg();
    assert_eq!(world.plan()["summary"]["activate"], 2, "the model thinks it free");

    // The edge looks for the holder for half a second at most, which a busy machine may take.
    let plan = wait_for("a plan that names the holder", || {
        let plan = world.cli(&["plan", &tree, "--prove", "-o", "json"]).exits(5).json();
        let message = change(&plan, "many")["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.starts_with(&format!("port {} already bound", port + 2)), "{message}");
        if message.contains(" already bound by ") { Ok(plan) } else { Err(message) }
    });
    let many = change(&plan, "many");
    assert_eq!((&many["action"], &many["code"]), (&json!("reject"), &json!("port_in_use")), "{many}");
    assert_eq!(many["proof"]["status"], "refused");
    assert_eq!(change(&plan, "free")["proof"]["status"], "proven");
    assert_eq!((&plan["summary"]["activate"], &plan["summary"]["reject"]), (&json!(1), &json!(1)));
    assert_eq!(world.generations("edge-01"), (0, 0));
    // What was seen to fail is not applied from its file either.
    let file = world.arg("plan.json");
    world.cli(&["plan", &tree, "--prove", "--out", &file]).exits(5).says(&format!("port {} already bound", port + 2));
    assert_ne!(world.cli(&["apply", &file]).code, 0);
    assert_eq!(world.generations("edge-01"), (0, 0));
    drop(stranger);
    world.cli(&["plan", &tree, "--prove"]).exits(0).says("2 changes proven");
    world.apply();
    assert_eq!(answers(port + 5), Some(echo.port));
}

#[test]
fn a_proven_plan_keeps_its_ports_until_it_is_applied() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(6));
    let udp = rule("edge-01", "dns", port + 4, 9, "protocol = \"udp\"");
    let web = rule("edge-01", "web", port, echo.port, "");
    world.edit("a.toml", web + &range_rule("edge-01", "many", port + 1, 9000, 3, "") + &udp);
    let (tree, file) = (world.tree_arg(), world.arg("plan.json"));
    let plan = world.cli(&["plan", &tree, "--prove", "--lease", "5m", "--out", &file, "-o", "json"]).exits(0).json();
    for rule in ["web", "many", "dns"] {
        assert_eq!(change(&plan, rule)["proof"], json!({ "status": "proven" }), "{rule}");
    }
    assert!(plan["leases"]["edge-01"]["id"].as_u64().unwrap() > 0, "{plan}");
    assert!((port..port + 4).all(is_taken), "no other process gets them");
    assert!(UdpSocket::bind(("127.0.0.1", port + 4)).is_err());
    assert!(refuses(port), "and nothing listens yet");

    world.cli(&["apply", &file]).exits(0);
    assert_eq!(answers(port), Some(echo.port));
    assert_eq!(world.generations("edge-01"), (1, 1));
    // What was held for a plan that the next apply leaves behind is given back.
    world.edit("a.toml", rule("edge-01", "web", port + 5, echo.port, ""));
    world.cli(&["plan", &tree, "--prove", "--lease", "5m"]).exits(0);
    assert!(is_taken(port + 5));
    world.edit("a.toml", rule("edge-01", "web", port, echo.port, ""));
    world.apply_with(&["--allow-removals", "2"]).exits(0);
    assert!(!is_taken(port + 5));
}

#[test]
fn a_lease_ends_by_itself_and_with_its_session() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "web", port, 9, ""));
    let tree = world.tree_arg();
    world.cli(&["plan", &tree, "--prove", "--lease", "1s"]).exits(0);
    wait_until("the end of the lease", || !is_taken(port));
    world.cli(&["plan", &tree, "--prove", "--lease", "10m"]).exits(0).says("1 change proven");
    assert!(is_taken(port));
    server.kill();
    wait_until("the end of the session", || !is_taken(port));
}

#[test]
fn what_could_not_be_asked_or_does_not_resolve_is_modelled_and_says_why() {
    let world = World::with_edges(&["edge-01"]);
    let edge = world.edge("edge-02");
    let port = ports(2);
    let lost = "[[rule]]\nname = \"lost\"\nedges = [\"edge-01\"]\n".to_owned()
        + &format!("listen_port = {port}\ntarget = \"nobody.invalid:9\"\n");
    world.edit("a.toml", lost + &rule("edge-02", "away", port + 1, 9, ""));
    edge.stop();
    // Nothing in force names it: the server may know it no longer.
    world.wait_status("edge-02 to be away", |status| {
        edge_of(status, "edge-02").is_none_or(|one| one["connected"] == false)
    });
    let tree = world.tree_arg();
    let plan = world.cli(&["plan", &tree, "--prove", "-o", "json"]).exits(0).json();
    let proof = &change(&plan, "lost")["proof"];
    assert_eq!(proof["status"], "modelled");
    assert!(proof["message"].as_str().unwrap().contains("nobody.invalid does not resolve"), "{proof}");
    let proof = &change(&plan, "away")["proof"];
    assert_eq!(proof["status"], "modelled");
    let why = proof["message"].as_str().unwrap();
    assert!(["the edge is not connected", "the edge was not asked"].contains(&why), "{proof}");

    world.cli(&["plan", &tree, "--prove", "--lease", "0s"]).exits(64);
    world.cli(&["plan", &tree, "--prove", "--live", "{}"]).exits(64);
}
