//! Drift as `status` and metrics show it: the same numbers, and for each kind what to do about it.

use std::collections::BTreeMap;
use std::net::TcpListener;

use serde_json::json;

use crate::peers::Echo;
use crate::support::{World, ports, rule, wait_for};

#[test]
fn status_metrics_and_exit_code_agree_on_drift_and_status_says_what_to_do() {
    let world = World::with_edges(&["edge-01"]);
    let away = world.edge("edge-02");
    world.edge_with("edge-03", &["--disable-capability", "port_range"]);
    let echo = Echo::start();
    let port = ports(8);
    let stranger = TcpListener::bind(("0.0.0.0", port + 1)).unwrap();
    let checked = "health_check_interval_secs = 1";
    world.edit(
        "a.toml",
        rule("edge-01", "well", port, echo.port, "")
            + &rule("edge-01", "fails", port + 1, echo.port, "")
            + &rule("edge-01", "sick", port + 2, 1, checked)
            + &rule("edge-02", "away", port + 3, echo.port, "")
            + "[[rule]]\nname = \"wide\"\nedges = [\"edge-03\"]\n"
            + &format!("listen_ports = \"{}-{}\"\ntarget = \"127.0.0.1:1000-1001\"\n", port + 4, port + 5)
            + &rule("edge-03", "narrow", port + 6, echo.port, ""),
    );
    world.apply_with(&[]).exits(5);
    let (listen, target) = ((port + 7).to_string(), format!("127.0.0.1:{}", echo.port));
    let add = ["override", "add", "edge-01", "--name", "glass", "--listen-port", &listen, "--target", &target];
    world.cli(&[&add[..], &["--ttl", "1h", "--why", "a test"]].concat()).exits(0);
    away.stop();
    let expected = BTreeMap::from([("edge_offline", 1_u64), ("failed", 1), ("override", 1), ("rejected", 1)]);
    let status = wait_for("the drift", || {
        let status = world.status();
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for one in status["drift"].as_array().unwrap() {
            *kinds.entry(one["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let is_all = kinds.iter().map(|(kind, number)| (kind.as_str(), *number)).eq(expected.clone());
        if is_all { Ok(status) } else { Err(status["drift"].to_string()) }
    });
    assert_eq!(status["drift"].as_array().unwrap().len(), 4);
    let scraped = World::scrape(world.metrics);
    for kind in ["missing", "extra", "changed", "failed", "rejected", "edge_offline", "stale_generation", "override"] {
        let row = format!("portunus_drift{{kind=\"{kind}\"}} {}\n", expected.get(kind).copied().unwrap_or_default());
        assert!(scraped.contains(&row), "{row}: {scraped}");
    }
    let said = world.cli(&["status", "--detailed-exitcode"]).exits(2).to_string();
    for words in [
        "portunus status edge-01/fails",
        "Out of sync · ",
        "1 rule failed",
        "1 rule rejected",
        "1 edge offline",
        "1 override",
        "portunus status edge-02",
        "portunus override export",
        "portunus explain port_range_unsupported_by_client",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // What an edge that is offline runs is not known; what it ran last is beside it.
    let away = status["edges"].as_array().unwrap().iter().find(|edge| edge["name"] == "edge-02").unwrap();
    let away = &away["rules"][0];
    assert_eq!((&away["state"], &away["last_state"]), (&json!("unknown"), &json!("active")), "{away}");
    world.cli(&["status", "edge-02"]).exits(0).says("unknown (active ");
    drop(stranger);
}

#[test]
fn a_target_that_is_down_turns_no_job_red_unless_health_is_asked_for() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(2);
    let checked = "health_check_interval_secs = 1";
    world.edit(
        "a.toml",
        rule("edge-01", "well", port, echo.port, checked) + &rule("edge-01", "sick", port + 1, 1, checked),
    );
    world.apply();
    world.wait_status("a verdict", |status| status["targets"]["down"] == 1 && status["targets"]["up"] == 1);
    let said = world.cli(&["status", "--detailed-exitcode"]).exits(0).to_string();
    assert!(said.contains("In sync · 1 edge · 2 rules · 1 rule down · 1 of 2 targets up, 1 down"), "{said}");
    world.cli(&["status", "--detailed-exitcode", "--healthy"]).exits(2);
    world.cli(&["status", "edge-01/well", "--detailed-exitcode", "--healthy"]).exits(0).says("up 1/1");
    let said = world.cli(&["targets", "--state", "down"]).exits(0).to_string();
    assert!(said.contains("is down in edge-01/sick: L4CON") && !said.contains("edge-01/well"), "{said}");
    let json = world.cli(&["targets", "-o", "json"]).exits(0).json();
    let totals = &json["totals"];
    assert_eq!((&totals["all"], &totals["up"], &totals["down"]), (&json!(2), &json!(1), &json!(1)), "{totals}");
    assert_eq!(json["targets"].as_array().unwrap().len(), 2);
    let said = world.cli(&["rules", "--health", "down"]).exits(0).to_string();
    assert!(said.contains("down 0/1") && !said.contains("edge-01/well"), "{said}");
    let one = world.cli(&["status", "--port", &port.to_string(), "-o", "json"]).exits(0).json();
    assert_eq!(one["edges"][0]["rules"].as_array().unwrap().len(), 1);
    for nothing in [["status", "--edge", "ams-*"], ["rules", "--state", "failed"], ["targets", "--owner", "nobody"]] {
        world.cli(&nothing).exits(1).says("nothing matches");
    }
    world.cli(&["rules", "--state", "upside"]).exits(64).says("expected one of");
    let scraped = World::scrape(world.metrics);
    for row in [
        "portunus_rule_health{client=\"edge-01\",owner=\"\",rule=\"sick\",state=\"down\"} 1",
        "portunus_rule_health{client=\"edge-01\",owner=\"\",rule=\"sick\",state=\"up\"} 0",
        "portunus_rule_health{client=\"edge-01\",owner=\"\",rule=\"sick\",state=\"unknown\"} 0",
        "portunus_rule_targets{client=\"edge-01\",owner=\"\",rule=\"sick\",state=\"down\"} 1",
        "portunus_rule_targets{client=\"edge-01\",owner=\"\",rule=\"well\",state=\"up\"} 1",
    ] {
        assert!(scraped.contains(row), "{row}: {scraped}");
    }
}
