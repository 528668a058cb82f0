//! Following a remote git repository: what arrives there is applied, what is wrong there changes nothing.
//!
//! Long because every way to a remote and every fault of one is a short story with the same people.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::peers::{Echo, answers, refuses};
use crate::support::{Handle, World, http, ports, rule, wait_until};

/// A remote next to the tree, a rule that goes to one of two upstreams, and an edge.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) one: Echo,
    pub(crate) two: Echo,
    pub(crate) port: u16,
}

impl Scene {
    /// With one commit on the remote.
    pub(crate) fn new() -> Self {
        let world = World::new();
        let (one, two) = (Echo::start(), Echo::start());
        world.git(&["init", "-q", "--bare", "-b", "main", &world.arg("remote.git")]);
        let scene = Self { world, one, two, port: ports(2) };
        scene.push(&scene.one);
        scene
    }

    fn text(&self, target: &Echo) -> String {
        rule("edge-01", "a", self.port, target.port, "")
    }

    /// Commits a tree that goes to that target, and pushes it.
    pub(crate) fn push(&self, target: &Echo) -> String {
        let commit = self.world.edit("rules.d/a.toml", self.text(target));
        self.publish(&[]);
        commit
    }

    pub(crate) fn publish(&self, args: &[&str]) {
        let remote = self.world.arg("remote.git");
        let mut all = vec!["push", "-q", &remote, "main"];
        all.extend(args);
        self.world.git(&all);
    }

    fn url(&self) -> String {
        format!("file://{}", self.world.arg("remote.git"))
    }

    /// A server that looks often, and an edge.
    pub(crate) fn follow(&self, args: &[&str]) -> Handle {
        let url = self.url();
        let mut all = vec!["--git", &url, "--path", "rules.d", "--interval", "1s"];
        all.extend(args);
        let server = self.world.serve(&all);
        self.world.edge("edge-01");
        server
    }

    #[track_caller]
    pub(crate) fn serves(&self, target: &Echo, commit: &str) {
        self.world.wait_status("the commit to be in force", |status| {
            status["revision"]["commit"] == commit && status["revision"]["held"] == false
        });
        wait_until("its target to serve", || answers(self.port) == Some(target.port));
    }
}

fn verdict(status: &Value) -> &Value {
    &status["revision"]["verdict"]["outcome"]
}

#[test]
fn what_is_pushed_is_applied_with_its_provenance() {
    let scene = Scene::new();
    let world = &scene.world;
    // A file that is not a rule file of the folder that is followed.
    world.write("broken.toml", "this is no rule file");
    let first = scene.push(&scene.one);
    scene.follow(&[]);
    scene.serves(&scene.one, &first);
    let second = scene.push(&scene.two);
    scene.serves(&scene.two, &second);
    let revision = &world.status()["revision"];
    let applied = &revision["applied"];
    assert_eq!(
        (&applied["vcs"], &applied["ref"], &applied["author"], &applied["dirty"]),
        (&json!("git"), &json!("main"), &json!("Ada <ada@example.org>"), &json!(false)),
    );
    assert_eq!(applied["committed_at"], revision["attempted"]["committed_at"]);
    let remote = &revision["remote"];
    assert_eq!(
        (&remote["url"], &remote["ref"], &remote["path"]),
        (&json!(scene.url()), &json!("main"), &json!("rules.d"))
    );
    assert_eq!((&remote["commit"], &remote["error"]), (&json!(second), &json!(null)));
    assert!(remote["fetched_at"].is_string() && remote["attempted_at"].is_string());
    // A checkout of the same commit is the same tree: nothing to do, and it may be applied.
    let dir = world.arg("rules/rules.d");
    let plan = world.cli(&["plan", &dir, "-o", "json"]).exits(0).json();
    assert_eq!((&plan["changes"], &plan["source"]["digest"]), (&json!([]), &applied["digest"]));
    world.cli(&["apply", &dir, "--yes"]).exits(0);
    world.write("rules.d/a.toml", scene.text(&scene.one));
    world.commit();
    world.cli(&["apply", &dir, "--yes"]).exits(3).says("only the followed tree");
    world.cli(&["status"]).exits(0).says("Follows main in rules.d of file://");
    let metrics = World::scrape(world.metrics);
    assert!(metrics.contains("portunus_git_failing 0\n"), "{metrics}");
    let line = metrics.lines().find(|line| line.starts_with("portunus_git_fetch_total{outcome=\"fetched\"}"));
    assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
}

#[test]
fn a_remote_whose_hashes_are_sha_256_is_followed_also_where_the_one_before_had_sha_1() {
    let scene = Scene::new();
    let world = &scene.world;
    let server = scene.follow(&[]);
    wait_until("the first remote to serve", || answers(scene.port) == Some(scene.one.port));
    server.stop();
    // The same place holds a repository of the other kind now.
    fs::remove_dir_all(world.path("remote.git")).unwrap();
    fs::remove_dir_all(world.tree().join(".git")).unwrap();
    world.git(&["init", "-q", "--bare", "-b", "main", "--object-format=sha256", &world.arg("remote.git")]);
    world.git(&["init", "-q", "-b", "main", "--object-format=sha256"]);
    let commit = scene.push(&scene.two);
    assert_eq!(commit.len(), 64);
    let url = scene.url();
    world.serve(&["--git", &url, "--path", "rules.d", "--interval", "1s", "--allow-non-descendant"]);
    scene.serves(&scene.two, &commit);
}

#[test]
fn a_rewritten_history_is_refused_until_somebody_allows_it() {
    let scene = Scene::new();
    let world = &scene.world;
    let server = scene.follow(&[]);
    let first = world.git(&["rev-parse", "HEAD"]);
    let second = scene.push(&scene.two);
    scene.serves(&scene.two, &second);
    // An older commit.
    world.git(&["reset", "-q", "--hard", &first]);
    scene.publish(&["--force"]);
    let is_railed = |status: &Value| {
        let rails = status["revision"]["verdict"]["rails"].as_array();
        rails.is_some_and(|rails| rails.iter().any(|rail| rail["name"] == "non_descendant"))
    };
    let status = world.wait_status("the older commit to be refused", is_railed);
    let revision = &status["revision"];
    assert_eq!((&revision["attempted"]["commit"], &revision["held"]), (&json!(first), &json!(true)));
    assert_eq!((&revision["applied"]["commit"], &revision["commit"]), (&json!(second), &json!(second)));
    let said = world.cli(&["status"]).exits(0);
    said.says("--allow-non-descendant").says(&first[..7]);
    // The same history, told differently.
    world.git(&["reset", "-q", "--hard", &second]);
    world.git(&["commit", "-q", "--amend", "-m", "other words"]);
    scene.publish(&["--force"]);
    let amended = world.git(&["rev-parse", "HEAD"]);
    let is_amended =
        |status: &Value| is_railed(status) && status["revision"]["attempted"]["commit"] == amended.as_str();
    world.wait_status("the amended commit to be refused", is_amended);
    assert_eq!(answers(scene.port), Some(scene.two.port));
    // By hand it is refused alike, and allowed with the flag.
    let dir = world.arg("rules/rules.d");
    world.cli(&["plan", &dir]).exits(3).says("--allow-non-descendant");
    world.cli(&["apply", &dir, "--yes"]).exits(3).says("--allow-non-descendant");
    world.cli(&["plan", &dir, "--allow-non-descendant"]).exits(0);
    world.cli(&["apply", &dir, "--yes", "--allow-non-descendant"]).exits(0);
    scene.serves(&scene.two, &amended);
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    let allowed = |entry: &Value| entry["overridden"] == json!(["--allow-non-descendant"]);
    assert!(history.as_array().unwrap().iter().any(allowed), "{history}");
    // A server that is told so follows whatever is there.
    server.stop();
    world.git(&["reset", "-q", "--hard", &first]);
    scene.publish(&["--force"]);
    let url = scene.url();
    let args = ["--git", &url, "--path", "rules.d", "--interval", "1s", "--allow-non-descendant"];
    world.serve(&args);
    scene.serves(&scene.one, &first);
}

#[test]
fn a_plan_of_an_older_commit_says_so_wherever_the_commits_are_known() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(2);
    let first = world.edit("a.toml", rule("edge-01", "a", port, 9, ""));
    world.apply();
    world.edit("a.toml", rule("edge-01", "a", port, 10, ""));
    world.apply();
    world.git(&["reset", "-q", "--hard", &first]);
    let tree = world.tree_arg();
    let plan = world.cli(&["plan", &tree, "-o", "json"]).exits(3).json();
    let rail = plan["rails"].as_array().unwrap().iter().find(|rail| rail["name"] == "non_descendant").unwrap().clone();
    assert_eq!((&rail["tripped"], &rail["override"]), (&json!(true), &json!("--allow-non-descendant")));
    assert!(rail["message"].as_str().unwrap().contains(&first[..12]), "{rail}");
    assert_eq!(plan["applyable"], false);
    world.apply_with(&[]).exits(3);
    // A saved status knows the commit as well.
    fs::write(world.path("live.json"), world.cli(&["status", "-o", "json"]).exits(0).out).unwrap();
    world.cli(&["plan", &tree, "--live", &world.arg("live.json")]).exits(3).says("--allow-non-descendant");
    world.apply_with(&["--allow-non-descendant"]).exits(0);
    // Forward again needs no word.
    world.edit("a.toml", rule("edge-01", "a", port + 1, 9, ""));
    world.apply();
    // A rollback is a word of its own.
    world.cli(&["rollback", &first, "--yes"]).exits(0);
}

#[test]
fn a_commit_with_errors_is_attempted_and_the_last_good_one_stays() {
    let scene = Scene::new();
    let world = &scene.world;
    scene.follow(&[]);
    let first = world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    let broken = world.edit("rules.d/a.toml", "[[rule]]\nname = 1\n");
    scene.publish(&[]);
    let status = world.wait_status("the commit to be read", |status| verdict(status) == "invalid");
    let revision = &status["revision"];
    assert_eq!((&revision["attempted"]["commit"], &revision["commit"]), (&json!(broken), &json!(first)));
    assert_eq!((&revision["held"], &revision["remote"]["commit"]), (&json!(true), &json!(broken)));
    assert!(revision["errors"].as_array().unwrap().iter().any(|error| error["file"] == "a.toml"), "{revision}");
    // The folder is gone altogether: nothing is removed either.
    world.git(&["rm", "-q", "-r", "rules.d"]);
    world.git(&["commit", "-q", "-m", "gone"]);
    scene.publish(&[]);
    world.wait_status("the missing folder to be seen", |status| {
        status["revision"]["errors"].to_string().contains("has no folder `rules.d`")
    });
    assert_eq!(answers(scene.port), Some(scene.one.port));
    let mended = scene.push(&scene.two);
    scene.serves(&scene.two, &mended);
}

/// Writes a secret that nobody else may read.
pub(crate) fn secret(world: &World, name: &str, text: &str) -> String {
    fs::write(world.path(name), text).unwrap();
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    world.arg(name)
}

/// The signature of a body by git hosts, made by another program than the one under test.
pub(crate) fn signature(secret: &str, body: &str) -> String {
    let script = "printf %s \"$0\" | openssl dgst -sha256 -hmac \"$1\" -r";
    let output = Command::new("sh").args(["-c", script, body, secret]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let digest = text.split(' ').next().unwrap().to_owned();
    assert_eq!(digest.len(), 64, "{text}");
    format!("sha256={digest}")
}

#[test]
fn a_webhook_that_knows_the_secret_makes_it_look_at_once() {
    let scene = Scene::new();
    let world = &scene.world;
    let file = secret(world, "webhook.secret", "between-us\n");
    let url = scene.url();
    let args = ["--git", &url, "--path", "rules.d", "--interval", "8760h", "--webhook-secret-file", &file];
    world.serve(&args);
    world.edge("edge-01");
    let first = world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    let looks = || world.status()["revision"]["remote"]["fetched"].as_u64().unwrap();
    assert_eq!(looks(), 1);
    let second = scene.push(&scene.two);
    let body = "{\"ref\":\"refs/heads/main\"}";
    let call = |headers: &[(&str, &str)]| http(world.operator, "POST", "/v1/webhooks/git", headers, body).unwrap().0;
    let host = ("Host", "portunus.example.org");
    for wrong in [
        vec![],
        vec![("X-Hub-Signature-256", "sha256=00")],
        vec![("X-Gitlab-Token", "between-u")],
        vec![("Authorization", "Bearer between-us")],
    ] {
        assert_eq!(call(&[wrong, vec![host]].concat()), 401);
    }
    let other = signature("another secret", body);
    assert_eq!(call(&[host, ("X-Hub-Signature-256", &other)]), 401);
    let signed = signature("between-us", body);
    for origin in ["https://pages.example.org", "http://portunus.example.org", "null"] {
        assert_eq!(call(&[host, ("Origin", origin), ("X-Hub-Signature-256", &signed)]), 403, "{origin}");
    }
    assert_eq!((looks(), answers(scene.port)), (1, Some(scene.one.port)), "a stranger wakes nobody");
    assert_eq!(call(&[host, ("X-Hub-Signature-256", &signed)]), 202);
    scene.serves(&scene.two, &second);
    let third = scene.push(&scene.one);
    assert_eq!(call(&[host, ("X-Gitlab-Token", "between-us")]), 202);
    scene.serves(&scene.one, &third);
}

#[test]
fn without_a_secret_there_is_no_webhook_and_an_open_secret_is_refused() {
    let scene = Scene::new();
    let world = &scene.world;
    let url = scene.url();
    let file = secret(world, "webhook.secret", "between-us\n");
    fs::set_permissions(world.path("webhook.secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut args = vec!["serve".to_owned(), "--git".to_owned(), url, "--webhook-secret-file".to_owned(), file];
    args.extend(world.server_args());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.cli(&args).exits(1).says("is accessible to other users");
    scene.follow(&[]);
    let token = [("X-Gitlab-Token", "")];
    assert_eq!(http(world.operator, "POST", "/v1/webhooks/git", &token, "").unwrap().0, 404);
}

#[test]
fn a_remote_that_goes_away_removes_nothing_and_is_followed_again_when_it_is_back() {
    let scene = Scene::new();
    let world = &scene.world;
    let server = scene.follow(&[]);
    let first = world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    let events = world.events(&[]);
    fs::rename(world.path("remote.git"), world.path("away.git")).unwrap();
    events.wait("the failure", |event| event["kind"] == "remote" && event["error"].is_string());
    let status =
        world.wait_status("the failure to be shown", |status| status["revision"]["remote"]["error"].is_string());
    let revision = &status["revision"];
    assert_eq!((&revision["commit"], &revision["remote"]["commit"]), (&json!(first), &json!(first)));
    assert_eq!((verdict(&status), &revision["held"]), (&json!("applied"), &json!(false)));
    assert!(revision["remote"]["error"].as_str().unwrap().contains("remote.git"), "{revision}");
    world.cli(&["status"]).exits(0).says("last attempted");
    assert!(World::scrape(world.metrics).contains("portunus_git_failing 1\n"));
    // A restart meanwhile: what was fetched before is still known.
    server.kill();
    scene.world.serve(&["--git", &scene.url(), "--path", "rules.d", "--interval", "1s"]);
    let status = world.wait_status("the kept commit to be read", |status| {
        status["revision"]["attempted"]["commit"] == first.as_str()
    });
    assert!(status["revision"]["remote"]["error"].is_string());
    assert_eq!(answers(scene.port), Some(scene.one.port));
    let events = world.events(&[]);
    fs::rename(world.path("away.git"), world.path("remote.git")).unwrap();
    let second = scene.push(&scene.two);
    events.wait("the new commit", |event| event["kind"] == "remote" && event["commit"] == second.as_str());
    scene.serves(&scene.two, &second);
    assert_eq!(world.status()["revision"]["remote"]["error"], Value::Null);
    // A branch that is deleted is a remote that fails.
    world.git(&["push", "-q", &world.arg("remote.git"), "main:other"]);
    world.git(&["--git-dir", &world.arg("remote.git"), "symbolic-ref", "HEAD", "refs/heads/other"]);
    world.git(&["push", "-q", &world.arg("remote.git"), ":main"]);
    world.wait_status("the missing branch to be shown", |status| {
        status["revision"]["remote"]["error"].to_string().contains("has no branch or tag `main`")
    });
    assert_eq!(answers(scene.port), Some(scene.two.port));
}

#[test]
fn a_clone_that_is_damaged_is_made_anew() {
    let scene = Scene::new();
    let world = &scene.world;
    let server = scene.follow(&[]);
    let first = world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    server.kill();
    for file in fs::read_dir(world.path("server-state/git/objects/pack")).unwrap() {
        let path = file.unwrap().path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path, "damaged").unwrap();
    }
    let second = scene.push(&scene.two);
    world.serve(&["--git", &scene.url(), "--path", "rules.d", "--interval", "1s"]);
    scene.serves(&scene.two, &second);
}

/// Runs what a client asks for over ssh on this machine, and writes down how it was called.
const SSH: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" >> \"$LOG\"\nfor last; do :; done\nexec sh -c \"$last\"\n";

#[test]
fn ssh_is_the_program_of_git_ssh_command() {
    let scene = Scene::new();
    let world = &scene.world;
    fs::write(world.path("ssh.sh"), SSH).unwrap();
    fs::set_permissions(world.path("ssh.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    let command = format!("env LOG={} {} -F 'a b'", world.arg("ssh.log"), world.arg("ssh.sh"));
    let url = format!("ssh://git:s3cret@fleet.example.org:2222{}", world.arg("remote.git"));
    let args = ["--git", &url, "--path", "rules.d", "--interval", "1s"];
    let server = world.serve_with(&args, &[("GIT_SSH_COMMAND", &command)]);
    world.edge("edge-01");
    let first = world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    let second = scene.push(&scene.two);
    scene.serves(&scene.two, &second);
    let log = fs::read_to_string(world.path("ssh.log")).unwrap();
    let asked: Vec<&str> = log.lines().take(6).collect();
    let packing = format!("git-upload-pack '{}'", world.arg("remote.git"));
    assert_eq!(asked, ["-F", "a b", "-p", "2222", "git@fleet.example.org", &packing]);
    // One that fails is quoted, and no secret is anywhere.
    fs::write(world.path("ssh.sh"), "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n").unwrap();
    let status = world.wait_status("the refusal", |status| {
        status["revision"]["remote"]["error"].to_string().contains("Permission denied (publickey).")
    });
    assert!(!status.to_string().contains("s3cret") && !server.log().contains("s3cret"), "{status}");
    assert_eq!(answers(scene.port), Some(scene.two.port));
}

#[test]
fn a_remote_that_hangs_is_given_up_with_all_that_was_started_for_it() {
    let scene = Scene::new();
    let world = &scene.world;
    let pid = world.arg("hanging.pid");
    let script = format!("#!/bin/sh\ntail -f /dev/null > /dev/null &\necho $! >> {pid}\nwait\n");
    fs::write(world.path("ssh.sh"), script).unwrap();
    fs::set_permissions(world.path("ssh.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    let args = ["--git", "git@fleet.example.org:r.git", "--interval", "8760h", "--git-timeout", "1s"];
    let server = world.serve_with(&args, &[("GIT_SSH_COMMAND", &world.arg("ssh.sh"))]);
    world.wait_status("the remote to be given up", |status| {
        status["revision"]["remote"]["error"].to_string().contains("no answer within 1 s")
    });
    server.stop();
    for pid in fs::read_to_string(world.path("hanging.pid")).unwrap().lines() {
        let is_running = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        wait_until("what was started to have ended", || !is_running());
    }
    assert!(refuses(scene.port));
}

#[test]
fn flags_that_contradict_each_other_or_mean_nothing_are_usage_errors() {
    let world = World::new();
    let state = world.arg("state");
    let serve = |args: &[&str]| world.cli(&[&["serve", "--state-dir", &state], args].concat());
    for (args, word) in [
        (&["--git", "file:///r", "--rules", "r"][..], "--rules"),
        (&["--ref", "main"], "--git"),
        (&["--git", "git://h/r"], "https, ssh or file"),
        (&["--git", "http://h.example.org/r"], "plain http"),
        (&["--git", "file:///r", "--ref", "a..b"], "branch or tag"),
        (&["--git", "file:///r", "--path", "../x"], "inside the repository"),
        (&["--git", "file:///r", "--interval", "0s"], "interval"),
    ] {
        serve(args).exits(64).says(word);
    }
}
