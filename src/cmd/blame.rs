//! `blame`: which commit put a port on an edge, with its rule and its apply. I/O.

use std::fmt::Write;

use reconciler::decide::blame::{Blame, How};
use reconciler::decide::ledger::LedgerAction;

use crate::cli::BlameArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value};
use crate::render::change::place;
use crate::render::style;
use crate::render::words::time;

pub(crate) async fn run(args: &BlameArgs) -> Result<Exit, Failure> {
    let port = &args.port;
    let query = port.protocol.map(|protocol| format!("?protocol={protocol}")).unwrap_or_default();
    let found: Blame = Client::new(&args.server)?.get(&format!("/v1/blame/{}/{}{query}", port.edge, port.port)).await?;
    if !print_value(args.looks.output, &found)? {
        print(&text(&found))?;
    }
    Ok(Exit::Done)
}

fn text(found: &Blame) -> String {
    let protocol = if found.protocol == "tcp" { "" } else { "/udp" };
    let address = format!("{}:{}{protocol}", found.edge, found.port);
    let mut text = format!("{} {}/{}\n", style::strong(&address), found.edge, found.rule);
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "  {key:<8} {}", clean(value)).expect("a string grows as needed");
        }
    };
    let dirty = if found.dirty { " (the tree differed from it)" } else { "" };
    match &found.commit {
        Some(commit) => line("commit", &format!("{commit}{dirty}")),
        None => line("commit", "none: the tree was not in a repository"),
    }
    line("author", found.author.as_deref().unwrap_or_default());
    line("digest", &found.digest.to_string());
    let renamed = found.rule_then.as_ref().map(|name| format!(", as {name}")).unwrap_or_default();
    let then = found.origin.as_ref().map(place).unwrap_or_default();
    line("rule", &format!("{then}{renamed}"));
    let now = found.current.as_ref().map(place).unwrap_or_default();
    line("now", if now == then { "" } else { &now });
    let action =
        if found.action == LedgerAction::Apply { String::new() } else { format!(", a {}", found.action.as_str()) };
    line("apply", &format!("{}{action} at {} by {}: {}", found.apply_id, time(found.at), found.actor, found.outcome));
    line("plan", &found.plan_id.to_string());
    if found.how == How::TakenOver {
        line("note", "the port was already open; this is the first apply whose tree has it");
    }
    if !found.serving {
        line("note", "the rule does not serve there: `portunus status` shows why");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_commit_rule_and_apply() {
        let json = serde_json::json!({
            "edge": "edge-01", "port": 53, "protocol": "udp", "rule": "dns", "rule_then": "names", "serving": false,
            "how": "taken_over", "origin": { "file": "a.toml", "line": 7, "column": 1 },
            "current": { "file": "b.toml", "line": 1, "column": 1 }, "commit": "0123456789abcdef", "dirty": true,
            "author": "Ada\u{1b} <ada@example.org>", "digest": format!("sha256:{}", "0".repeat(64)), "apply_id": "a3",
            "entry": 3, "action": "rollback", "plan_id": format!("sha256:{}", "1".repeat(64)),
            "at": "2026-01-02T03:04:05Z", "actor": "operator", "outcome": "applied",
        });
        let found: Blame = serde_json::from_value(json).expect("a blame");
        let expected = format!(
            "edge-01:53/udp edge-01/dns\n  \
             commit   0123456789abcdef (the tree differed from it)\n  \
             author   Ada\\u{{1b}} <ada@example.org>\n  \
             digest   sha256:{}\n  \
             rule     a.toml:7, as names\n  \
             now      b.toml:1\n  \
             apply    a3, a rollback at 2026-01-02T03:04:05Z by operator: applied\n  \
             plan     sha256:{}\n  \
             note     the port was already open; this is the first apply whose tree has it\n  \
             note     the rule does not serve there: `portunus status` shows why\n",
            "0".repeat(64),
            "1".repeat(64)
        );
        assert_eq!(anstream::adapter::strip_str(&text(&found)).to_string(), expected);
    }
}
