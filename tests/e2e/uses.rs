//! Who uses a rule: what was not used for so long, over restarts, and who used what a plan takes away.

use serde_json::{Value, json};

use crate::peers::{Echo, answers};
use crate::support::{World, ports, range_rule, rule, wait_for, wait_until};

fn unused(world: &World, args: &[&str]) -> Value {
    world.cli(&[&["unused", "-o", "json"], args].concat()).exits(0).json()["rules"].clone()
}

fn names(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["rule"].as_str().unwrap()).collect()
}

#[test]
fn what_nobody_used_is_listed_also_after_a_restart_and_plans_show_who_used_what_they_take_away() {
    let world = World::new();
    world.serve(&["--mode", "heal"]);
    let edge = world.edge("fra-01");
    let (echo, port) = (Echo::start(), ports(8));
    let idle = rule("fra-01", "idle", port + 7, echo.port, "");
    let range = range_rule("fra-01", "range", port + 1, ports(5), 5, "");
    let web = rule("fra-01", "web", port, echo.port, "owner = \"team-a\"");
    world.edit_and_apply("a.toml", &[&web[..], &range, &idle].concat());
    assert_eq!(answers(port), Some(echo.port));
    // Nobody is behind it; that somebody came is a use.
    assert_eq!(answers(port + 2), None);

    // All rules are young: what was used is not listed, and the others are, with their age.
    let rows = unused(&world, &["--for", "30d"]);
    assert_eq!(names(&rows), ["idle", "range"], "{rows}");
    let (idle_row, range_row) = (&rows[0], &rows[1]);
    assert_eq!((&idle_row["younger"], &idle_row["whole"]), (&json!(true), &json!(true)), "{rows}");
    assert_eq!(idle_row["last_connection_at"], Value::Null);
    assert!(idle_row["age_secs"].as_u64() < Some(60) && idle_row["since"].is_string(), "{rows}");
    let left = [format!("{}", port + 1), format!("{}-{}", port + 3, port + 5)];
    assert_eq!((&range_row["whole"], &range_row["ports"]), (&json!(false), &json!(left)), "{rows}");
    // Once the time is over, what was used is listed as well.
    let old = wait_for("the use to be old enough", || {
        let rows = unused(&world, &["--for", "1s", "--owner", "team-a"]);
        if names(&rows) == ["web"] { Ok(rows) } else { Err(rows.to_string()) }
    });
    assert_eq!(old[0]["younger"], false, "{old}");
    let last = old[0]["last_connection_at"].clone();
    assert!(last.is_string(), "{old}");

    edge.signal("TERM");
    wait_until("the edge to end", || edge.has_ended().is_some());
    world.edge("fra-01");
    let after = wait_for("the rules to serve", || {
        let rows = unused(&world, &["--for", "1s", "--rule", "web"]);
        if names(&rows) == ["web"] { Ok(rows) } else { Err(rows.to_string()) }
    });
    assert_eq!((&after[0]["last_connection_at"], &after[0]["since"]), (&last, &old[0]["since"]), "{after}");

    // A plan that removes a rule shows when it was used last, and by whom.
    answers(port);
    world.edit("a.toml", [&range[..], &idle].concat());
    let plan = world.plan();
    let change = &plan["changes"][0];
    assert_eq!((&change["rule"], &change["action"]), (&json!("web"), &json!("remove")), "{plan}");
    let source = &change["impact"]["sources"][0];
    assert_eq!((&source["network"], &source["connections"]), (&json!("127.0.0.0/24"), &json!(1)), "{plan}");
    assert!(source["last_seen"].is_string() && change["impact"]["last_connection_at"].is_string(), "{plan}");
    let tree = world.tree_arg();
    for format in ["text", "markdown"] {
        let said = world.cli(&["plan", &tree, "-o", format]).exits(0);
        assert!(said.out.contains("last connection") && said.out.contains("127.0.0.0/24 (1)"), "{said}");
    }
    world.cli(&["unused", "--for", "soon"]).exits(64);
    assert_eq!(world.api("GET", "/v1/unused?for=1d&per_port=true", "").unwrap().0, 400);
    assert_eq!(world.api("GET", "/v1/unused?for=soon", "").unwrap().0, 400);
}
