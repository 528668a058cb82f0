//! `docs/configuration.md`: server.toml, every flag and every environment variable, from the definitions that the program
//! itself reads.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory};
use serde_json::Value;

use super::{assert_page, cell};
use crate::cli::Cli;
use crate::server_schema::server_schema;

const HEAD: &str = "# Configuration\n\n\
    Made from the definitions that the program reads. Of a setting, a flag wins over its environment variable, the variable over \
    `server.toml`, and that over the default. A variable that is set but empty counts as not set. `--yes` and the `--allow-…` \
    flags have no variable: they are never read from the environment. Durations are whole numbers with a unit, `90s`, `10m`, `1h` \
    or `1d`; a bare number is seconds.\n\n\
    Keys of rule files and of `portunus.toml` are in [reference.md](reference.md).\n";

/// Variables that are no flag's.
const OTHERS: &[(&str, &str)] = &[
    ("HOME", "Where the state directories are without `XDG_STATE_HOME`: `~/.local/state`."),
    ("XDG_STATE_HOME", "The folder of the state directories `portunus` (server) and `portunus-edge/NAME` (edge)."),
    ("PORTUNUS_STATE_DIR", "For commands that speak to a server: the state directory whose `operator.token` is used."),
    ("NO_COLOR", "Set to anything: no colours, unless `--color always`."),
    ("SSL_CERT_FILE", "Root certificates for `https` remotes, instead of those of the system."),
    ("GIT_SSH_COMMAND", "The program for `ssh` remotes, with its arguments, instead of `ssh`."),
    ("RUST_BACKTRACE", "Set to 1: an error that is a bug of the program is logged with its call stack."),
];

#[test]
fn the_page_of_the_configuration_is_current() {
    assert_page("configuration.md", &page());
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    server_file(&mut page);
    notifiers(&mut page);
    policy_file(&mut page);
    page.push_str("\n## Environment variables that are not a flag's\n\n| variable | meaning |\n|---|---|\n");
    for (name, about) in OTHERS {
        writeln!(page, "| `{name}` | {} |", cell(about)).expect("a string grows as needed");
    }
    page.push_str("\n## Commands\n");
    let mut root = Cli::command();
    root.build();
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        section(&mut page, &format!("portunus {}", command.get_name()), command);
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            section(&mut page, &format!("portunus {} {}", command.get_name(), below.get_name()), below);
        }
    }
    page
}

/// The keys of `server.toml`, from the schema that editors use.
fn server_file(page: &mut String) {
    page.push_str(
        "\n## server.toml\n\nThe settings of `portunus serve --config FILE` and `portunus up --config FILE`. Relative paths are \
         relative to the file. An unknown key is an error.\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
    );
    let schema = server_schema();
    for (key, value) in schema["properties"].as_object().expect("a schema has properties") {
        let default = value.get("default").map_or_else(String::new, |default| format!("`{default}`"));
        let about = value["description"].as_str().unwrap_or_default();
        let kind = kind(value);
        writeln!(page, "| `{key}` | {} | {default} | {} |", cell(&kind), cell(about))
            .expect("a string grows as needed");
    }
    page.push_str(
        "\n```toml\n# server.toml\nrules = \"rules.d\"\nmode = \"apply\"\nstate_dir = \"/var/lib/portunus\"\nlog_format = \"json\"\n```\n",
    );
}

/// The keys of a `[[notify]]` table, from the same schema.
fn notifiers(page: &mut String) {
    page.push_str(
        "\n### Notifiers\n\nEach `[[notify]]` table names a receiver of notices. What each kind needs, and what it receives, is in \
         [notices.md](notices.md). A key that a kind does not take is an error.\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
    );
    let schema = server_schema();
    let properties =
        schema["properties"]["notify"]["items"]["properties"].as_object().expect("a table has keys").clone();
    for (key, value) in &properties {
        let default = value.get("default").map_or_else(String::new, |default| format!("`{default}`"));
        let about = value["description"].as_str().unwrap_or_default();
        writeln!(page, "| `{key}` | {} | {default} | {} |", cell(&kind(value)), cell(about))
            .expect("a string grows as needed");
    }
    page.push_str(
        "\n```toml\n[[notify]]\nname = \"ops\"\nkind = \"slack\"\nurl_file = \"slack.url\"\nevents = [\"apply\", \"held\", \"health\"]\n```\n",
    );
}

/// The keys of an edge's policy, from the schema that editors use.
fn policy_file(page: &mut String) {
    page.push_str(
        "\n## The policy of an edge\n\nThe file of `portunus edge --policy FILE` (and of `portunus up`) says what the owner of the \
         edge allows, whatever the server sends. A plan rejects a rule that the policy forbids with `forbidden_by_policy`; the \
         edge refuses it by itself, and judges every address again when it connects. A key that is absent limits nothing, an \
         empty list allows nothing, and an unknown key is an error. SIGHUP reads the file again: what a narrower policy forbids \
         stops accepting at once and drains. If the file is broken, the policy from before stays in force; an edge does not \
         start with a broken file.\n\nWithout `target_networks`, the addresses where clouds serve credentials to their hosts \
         (169.254.169.254, 169.254.170.2, 169.254.170.23, fd00:ec2::254, fd00:ec2::23, fd20:ce::254) are refused as targets \
         unless the edge runs with `--allow-metadata-targets`.\n\n| key | value | meaning |\n|---|---|---|\n",
    );
    let schema = crate::policy_schema::policy_schema();
    for (key, value) in schema["properties"].as_object().expect("a schema has properties") {
        let kind = match (value["type"].as_str(), value["items"].get("oneOf")) {
            (Some("array"), Some(_)) => "a list of ports and ranges",
            (Some("array"), None) => "a list of networks or addresses",
            _ => "a number",
        };
        let about = value["description"].as_str().unwrap_or_default();
        writeln!(page, "| `{key}` | {kind} | {} |", cell(about)).expect("a string grows as needed");
    }
    page.push_str(
        "\n```toml\n# policy.toml\nlisten_ports = [443, \"8000-8999\"]\ntarget_networks = [\"10.0.0.0/8\"]\nmax_connections = 20000\n```\n",
    );
}

fn kind(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    match (schema["type"].as_str(), schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some("array"), ..) if schema["items"]["type"] == "object" => "tables, see below".to_owned(),
        (Some("array"), ..) if schema.get("minItems").is_some() => match schema["items"]["enum"].as_array() {
            Some(_) => format!("a list of {}", kind(&schema["items"])),
            None => "a list of strings".to_owned(),
        },
        (Some("boolean"), ..) => "true or false".to_owned(),
        (Some("integer"), Some(least), Some(most)) => format!("{least} to {most}"),
        (Some("integer"), Some(least), None) => format!("a number from {least} on"),
        (Some("string"), ..) if schema["pattern"].as_str().is_some_and(|pattern| pattern.ends_with(":[0-9]+$")) => {
            "`\"ADDRESS:PORT\"`".to_owned()
        }
        _ => "a string".to_owned(),
    }
}

fn section(page: &mut String, name: &str, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    write!(page, "\n### {name}\n\n{}.\n", about.trim_end_matches('.')).expect("a string grows as needed");
    if command.has_subcommands() {
        return;
    }
    let rows: Vec<String> = command.get_arguments().filter(|arg| arg.get_id() != "help").map(row).collect();
    if !rows.is_empty() {
        page.push_str("\n| argument | variable | default | meaning |\n|---|---|---|---|\n");
        page.push_str(&rows.concat());
    }
}

fn row(arg: &Arg) -> String {
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = arg.get_value_names().map(|names| names.join(" ")).filter(|_| takes_value).unwrap_or_default();
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{}`", with_space(&value)),
        (None, Some(long)) => format!("`--{long}{}`", with_space(&value)),
        (Some(short), None) => format!("`-{short}`"),
        (None, None) => format!("`{value}`"),
    };
    let variable = arg.get_env().map_or_else(String::new, |name| format!("`{}`", name.to_string_lossy()));
    let defaults: Vec<String> = arg.get_default_values().iter().map(|one| one.to_string_lossy().into_owned()).collect();
    let default = if defaults.is_empty() || !takes_value || defaults == [""] {
        String::new()
    } else {
        format!("`{}`", defaults.join(" "))
    };
    let mut about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let words: Vec<String> = arg.get_possible_values().iter().map(|one| format!("`{}`", one.get_name())).collect();
    if takes_value && !words.is_empty() {
        write!(about, ": {}", words.join(", ")).expect("a string grows as needed");
    }
    format!("| {} | {variable} | {default} | {} |\n", cell(&name), cell(&about))
}

fn with_space(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" {value}") }
}
