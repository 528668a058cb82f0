//! `history`: the ledger. I/O.

use std::fmt::Write;

use reconciler::act::operator::documents::HistoryDetail;
use reconciler::decide::ledger::{Entry, HistoryEntry, Verification};

use crate::cli::HistoryArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::{count, joined, short_hash, time};
use crate::render::{self, style};

pub(crate) async fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    if args.verify {
        return verify(args, &client).await;
    }
    if let Some(id) = &args.id {
        let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_plain {
            return Err(Failure::Other(format!("there is no entry {}", clean(id))));
        }
        let found: HistoryDetail = client.get(&format!("/v1/history/{id}")).await?;
        if !found.entry.intact {
            say(broken(&found.entry));
        }
        if !print_value(args.looks.output, &found)? {
            print(&text(&found))?;
        }
        return Ok(Exit::Done);
    }
    let entries: Vec<HistoryEntry> = client.get("/v1/history").await?;
    if let Some(entry) = entries.iter().find(|entry| !entry.intact) {
        say(broken(entry));
    }
    if print_value(args.looks.output, &entries)? {
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        say("Nothing was applied yet.");
    } else {
        print(&all(&entries))?;
    }
    Ok(Exit::Done)
}

async fn verify(args: &HistoryArgs, client: &Client) -> Result<Exit, Failure> {
    let query = args.contains.map(|hash| format!("?contains={hash}")).unwrap_or_default();
    let found: Verification = client.get(&format!("/v1/history/verification{query}")).await?;
    let is_missing = found.contained == Some(false);
    if !print_value(args.looks.output, &found)? && found.broken.is_none() && !is_missing {
        let lines = count(found.lines, "line");
        print(&format!("The ledger is whole: {lines}, the last one {} with hash {}.\n", found.last, found.head))?;
    }
    if let Some(line) = found.broken {
        let words = "does not fit its chain: it or one before it was changed or removed";
        say(format!("{}: line {line} of the ledger {words}", style::error("error")));
    } else if is_missing {
        let words = "no line of the ledger has that hash: it is another ledger, or was written anew";
        say(format!("{}: {words}", style::error("error")));
    } else {
        return Ok(Exit::Done);
    }
    Ok(Exit::Error)
}

fn broken(entry: &HistoryEntry) -> String {
    let id = entry.entry.id;
    format!(
        "{}: the ledger was changed afterwards: entry {id} does not fit its chain, or one before it",
        style::warning("warning")
    )
}

/// One row per apply.
fn all(entries: &[HistoryEntry]) -> String {
    let mut columns = Columns::new(&["ID", "ACTION", "APPLY", "AT", "OUTCOME", "REVISION", "ACTOR", "EDGES", "WHY"]);
    for HistoryEntry { entry, held, .. } in entries {
        columns.row(&[
            entry.id.to_string(),
            entry.action.as_str().to_owned(),
            entry.apply_id.clone(),
            time(entry.at),
            if *held { format!("{}, held", entry.outcome) } else { entry.outcome.clone() },
            revision(entry),
            entry.actor.clone(),
            count(entry.generations.len() as u64, "edge"),
            joined(&[&entry.note, &entry.why]),
        ]);
    }
    columns.text("")
}

fn revision(entry: &Entry) -> String {
    let dirty = if entry.dirty { " (dirty)" } else { "" };
    match &entry.commit {
        Some(commit) => format!("commit {}{dirty}", short_hash(commit)),
        None => format!("{}, no commit", entry.digest.short()),
    }
}

fn text(detail: &HistoryDetail) -> String {
    let found = &detail.entry;
    let entry = &found.entry;
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "{key:<10} {}", clean(value)).expect("a string grows as needed");
        }
    };
    line("entry", &entry.id.to_string());
    line("action", entry.action.as_str());
    line("apply", &entry.apply_id);
    line("at", &time(entry.at));
    line("outcome", &entry.outcome);
    line("why", &entry.why);
    line("what", &entry.note);
    line("until", &entry.until.map(time).unwrap_or_default());
    line("ended", &found.finished_at.map(time).unwrap_or_default());
    line("held", if found.held { "yes" } else { "" });
    line("actor", &entry.actor);
    line("commit", entry.commit.as_deref().unwrap_or("no commit"));
    line("author", entry.author.as_deref().unwrap_or_default());
    line("dirty", if entry.dirty { "yes" } else { "" });
    line("digest", &entry.digest.to_string());
    line("plan", &entry.plan_id.to_string());
    line("overridden", &entry.overridden.join(", "));
    for (edge, generation) in &entry.generations {
        let back = if entry.brought_back.contains(edge) { ", then brought back" } else { "" };
        line("edge", &format!("{edge} generation {generation}{back}"));
    }
    line("hash", &entry.hash.to_string());
    line("previous", &entry.previous_hash.to_string());
    match &detail.plan {
        None => {}
        Some(plan) if plan.changes.is_empty() => text.push_str("\nNothing was to change.\n"),
        Some(plan) => {
            for change in &plan.changes {
                write!(text, "\n{}\n{}", style::strong(&change.edge), render::plan::change(change))
                    .expect("a string grows as needed");
            }
        }
    }
    text
}
