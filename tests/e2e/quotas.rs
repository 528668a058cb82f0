//! Quotas of real processes: what was used is listed, survives a kill, and begins again when an operator resets it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use crate::support::{World, ports, rule, wait_for, wait_until};

/// A target that answers every byte with the same byte.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream);
                std::io::copy(&mut reader, &mut writer).ok();
            });
        }
    });
    port
}

/// Sends so many bytes and reads them back; an error where the connection ends before.
fn exchange(port: u16, count: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(&vec![7; count])?;
    stream.read_exact(&mut vec![0; count])
}

fn quotas(world: &World) -> Vec<Value> {
    let said = world.cli(&["quota", "list", "-o", "json"]);
    serde_json::from_str(&said.out).unwrap_or_default()
}

#[test]
fn what_was_used_is_listed_survives_a_kill_and_begins_again_when_an_operator_resets_it() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let (port, target) = (ports(1), echo());
    let quota = "quota = { bytes = 100000, period = \"total\" }";
    world.edit_and_apply("rules.toml", &rule("edge-01", "web", port, target, quota));
    exchange(port, 20_000).unwrap();
    let used = |at_least: u64| {
        wait_for("what was used", || {
            let rows = quotas(&world);
            let used = rows.first().and_then(|row| row["used"].as_u64());
            used.filter(|used| *used >= at_least).ok_or_else(|| format!("{rows:?}"))
        })
    };
    assert_eq!(used(40_000), 40_000);

    // It is on the disk once it is shown, or a moment later.
    let file = world.path("edge-01-state").join("quotas");
    wait_until("it is stored", || std::fs::read(&file).is_ok_and(|bytes| bytes.len() > 40));
    crate::support::let_pass(std::time::Duration::from_secs(5));
    edge.kill();
    world.edge("edge-01");
    world.wait_rule("edge-01", "web", "active");
    assert_eq!(used(40_000), 40_000);

    // The rest of it, and not a MiB more: so much may be on its way when a quota ends.
    exchange(port, 2_000_000).unwrap_err();
    wait_until("new connections are refused", || exchange(port, 1).is_err());
    let rows = quotas(&world);
    assert_eq!((rows[0]["state"].as_str(), rows[0]["limit"].as_u64()), (Some("exhausted"), Some(100_000)), "{rows:?}");
    let metrics = World::scrape(world.metrics);
    assert!(metrics.contains("portunus_quota_exhausted{client=\"edge-01\",owner=\"\",rule=\"web\"} 1"), "{metrics}");

    let said = world.cli(&["quota", "reset", "edge-01/none", "--why", "x"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let said = world.cli(&["quota", "reset", "edge-01/web", "--why", "paid for more"]);
    assert_eq!(said.code, 0, "{}", said.err);
    exchange(port, 10_000).unwrap();
    assert_eq!(used(20_000), 20_000);
    let history = world.cli(&["history", "-o", "json"]);
    assert!(history.out.contains("quota_reset") && history.out.contains("paid for more"), "{}", history.out);
}

#[test]
fn the_quota_of_an_owner_begins_again_for_all_of_its_rules() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let (port, target) = (ports(2), echo());
    let owner = "[[owner]]\nname = \"team a/b\"\nquota = { bytes = 100000, period = \"total\" }\n";
    let rule = |name: &str, port: u16| rule("edge-01", name, port, target, "owner = \"team a/b\"");
    world.edit_and_apply("rules.toml", &[rule("one", port), rule("two", port + 1), owner.to_owned()].concat());
    exchange(port, 2_000_000).unwrap_err();
    wait_until("the other rule is refused", || exchange(port + 1, 1).is_err());
    wait_until("it is shown", || quotas(&world).first().is_some_and(|row| row["state"] == "exhausted"));

    assert_eq!(world.cli(&["quota", "reset", "edge-01", "--why", "x"]).code, 64);
    assert_eq!(world.cli(&["quota", "reset", "edge-01/one", "--owner", "team a/b", "--why", "x"]).code, 64);
    assert_eq!(world.cli(&["quota", "reset", "edge-01", "--owner", "team-c", "--why", "x"]).code, 1);
    let said = world.cli(&["quota", "reset", "edge-01", "--owner", "team a/b", "--why", "paid for more", "-o", "json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let reset: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((reset["owner"].as_str(), reset.get("rule")), (Some("team a/b"), None), "{reset}");
    exchange(port, 1_000).unwrap();
    exchange(port + 1, 1_000).unwrap();
    let history = world.cli(&["history", "-o", "json"]);
    assert!(history.out.contains("owner team a/b of edge-01, "), "{}", history.out);
}
