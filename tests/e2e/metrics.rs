//! The metrics of CONTRACT §8: one row per live rule whatever its width, from the server only.

use edge::decide::breaks::Break;
use schema::counters::ConnectCause;

use crate::peers::{Client, Echo, answers};
use crate::support::{World, ports, range_rule, rule, rule_of, wait_for, wait_until};

/// The rows of a series.
fn rows<'a>(text: &'a str, series: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(['{', ' ']))).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one scrape, looked at from all sides")]
fn every_live_rule_has_one_row_and_a_removed_one_has_none() {
    let world = World::with_edges(&[]);
    let own = ports(1);
    world.edge_with("edge-01", &["--metrics-listen", &format!("127.0.0.1:{own}")]);
    world.edge("edge-02");
    let target = Echo::range(20);
    let port = ports(22);
    let stays = range_rule("edge-01", "wide", port, target, 20, "owner = \"team-a\"")
        + &rule("edge-02", "far", port + 21, target, "");
    world.edit_and_apply("a.toml", &(stays.clone() + &rule("edge-01", "goes", port + 20, target, "")));
    Client::to(port + 20).ping(1, 0, 10).unwrap();
    for offset in [0, 7] {
        let mut client = Client::to(port + offset);
        client.ping(1, 0, 50_000).unwrap();
    }
    let scraped = wait_for("the counters", || {
        let text = World::scrape(world.metrics);
        // Both directions: a report may come between what went in and what came back.
        let is_counted = [("in", 100_000), ("out", 100_004)].into_iter().all(|(way, bytes)| {
            let labels = "{client=\"edge-01\",owner=\"team-a\",rule=\"wide\"}";
            text.contains(&format!("portunus_rule_bytes_{way}_total{labels} {bytes}"))
        });
        if is_counted { Ok(text) } else { Err(text) }
    });
    for series in [
        "portunus_rule_bytes_in_total",
        "portunus_rule_bytes_out_total",
        "portunus_rule_active_connections",
        "portunus_rule_connections_total",
        "portunus_rule_dns_failures_total",
    ] {
        assert_eq!(rows(&scraped, series).len(), 3, "{series}: {scraped}");
    }
    assert!(scraped.contains("# TYPE portunus_rule_connect_errors_total counter\n"), "{scraped}");
    let errors = rows(&scraped, "portunus_rule_connect_errors_total");
    assert_eq!(errors.len(), 3 * ConnectCause::ALL.len(), "{errors:?}");
    for cause in ConnectCause::ALL {
        let row = format!("{{cause=\"{}\",client=\"edge-01\",owner=\"team-a\",rule=\"wide\"}} 0", cause.as_str());
        assert!(errors.iter().any(|found| found.ends_with(&row)), "{row}: {errors:?}");
    }
    let broken = rows(&scraped, "portunus_rule_connections_broken_total");
    for why in Break::ALL {
        let (side, cause) = why.as_str().split_once('_').expect("two words");
        let row = format!("{{cause=\"{cause}\",client=\"edge-01\",owner=\"team-a\",rule=\"wide\",side=\"{side}\"}} 0");
        assert!(broken.iter().any(|found| found.ends_with(&row)), "{row}: {broken:?}");
    }
    assert!(scraped.contains("portunus_rule_connections_total{client=\"edge-01\",owner=\"team-a\",rule=\"wide\"} 2"));
    let active = "portunus_rule_state{client=\"edge-01\",owner=\"team-a\",rule=\"wide\",state=\"active\"} 1";
    assert!(scraped.contains(active), "{scraped}");
    for row in [
        "portunus_edge_connected{client=\"edge-01\"} 1",
        "portunus_edge_generation{client=\"edge-01\"} 1",
        "portunus_edge_desired_generation{client=\"edge-01\"} 1",
        "portunus_drift{kind=\"failed\"} 0",
        "portunus_apply_total{outcome=\"applied\"} 1",
        "portunus_apply_duration_seconds_count 1",
        "portunus_plan_duration_seconds_count",
        "portunus_build_info{",
    ] {
        assert!(scraped.contains(row), "{row}: {scraped}");
    }

    world.edit_and_apply("a.toml", &stays);
    wait_until("the removed rule's rows to go", || !World::scrape(world.metrics).contains("rule=\"goes\""));
    // A rule that takes the name later begins at nothing.
    world.edit_and_apply("a.toml", &(stays + &rule("edge-01", "goes", port + 20, target, "")));
    let again = wait_for("the new rule's rows", || {
        let text = World::scrape(world.metrics);
        if text.contains("rule=\"goes\"") { Ok(text) } else { Err(text) }
    });
    assert!(again.contains("portunus_rule_bytes_in_total{client=\"edge-01\",owner=\"\",rule=\"goes\"} 0"), "{again}");
    let text = World::scrape(own);
    assert!(text.contains("portunus_session_connected 1"), "{text}");
    assert!(!text.contains("portunus_rule_"), "an edge's own port counts nothing twice: {text}");
}

#[test]
fn counters_move_while_a_connection_lives() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let mut client = Client::to(port);
    client.ping(1, 0, 65_536).unwrap();
    let stats = world.wait_stats("edge-01/a", "the bytes", |stats| stats["bytes_in"] == 65_536);
    assert_eq!(stats["active_connections"], 1);
    assert_eq!(stats["ports"][0]["port"], port);
    assert_eq!(stats["targets"][0]["host"], "127.0.0.1");
    wait_until("the metric", || {
        World::scrape(world.metrics)
            .contains("portunus_rule_bytes_in_total{client=\"edge-01\",owner=\"\",rule=\"a\"} 65536")
    });
    client.ping(1, 65_536, 10).unwrap();
}

#[test]
fn health_and_readiness_are_answered() {
    let world = World::with_edges(&[]);
    let own = ports(1);
    world.edge_with("edge-01", &["--metrics-listen", &format!("127.0.0.1:{own}")]);
    for port in [world.metrics, own] {
        for path in ["/healthz", "/readyz"] {
            // The server knows of a session a moment before its edge does.
            wait_for(path, || match crate::support::http(port, "GET", path, &[], "") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }
}

/// A counter that falls to nothing and comes back whole would look like traffic that never was.
#[test]
fn a_counter_never_falls_while_its_edge_lives_on() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    Client::to(port).ping(1, 0, 5000).unwrap();
    let row = "portunus_rule_bytes_in_total{client=\"edge-01\",owner=\"\",rule=\"a\"} ";
    let counted = || {
        let text = World::scrape(world.metrics);
        rows(&text, "portunus_rule_bytes_in_total").first().map(|found| found.strip_prefix(row).unwrap().to_owned())
    };
    wait_until("the bytes", || counted().as_deref() == Some("5000"));
    edge.signal("STOP");
    let whole = |found: Option<String>| assert!(found.as_deref().is_none_or(|count| count == "5000"), "{found:?}");
    wait_until("the session to be given up", || {
        whole(counted());
        crate::support::edge_of(&world.status(), "edge-01").unwrap()["connected"] == false
    });
    whole(counted());
    edge.signal("CONT");
    wait_until("the edge to be back", || {
        whole(counted());
        crate::support::edge_of(&world.status(), "edge-01").unwrap()["connected"] == true
    });
    wait_until("the row to be back", || {
        let found = counted();
        whole(found.clone());
        found.is_some()
    });
}

#[test]
fn choices_failovers_and_probes_each_move_a_series_of_their_own() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let (port, closed) = (ports(5), ports(1));
    let check = |more: &str| {
        format!("{more}\n[rule.health]\n{{port}}interval_secs = 1\ntimeout_ms = 900\nrise = 1\nfall = 1\n")
    };
    let well = check("").replace("{port}", "");
    let sick = |more: &str| check(more).replace("{port}", &format!("port = {closed}\n"));
    let spare = format!(
        "[[rule]]\nname = \"next\"\nedges = [\"edge-01\"]\nlisten_port = {}\ntargets = [{{ host = \"127.0.0.1\", \
         port = {closed} }}, {{ host = \"127.0.0.1\", port = {}, priority = 1 }}]\n",
        port + 1,
        echo.port
    );
    let nameless = format!(
        "[[rule]]\nname = \"dns\"\nedges = [\"edge-01\"]\nlisten_port = {}\ntarget = \"does-not-exist.invalid:80\"\n{well}",
        port + 4
    );
    let tree = rule("edge-01", "first", port, echo.port, &well)
        + &spare
        + &rule("edge-01", "untracked", port + 2, echo.port, &sick(""))
        + &rule("edge-01", "none", port + 3, echo.port, &sick("last_resort = \"none\""))
        + &nameless;
    world.edit_and_apply("a.toml", &tree);
    for (name, health) in [("first", "up"), ("untracked", "down"), ("none", "down"), ("dns", "down")] {
        world.wait_status(&format!("{name} to be {health}"), |status| {
            rule_of(status, "edge-01", name).is_some_and(|rule| rule["health"] == health)
        });
    }
    let answered = [port, port + 1, port + 2, port + 3, port + 4].map(answers);
    assert_eq!(answered, [Some(echo.port), Some(echo.port), Some(echo.port), None, None]);
    // More of them take the first target of the second rule out of use: the weight moves, once.
    for _ in 0..2 {
        assert_eq!(answers(port + 1), Some(echo.port));
    }
    let row = |series: &str, name: &str| format!("portunus_rule_{series},owner=\"\",rule=\"{name}\"}} ");
    let kind = |kind: &str| format!("lb_total{{client=\"edge-01\",kind=\"{kind}\"");
    let text = wait_for("the counters", || {
        let text = World::scrape(world.metrics);
        let is_there = [
            row(&kind("first"), "first") + "1\n",
            row(&kind("next"), "next") + "3\n",
            row("target_failovers_total{client=\"edge-01\"", "next") + "1\n",
            row(&kind("untracked"), "untracked") + "1\n",
            row(&kind("no_server"), "none") + "1\n",
            row("dns_failures_total{client=\"edge-01\"", "dns") + "1\n",
        ]
        .iter()
        .all(|row| text.contains(row));
        if is_there { Ok(text) } else { Err(text) }
    });
    for result in ["L4OK", "L4CON", "dns"] {
        let row = format!("portunus_probe_total{{result=\"{result}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&row)?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{result}: {text}");
    }
    let of_names = rows(&text, "portunus_rule_connect_errors_total");
    assert!(!of_names.iter().any(|row| row.contains("rule=\"dns\"") && !row.ends_with(" 0")), "{of_names:?}");
}
