//! What was applied, going back to it and holding it, and stopping: history, rollback, resume, freeze.

use serde_json::{Value, json};

use crate::peers::{Echo, answers, refuses};
use crate::support::{Handle, World, ports, rule, wait_until};

/// Two revisions of one rule, both applied.
struct Scene {
    world: World,
    server: Handle,
    one: Echo,
    two: Echo,
    port: u16,
    first: String,
    second: String,
}

impl Scene {
    /// With a server that follows the tree.
    fn followed() -> Self {
        let world = World::new();
        let (one, two) = (Echo::start(), Echo::start());
        let port = ports(2);
        let first = world.edit("a.toml", rule("edge-01", "a", port, one.port, ""));
        let server = world.follow("apply");
        world.edge("edge-01");
        world.wait_rule("edge-01", "a", "active");
        let second = world.edit("a.toml", rule("edge-01", "a", port, two.port, ""));
        let scene = Self { world, server, one, two, port, first, second };
        scene.serves_second();
        scene
    }

    fn serves_first(&self) {
        wait_until("the first revision to serve", || answers(self.port) == Some(self.one.port));
    }

    fn serves_second(&self) {
        let is_second = |status: &Value| {
            status["revision"]["commit"] == self.second.as_str() && status["apply"]["outcome"] == "applied"
        };
        self.world.wait_status("the second revision", is_second);
        wait_until("the second revision to serve", || answers(self.port) == Some(self.two.port));
    }
}

fn history(world: &World) -> Vec<Value> {
    world.cli(&["history", "-o", "json"]).exits(0).json().as_array().unwrap().clone()
}

#[test]
fn a_rollback_is_held_over_a_restart_until_git_moves() {
    let scene = Scene::followed();
    let world = &scene.world;
    let said = world.cli(&["rollback", &scene.first[..8], "--yes", "--why", "two is slow", "-o", "json"]).exits(0);
    assert_eq!(said.json()["kind"], "rollback", "{said}");
    scene.serves_first();
    let status = world.status();
    assert_eq!(status["revision"]["held"], true);
    let hold = &status["revision"]["hold"];
    assert_eq!(
        (&hold["by"], &hold["why"], &hold["commit"]),
        (&json!("operator"), &json!("two is slow"), &json!(scene.first))
    );
    world.cli(&["status"]).exits(0).says("two is slow");
    let newest = history(world).pop().unwrap();
    assert_eq!(
        (&newest["action"], &newest["held"], &newest["why"]),
        (&json!("rollback"), &json!(true), &json!("two is slow"))
    );

    // A file that is not a rule is touched, and the server comes back: neither is git moving.
    world.write("notes.txt", "x");
    scene.server.kill();
    world.follow("apply");
    world.wait_connected("edge-01", true);
    world.wait_status("the tree to be held back", |status| status["revision"]["verdict"]["outcome"] == "held");
    assert_eq!(answers(scene.port), Some(scene.one.port));
    assert_eq!(world.status()["revision"]["hold"]["why"], "two is slow");

    let third = world.edit("a.toml", rule("edge-01", "a", scene.port, scene.two.port, "max_connections = 9"));
    world.wait_status("the commit to be in force", |status| status["revision"]["commit"] == third.as_str());
    wait_until("the third revision to serve", || answers(scene.port) == Some(scene.two.port));
    let status = world.status();
    assert_eq!((&status["revision"]["held"], &status["revision"]["hold"]), (&json!(false), &Value::Null));
}

#[test]
fn resume_ends_the_hold_and_applies_the_followed_tree() {
    let scene = Scene::followed();
    let world = &scene.world;
    world.cli(&["rollback", &scene.first]).exits(64).says("--yes");
    world.cli(&["rollback", &scene.first, "--yes"]).exits(0);
    scene.serves_first();
    let said = world.cli(&["resume", "-o", "json"]).exits(0).json();
    assert_eq!(said["released"]["commit"], scene.first.as_str(), "{said}");
    scene.serves_second();
    assert_eq!(world.status()["revision"]["held"], false);
    // Nothing is held and nothing is missing.
    let lines = history(world).len();
    let again = world.cli(&["resume"]).exits(0);
    assert_eq!(again.out, "There is nothing to resume.\n", "{again}");
    let again = world.apply_with(&[]).exits(0);
    assert!(again.out.contains("Nothing to do: the tree is already in force"), "{again}");
    assert_eq!(history(world).len(), lines, "and nothing is");
    assert_eq!(answers(scene.port), Some(scene.two.port));
}

#[test]
fn revisions_that_nobody_applied_are_1_and_rails_of_a_rollback_are_3() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(6);
    let tree = |count: u16| -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, "")).collect()
    };
    world.edit_and_apply("a.toml", &tree(1));
    let small = world.status()["revision"]["digest"].as_str().unwrap().to_owned();
    world.edit_and_apply("a.toml", &tree(6));
    let large = world.status()["revision"]["digest"].as_str().unwrap().to_owned();
    for unknown in ["ffffffffffff", "no-hash", "abc", "sha256:0000"] {
        world.cli(&["rollback", unknown, "--yes"]).exits(1);
    }
    let said = world.cli(&["rollback", &small, "--yes"]).exits(3);
    said.says("--allow-removals 5");
    assert_eq!(answers(port + 5), Some(echo.port));
    world.cli(&["rollback", &small[..20], "--yes", "--allow-removals", "4"]).exits(3);
    world.cli(&["rollback", &small[..20], "--yes", "--allow-removals", "5"]).exits(0);
    assert!(refuses(port + 5));
    assert_eq!(world.status()["revision"]["held"], true);
    // Where no tree is followed, the next apply of an operator ends the hold.
    world.apply();
    assert_eq!(world.status()["revision"]["held"], false);
    assert_eq!(answers(port + 5), Some(echo.port));
    // The tree is not here, and the plan shows all the same where new rules forward to.
    world.edit_and_apply("a.toml", &tree(5));
    let said = world.cli(&["rollback", &large, "--yes"]).exits(0);
    assert!(said.out.contains(&format!("to       127.0.0.1:{}\n", echo.port)), "{said}");
}

#[test]
fn a_freeze_stops_people_and_the_followed_tree_and_is_lifted_by_word_or_by_time() {
    let scene = Scene::followed();
    let world = &scene.world;
    world.cli(&["freeze"]).exits(64);
    world.cli(&["freeze", "--why", "the auditors are here"]).exits(0);
    let third = world.edit("a.toml", rule("edge-01", "a", scene.port, scene.one.port, ""));
    world.wait_status("the freeze to keep the tree out", |status| status["revision"]["verdict"]["outcome"] == "frozen");
    assert_eq!(answers(scene.port), Some(scene.two.port));
    for args in [&["apply", &world.tree_arg(), "--yes"][..], &["rollback", &scene.first, "--yes"], &["resume"]] {
        world.cli(args).exits(6).says("the auditors are here");
    }
    let plan = world.plan();
    assert_eq!((&plan["applyable"], &plan["frozen"]["by"]), (&json!(false), &json!("operator")));
    world.cli(&["plan", &world.tree_arg()]).exits(0).says("the auditors are here");
    world.cli(&["status"]).exits(0).says("Frozen by operator");
    assert!(World::scrape(world.metrics).contains("portunus_frozen 1\n"));

    scene.server.kill();
    world.follow("apply");
    world.wait_connected("edge-01", true);
    assert_eq!(world.status()["frozen"]["why"], "the auditors are here");
    world.cli(&["unfreeze", "--why", "they are gone"]).exits(0);
    world.wait_status("the waiting commit", |status| status["revision"]["commit"] == third.as_str());
    scene.serves_first();
    world.cli(&["unfreeze"]).exits(0).says("The fleet was not frozen");

    world.cli(&["freeze", "--why", "a moment", "--ttl", "1s"]).exits(0);
    let fourth = world.edit("a.toml", rule("edge-01", "a", scene.port, scene.two.port, ""));
    world.wait_status("the freeze to end", |status| status["revision"]["commit"] == fourth.as_str());
    let actions: Vec<Value> = history(world).iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "freeze").count(), 2, "{actions:?}");
    assert_eq!(actions.iter().filter(|action| **action == "unfreeze").count(), 2, "{actions:?}");
}

#[test]
fn an_entry_of_the_history_says_all_of_its_apply() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(4);
    let tree = |count: u16| -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, 9, "")).collect()
    };
    world.edit_and_apply("a.toml", &tree(4));
    let commit = world.edit("a.toml", tree(1));
    world.apply_with(&["--allow-removals", "3"]).exits(0);
    let all = history(&world);
    let newest = all.last().unwrap();
    let id = newest["id"].to_string();
    let entry = world.cli(&["history", &id, "-o", "json"]).exits(0).json();
    assert_eq!(entry["commit"], commit.as_str());
    assert_eq!((&entry["outcome"], &entry["actor"]), (&json!("applied"), &json!("operator")));
    assert!(entry["author"].as_str().unwrap().contains("ada@example.org"), "{entry}");
    assert_eq!(entry["overridden"], json!(["--allow-removals 3"]));
    assert_eq!(entry["generations"], json!({"edge-01": 2}));
    assert_eq!(entry["plan"]["changes"].as_array().unwrap().len(), 3);
    assert_eq!(entry["plan"]["changes"][0]["action"], "remove");
    assert_ne!(entry["previous_hash"], all[0]["previous_hash"]);
    let text = world.cli(&["history", entry["apply_id"].as_str().unwrap()]).exits(0);
    for part in ["r3", "--allow-removals 3", &commit, "ada@example.org", "edge-01 generation 2", "previous"] {
        assert!(text.out.contains(part), "{part}: {text}");
    }
    world.write("a.toml", tree(2));
    world.apply_with(&["--allow-dirty"]).exits(0);
    let newest = history(&world).pop().unwrap();
    assert_eq!((&newest["dirty"], &newest["overridden"]), (&json!(true), &json!(["--allow-dirty"])), "{newest}");
    world.cli(&["history", "999"]).exits(1).says("999");
    world.cli(&["history", "../status"]).exits(1);
}

#[test]
fn the_api_tells_of_an_apply_from_before_a_restart() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let (echo, port) = (Echo::start(), ports(1));
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let id = history(&world)[0]["apply_id"].as_str().unwrap().to_owned();
    let ask = |path: &str| world.api("GET", &format!("/v1/applies/{id}{path}"), "").unwrap();
    let before: Value = serde_json::from_str(&ask("").1).unwrap();
    server.stop();
    world.serve(&["--mode", "heal"]);
    let (status, body) = ask("");
    assert_eq!(status, 200, "{body}");
    let after: Value = serde_json::from_str(&body).unwrap();
    for key in ["id", "plan_id", "digest", "commit", "actor", "outcome", "started_at", "finished_at"] {
        assert_eq!(after[key], before[key], "{key}: {after}");
    }
    let edge = &after["edges"][0];
    assert_eq!((&edge["edge"], &edge["outcome"], &edge["generation"]), (&json!("edge-01"), &json!("done"), &json!(1)));
    let (status, events) = ask("/events");
    assert_eq!(status, 200, "{events}");
    assert_eq!(events.matches("event: apply").count(), 1, "its end, and then the stream ends: {events}");
    assert!(events.contains("\"outcome\":\"applied\""), "{events}");
    let unknown = world.api("GET", "/v1/applies/a999/events", "").unwrap();
    assert_eq!(unknown.0, 404, "{}", unknown.1);
}

#[test]
fn the_history_says_who_applied_what_for_whom_and_counts_from_one() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(3);
    let tree = |numbers: &[u16], limit: u16| -> String {
        let one = |number: &u16| {
            let more = format!("max_connections = {limit}");
            rule("edge-01", &format!("r{number}"), port + number, 9, &more)
        };
        numbers.iter().map(one).collect()
    };
    let commits: Vec<String> = [(&[0][..], 5), (&[0, 1], 6), (&[1, 2], 6)]
        .into_iter()
        .zip(["--actor=ann", "", "--actor=carol"])
        .map(|((numbers, limit), actor)| {
            world.write("a.toml", tree(numbers, limit));
            world.git(&["add", "-A"]);
            world.git(&["commit", "-qm", &format!("Rules {numbers:?}\n\nWith a reason.")]);
            let tree = world.tree_arg();
            let args: Vec<&str> = ["apply", &tree, "--yes", actor].into_iter().filter(|arg| !arg.is_empty()).collect();
            let github = [
                ("GITHUB_ACTOR", "octocat"),
                ("GITHUB_SERVER_URL", "https://git.example.org"),
                ("GITHUB_REPOSITORY", "team/rules"),
                ("GITHUB_RUN_ID", "4711"),
            ];
            world.cli_with(&args, if actor.is_empty() { &github[..] } else { &[] }).exits(0);
            world.git(&["rev-parse", "HEAD"])
        })
        .collect();
    let all = history(&world);
    let field = |name: &str| all.iter().map(|entry| entry[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("id"), [1, 2, 3]);
    assert_eq!(field("apply_id"), ["a1", "a2", "a3"]);
    assert_eq!(field("subject"), ["Rules [0]", "Rules [0, 1]", "Rules [1, 2]"]);
    assert_eq!(field("actor"), ["operator"; 3]);
    let run = "octocat (https://git.example.org/team/rules/actions/runs/4711)";
    assert_eq!(field("applied_by"), ["ann", run, "carol"]);
    let counts = |entry: &Value| ["activate", "update", "remove"].map(|kind| entry["summary"][kind].clone());
    assert_eq!(
        all.iter().map(counts).collect::<Vec<_>>(),
        [[1, 0, 0], [1, 1, 0], [1, 0, 1]].map(|all| all.map(Value::from))
    );
    assert!(all.iter().all(|entry| entry["author"].as_str().is_some_and(|author| author.contains("ada@example.org"))));

    let text = world.cli(&["history"]).exits(0).out;
    for part in ["+1 ~1 -0", "+1 ~0 -1", "Rules [0, 1]", "operator as ann", "operator as octocat"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let one = world.cli(&["history", "3"]).exits(0).out;
    assert!(one.starts_with("Entry 3 · applied · +1 ~0 -1 · 1 edge: 1 done"), "{one}");
    assert!(one.contains("applied by carol (as its client reports)"), "{one}");
    let status = world.cli(&["status"]).exits(0).out;
    let second = status.lines().nth(1).unwrap_or_default();
    for part in [&commits[2][..12], "Rules [1, 2]", "ada@example.org", "operator as carol"] {
        assert!(second.contains(part), "{part}: {status}");
    }
    world.cli(&["history", "--verify"]).exits(0);
    world.cli(&["apply", &world.tree_arg(), "--yes", "--actor", "a\nb"]).exits(64);
    world.cli_with(&["apply", &world.tree_arg(), "--yes"], &[("PORTUNUS_ACTOR", "dave")]).exits(0);
    let body = json!({"revision": "1", "dry_run": true, "applied_by": "x".repeat(201)}).to_string();
    assert_eq!(world.api("POST", "/v1/rollback", &body).unwrap().0, 400);
}

#[test]
fn a_rollback_takes_an_entry_an_apply_previous_and_a_commit_before_the_last_one() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let commits: Vec<String> = (1..=3)
        .map(|limit| {
            let text = rule("edge-01", "web", port, 9, &format!("max_connections = {limit}"));
            let commit = world.edit("a.toml", text);
            world.apply();
            commit
        })
        .collect();
    let in_force = || world.status()["revision"]["commit"].as_str().unwrap_or_default().to_owned();
    for (name, expected) in [("HEAD~1", 1), ("previous", 2), ("1", 0), ("a3", 2), ("HEAD~2", 0), (&commits[1][..9], 1)]
    {
        world.cli(&["rollback", name, "--yes"]).exits(0);
        assert_eq!(in_force(), commits[expected], "{name}");
    }
    for (name, words) in [
        ("HEAD~9", "is before the first applied revision"),
        ("99", "no revision 99 was applied; the newest revisions are"),
        ("HEAD-1", "does not name a revision"),
    ] {
        world.cli(&["rollback", name, "--yes"]).exits(1).says(words);
    }
    world.cli(&["freeze", "--why", "a test"]).exits(0);
    world.cli(&["unfreeze"]).exits(0);
    let freeze = history(&world).iter().find(|entry| entry["action"] == "freeze").unwrap()["id"].to_string();
    world.cli(&["rollback", &freeze, "--yes"]).exits(1).says("has no revision");
    world.cli(&["history", "--verify"]).exits(0);
}
