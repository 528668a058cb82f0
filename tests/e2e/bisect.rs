//! `bisect`: real revisions on a real edge, told apart by a command that connects, and the way back whatever happens.

use std::fs;

use serde_json::{Value, json};

use crate::peers::{Echo, answers};
use crate::support::{World, ports, rule, wait_until};

/// A shell function that prints which upstream answers on a port, as hex.
fn tag(port: u16) -> String {
    format!("tag() {{ exec 3<>/dev/tcp/127.0.0.1/{port} && head -c 2 <&3 | od -An -tx1 | tr -d ' \\n'; exec 3>&-; }}")
}

fn hex(port: u16) -> String {
    format!("{port:04x}")
}

/// Six revisions of one rule; the last three go to the wrong upstream.
struct Scene {
    world: World,
    good: Echo,
    bad: Echo,
    port: u16,
    commits: Vec<String>,
    /// A script that succeeds where the right upstream answers.
    check: String,
}

impl Scene {
    fn new(world: World) -> Self {
        let (good, bad, port) = (Echo::start(), Echo::start(), ports(1));
        let check = format!("{}; test \"$(tag)\" = {}", tag(port), hex(good.port));
        Self { world, good, bad, port, commits: Vec::new(), check }
    }

    /// In a world whose server is told what to apply.
    fn applied() -> Self {
        Self::applied_in(World::with_edges(&["edge-01"]))
    }

    fn applied_in(world: World) -> Self {
        let mut scene = Self::new(world);
        for number in 0..6 {
            scene.edit(number);
            scene.world.apply();
        }
        scene
    }

    /// In a world whose server follows the tree.
    fn followed() -> Self {
        let mut scene = Self::new(World::new());
        scene.edit(0);
        scene.world.follow("apply");
        scene.world.edge("edge-01");
        for number in 1..6 {
            scene.is_in_force(scene.commits.last().unwrap());
            scene.edit(number);
        }
        scene.is_in_force(scene.commits.last().unwrap());
        scene
    }

    fn edit(&mut self, number: usize) {
        let target = if number < 3 { self.good.port } else { self.bad.port };
        let text = rule("edge-01", "web", self.port, target, &format!("owner = \"team-{number}\""));
        self.commits.push(self.world.edit("a.toml", text));
    }

    #[track_caller]
    fn is_in_force(&self, commit: &str) {
        self.world.wait_status("the commit to be in force", |status| {
            status["revision"]["commit"] == commit && status["apply"]["outcome"] == "applied"
        });
    }

    fn bisect(&self, flags: &[&str], script: &str) -> crate::processes::Said {
        let (good, yes) = (self.commits[0].as_str(), "--yes");
        self.world.cli(&[&["bisect", good, yes][..], flags, &["--", "bash", "-c", script]].concat())
    }

    /// The last revision is in force again, as it was: not held.
    #[track_caller]
    fn is_back(&self) {
        let status = self.world.status();
        assert_eq!(status["revision"]["commit"], self.commits[5].as_str(), "{status}");
        assert_eq!(
            (&status["revision"]["held"], &status["revision"]["hold"]),
            (&json!(false), &Value::Null),
            "{status}"
        );
        assert_eq!(answers(self.port), Some(self.bad.port));
    }
}

#[test]
fn the_commit_that_made_it_bad_is_found_and_the_last_one_is_in_force_again() {
    let scene = Scene::applied();
    let said = scene.bisect(&["-o", "json"], &scene.check).exits(0);
    let found = said.json();
    assert_eq!((&found["kind"], &found["found"], &found["returned"]), (&json!("bisect"), &json!(true), &json!(true)));
    let suspect = &found["suspects"][0];
    assert_eq!(suspect["commit"], scene.commits[3].as_str(), "{said}");
    assert_eq!((&suspect["author"], &suspect["apply_id"]), (&json!("Ada <ada@example.org>"), &json!("a4")));
    assert_eq!(suspect["changes"][0]["action"], "update");
    let steps = found["steps"].as_array().unwrap();
    assert!((2..=3).contains(&steps.len()), "{said}");
    assert!(steps.iter().all(|step| step["verdict"] == if step["exit"] == 0 { "good" } else { "bad" }), "{said}");
    scene.is_back();
    // Each step is a rollback like any other, with its reason.
    let history = scene.world.cli(&["history", "-o", "json"]).exits(0).json();
    let whys: Vec<&str> = history.as_array().unwrap().iter().filter_map(|entry| entry["why"].as_str()).collect();
    assert!(whys.iter().any(|why| why.starts_with("bisect: step 1")), "{whys:?}");

    let text = scene.bisect(&[&scene.commits[4]], &scene.check).exits(0);
    for part in [
        "The first bad revision",
        &scene.commits[3],
        "ada@example.org",
        "~ web  update  a.toml:1",
        "is restored: sha256:",
    ] {
        assert!(text.out.contains(part), "{part}: {text}");
    }
    assert!(text.err.contains("Step 1:") && text.err.contains("the command exited with 0"), "{text}");
    scene.is_back();
}

#[test]
fn a_followed_tree_is_held_back_during_the_search_and_followed_again_afterwards() {
    let mut scene = Scene::followed();
    scene.bisect(&[], &scene.check).exits(0).says(&scene.commits[3]);
    scene.is_back();
    scene.edit(0);
    scene.is_in_force(&scene.commits[6]);
    assert_eq!(answers(scene.port), Some(scene.good.port));
}

#[test]
fn a_commit_that_comes_during_the_search_ends_it_and_stays() {
    let scene = Scene::followed();
    let news = Echo::start();
    let text = rule("edge-01", "web", scene.port, news.port, "");
    fs::write(scene.world.path("news.toml"), text).unwrap();
    // Somebody commits, and the command goes on until that is in force.
    let script = format!(
        "cp news.toml rules/a.toml; git -C rules -c user.name=B -c user.email=b@example.org commit -qam news; {}; \
         until test \"$(tag)\" = {}; do :; done; exit 1",
        tag(scene.port),
        hex(news.port)
    );
    let said = scene.bisect(&[], &script).exits(1);
    said.says("another revision was put in force during the search, and stays");
    assert_eq!(answers(scene.port), Some(news.port));
    assert_eq!(scene.world.status()["revision"]["held"], false);
}

#[test]
fn what_cannot_be_told_is_named_and_a_command_that_is_broken_ends_the_search() {
    let scene = Scene::applied();
    let said = scene.bisect(&["-o", "json"], "exit 125").exits(1);
    let found = said.json();
    let commits: Vec<&str> =
        found["suspects"].as_array().unwrap().iter().map(|one| one["commit"].as_str().unwrap()).collect();
    assert_eq!(
        (found["found"].clone(), commits),
        (json!(false), scene.commits[1..].iter().map(String::as_str).collect())
    );
    scene.is_back();
    // The command knows what it looks at.
    let one =
        format!("echo here; test \"$PORTUNUS_BISECT_COMMIT\" = {0} && exit 125; {1}", scene.commits[2], scene.check);
    let said = scene.bisect(&["-o", "json"], &one).exits(1);
    assert_eq!(said.json()["suspects"].as_array().unwrap().len(), 2, "{said}");
    assert!(said.err.contains("here"), "{said}");
    for (script, words) in [("kill -9 $$", "gives no verdict"), ("exit 200", "gives no verdict")] {
        scene.bisect(&[], script).exits(1).says(words);
        scene.is_back();
    }
    let (good, world) = (scene.commits[0].as_str(), &scene.world);
    world.cli(&["bisect", good, "--yes", "--", "no-such-program"]).exits(1).says("cannot be run");
    scene.is_back();
    let before = |good: &str, bad: &str| world.cli(&["bisect", good, bad, "--yes", "--", "true"]).exits(1);
    before(&scene.commits[4], good).says("the good revision comes first");
    before("ffffffff", good).says("no revision ffffffff");
    world.cli(&["freeze", "--why", "a test"]).exits(0);
    scene.bisect(&[], &scene.check).exits(6).says("a test");
    world.cli(&["unfreeze"]).exits(0);
    scene.is_back();
}

#[test]
fn an_interrupted_search_goes_back_as_well() {
    let scene = Scene::applied();
    for (signal, mark) in [("INT", "first"), ("TERM", "second")] {
        let script = format!("touch {mark}; exec tail -f /dev/null");
        let args = ["bisect", &scene.commits[0], "--yes", "--", "bash", "-c", &script];
        let search = scene.world.start_cli(&format!("bisect-{mark}"), &args);
        wait_until("the command to run", || scene.world.path(mark).exists());
        assert_ne!(scene.world.status()["revision"]["commit"], scene.commits[5].as_str(), "an old one is tried");
        search.signal(signal);
        assert_eq!(search.ended(), 130, "{}", search.log());
        assert!(search.log().contains("the search was cancelled"), "{}", search.log());
        scene.is_back();
    }
}

#[test]
fn a_server_that_restarts_during_the_search_is_waited_for_on_the_way_back() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let scene = Scene::applied_in(world);
    let args = ["bisect", &scene.commits[0], "--yes", "--", "bash", "-c", "touch mark; exec tail -f /dev/null"];
    let search = scene.world.start_cli("bisect", &args);
    wait_until("the command to run", || scene.world.path("mark").exists());
    server.kill();
    search.signal("TERM");
    wait_until("the way back to begin", || search.log().contains("Back to"));
    scene.world.serve(&["--mode", "heal"]);
    assert_eq!(search.ended(), 130, "{}", search.log());
    scene.world.wait_connected("edge-01", true);
    wait_until("the last revision to serve", || answers(scene.port) == Some(scene.bad.port));
    scene.is_back();
}

#[test]
fn a_revision_that_the_rails_refuse_is_passed_over_and_they_do_not_bar_the_way_back() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(6));
    let tree = |count: u16, owner: &str| -> String {
        let more = format!("owner = \"{owner}\"");
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), port + index, echo.port, &more)).collect()
    };
    for (count, owner) in [(1, "a"), (1, "b"), (6, "c"), (6, "d")] {
        world.edit_and_apply("a.toml", &tree(count, owner));
    }
    world.edit("a.toml", tree(1, "e"));
    world.apply_with(&["--allow-removals", "5"]).exits(0);
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    let digest = |index: usize| history[index]["digest"].as_str().unwrap().to_owned();
    // From one rule to six and back: only the way back removes any.
    let said = world.cli(&["bisect", &digest(2), "--yes", "-o", "json", "--", "true"]).exits(0).json();
    assert_eq!((&said["suspects"][0]["digest"], &said["returned"]), (&json!(digest(4)), &json!(true)), "{said}");
    assert_eq!(world.status()["revision"]["digest"], digest(4).as_str());
    // From six rules to one: a rail is in the way, and its flag opens it.
    world.cli(&["rollback", &digest(3), "--yes"]).exits(0);
    let refused = world.cli(&["bisect", &digest(0), &digest(2), "--yes"]);
    assert_eq!(refused.code, 64, "no command: {refused}");
    let bisect = ["bisect", &digest(0), &digest(2), "--yes"];
    let said = world.cli(&[&bisect[..], &["--", "true"]].concat()).exits(3);
    said.says("--allow-removals 5").says("one of 2");
    let said = world.cli(&[&bisect[..], &["--allow-removals", "5", "--", "true"]].concat()).exits(0);
    assert!(said.out.contains(&digest(2)), "{said}");
    let status = world.status();
    assert_eq!((&status["revision"]["digest"], &status["revision"]["held"]), (&json!(digest(3)), &json!(true)));
}

#[test]
fn a_command_that_cannot_be_run_or_calls_the_good_revision_bad_ends_the_search() {
    let scene = Scene::applied();
    for code in ["126", "127"] {
        scene.bisect(&[], &format!("exit {code}")).exits(1).says(code);
        scene.is_back();
        // The same in the middle of the search, where the good revision has been found good.
        let only_good = format!("[ \"$PORTUNUS_BISECT_COMMIT\" = {} ] || exit {code}", scene.commits[0]);
        let said = scene.bisect(&[], &only_good).exits(1).says("gives no verdict");
        assert!(said.err.contains("Step 1") && !said.err.contains("Step 2"), "{said}");
        scene.is_back();
    }
    let said = scene.bisect(&[], "exit 1").exits(1).says("was given as good");
    assert!(!said.err.contains("Step 1"), "{said}");
    scene.is_back();
}
