//! The owner of an edge has the last word: in the plan, in what is applied, and while the edge runs.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::peers::{Client, Echo, answers};
use crate::support::{Handle, World, let_pass, ports, rule, wait_until};

/// Of the rules here, in seconds.
const DRAIN: u64 = 2;

/// A world with one edge and its policy.
struct Owned {
    world: World,
    server: Handle,
    edge: Handle,
    file: String,
}

fn with_policy(text: &str) -> Owned {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let file = world.arg("policy.toml");
    fs::write(&file, text).unwrap();
    let edge = world.edge_with("edge-01", &["--policy", &file]);
    Owned { world, server, edge, file }
}

#[test]
fn a_plan_rejects_what_the_policy_forbids_in_every_form_and_the_rest_is_applied() {
    let echo = Echo::start();
    let port = ports(3);
    let Owned { world, .. } = with_policy(&format!("listen_ports = [{port}]\ntarget_networks = [\"127.0.0.0/8\"]\n"));
    let away = rule("edge-01", "away", port, echo.port, "").replace("127.0.0.1:", "192.0.2.1:");
    world.edit("a.toml", rule("edge-01", "other", port + 1, echo.port, ""));
    world.edit("b.toml", &away);
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{plan}");
    for change in changes {
        assert_eq!((&change["action"], &change["code"]), (&json!("reject"), &json!("forbidden_by_policy")), "{plan}");
    }
    assert!(plan.to_string().contains("target_networks: 127.0.0.0/8"), "{plan}");
    let text = world.cli(&["plan", &world.tree_arg()]).exits(5);
    assert!(text.out.contains("forbidden_by_policy") && text.out.contains("listen_ports"), "{text}");
    let markdown = world.cli(&["plan", &world.tree_arg(), "-o", "markdown"]).exits(5);
    assert!(markdown.out.contains("forbidden_by_policy"), "{markdown}");
    world.cli(&["explain", "forbidden_by_policy"]).exits(0).says("--policy");

    world.git(&["rm", "-q", "b.toml"]);
    world.edit("web.toml", rule("edge-01", "web", port, echo.port, ""));
    world.apply_with(&[]).exits(5).says("forbidden_by_policy");
    assert_eq!((answers(port), answers(port + 1)), (Some(echo.port), None));
    let status = world.status();
    assert_eq!(status["edges"][0]["policy"]["listen_ports"], json!([port.to_string()]), "{status}");
    world.cli(&["status", "edge-01"]).says("policy listen_ports");
    // A saved status has the policy, so that a plan against it says the same.
    fs::write(world.path("live.json"), status.to_string()).unwrap();
    let plan = world.cli(&["plan", &world.tree_arg(), "--live", &world.arg("live.json"), "-o", "json"]).exits(5).json();
    assert_eq!(plan["changes"][0]["code"], json!("forbidden_by_policy"), "{plan}");
    // A break-glass rule is a rule.
    let target = format!("127.0.0.1:{}", echo.port);
    let listen = (port + 2).to_string();
    let over = ["override", "add", "edge-01", "--name", "o", "--listen-port", &listen, "--target", &target];
    world.cli(&[&over[..], &["--ttl", "1h", "--why", "x"]].concat()).exits(5).says("policy");
}

#[test]
fn a_policy_that_is_narrowed_while_the_edge_runs_drains_and_the_server_learns_of_it() {
    let echo = Echo::start();
    let port = ports(2);
    let Owned { world, edge, file, .. } = with_policy("");
    let more = format!("drain_timeout_secs = {DRAIN}");
    let tree = rule("edge-01", "a", port, echo.port, &more) + &rule("edge-01", "b", port + 1, echo.port, &more);
    world.edit_and_apply("a.toml", &tree);
    let (mut held, mut kept) = (Client::to(port), Client::to(port + 1));

    fs::write(&file, format!("listen_ports = [{}]\n", port + 1)).unwrap();
    edge.signal("HUP");
    world.wait_rule("edge-01", "a", "rejected");
    wait_until("no more connections", || answers(port).is_none());
    held.ping(1, 0, 100).unwrap();
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
    assert_eq!(plan["changes"][0]["code"], json!("forbidden_by_policy"), "{plan}");
    let_pass(Duration::from_millis(DRAIN * 1000 + 1500));
    assert!(held.is_cut(), "the drain is over");
    kept.ping(2, 0, 100).unwrap();
    assert_eq!(answers(port + 1), Some(echo.port));

    // A file that is broken changes nothing, and the log says why.
    fs::write(&file, "listen_port = [1]\n").unwrap();
    edge.signal("HUP");
    wait_until("the log says it", || edge.log().contains("line 1: unknown field `listen_port`"));
    assert!(edge.log().contains("the one from before stays in force"), "{}", edge.log());
    kept.ping(2, 100, 100).unwrap();
    assert_eq!((answers(port), answers(port + 1)), (None, Some(echo.port)));

    fs::write(&file, "").unwrap();
    edge.signal("HUP");
    world.wait_rule("edge-01", "a", "active");
    assert_eq!(answers(port), Some(echo.port));
    kept.ping(2, 200, 100).unwrap();
    world.cli(&["plan", &world.tree_arg(), "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_broken_policy_is_no_start_and_a_restart_without_the_server_keeps_to_a_new_one() {
    let echo = Echo::start();
    let port = ports(2);
    let Owned { world, server, edge, file } = with_policy("");
    world.edit_and_apply(
        "a.toml",
        &(rule("edge-01", "a", port, echo.port, "") + &rule("edge-01", "b", port + 1, echo.port, "")),
    );
    edge.stop();
    for text in ["max_rules = []\n", "nothing = 1\n", "listen_ports = [80\n"] {
        fs::write(&file, text).unwrap();
        let edge = world.start_edge("edge-01", &["--policy", &file]);
        assert_eq!(edge.ended(), 1, "{}", edge.log());
        assert!(edge.log().contains("policy.toml: line 1: "), "{}", edge.log());
        assert_eq!((answers(port), answers(port + 1)), (None, None));
    }
    let missing = world.start_edge("edge-01", &["--policy", &world.arg("missing.toml")]);
    assert_eq!(missing.ended(), 1, "{}", missing.log());
    fs::write(&file, format!("listen_ports = [{port}]\n")).unwrap();
    server.stop();
    world.start_edge("edge-01", &["--policy", &file]);
    wait_until("the allowed rule serves", || answers(port) == Some(echo.port));
    assert_eq!(answers(port + 1), None);
}

#[test]
fn up_takes_a_policy_and_metadata_addresses_need_a_flag() {
    let echo = Echo::start();
    let port = ports(3);
    let world = World::new();
    fs::write(world.path("policy.toml"), format!("listen_ports = [\"{port}-{}\"]\n", port + 1)).unwrap();
    let meta = rule("local", "meta", port + 1, 80, "").replace("127.0.0.1:80", "169.254.169.254:80");
    let tree = rule("local", "web", port, echo.port, "") + &rule("local", "out", port + 2, echo.port, "") + &meta;
    world.edit("a.toml", &tree);
    let up = world.up(&["--rules", &world.tree_arg(), "--policy", &world.arg("policy.toml")]);
    world.wait_rule("local", "web", "active");
    let out = world.wait_rule("local", "out", "rejected");
    let meta = world.wait_rule("local", "meta", "rejected");
    assert_eq!((&out["code"], &meta["code"]), (&json!("forbidden_by_policy"), &json!("forbidden_by_policy")));
    assert!(meta["message"].as_str().unwrap().contains("--allow-metadata-targets"), "{meta}");
    up.stop();
    let args = ["--rules", &world.tree_arg(), "--policy", &world.arg("policy.toml"), "--allow-metadata-targets"];
    world.up(&args);
    world.wait_rule("local", "meta", "active");
    world.wait_rule("local", "out", "rejected");
}
