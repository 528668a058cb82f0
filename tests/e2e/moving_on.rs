//! An edge that moves on between a plan and its application: what the person saw is not done to another edge.

use std::net::TcpListener;

use crate::peers::{Echo, answers, refuses, serve};
use crate::support::{World, ports, rule};

#[test]
fn an_edge_that_changed_while_its_wave_waited_refuses_and_stays_as_it_was() {
    let world = World::with_edges(&["edge-01", "edge-02"]);
    let (echo, port) = (Echo::start(), ports(6));
    let (taken, gate) = (port + 2, port + 5);
    let inventory =
        "[[edge]]\nname = \"edge-01\"\nlabels = { stage = \"canary\" }\n\n[[edge]]\nname = \"edge-02\"\n\n".to_owned();
    let waves = "[rollout]\nwaves = [{ edge_labels = { stage = \"canary\" } }, { edge_labels = {} }]\n";
    let edge_02 = |b| rule("edge-02", "b", b, echo.port, "") + &rule("edge-02", "taken", taken, echo.port, "");
    world.write("portunus.toml", waves);
    let stranger = TcpListener::bind(("0.0.0.0", taken)).unwrap();
    world.edit("a.toml", inventory.clone() + &edge_02(port));
    world.apply_with(&[]).exits(5).says(&format!("port {taken} already bound"));

    // The canary is waited for until its target is up. Meanwhile a rule of the other edge heals by itself.
    let canary = rule("edge-01", "gate", port + 1, gate, "health_check_interval_secs = 1");
    world.edit("a.toml", inventory + &canary + &edge_02(port + 3));
    let tree = world.tree_arg();
    let apply = world.start_cli("apply", &["apply", &tree, "--yes", "--wait-healthy", "--timeout", "30s"]);
    world.wait_rule("edge-01", "gate", "active");
    drop(stranger);
    world.wait_rule("edge-02", "taken", "active");
    serve(TcpListener::bind(("127.0.0.1", gate)).unwrap(), drop);
    assert_eq!(apply.ended(), 5, "{}", apply.log());
    assert!(apply.log().contains("stale_base"), "{}", apply.log());
    assert_eq!(answers(port), Some(echo.port), "the version before the apply serves");
    assert!(refuses(port + 3));

    // Planned again, from what the edge is now, it is taken.
    world.apply();
    assert_eq!((answers(port + 3), answers(taken)), (Some(echo.port), Some(echo.port)));
    assert!(refuses(port));
}
