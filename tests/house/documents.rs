//! What people read and copy works: README, examples, the CI recipes. I/O: reads the files, checks them as a tree.

use schema::check::{CheckLimits, FLEET_FILE, check_tree};
use schema::diagnostic::{Diagnostic, Severity, SourceFile};
use schema::name::EdgeName;
use schema::net::ListenAddress;
use schema::ruleset::{RuleSet, TreeFiles};
use schema::text::Syntax;

use crate::workspace::{WorkFile, assert_none, file, files, root};

fn checked(files: Vec<SourceFile>) -> (Option<RuleSet>, Vec<Diagnostic>) {
    let checked = check_tree(&TreeFiles { files, problems: Vec::new() }, &CheckLimits::default());
    (checked.ruleset, checked.diagnostics)
}

fn errors(place: &str, diagnostics: &[Diagnostic]) -> Vec<String> {
    let is_error = |found: &&Diagnostic| found.severity == Severity::Error;
    diagnostics.iter().filter(is_error).map(|found| format!("{place}/{}: {}", found.path, found.message)).collect()
}

/// The rule tree of an example.
fn example(name: &str) -> (Option<RuleSet>, Vec<Diagnostic>) {
    let folder = format!("examples/{name}/");
    let is_tree = |path: &str| Syntax::of_path(path).is_some() || path.contains("/lists/");
    let below = |file: &&WorkFile| file.path.starts_with(&folder) && is_tree(&file.path);
    checked(files().iter().filter(below).map(|file| SourceFile::new(&file.path[folder.len()..], file.text())).collect())
}

/// The code blocks of a Markdown file: language, line and content.
fn code_blocks(text: &str) -> Vec<(&str, usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim(), number + 1, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, _, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn examples_are_valid_trees() {
    let mut found = Vec::new();
    for name in ["rules.d", "fleet.d", "standalone.d"] {
        let (ruleset, diagnostics) = example(name);
        found.extend(errors(name, &diagnostics));
        assert!(ruleset.is_none_or(|ruleset| ruleset.rule_count() > 0), "{name} has no rule");
    }
    assert_none("errors in examples", &found);
}

#[test]
fn examples_are_formatted() {
    let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_portunus"));
    tool.args(["fmt", "--check", "examples/rules.d", "examples/fleet.d"]).current_dir(root());
    let output = tool.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_first_example_runs_on_any_machine() {
    let ruleset = example("rules.d").0.expect("it is valid");
    let local = EdgeName::new("local").expect("a name");
    assert_eq!(ruleset.edges.keys().collect::<Vec<_>>(), [&local], "`up` has one edge");
    for placed in ruleset.edges[&local].values() {
        let listen = placed.rule.listen;
        let is_loopback = matches!(listen.address, ListenAddress::Ip(ip) if ip.is_loopback());
        assert!(is_loopback, "{} opens {listen} to the network of a newcomer", placed.rule.name);
        assert!(listen.ports.first() >= 1024, "{} needs privileges", placed.rule.name);
    }
}

#[test]
fn a_file_of_upstream_is_taken_as_it_stands() {
    let (ruleset, diagnostics) = example("standalone.d");
    let ruleset = ruleset.expect("it is valid");
    assert_eq!(ruleset.global.label.as_deref(), Some("edge-1"));
    assert_eq!(ruleset.global.shutdown_drain_secs, Some(20));
    assert!(diagnostics.iter().any(|found| found.message.contains("`[stats]`")), "{diagnostics:?}");
}

#[test]
fn every_example_is_explained() {
    let explained = format!("{}{}", file("README.md").text(), file("examples/README.md").text());
    let unexplained = files()
        .iter()
        .filter_map(|file| file.path.strip_prefix("examples/"))
        .filter(|path| *path != "README.md" && !explained.contains(path))
        .map(str::to_owned);
    assert_none("examples that no README names", &unexplained.collect::<Vec<_>>());
}

#[test]
fn the_recipes_are_yaml_and_call_commands_that_exist() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_portunus")).arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let mut commands = 0;
    for recipe in ["examples/ci/forgejo.yml", "examples/ci/github.yml", "examples/ci/gitlab.yml"] {
        let text = file(recipe).text();
        serde_yaml::from_str::<serde_yaml::Value>(text).unwrap_or_else(|error| panic!("{recipe}: {error}"));
        for line in text.lines().map(|line| line.trim_start().trim_start_matches("- ").trim_start_matches("run: ")) {
            let Some(call) = line.strip_prefix("portunus ") else { continue };
            let command = call.split_whitespace().next().expect("a command");
            assert!(help.contains(&format!("\n  {command} ")), "{recipe}: `{command}` is no command");
            commands += 1;
        }
    }
    assert_eq!(
        commands, 16,
        "validate, plan, apply and status in each, and login in both jobs of two; tests/e2e/recipes.rs runs them"
    );
}

#[test]
fn toml_in_a_readme_is_valid() {
    let mut found = Vec::new();
    for readme in ["README.md", "examples/README.md"] {
        for (_, line, block) in
            code_blocks(file(readme).text()).into_iter().filter(|(language, ..)| *language == "toml")
        {
            let table: toml::Table = match block.parse() {
                Ok(table) => table,
                Err(error) => {
                    found.push(format!("{readme}:{line}: {error}"));
                    continue;
                }
            };
            if table.keys().any(|key| matches!(key.as_str(), "rails" | "rollout" | "tree")) {
                // portunus.toml has no rules of its own, and a tree needs one.
                let rule = "[[rule]]\nname = \"a\"\nlisten_port = 1\ntarget = \"a:1\"\n";
                let (_, diagnostics) =
                    checked(vec![SourceFile::new("a.toml", rule), SourceFile::new(FLEET_FILE, block)]);
                found.extend(errors(&format!("{readme}:{line}"), &diagnostics));
            } else if ["rule", "edge", "defaults", "global"].iter().any(|key| table.contains_key(*key)) {
                let (_, diagnostics) = checked(vec![SourceFile::new("a.toml", block)]);
                found.extend(errors(&format!("{readme}:{line}"), &diagnostics));
            }
        }
    }
    assert_none("TOML of a README", &found);
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let run = file(".ci/run").text();
    let command = run.lines().find_map(|line| line.strip_prefix("step tests ")).expect("a step for the tests");
    assert_eq!(command, "cargo test --workspace");
    let blocks = code_blocks(file("README.md").text());
    let is_named = blocks
        .iter()
        .any(|(_, _, block)| block.lines().any(|line| line.split(" #").next().map(str::trim) == Some(command)));
    assert!(is_named, "the README shows another command than `{command}`");
}
