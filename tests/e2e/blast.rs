//! Blast radius: a plan counts the live connections that it would cost, with their age and rate; a rail bounds them, and a
//! quiet window waits until there are none.

use std::time::{Duration, Instant};

use crate::peers::{Client, Echo, answers, refuses};
use crate::support::{World, ports, range_rule, rule, rule_of, wait_for, wait_until};

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
    for client in &mut clients {
        client.ping(1, 0, 100).unwrap();
    }
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
    // Ages are counted in ticks of a worker, and one may have begun before.
    let at_most = began.elapsed() + Duration::from_secs(1);
    assert!(age("oldest_secs") <= at_most && age("median_secs") <= age("oldest_secs"), "{impact}");
    // Somebody comes and goes all the time: the rate of the last seconds is above nothing.
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

/// One edge with three rules; a client of the first is connected.
struct Scene {
    world: World,
    echo: Echo,
    port: u16,
}

impl Scene {
    fn new() -> (Self, Client) {
        let scene = Self { world: World::with_edges(&["edge-01"]), echo: Echo::start(), port: ports(6) };
        let rules = scene.rule("busy", 0) + &scene.rule("gone", 1) + &scene.rule("other", 2);
        scene.world.edit_and_apply("a.toml", &rules);
        let mut client = Client::to(scene.port);
        client.ping(1, 0, 100).unwrap();
        (scene, client)
    }

    fn rule(&self, name: &str, by: u16) -> String {
        rule("edge-01", name, self.port + by, self.echo.port, "")
    }

    fn state(&self, rule: &str) -> String {
        let status = self.world.status();
        rule_of(&status, "edge-01", rule).map_or_else(String::new, |rule| rule["state"].as_str().unwrap().to_owned())
    }
}

#[test]
fn in_a_quiet_window_a_busy_rule_waits_for_its_connections_and_the_others_change_at_once() {
    let (scene, mut client) = Scene::new();
    let mut held = Client::to(scene.port + 1);
    held.ping(2, 0, 100).unwrap();
    scene.world.edit("a.toml", scene.rule("busy", 3) + &scene.rule("other", 4));
    let apply = scene.world.start_cli("apply", &["apply", &scene.world.tree_arg(), "--yes", "--quiet-window", "10m"]);
    wait_until("the quiet rule to change", || answers(scene.port + 4) == Some(scene.echo.port));
    // The old socket goes once the new one serves.
    wait_until("its old port to close", || refuses(scene.port + 2));
    wait_until("the busy rules to wait", || scene.state("busy") == "pending" && scene.state("gone") == "pending");
    assert!(apply.has_ended().is_none(), "{}", apply.log());
    assert!(refuses(scene.port + 3));
    let status = scene.world.status();
    let message = &rule_of(&status, "edge-01", "gone").unwrap()["message"];
    assert_eq!(message, "waits for a moment without connections, for at most 600 s");
    assert_eq!(status["drift"], serde_json::json!([]), "what waits is no drift");
    client.ping(1, 100, 100).unwrap();
    held.ping(2, 100, 100).unwrap();
    // New connections are served while the rule waits, and each rule goes by itself.
    drop(held);
    // Whoever looks by connecting keeps the rule from being quiet: the server says when it has gone.
    wait_until("the removed rule to go", || rule_of(&scene.world.status(), "edge-01", "gone").is_none());
    assert!(refuses(scene.port + 1));
    assert_eq!(scene.state("busy"), "pending");
    client.ping(1, 200, 100).unwrap();
    drop(client);
    wait_until("the busy rule to change", || answers(scene.port + 3) == Some(scene.echo.port));
    wait_until("its old port to close", || refuses(scene.port));
    assert_eq!(apply.ended(), 0, "{}", apply.log());
    assert_eq!(scene.state("busy"), "active");
}

#[test]
fn when_the_quiet_window_is_over_the_change_is_made_all_the_same() {
    let (scene, mut client) = Scene::new();
    scene.world.edit("a.toml", scene.rule("busy", 3) + &scene.rule("gone", 1) + &scene.rule("other", 2));
    let began = Instant::now();
    scene.world.apply_with(&["--quiet-window", "2s"]).exits(0);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(answers(scene.port + 3), Some(scene.echo.port));
    assert!(refuses(scene.port));
    // What was connected drains as ever.
    client.ping(1, 100, 100).unwrap();
}

#[test]
fn a_range_that_slides_is_planned_with_the_ages_of_what_ends_and_without_the_rate_of_the_rest() {
    let world = World::with_edges(&["edge-01"]);
    let (first, target) = (ports(15), Echo::range(15));
    world.edit_and_apply("a.toml", &range_rule("edge-01", "range", first, target, 10, "drain_timeout_secs = 1"));
    let mut stays = Client::to(first + 7);
    let old = Duration::from_secs(4);
    let since = Instant::now();
    wait_until("the one that stays to be older than the other will be", || since.elapsed() > old);
    let (mut leaves, came) = (Client::to(first + 2), Instant::now());
    for client in [&mut stays, &mut leaves] {
        client.ping(1, 0, 100).unwrap();
    }
    world.edit("a.toml", range_rule("edge-01", "range", first + 5, target + 5, 10, "drain_timeout_secs = 1"));
    let rate = || world.stats("edge-01/range")["rates"]["connections_per_sec"].as_f64().unwrap_or_default();
    // Many come and go on a port that stays, before the plan is made and after it.
    let impact = wait_for("a plan while connections come", || {
        let busy: Vec<Client> = (0..5).map(|_| Client::to(first + 7)).collect();
        drop(busy);
        let before = rate();
        let impact = world.plan()["changes"][0]["impact"].clone();
        let is_seen = before > 0.0 && rate() > 0.0 && impact["connections"] == 1 && impact["oldest_secs"].is_u64();
        if is_seen { Ok(impact) } else { Err(format!("{before} a second, {impact}")) }
    });
    assert_eq!((&impact["kind"], &impact["losing"]), (&"drain".into(), &"listeners".into()), "{impact}");
    let oldest = impact["oldest_secs"].as_u64().unwrap();
    // The oldest of the rule is older by as much as was waited for.
    assert!(Duration::from_secs(oldest) <= came.elapsed() + Duration::from_secs(1), "{impact}");
    assert!(came.duration_since(since) >= old && impact["median_secs"] == oldest, "{impact}");
    assert!(impact["connections_per_sec"].is_null(), "{impact}");
    world.apply();
    assert!(leaves.is_cut(), "its listener is released");
    stays.ping(1, 100, 100).unwrap();
}
