//! The recipes of `examples/ci` as they stand: their steps are taken out of the YAML and run by a shell, against a real
//! server, a real edge and real clones. Only the platform is a stand-in: `gh` and `curl` keep comments in a file.
//!
//! Long because each recipe is told from its first request to its last apply.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use serde_yaml::Value as Yaml;

use crate::peers::{Echo, answers, refuses};
use crate::processes::Said;
use crate::support::{World, ports, rule, skip};

/// What both programs do with the comments of the platform, which are a list of `id` and `body`.
const PLATFORM: &str = r#"
case "$method" in
  GET) jq --raw-output "$pages | $filter" "$PLATFORM/comments.json" ;;
  POST) change='. + [{ id: (length + 100), body: $body }]' ;;
  *) change='map(if .id == ($id | tonumber) then .body = $body else . end)' ;;
esac
if test "$method" != GET; then
  jq --rawfile body "$body" --arg id "${path##*/}" "$change" "$PLATFORM/comments.json" > "$PLATFORM/new.json"
  mv "$PLATFORM/new.json" "$PLATFORM/comments.json"
fi
"#;
const RECORD: &str = r#"#!/bin/sh
set -eu
method=GET filter=. path='' body='' pages=.
{ basename "$0"; printf '%s\n' "$@"; } > "$PLATFORM/calls/$(ls "$PLATFORM/calls" | wc -l)"
"#;
/// `gh api`, as far as the recipe uses it.
const GH: &str = r#"
test "$1" = api && test -n "$GH_TOKEN"
shift
while test $# -gt 0; do
  case "$1" in
    --method) method=$2; shift ;;
    --jq) filter=$2; shift ;;
    --field) body=${2#body=@}; shift ;;
    --paginate | --silent) ;;
    -*) echo "what is $1?" >&2; exit 2 ;;
    *) path=$1 ;;
  esac
  shift
done
"#;
/// `curl`, likewise.
const CURL: &str = r#"
while test $# -gt 0; do
  case "$1" in
    --config) test "$2" = - && cat >> "$PLATFORM/config"; shift ;;
    --request) method=$2; shift ;;
    --data-urlencode) body=${2#body@}; shift ;;
    --data) body="$PLATFORM/body"; jq --join-output .body "${2#@}" > "$body"; shift ;;
    --header) test "$2" = "Content-Type: application/json"; shift ;;
    --output) out=$2; shift ;;
    --fail | --silent | --show-error) ;;
    -*) echo "what is $1?" >&2; exit 2 ;;
    *) path=$1 ;;
  esac
  shift
done
# The identity token of a job.
case "$path" in *"&audience=portunus") printf '{"value":"%s"}' "$IDENTITY" > "$out"; exit 0 ;; esac
# A page holds a hundred.
case "$path" in
  *per_page=100*"&page="*) pages=".[${path##*=}00 - 100:${path##*=}00]" ;;
  https://forgejo.*) pages=. ;;
  *) pages='.[:20]' ;;
esac
"#;

const QUOTED: &str = "what is `<!-- portunus-plan -->`?";
/// More than a page of the platform, all of them older than the plan.
const OTHERS: usize = 120;

/// A server with an edge, a repository with `rules.d`, and a platform.
struct Scene {
    world: World,
    echo: Echo,
    port: u16,
    recipe: Yaml,
    token: &'static str,
    /// Where the runner's user has its server.
    server: u16,
}

impl Scene {
    /// Six rules are in force; `None` where a program is missing that no stand-in replaces.
    fn new(recipe: &str) -> Option<Self> {
        for program in ["bash", "jq"] {
            if Command::new(program).arg("--version").output().is_err() {
                skip(&format!("there is no {program}"));
                return None;
            }
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(recipe);
        let recipe = serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let (echo, port) = (Echo::start(), ports(8));
        let world = World::with_edges(&["edge-01"]);
        let scene = Self { server: world.operator, world, echo, port, recipe, token: "s3cret-of-the-platform" };
        for folder in ["platform/calls", "platform/bin"] {
            fs::create_dir_all(scene.world.path(folder)).unwrap();
        }
        // Somebody quotes the marker in a comment of their own.
        let others = vec![json!({ "id": 3, "body": QUOTED }); OTHERS];
        fs::write(scene.world.path("platform/comments.json"), Value::from(others).to_string()).unwrap();
        symlink(env!("CARGO_BIN_EXE_portunus"), scene.world.path("platform/bin/portunus")).unwrap();
        for (program, reading) in [("gh", GH), ("curl", CURL)] {
            let path = scene.world.path("platform/bin").join(program);
            fs::write(&path, format!("{RECORD}{reading}{PLATFORM}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        scene.commit(&scene.rules(6));
        assert_eq!(scene.apply("main"), 0);
        Some(scene)
    }

    fn rules(&self, count: u16) -> String {
        (0..count).map(|index| rule("edge-01", &format!("r{index}"), self.port + index, self.echo.port, "")).collect()
    }

    fn commit(&self, rules: &str) -> String {
        self.world.edit("rules.d/rules.toml", rules)
    }

    /// Changes the rules on a branch.
    fn branch(&self, name: &str, rules: &str) {
        self.world.git(&["checkout", "-q", "-B", name, "main"]);
        self.commit(rules);
    }

    fn merge(&self, name: &str) {
        self.world.git(&["checkout", "-q", "main"]);
        self.world.git(&["merge", "-q", "--no-ff", "-m", "merged", name]);
    }

    /// A fresh clone of a branch with its history, which all recipes ask their runners for.
    fn checkout(&self, branch: &str) -> PathBuf {
        let place = self.world.path("checkout");
        fs::remove_dir_all(&place).ok();
        let (from, to) = (format!("file://{}", self.world.tree_arg()), place.to_str().unwrap());
        self.world.git(&["clone", "-q", "--branch", branch, &from, to]);
        place
    }

    /// Runs lines of a recipe with the variables of its platform.
    fn shell(&self, shell: &[&str], lines: &str, at: &Path, env: &[(String, String)]) -> Said {
        let script = self.world.path("step");
        fs::write(&script, lines).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(&script).current_dir(at).stdin(Stdio::null()).env_clear();
        command.env("PATH", format!("{}:{path}", self.world.arg("platform/bin")));
        command.env("HOME", self.world.path("home")).env("PLATFORM", self.world.path("platform"));
        // The server of this world is not where a variable of the project would say.
        command.env("PORTUNUS_SERVER", format!("http://127.0.0.1:{}", self.server));
        command.envs(env.iter().map(|(key, value)| (key, value)));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Said { code: output.status.code().unwrap(), out, err, command: lines.to_owned() }
    }

    /// True for workflows, which Forgejo has in the form of GitHub.
    fn is_workflow(&self) -> bool {
        self.recipe.get("jobs").is_some()
    }

    fn is_forgejo(&self) -> bool {
        self.is_workflow() && self.recipe["jobs"]["plan"].get("permissions").is_none()
    }

    /// The exit code of the job `plan` for a branch.
    fn plan(&self, branch: &str) -> i32 {
        if !self.is_workflow() {
            return self.gitlab("plan", &self.checkout(branch));
        }
        if self.is_forgejo() {
            // Its checkout takes the branch itself.
            return self.github("plan", "pull_request", &self.checkout(branch));
        }
        // What GitHub keeps at `refs/pull/N/merge`, and what its checkout takes where no other `ref` is said.
        let at = self.checkout("main");
        let (place, branch) = (at.to_str().unwrap(), format!("origin/{branch}"));
        self.world.git(&["-C", place, "checkout", "-q", "--detach"]);
        self.world.git(&["-C", place, "merge", "-q", "--no-ff", "--no-edit", &branch]);
        self.github("plan", "pull_request", &at)
    }

    /// The exit code of the job `apply` for a branch.
    fn apply(&self, branch: &str) -> i32 {
        let at = self.checkout(branch);
        if self.is_workflow() { self.github("apply", "push", &at) } else { self.gitlab("apply", &at) }
    }

    /// A job as the runner of GitHub or Forgejo has it: a step after a failed one is run only where it says `always()`.
    fn github(&self, name: &str, event: &str, at: &Path) -> i32 {
        let job = &self.recipe["jobs"][name];
        assert_eq!(job["if"].as_str(), Some(format!("github.event_name == '{event}'").as_str()));
        assert!(self.recipe["on"].get(event).is_some(), "{event} starts the workflow");
        let summary = self.world.path("platform/summary.md");
        fs::write(&summary, "").unwrap();
        if self.is_forgejo() {
            assert_eq!(job["enable-openid-connect"].as_bool(), Some(true));
        } else {
            assert_eq!(job["permissions"]["id-token"].as_str(), Some("write"));
        }
        let url = format!("http://127.0.0.1:{}", self.server);
        let mut code = 0;
        for step in job["steps"].as_sequence().unwrap() {
            let Some(lines) = step["run"].as_str() else {
                assert_eq!(step["uses"].as_str(), Some("actions/checkout@v4"));
                assert!(
                    step["with"].get("ref").is_none(),
                    "the commit of the event: a merge, or the branch that was pushed"
                );
                assert_eq!(step["with"]["fetch-depth"].as_u64(), Some(0));
                continue;
            };
            assert!(!lines.contains("${{"), "what an event says is no code: {lines}");
            if code != 0 && step["if"].as_str() != Some("always()") {
                continue;
            }
            let mut env = vec![
                ("GITHUB_REPOSITORY".to_owned(), "owner/fleet".to_owned()),
                ("GITHUB_API_URL".to_owned(), "https://forgejo.example.org/api/v1".to_owned()),
                ("GITHUB_STEP_SUMMARY".to_owned(), summary.to_str().unwrap().to_owned()),
                ("RUNNER_TEMP".to_owned(), self.world.arg("home")),
                ("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), "https://forge.example.org/token?v=1".to_owned()),
                ("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), self.token.to_owned()),
                ("IDENTITY".to_owned(), self.world.token()),
            ];
            for (key, value) in step["env"].as_mapping().into_iter().flatten() {
                let value = match value.as_str().unwrap() {
                    "${{ github.token }}" => self.token,
                    "${{ github.event.pull_request.number }}" => "7",
                    "${{ github.event.pull_request.base.ref }}" => "main",
                    "${{ vars.PORTUNUS_URL }}" => url.as_str(),
                    "${{ vars.PORTUNUS_PIN }}" => "",
                    other => panic!("what is {other}?"),
                };
                env.push((key.as_str().unwrap().to_owned(), value.to_owned()));
            }
            let said = self.shell(&["bash", "-e"], lines, at, &env);
            assert!(step["if"].as_str() != Some("always()") || said.code == 0, "{said}");
            code = if code == 0 { said.code } else { code };
        }
        code
    }

    /// A job as GitLab's runner has it: all lines in one shell, those after it in another, whatever came of the first.
    fn gitlab(&self, name: &str, at: &Path) -> i32 {
        let job = &self.recipe[name];
        let rule = job["rules"][0]["if"].as_str().unwrap();
        let expected = if name == "plan" { "merge_request_event" } else { "$CI_DEFAULT_BRANCH" };
        assert!(rule.contains(expected), "{rule}");
        let lines = |key: &str| -> Option<String> {
            let lines: Vec<&str> = job[key].as_sequence()?.iter().map(|line| line.as_str().unwrap()).collect();
            Some(format!("set -eo pipefail\n{}\n", lines.join("\n")))
        };
        let env = [
            ("CI_API_V4_URL", "https://gitlab.example.org/api/v4"),
            ("CI_PROJECT_ID", "42"),
            ("CI_MERGE_REQUEST_IID", "7"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
            ("CI_PIPELINE_SOURCE", "merge_request_event"),
            ("PORTUNUS_GITLAB_TOKEN", self.token),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(job["id_tokens"]["PORTUNUS_OPERATOR_TOKEN"]["aud"].as_str(), Some("portunus"));
        let identity = ("PORTUNUS_OPERATOR_TOKEN".to_owned(), self.world.token());
        let env: Vec<_> = env.into_iter().chain([identity]).collect();
        let said = self.shell(&["bash"], &lines("script").unwrap(), at, &env);
        if let Some(after) = lines("after_script") {
            let after = self.shell(&["bash"], &after, at, &env);
            // Where there is no plan, `cat` fails, and the runner goes on.
            assert!(after.code == 0 || !at.join("plan.md").exists(), "{after}");
        }
        said.code
    }

    /// The comments of the platform.
    fn comments(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.world.path("platform/comments.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
    }

    /// The one comment with the plan.
    #[track_caller]
    fn comment(&self) -> String {
        let comments = self.comments();
        assert_eq!(comments.len(), OTHERS + 1, "{comments:#?}");
        let (plan, others) = comments.split_last().unwrap();
        assert!(others.iter().all(|other| other["body"] == QUOTED), "those of others are left alone");
        let body = plan["body"].as_str().unwrap();
        assert!(body.starts_with("<!-- portunus-plan -->\n### ") && body.len() < 60_000, "{body}");
        body.to_owned()
    }

    /// How often the platform was told something.
    fn writes(&self) -> usize {
        let calls = fs::read_dir(self.world.path("platform/calls")).unwrap();
        let text = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry.unwrap().path()).unwrap();
        calls
            .map(text)
            .inspect(|call| assert!(!call.contains(self.token), "every user sees arguments: {call}"))
            .filter(|call| ["POST", "PATCH", "PUT"].iter().any(|method| call.lines().any(|line| line == *method)))
            .count()
    }
}

/// The life of a change, which is the same on all platforms.
fn a_change_is_planned_shown_once_merged_and_applied(recipe: &str) {
    let Some(scene) = Scene::new(recipe) else { return };
    let port = scene.port;
    scene.branch("change", &scene.rules(7));
    assert_eq!(scene.plan("change"), 0);
    assert!(scene.comment().contains("1 to activate"), "{}", scene.comment());
    assert!(refuses(port + 6), "a plan changes nothing");
    // Another push: the same comment says the new plan.
    scene.commit(&scene.rules(8));
    assert_eq!(scene.plan("change"), 0);
    assert!(scene.comment().contains("2 to activate"), "{}", scene.comment());
    assert_eq!(scene.writes(), 2);
    let summary = fs::read_to_string(scene.world.path("platform/summary.md")).unwrap_or_default();
    assert!(!scene.is_workflow() || scene.is_forgejo() || summary == scene.comment(), "{summary}");

    scene.merge("change");
    assert_eq!(scene.apply("main"), 0);
    assert_eq!(answers(port + 7), Some(scene.echo.port));
    let status = scene.world.status();
    assert_eq!(status["revision"]["commit"], scene.world.git(&["rev-parse", "main"]).as_str());
    assert_eq!(scene.apply("main"), 0, "run once more, it has nothing to do");
}

/// What came to the target branch since is not a removal of the branch.
fn a_branch_that_is_behind_is_planned_as_its_merge(recipe: &str) {
    let Some(scene) = Scene::new(recipe) else { return };
    scene.branch("behind", &scene.rules(7));
    scene.world.git(&["checkout", "-q", "main"]);
    scene.world.edit("rules.d/other.toml", rule("edge-01", "other", scene.port + 7, scene.echo.port, ""));
    assert_eq!(scene.apply("main"), 0);
    assert_eq!(scene.plan("behind"), 0);
    let comment = scene.comment();
    assert!(comment.contains("1 to activate") && !comment.contains("to remove"), "{comment}");
    scene.merge("behind");
    assert_eq!(scene.apply("main"), 0);
    assert_eq!(answers(scene.port + 6), Some(scene.echo.port));
}

#[test]
fn on_github_a_branch_that_is_behind_is_planned_as_its_merge() {
    a_branch_that_is_behind_is_planned_as_its_merge("github.yml");
}

#[test]
fn on_forgejo_a_branch_that_is_behind_is_planned_as_its_merge() {
    a_branch_that_is_behind_is_planned_as_its_merge("forgejo.yml");
}

#[test]
fn on_gitlab_a_branch_that_is_behind_is_planned_as_its_merge() {
    a_branch_that_is_behind_is_planned_as_its_merge("gitlab.yml");
}

/// What a pipeline can trust.
fn every_way_to_fail_has_its_exit_code(recipe: &str) {
    let Some(scene) = Scene::new(recipe) else { return };
    let port = scene.port;
    scene.branch("broken", "[[rule]]\nname = 3\n");
    assert_eq!(scene.plan("broken"), 1);
    assert_eq!((scene.comments().len(), scene.writes()), (OTHERS, 0), "the plan cannot be shown");

    scene.branch("removals", &scene.rules(1));
    assert_eq!(scene.plan("removals"), 3);
    assert!(scene.comment().contains("--allow-removals 5"), "{}", scene.comment());
    scene.merge("removals");
    assert_eq!(scene.apply("main"), 3);
    assert_eq!(answers(port + 5), Some(scene.echo.port), "nothing was sent");
    scene.world.git(&["revert", "--no-edit", "-m", "1", "HEAD"]);

    // Many rules for an edge that is not there: the comment is cut, and reports it.
    let many: String = (0..1500).map(|number| rule("edge-02", &format!("n{number}"), 2000 + number, 9, "")).collect();
    scene.branch("many", &(scene.rules(6) + &many));
    assert_eq!(scene.plan("many"), 0);
    assert!(scene.comment().contains("changes left out**"), "the comment is cut");

    // A stranger holds the port: the rule fails, the rest is applied.
    let stranger = std::net::TcpListener::bind(("0.0.0.0", port + 6)).unwrap();
    scene.branch("taken", &scene.rules(8));
    scene.merge("taken");
    assert_eq!(scene.apply("main"), 5);
    assert_eq!(answers(port + 7), Some(scene.echo.port));
    drop(stranger);

    scene.world.cli(&["freeze", "--why", "a test"]).exits(0);
    scene.branch("frozen", &scene.rules(7));
    assert_eq!(scene.plan("frozen"), 0, "a freeze is shown by a plan and does not fail it");
    scene.merge("frozen");
    assert_eq!(scene.apply("main"), 6);
    scene.world.cli(&["unfreeze"]).exits(0);
}

#[test]
fn on_github_a_change_is_planned_shown_once_merged_and_applied() {
    a_change_is_planned_shown_once_merged_and_applied("github.yml");
}

#[test]
fn on_forgejo_a_change_is_planned_shown_once_merged_and_applied() {
    a_change_is_planned_shown_once_merged_and_applied("forgejo.yml");
}

#[test]
fn on_gitlab_a_change_is_planned_shown_once_merged_and_applied() {
    a_change_is_planned_shown_once_merged_and_applied("gitlab.yml");
}

#[test]
fn on_github_every_way_to_fail_has_its_exit_code() {
    every_way_to_fail_has_its_exit_code("github.yml");
}

#[test]
fn on_forgejo_every_way_to_fail_has_its_exit_code() {
    every_way_to_fail_has_its_exit_code("forgejo.yml");
}

#[test]
fn on_gitlab_every_way_to_fail_has_its_exit_code() {
    every_way_to_fail_has_its_exit_code("gitlab.yml");
}

#[test]
fn without_a_server_both_jobs_say_so_and_nothing_is_shown() {
    for recipe in ["forgejo.yml", "github.yml", "gitlab.yml"] {
        let Some(scene) = Scene::new(recipe) else { return };
        let scene = Scene { server: ports(1), ..scene };
        scene.branch("change", &scene.rules(7));
        assert_eq!((scene.plan("change"), scene.apply("change")), (7, 7), "{recipe}");
        assert_eq!(scene.writes(), 0, "{recipe}");
    }
}
