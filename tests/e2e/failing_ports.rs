//! A port that somebody else has: the rule fails as a whole and by name, nothing else does, and it heals.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use serde_json::json;

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, edge_of, let_pass, ports, range_rule, rule, rule_of, skip};

#[test]
fn a_taken_port_fails_its_rule_alone_keeps_the_old_version_and_heals() {
    let world = World::with_edges(&["edge-01", "edge-02"]);
    let target = Echo::range(10);
    let (listen, other) = (ports(10), ports(3));
    let old = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "web", old, target, ""));

    let taken = listen + 5;
    let thief = TcpListener::bind(("0.0.0.0", taken)).unwrap();
    let tree = range_rule("edge-01", "web", listen, target, 10, "")
        + &rule("edge-01", "other", other, target, "")
        + &rule("edge-02", "far", other + 1, target, "");
    world.edit("a.toml", tree);
    world.apply_with(&[]).exits(5).says(&format!("port {taken} already bound"));

    let status = world.status();
    let web = rule_of(&status, "edge-01", "web").unwrap();
    assert_eq!((&web["state"], &web["code"]), (&json!("failed"), &json!("port_in_use")));
    // The one that holds it is this very process.
    let message = web["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("port {taken} already bound by ")), "{message}");
    assert!(message.ends_with(&format!("(pid {})", std::process::id())), "{message}");
    assert_eq!(web["spec"]["listen_port"], old, "the version that serves: {web}");
    assert_eq!(answers(old), Some(target), "the previous version goes on");
    for port in (listen..listen + 10).filter(|port| *port != taken) {
        assert!(refuses(port), "nothing of it is bound");
    }
    assert_eq!((answers(other), answers(other + 1)), (Some(target), Some(target)), "the others are applied");
    let failed = status["drift"].as_array().unwrap().iter().find(|drift| drift["kind"] == "failed").unwrap();
    assert_eq!(
        (&failed["edge"], &failed["rule"], &failed["code"]),
        (&json!("edge-01"), &json!("web"), &json!("port_in_use"))
    );
    world.cli(&["status", "--detailed-exitcode"]).exits(2).says(&format!("port {taken} already bound"));
    world.cli(&["status"]).exits(0);

    let plan = world.plan();
    let change = plan["changes"].as_array().unwrap().iter().find(|change| change["rule"] == "web").unwrap();
    assert_eq!((&change["action"], &change["code"]), (&json!("retry"), &json!("port_in_use")));

    let events = world.events(&["--rules"]);
    events.next();
    drop(thief);
    events.wait("the healing", |event| {
        let text = event.to_string();
        text.contains("\"web\"") && text.contains("active")
    });
    for offset in [0, 5, 9] {
        assert_eq!(answers(listen + offset), Some(target + offset));
    }
    assert!(refuses(old));
    world.cli(&["status", "--detailed-exitcode"]).exits(0);
    assert_eq!(world.plan()["changes"], json!([]));
}

#[test]
fn failing_again_and_again_leaks_no_descriptor() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let target = Echo::range(100);
    let listen = ports(100);
    let other = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "other", other, target, ""));
    let thief = TcpListener::bind(("0.0.0.0", listen + 99)).unwrap();
    // Two versions of the rule take turns, so that each apply makes the edge try all of its hundred ports anew.
    let tree = |round: u32| {
        let more = format!("connect_timeout_ms = {}", 1000 + round);
        range_rule("edge-01", "web", listen, target, 100, &more) + &rule("edge-01", "other", other, target, "")
    };
    world.edit("a.toml", tree(0));
    world.apply_with(&[]).exits(5);
    let before = edge.descriptors();
    for round in 1..=25 {
        world.edit("a.toml", tree(round));
        world.apply_with(&[]).exits(5);
    }
    let after = edge.descriptors();
    assert!(after <= before + 2, "{before} descriptors became {after}");
    assert_eq!(answers(other), Some(target));
    drop(thief);
    world.wait_rule("edge-01", "web", "active");
    assert_eq!(answers(listen + 99), Some(target + 99));
}

#[test]
fn a_port_of_the_edge_itself_is_refused_before_it_is_tried() {
    let world = World::with_edges(&[]);
    let own = ports(2);
    world.edge_with("edge-01", &["--metrics-listen", &format!("127.0.0.1:{own}")]);
    world.edit("a.toml", rule("edge-01", "web", own, 9, "") + &rule("edge-01", "good", own + 1, 9, ""));
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
    let codes: Vec<_> = plan["changes"].as_array().unwrap().iter().map(|change| change["code"].clone()).collect();
    assert!(codes.contains(&json!("self_lockout")), "{codes:?}");
    world.apply_with(&[]).exits(5);
    let status = world.status();
    assert_eq!(edge_of(&status, "edge-01").unwrap()["connected"], true);
    assert!(World::scrape(own).contains("portunus_session_connected 1"));
}

#[test]
fn a_port_of_the_server_in_the_same_process_is_refused_before_it_is_tried() {
    let world = World::new();
    let own = [("control", world.control), ("operator", world.operator), ("metrics", world.metrics)];
    world.edit("a.toml", own.map(|(name, port)| rule("local", name, port, 9, "")).concat());
    world.up(&[&world.tree_arg()]);
    world.wait_connected("local", true);
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
    for (name, port) in own {
        let changes = plan["changes"].as_array().unwrap();
        let change = changes.iter().find(|change| change["rule"] == name).unwrap();
        assert_eq!((&change["action"], &change["code"]), (&json!("reject"), &json!("self_lockout")), "{change}");
        assert_eq!(change["message"], format!("127.0.0.1:{port} is a listener of the edge itself"));
    }
}

#[test]
fn a_rule_that_forwards_to_its_own_port_on_an_address_of_the_host_is_refused_by_its_edge() {
    // Nothing is sent: the system only says which of its addresses it would send from.
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    let address = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Ok(ip) = address.map(|address| address.ip()) else {
        return skip("this host has no address besides loopback");
    };
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    world.edit("a.toml", rule("edge-01", "web", port, port, "").replace("127.0.0.1", &ip.to_string()));
    world.apply_with(&[]).exits(5).says("self_lockout");
    let web = world.wait_rule("edge-01", "web", "rejected");
    assert_eq!(web["code"], "self_lockout");
    assert_eq!(web["message"], format!("the rule forwards to its own listener ({ip}:{port})"));
    assert!(refuses(port));
    // The edge's word counts for plans from now on.
    let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(5).json();
    assert_eq!(plan["changes"][0]["code"], "self_lockout");
}

#[test]
fn a_check_does_not_take_a_listener_of_its_own_edge_for_a_target_that_is_well() {
    // What of a name is behind it only the edge finds out.
    let world = World::with_edges(&[]);
    if world.edge_with_hosts("edge-01", "127.0.0.1 me.test\n").is_none() {
        return skip("no mount namespaces here: root and unshare make them");
    }
    let (port, echo) = (ports(2), Echo::start());
    let check =
        "\n[rule.health]\ninterval_secs = 1\nrise = 1\nfall = 1\nretry = { max = 1, initial_ms = 100, max_ms = 100 }";
    let looping = rule("edge-01", "looping", port, port + 1, check).replace("127.0.0.1", "me.test");
    world.edit_and_apply("a.toml", &(looping + &rule("edge-01", "other", port + 1, echo.port, "")));
    let status = world.wait_status("its verdict", |status| {
        rule_of(status, "edge-01", "looping").is_some_and(|looping| looping["health"] == "down")
    });
    assert!(status.to_string().contains("the target is a listener of this edge"), "{status}");
    // Several checks later it is down still.
    let_pass(Duration::from_millis(3500));
    let status = world.status();
    assert_eq!(rule_of(&status, "edge-01", "looping").unwrap()["health"], "down");
    assert_eq!(answers(port + 1), Some(echo.port));
}

#[test]
fn an_apply_after_the_port_was_freed_does_not_wait_for_the_next_retry() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    let thief = TcpListener::bind(("0.0.0.0", port)).unwrap();
    world.edit("a.toml", rule("edge-01", "a", port, echo.port, ""));
    // Each apply fails once more, and the edge waits longer after each failure.
    for _ in 0..6 {
        world.apply_with(&[]).exits(5);
    }
    drop(thief);
    let plan = world.plan();
    if plan["changes"] != json!([]) {
        world.apply();
    }
    assert_eq!(answers(port), Some(echo.port));
    assert_eq!(world.generations("edge-01"), (1, 1), "a retry is no new generation");
}

#[test]
fn a_plan_says_where_the_host_may_give_a_port_to_somebody_else() {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let range = setting("ip_local_port_range");
    let bounds: Vec<u16> = range.split_whitespace().filter_map(|bound| bound.parse().ok()).collect();
    let [first, last] = bounds[..] else { return skip("this host does not say which ports it gives away") };
    if !setting("ip_local_reserved_ports").trim().is_empty() || first < 1025 {
        return skip("this host reserves ports or gives all of them away");
    }
    let world = World::with_edges(&["edge-01"]);
    let inside = rule("edge-01", "inside", last, 9, "");
    let across = range_rule("edge-01", "across", first - 1, 100, 3, "");
    world.edit("a.toml", inside + &across + &rule("edge-01", "outside", first - 2, 9, ""));
    let plan = world.plan();
    let hints: Vec<_> = plan["hints"].as_array().unwrap().iter().map(|hint| (&hint["key"], &hint["rule"])).collect();
    let (one, range) = (json!("listen_port"), json!("listen_ports"));
    assert_eq!(hints, [(&range, &json!("across")), (&one, &json!("inside"))]);
    let text = world.cli(&["plan", &world.tree_arg()]).out;
    assert!(text.contains(&format!("hint: edge-01/across: ports {first}-{} may be in use", first + 1)), "{text}");
    assert!(text.contains("net.ipv4.ip_local_reserved_ports"), "{text}");
}
