//! `health simulate` as people and scripts see it: transcripts of the real binary.
//!
//! `PORTUNUS_UPDATE_GOLDEN=1 cargo test -p portunus --test health` writes the expected files anew.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use snapbox::Data;
use snapbox::assert::{Action, Assert};

/// What is run for one file: the events, and the other arguments.
type Run = (&'static str, &'static [&'static str]);

const FILES: [(&str, &[Run]); 9] = [
    (
        "snap",
        &[
            ("pass fail fail fail pass pass", &[]),
            ("pass fail pass fail pass fail pass", &["--rise", "2", "--fall", "2"]),
            ("pass fail@31 fail@40 pass@50 fail@60 fail@70 fail@80.5", &["--rise", "3"]),
        ],
    ),
    ("leaky", &[("pass pass pass fail pass fail fail fail pass pass fail", &["--mode", "leaky"])]),
    (
        "intervals",
        &[(
            "pass fail fail fail pass pass pass",
            &["--interval", "15", "--fast", "1s", "--down", "30", "--rise", "3", "--fall", "2"],
        )],
    ),
    (
        "passive",
        &[
            ("pass err@1 err@16 err@31 ok@32 ok@33", &["--fast", "1"]),
            ("pass err@1 err@16 err@31.001", &[]),
            ("err@1 err@2 ok@3 err@4 err@5 err@6", &[]),
            ("fail ok@1 ok@2 pass@15 pass@30", &[]),
            ("pass err@1 err@2 err@3 fail@3 ok@4 ok@5", &[]),
        ],
    ),
    (
        "operations",
        &[
            ("pass pause@20 pause@21 pass@25 err@26 resume@30 pass", &["--fast", "2"]),
            ("pass disable@20 fail@25 resume@26 enable@30 enable@31 fail", &[]),
            ("pass tick@7 tick@40 pass", &[]),
        ],
    ),
    ("initial", &[("fail fail fail", &["--initial", "optimistic"]), ("fail", &["--initial", "probe"])]),
    (
        "json",
        &[
            ("pass fail@31 err@31.5 pause", &["-o", "json", "--fast", "1"]),
            ("pass,tick", &["-o", "yaml"]),
            ("pass boom", &["-o", "json"]),
        ],
    ),
    (
        "bad-events",
        &[
            ("pass fial@31", &[]),
            ("pass@10 fail@9.5", &[]),
            ("pass fail@soon", &[]),
            ("", &[]),
            ("tick@31622401", &[]),
            ("pass \u{1b}[31mred", &[]),
        ],
    ),
    (
        "bad-arguments",
        &[
            ("pass", &["--rise", "0"]),
            ("pass", &["--fall", "256"]),
            ("pass", &["--interval", "0"]),
            ("pass", &["--fast", "2h"]),
            ("pass", &["--down", "often"]),
            ("pass", &["--mode", "sticky"]),
            ("pass", &["--initial", "down"]),
        ],
    ),
];

/// The binary without any variable that it reads.
fn portunus(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portunus"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTUNUS_")) {
        command.env_remove(name);
    }
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"] {
        command.env_remove(name);
    }
    command
}

/// The command, both streams and the exit code.
fn transcript(args: &[&str]) -> String {
    let output = portunus(args).output().expect("the binary starts");
    let quoted: Vec<String> = args
        .iter()
        .map(|arg| if arg.contains(' ') || arg.is_empty() { format!("{arg:?}") } else { (*arg).to_owned() })
        .collect();
    let mut text = format!("$ portunus {}\n", quoted.join(" "));
    text.push_str(&String::from_utf8(output.stdout).expect("standard output is UTF-8"));
    if !output.stderr.is_empty() {
        text.push_str("--- standard error\n");
        text.push_str(&String::from_utf8(output.stderr).expect("standard error is UTF-8"));
    }
    let code = output.status.code().expect("the process was not killed");
    text + &format!("--- exit {code}\n")
}

fn simulate<'a>(events: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    ["health", "simulate", "--events", events].into_iter().chain(args.iter().copied()).collect()
}

fn assert_golden(actual: &str, name: &str) {
    let is_update = std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| !value.is_empty() && value != "0");
    let action = if is_update { Action::Overwrite } else { Action::Verify };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli/health").join(format!("{name}.txt"));
    let expected = Data::read_from(&path, Some(snapbox::data::DataFormat::Text)).raw();
    Assert::new().action(action).eq(Data::text(actual).raw(), expected);
}

#[test]
fn simulations_are_what_their_files_say() {
    for (name, runs) in FILES {
        let runs: Vec<String> = runs.iter().map(|(events, args)| transcript(&simulate(events, args))).collect();
        assert_golden(&runs.join("\n"), name);
    }
}

#[test]
fn the_help_is_what_its_file_says() {
    let texts = [transcript(&["health", "--help"]), transcript(&["health", "simulate", "--help"])];
    assert_golden(&texts.join("\n"), "help");
}

/// The command lines of the page, in code blocks and in text.
#[test]
fn the_examples_of_the_page_print_what_the_page_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/health.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, block) = page.split_once("```\n$ portunus health simulate ").expect("an example");
    let (command, shown) = block.split_once("```").expect("closed").0.split_once('\n').expect("a result");
    let printed = transcript(&simulate(quoted(command), &["--fast", "1s", "--down", "30s"]));
    assert!(command.ends_with("--fast 1s --down 30s"), "{command}");
    assert_eq!(printed.split_once('\n').expect("a result").1, format!("{shown}--- exit 0\n"));
    for example in page.split("`--events ").skip(1) {
        let ran = portunus(&simulate(quoted(example), &["--fast", "1s"])).output().expect("the binary starts");
        assert_eq!(ran.status.code(), Some(0), "{}", quoted(example));
    }
}

/// What stands between the first two quotes.
fn quoted(text: &str) -> &str {
    text.split('"').nth(1).expect("quoted events")
}

#[test]
fn bad_input_is_a_usage_error_and_nothing_is_simulated() {
    for (name, runs) in FILES.iter().filter(|(name, _)| name.starts_with("bad-")) {
        for (events, args) in *runs {
            let output = portunus(&simulate(events, args)).output().expect("the binary starts");
            assert_eq!(output.status.code(), Some(64), "{name}: {events} {args:?}");
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{name}: {events} {args:?}");
        }
    }
}

#[test]
fn json_is_one_object_per_event_with_the_fields_of_the_contract() {
    let args = simulate("pass fail@31 pause", &["-o", "json", "--fast", "1"]);
    let output = portunus(&args).output().expect("the binary starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let expected = [
        json!({ "at": 0, "event": "pass", "state": "up", "health": 4, "next_secs": 15, "changed": true }),
        json!({ "at": 31, "event": "fail", "state": "up", "health": 3, "next_secs": 1, "changed": false }),
        json!({ "at": 32, "event": "pause", "state": "paused", "health": 0, "next_secs": null, "changed": true }),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn flags_come_from_variables_of_their_own_and_not_from_those_of_a_server() {
    let mut command = portunus(&simulate("pass fail", &["-o", "json"]));
    command.env("PORTUNUS_MODE", "apply").env("PORTUNUS_INTERVAL", "1h").env("PORTUNUS_HEALTH_FAST", "3");
    let output = command.output().expect("the binary starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("\"at\":15,") && text.contains("\"next_secs\":3,"), "{text}");
}
