//! The command line: the help of every command, exit codes, and what the streams carry.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{assert_golden, many_rules, portunus, run, tree};

const COMMANDS: [&str; 26] = [
    "validate",
    "fmt",
    "import",
    "plan",
    "apply",
    "status",
    "rules",
    "stats",
    "events",
    "history",
    "blame",
    "trace",
    "targets",
    "target",
    "top",
    "rollback",
    "bisect",
    "resume",
    "freeze",
    "unfreeze",
    "serve",
    "edge",
    "up",
    "explain",
    "schema",
    "completions",
];
const RULE: &str = "[[rule]]\nname = \"web\"\nlisten_port = 8443\ntarget = \"127.0.0.1:443\"\n";

/// A loopback URL at which nobody listens.
fn dead_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

#[test]
fn the_help_of_every_command_is_what_its_file_says() {
    let dir = tree(&[]);
    let top = run(dir.path(), &["--help"]);
    assert_golden(&top.session(), Path::new("cli/help.txt"));
    for command in COMMANDS {
        let ran = run(dir.path(), &[command, "--help"]);
        assert_golden(&ran.session(), &Path::new("cli").join(format!("help-{command}.txt")));
        assert!(top.stdout.contains(&format!("\n  {command} ")), "{command} is not in the help");
    }
    let target = run(dir.path(), &["target", "--help"]);
    for operation in ["pause", "resume", "disable", "enable", "weight", "check"] {
        let ran = run(dir.path(), &["target", operation, "--help"]);
        assert_golden(&ran.session(), &Path::new("cli").join(format!("help-target-{operation}.txt")));
        assert!(target.stdout.contains(&format!("\n  {operation} ")), "{operation} is not in the help");
    }
}

#[test]
fn help_and_version_are_0_and_usage_errors_are_64() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let code = |args: &[&str]| run(dir.path(), args).code;
    for args in [&["--help"][..], &["--version"], &["help", "plan"], &["plan", "-h"]] {
        assert_eq!(code(args), 0, "{args:?}");
    }
    let wrong: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["plan", "--nonsense"],
        &["plan", "-o", "xml"],
        &["validate", "-o", "markdown"],
        &["plan", "--allow-removals", "-1"],
        &["apply", "--timeout", "soon"],
        &["plan", "tree", "--out", "p", "--live", "l"],
        &["stats", "Not A Name"],
        &["stats", "local/web", "--owner", "a"],
        &["history", "--sort", "state"],
        &["history", "3", "--limit", "1"],
        &["events", "--since", "yesterday"],
        &["validate", "-o", "wide"],
        &["blame", "local"],
        &["bisect", "abcd", "--yes"],
        &["bisect", "abcd", "--", "true"],
        &["blame", "local:53/sctp"],
        &["history", "3", "--verify"],
        &["target", "pause", "local/", "127.0.0.1:80"],
        &["target", "pause", "local/web", "127.0.0.1:80", "--ttl", "0"],
        &["target", "weight", "local/web", "127.0.0.1:80", "101"],
        &["target", "resume", "local/web", "127.0.0.1:80", "--ttl", "5"],
        &["status", "Not A Name"],
        &["edge"],
        &["edge", "--name", "e", "--disable-capability", "flying"],
        &["serve", "--mode", "auto"],
        &["status", "--server", "http://192.0.2.1:7080", "--token", "t"],
        &["status", "--server", "127.0.0.1:7080/x"],
        &["apply", "tree"],
        &["fmt", "rules.yaml"],
        &["completions", "cmd.exe"],
    ];
    for args in wrong {
        let ran = run(dir.path(), args);
        assert_eq!(ran.code, 64, "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_token_is_never_taken_to_another_machine() {
    let dir = tree(&[]);
    let ran = run(dir.path(), &["status", "--server", "http://192.0.2.1:7080", "--token", "secret"]);
    assert_eq!(ran.code, 64);
    assert!(ran.stderr.contains("is never sent over plain HTTP"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret"));
}

#[test]
fn a_dead_server_is_7_for_every_command_that_needs_one() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let server = dead_server();
    let commands: &[&[&str]] = &[
        &["plan", "tree"],
        &["apply", "tree", "--yes"],
        &["status"],
        &["rules"],
        &["stats", "local/web"],
        &["events"],
        &["history"],
        &["history", "--verify"],
        &["blame", "local:8443"],
        &["target", "pause", "local/web", "127.0.0.1:80"],
        &["target", "check", "local/web"],
        &["rollback", "abcd", "--yes"],
        &["bisect", "abcd", "--yes", "--", "true"],
        &["resume"],
        &["freeze", "--why", "a test"],
        &["unfreeze"],
    ];
    for command in commands {
        // What is behind `--` is no flag of ours.
        let own = command.iter().position(|word| *word == "--").unwrap_or(command.len());
        let args = [&command[..own], &["--server", &server, "-o", "json"], &command[own..]].concat();
        let ran = run(dir.path(), &args);
        assert_eq!(ran.code, 7, "{command:?}: {}", ran.stderr);
        let error: Value = serde_json::from_str(&ran.stdout).expect("JSON also on failure");
        assert_eq!(error["code"], "unreachable", "{command:?}");
        assert!(ran.stderr.contains("cannot be reached"), "{command:?}: {}", ran.stderr);
    }
}

#[test]
fn an_invalid_tree_is_found_before_the_server_is_asked() {
    let dir = tree(&[("tree/a.toml", "[[rule]]\n")]);
    let server = dead_server();
    for command in [&["plan", "tree"][..], &["apply", "tree", "--yes"]] {
        let args: Vec<&str> = command.iter().copied().chain(["--server", &server]).collect();
        let ran = run(dir.path(), &args);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("error[missing_key]"), "{}", ran.stderr);
    }
}

#[test]
fn apply_without_yes_and_without_a_terminal_sends_nothing() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let ran = run(dir.path(), &["apply", "tree", "--server", &dead_server()]);
    assert_eq!(ran.code, 64);
    assert!(ran.stderr.contains("nothing was sent"), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot be reached"), "the plan would be shown: {}", ran.stderr);
}

#[test]
fn a_plan_file_that_was_edited_is_4_and_something_else_is_1() {
    let edited = r#"{"kind":"plan_file","seal":"sha256:00","plan":{},"files":[]}"#;
    let dir = tree(&[("edited.json", edited), ("other.json", "{}"), ("a.toml", RULE)]);
    assert_eq!(run(dir.path(), &["apply", "edited.json"]).code, 4);
    assert_eq!(run(dir.path(), &["apply", "other.json"]).code, 1);
    assert_eq!(run(dir.path(), &["apply", "a.toml"]).code, 1);
}

#[test]
fn a_token_file_that_others_may_read_is_not_used() {
    let dir = tree(&[("state/operator.token", "secret\n")]);
    let path = dir.path().join("state/operator.token");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    let mut command = portunus(dir.path(), &["status"]);
    let output = command.env("PORTUNUS_STATE_DIR", dir.path().join("state")).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("accessible to other users (mode 0644)") && !stderr.contains("secret"), "{stderr}");
}

#[test]
fn flags_come_from_the_environment_except_those_that_must_be_said() {
    let dir = tree(&[("tree/a.toml", RULE), ("live.json", "{}")]);
    let mut command = portunus(dir.path(), &["plan", "tree"]);
    command.env("PORTUNUS_LIVE", "live.json").env("PORTUNUS_OUTPUT", "json").env("PORTUNUS_DETAILED_EXITCODE", "yes");
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.starts_with(b"{"));
    let mut command = portunus(dir.path(), &["apply", "tree"]);
    let output = command.env("PORTUNUS_YES", "true").output().expect("it runs");
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = tree(&[("tree/a.toml", &many_rules(3000)), ("live.json", "{}")]);
    for format in ["text", "json"] {
        let args = ["plan", "tree", "--live", "live.json", "-o", format];
        let mut command = portunus(dir.path(), &args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut first = [0; 1];
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut first).expect("it prints");
        drop(stdout);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{format}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let dir = tree(&[("tree/a.toml", RULE)]);
    let full = fs::File::options().write(true).open("/dev/full").expect("the device");
    let output = portunus(dir.path(), &["validate", "tree"]).stdout(full).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be written"));
}

#[test]
fn colours_are_for_terminals_or_for_those_who_ask() {
    let dir = tree(&[("tree/a.toml", "x = 1\n")]);
    assert!(!run(dir.path(), &["validate", "tree"]).stdout.contains('\u{1b}'));
    assert!(run(dir.path(), &["validate", "tree", "--color", "always"]).stdout.contains('\u{1b}'));
}

#[test]
fn fmt_rewrites_what_changes_keeps_modes_and_shows_it_with_check() {
    let dir =
        tree(&[("tree/a.toml", "# kept\n[[rule]]\nname=\"web\"\ntarget = \"127.0.0.1:1\"\nlisten_port   = 1 # too\n")]);
    let path = dir.path().join("tree/a.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
    fs::write(dir.path().join("tree/b.toml"), "[[rule\n").expect("written");
    let before = fs::read_to_string(&path).expect("read");

    let check = run(dir.path(), &["fmt", "tree", "--check"]);
    assert_eq!(check.code, 1, "a file with a syntax error is more than a difference");
    assert!(check.stdout.contains("-name=\"web\"\n+name = \"web\"\n"), "{}", check.stdout);
    assert_eq!(fs::read_to_string(&path).expect("read"), before);

    let broken = run(dir.path(), &["fmt", "tree"]);
    assert_eq!((broken.code, broken.stdout.as_str()), (1, "a.toml\n"));
    assert!(broken.stderr.contains("error[syntax]") && broken.stderr.contains("b.toml:1"), "{}", broken.stderr);
    let after = fs::read_to_string(&path).expect("read");
    assert!(after.contains("# kept\n") && after.contains("listen_port = 1 # too\n"), "{after}");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);

    fs::remove_file(dir.path().join("tree/b.toml")).expect("removed");
    let again = run(dir.path(), &["fmt", "tree", "--check"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    fs::write(&path, before).expect("written");
    assert_eq!(run(dir.path(), &["fmt", "tree/a.toml", "--check"]).code, 2);
}

#[test]
fn explain_knows_every_word_of_an_output() {
    let dir = tree(&[]);
    let mut words: Vec<&str> = reconciler::decide::glossary::ALL.iter().map(|meaning| meaning.word).collect();
    words.sort_unstable();
    words.dedup();
    for word in words {
        let ran = run(dir.path(), &["explain", word]);
        assert_eq!(ran.code, 0, "{word}: {}", ran.stderr);
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    let ran = run(dir.path(), &["explain", "disabled"]);
    assert_eq!(ran.stdout.matches("disabled (").count(), 3, "each of its meanings: {}", ran.stdout);
}

#[test]
fn explain_knows_keys_and_codes_and_suggests_others() {
    let dir = tree(&[]);
    for topic in ["listen_ports", "rule", "port_clash", "port_in_use", "max_removed_percent"] {
        let ran = run(dir.path(), &["explain", topic]);
        assert_eq!(ran.code, 0, "{topic}");
        assert!(ran.stdout.contains(topic), "{topic}: {}", ran.stdout);
    }
    let ran = run(dir.path(), &["explain", "listen_prot"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("did you mean `listen_port`"), "{}", ran.stderr);
}

#[test]
fn the_schema_is_json_and_completions_name_the_commands() {
    let dir = tree(&[]);
    let schema: Value = serde_json::from_str(&run(dir.path(), &["schema"]).stdout).expect("JSON");
    assert!(schema["$schema"].is_string());
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(dir.path(), &["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(COMMANDS.iter().all(|command| ran.stdout.contains(command)), "{shell}");
    }
}
