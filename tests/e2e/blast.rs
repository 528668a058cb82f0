//! Blast radius: a plan counts the live connections that it would cost, with their age and rate, and a rail bounds them.

use std::time::{Duration, Instant};

use crate::peers::{Client, Echo};
use crate::support::{World, ports, rule, wait_for};

#[test]
fn a_plan_counts_connections_with_their_age_and_rate_and_a_rail_bounds_them() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(3);
    let two = rule("edge-01", "busy", port, echo.port, "") + &rule("edge-01", "other", port + 1, echo.port, "");
    world.write("portunus.toml", "[rails]\nmax_connections_dropped = 1\n");
    world.edit_and_apply("a.toml", &two);
    let began = Instant::now();
    let mut clients = [Client::to(port), Client::to(port)];
    clients.iter_mut().for_each(|client| client.ping(1, 0, 100).unwrap());
    world.edit(
        "a.toml",
        rule("edge-01", "busy", port + 2, echo.port, "") + &rule("edge-01", "other", port + 1, echo.port, ""),
    );
    let plan = wait_for("a plan with an age of a second", || {
        let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).json();
        let impact = &plan["changes"][0]["impact"];
        if impact["oldest_secs"].as_u64() >= Some(1) && impact["connections"] == 2 {
            Ok(plan)
        } else {
            Err(plan.to_string())
        }
    });
    let impact = &plan["changes"][0]["impact"];
    assert_eq!((&impact["kind"], &impact["connections"]), (&"drain".into(), &2.into()), "{impact}");
    let age = |key: &str| Duration::from_secs(impact[key].as_u64().unwrap());
    assert!(age("oldest_secs") <= began.elapsed() && age("median_secs") <= age("oldest_secs"), "{impact}");
    // Somebody comes and goes all the time: the rate of the last second is above nothing.
    wait_for("a rate", || {
        let busy: Vec<Client> = (0..5).map(|_| Client::to(port)).collect();
        drop(busy);
        let plan = world.cli(&["plan", &world.tree_arg(), "-o", "json"]).json();
        let rate = plan["changes"][0]["impact"]["connections_per_sec"].as_f64();
        if rate > Some(0.0) { Ok(()) } else { Err(plan["changes"].to_string()) }
    });
    let rail = plan["rails"].as_array().unwrap().iter().find(|rail| rail["name"] == "max_connections_dropped").unwrap();
    assert_eq!((&rail["tripped"], &rail["actual"], &rail["limit"]), (&true.into(), &2.into(), &1.into()));
    assert_eq!(rail["override"], "--allow-drops 2");
    let text = world.cli(&["plan", &world.tree_arg()]).exits(3).to_string();
    assert!(text.contains("2 live connections at most; oldest ") && text.contains(", median "), "{text}");
    // Refused at apply too, with the same flag; with it, it goes through.
    world.apply_with(&[]).exits(3).says("--allow-drops 2");
    world.apply_with(&["--allow-drops", "2"]).exits(0);
}
