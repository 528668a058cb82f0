//! Ports that stay are never touched, whoever owns them before and after.

use serde_json::{Value, json};

use crate::peers::{Echo, Steady, answers, refuses};
use crate::support::{World, ports, range_rule, rule};

/// How many ports such entries name.
fn count(entries: &Value) -> u32 {
    let width = |entry: &str| {
        let ports = entry.rsplit(':').next().unwrap();
        match ports.split_once('-') {
            Some((first, last)) => last.parse::<u32>().unwrap() - first.parse::<u32>().unwrap() + 1,
            None => 1,
        }
    };
    entries.as_array().unwrap().iter().map(|entry| width(entry.as_str().unwrap())).sum()
}

#[test]
fn a_range_that_slides_keeps_the_ports_in_common_under_a_transfer() {
    let world = World::with_edges(&["edge-01"]);
    let (listen, target) = (ports(150), Echo::range(150));
    world.edit_and_apply("a.toml", &range_rule("edge-01", "web", listen, target, 100, ""));
    assert_eq!(answers(listen), Some(target));
    let kept = Steady::transfer(listen + 70, 3);
    let edges = [Steady::probe(listen + 50, vec![target + 50]), Steady::probe(listen + 99, vec![target + 99])];

    world.edit("a.toml", range_rule("edge-01", "web", listen + 50, target + 50, 100, ""));
    let plan = world.plan();
    let change = &plan["changes"][0];
    assert_eq!(change["action"], "rebind");
    let ports = &change["ports"];
    assert_eq!((count(&ports["bind"]), count(&ports["keep"]), count(&ports["release"])), (50, 50, 50), "{ports}");
    assert_eq!(ports["bind"], json!([format!("*:{}-{}", listen + 100, listen + 149)]));
    assert_eq!(ports["keep"], json!([format!("*:{}-{}", listen + 50, listen + 99)]));
    assert_eq!(ports["release"], json!([format!("*:{}-{}", listen, listen + 49)]));
    assert_eq!((&plan["summary"]["ports_bound"], &plan["summary"]["ports_released"]), (&json!(50), &json!(50)));
    world.apply();

    kept.more(5);
    kept.finish();
    for probe in edges {
        probe.more(5);
        probe.finish();
    }
    for offset in [0, 25, 49] {
        assert!(refuses(listen + offset), "released");
    }
    for offset in [50, 75, 99, 100, 125, 149] {
        assert_eq!(answers(listen + offset), Some(target + offset));
    }
}

#[test]
fn two_rules_swap_their_ports_without_one_refusal() {
    let world = World::with_edges(&["edge-01"]);
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(2);
    let tree = |first: u16, second: u16| {
        rule("edge-01", "one", first, one.port, "") + &rule("edge-01", "two", second, two.port, "")
    };
    world.edit_and_apply("a.toml", &tree(port, port + 1));
    let tags = vec![one.port, two.port];
    let probes = [Steady::probe(port, tags.clone()), Steady::probe(port + 1, tags)];
    for round in 0..4_u16 {
        let swapped = round % 2 == 0;
        let (first, second) = if swapped { (port + 1, port) } else { (port, port + 1) };
        world.edit("a.toml", tree(first, second));
        let plan = world.plan();
        assert_eq!((&plan["summary"]["ports_bound"], &plan["summary"]["ports_released"]), (&json!(0), &json!(0)));
        world.apply();
        assert_eq!((answers(first), answers(second)), (Some(one.port), Some(two.port)));
        for probe in &probes {
            probe.more(5);
        }
    }
    for probe in probes {
        assert!(probe.finish() > 10);
    }
}

#[test]
fn a_port_goes_from_all_addresses_to_one_and_back_under_probing() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let probe = Steady::probe(port, vec![echo.port]);
    for more in ["listen_address = \"127.0.0.1\"", "", "listen_address = \"0.0.0.0\"", ""] {
        world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, more));
        probe.more(5);
    }
    probe.finish();
}

#[test]
fn a_removed_rule_drains_its_connections_and_then_resets_them() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(2);
    let tree = |more: &str| {
        rule("edge-01", "stays", port + 1, echo.port, "") + &rule("edge-01", "goes", port, echo.port, more)
    };
    world.edit_and_apply("a.toml", &tree("drain_timeout_secs = 2"));
    let mut client = crate::peers::Client::to(port);
    world.edit("a.toml", rule("edge-01", "stays", port + 1, echo.port, ""));
    world.wait_status("the connection to be known", |status| {
        crate::support::rule_of(status, "edge-01", "goes").is_some_and(|rule| rule["connections"] == 1)
    });
    let plan = world.plan();
    let impact = &plan["changes"][0]["impact"];
    assert_eq!((&impact["kind"], &impact["connections"]), (&json!("drain"), &json!(1)));
    assert!(impact["oldest_secs"].is_u64() && impact["oldest_secs"] == impact["median_secs"], "{impact}");
    world.apply();
    assert!(refuses(port), "accepting stops at once");
    client.ping(1, 0, 1000).expect("the connection drains");
    assert!(client.is_cut(), "the drain timeout ends it");
    world
        .wait_status("the rule to be forgotten", |status| crate::support::rule_of(status, "edge-01", "goes").is_none());
}
