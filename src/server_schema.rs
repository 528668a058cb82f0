//! The JSON Schema of `server.toml`. Pure.
//!
//! Keeps: it has the keys that the server reads, no more and no fewer; a test asks the reader for them.

use reconciler::decide::notices::{Forge, NotifierKind, Topic};
use serde_json::{Map, Value, json};

use crate::settings::{LONGEST_INTERVAL, MAX_PORTS, MODES};

/// The schema of the settings of `portunus serve --config`.
#[expect(clippy::too_many_lines, reason = "one document, in the order of its keys")]
pub(crate) fn server_schema() -> Value {
    let text = |about: &str| json!({ "type": "string", "minLength": 1, "description": about });
    let listen = |about: &str, port: u16| {
        json!({ "type": "string", "pattern": "^.+:[0-9]+$", "description": about,
        "default": format!("127.0.0.1:{port}") })
    };
    let flag = |about: &str| json!({ "type": "boolean", "default": false, "description": about });
    let secs = |least: u64, default: u64, about: &str| {
        json!({ "type": "integer", "minimum": least, "default": default,
        "description": about })
    };
    let properties: Map<String, Value> = [
        ("rules", text("The directory to follow, relative to this file. Excludes `git`.")),
        ("git", text("The repository to follow: an https, ssh or file URL. Excludes `rules`.")),
        ("ref", text("The branch or tag of the repository.")),
        ("path", text("The directory of the rule tree in the repository.")),
        ("interval_secs", secs(1, 30, "The time between two fetches of the repository.")),
        ("git_timeout_secs", secs(1, 120, "The time limit of a fetch.")),
        ("git_token_file", text("A file that contains the token for an https URL.")),
        ("webhook_secret_file", text("A file that contains the secret of the webhook.")),
        ("state_dir", text("The state directory of the server.")),
        ("control_listen", listen("The address of the control port, where edges connect.", 7443)),
        (
            "operator_listen",
            json!({ "type": ["string", "array"], "items": { "type": "string" }, "default": "127.0.0.1:7080",
                "description": "The address of the operator port, or a list of addresses." }),
        ),
        ("operator_cert", text("The certificate chain of the operator port, a PEM file.")),
        ("operator_key", text("The key of that certificate, a PEM file.")),
        (
            "operator_names",
            json!({ "type": "array", "items": { "type": "string" }, "default": [],
                "description": "Further names by which operators reach this host." }),
        ),
        (
            "operator_hosts",
            json!({ "type": "array", "items": { "type": "string" }, "default": [],
                "description": "Further names by which the page and the API may be called, such as that of a reverse \
                                proxy; unlike `operator_names` they are not in the certificate." }),
        ),
        ("metrics_listen", listen("The address of the metrics port.", 7081)),
        ("advertise", text("The address by which edges reach the control port: `HOST:PORT`.")),
        ("ca_cert", text("The certificate of a certificate authority of your own, PEM.")),
        ("ca_key", text("The private key of that authority, PEM, in a file with mode 0600.")),
        ("edge_cert_ttl_secs", secs(5, 86_400, "How long the certificates of edges are valid.")),
        ("edge_cert_grace_secs", secs(0, 2_592_000, "How long an expired certificate may still be renewed.")),
        ("mode", json!({ "enum": MODES, "description": "The changes that the server makes by itself." })),
        ("allow_dirty", flag("Follows a tree that is not committed.")),
        ("allow_non_descendant", flag("Follows commits that do not descend from the one in force.")),
        (
            "range_rule_max_ports",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_PORTS, "default": 1024,
                "description": "The widest range of one rule." }),
        ),
        (
            "shutdown_drain_timeout_secs",
            secs(
                0,
                30,
                "How long connections may continue after the process was asked to \
            end.",
            ),
        ),
        ("log_level", text("`error`, `warn`, `info`, `debug`, `trace`, or a filter such as `portunus=debug,info`.")),
        ("notify", notify()),
        ("log_format", json!({ "enum": ["text", "json"], "default": "text", "description": "The form of log lines." })),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:portunus:schema:server.toml",
        "title": "The server.toml of portunus",
        "description": "The settings of `portunus serve --config FILE`; flags and environment variables take \
            precedence.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "not": { "required": ["rules", "git"] },
    })
}

/// The tables of the notifiers.
fn notify() -> Value {
    let path = |about: &str| json!({ "type": "string", "minLength": 1, "description": about });
    let names = |about: &str| json!({ "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 }, "description": about });
    let kinds = NotifierKind::ALL.map(NotifierKind::as_str);
    let only = |kinds: &[&str], taken: &[&str], needed: &[&str]| {
        let all = ["token_file", "secret_file", "forge", "events", "edges", "owners", "min_interval_secs"];
        let refused: Map<String, Value> =
            all.iter().filter(|key| !taken.contains(key)).map(|key| ((*key).to_owned(), json!(false))).collect();
        json!({
            "if": { "properties": { "kind": { "enum": kinds } } },
            "then": { "properties": refused, "required": needed },
        })
    };
    let filters = ["events", "edges", "owners", "min_interval_secs"];
    let with = |key: &'static str| [filters.as_slice(), &[key]].concat();
    json!({
        "type": "array",
        "description": "Who receives notices, one table for each: see [notices.md](notices.md).",
        "items": {
            "type": "object",
            "properties": {
                "name": { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,63}$", "description": "Its name, unique among them." },
                "kind": { "enum": kinds, "description": "What the receiver speaks." },
                "url": path("The URL of the receiver; of `commit-status`, the web address of the repository. Excludes `url_file`."),
                "url_file": path("A file that contains the URL, with mode 0600, because most of these URLs are secrets."),
                "token_file": path("A file that contains the token of `matrix` or `commit-status`, with mode 0600."),
                "secret_file": path("A file that contains the secret that signs the bodies of a `webhook`, with mode 0600."),
                "forge": { "enum": Forge::ALL.map(Forge::as_str), "description": "The forge of a `commit-status`." },
                "events": {
                    "type": "array", "minItems": 1, "items": { "enum": Topic::ALL.map(Topic::as_str) },
                    "description": "What it receives; everything where it is absent.",
                },
                "edges": names("Only of these edges: names and globs. Notices of the whole fleet pass."),
                "owners": names("Only of rules of these owners. Notices of the whole fleet do not pass."),
                "min_interval_secs": {
                    "type": "integer", "minimum": 0, "maximum": LONGEST_INTERVAL, "default": 0,
                    "description": "The least time between two messages; what comes in between is merged into one.",
                },
            },
            "required": ["name", "kind"],
            "oneOf": [{ "required": ["url"] }, { "required": ["url_file"] }],
            "additionalProperties": false,
            "allOf": [
                only(&["slack", "teams", "discord", "telegram"], &filters, &[]),
                only(&["matrix"], &with("token_file"), &["token_file"]),
                only(&["webhook"], &with("secret_file"), &[]),
                only(&["commit-status"], &["token_file", "forge"], &["token_file", "forge"]),
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings::parse_file;

    #[test]
    fn the_schema_has_the_keys_that_the_server_reads() {
        let error = parse_file("nothing_of_the_kind = 1\n").expect_err("an unknown key");
        let (_, listed) = error.split_once("expected one of").expect("serde lists the keys");
        let read: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
        let schema = server_schema();
        let said: BTreeSet<&str> = schema["properties"].as_object().expect("keys").keys().map(String::as_str).collect();
        assert_eq!(read, said);
    }

    #[test]
    fn what_the_schema_lists_is_read() {
        let schema = server_schema();
        for (key, schema) in schema["properties"].as_object().expect("keys") {
            let words = schema["enum"].as_array().cloned().unwrap_or_default();
            for value in words.iter().chain(schema.get("default")) {
                assert!(parse_file(&format!("{key} = {value}\n")).is_ok(), "{key} = {value}");
            }
        }
        for bad in [
            "mode = \"x\"\n",
            "log_format = \"pretty\"\n",
            "range_rule_max_ports = 0\n",
            "rules = \"a\"\ngit = \"file:///a\"\n",
        ] {
            assert!(parse_file(bad).is_err(), "{bad}");
        }
    }
}
