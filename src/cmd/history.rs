//! `history`: the ledger. I/O.

use std::fmt::Write;

use reconciler::decide::ledger::{Entry, HistoryEntry};

use crate::cli::{Format, HistoryArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::style;
use crate::render::table::Columns;
use crate::render::words::{count, short_hash, time};

pub(crate) async fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    let entries: Vec<HistoryEntry> = Client::new(&args.server)?.get("/v1/history").await?;
    if let Some(broken) = entries.iter().find(|entry| !entry.intact) {
        say(format!(
            "{}: the ledger was changed afterwards: entry {} does not fit its chain",
            style::warning("warning"),
            broken.entry.id
        ));
    }
    match &args.id {
        Some(id) => one(&entries, id, args.looks.output)?,
        None if print_value(args.looks.output, &entries)? => {}
        None if entries.is_empty() => say("Nothing was applied yet."),
        None => print(&all(&entries))?,
    }
    Ok(Exit::Done)
}

fn one(entries: &[HistoryEntry], id: &str, format: Format) -> Result<(), Failure> {
    let number = id.parse::<u64>().ok();
    let found = entries.iter().find(|found| number == Some(found.entry.id) || found.entry.apply_id == id);
    let found = found.ok_or_else(|| Failure::Other(format!("there is no entry {}", clean(id))))?;
    if !print_value(format, found)? {
        print(&text(found))?;
    }
    Ok(())
}

/// One row per apply.
fn all(entries: &[HistoryEntry]) -> String {
    let mut columns = Columns::new(&["ID", "APPLY", "AT", "OUTCOME", "REVISION", "ACTOR", "EDGES"]);
    for HistoryEntry { entry, held, .. } in entries {
        columns.row(&[
            entry.id.to_string(),
            entry.apply_id.clone(),
            time(entry.at),
            if *held { format!("{}, held", entry.outcome) } else { entry.outcome.clone() },
            revision(entry),
            entry.actor.clone(),
            count(entry.generations.len() as u64, "edge"),
        ]);
    }
    columns.text("")
}

fn revision(entry: &Entry) -> String {
    let dirty = if entry.dirty { " (dirty)" } else { "" };
    match &entry.commit {
        Some(commit) => format!("commit {}{dirty}", short_hash(commit)),
        None => entry.digest.short(),
    }
}

fn text(found: &HistoryEntry) -> String {
    let entry = &found.entry;
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "{key:<10} {}", clean(value)).expect("a string grows as needed");
        }
    };
    line("entry", &entry.id.to_string());
    line("apply", &entry.apply_id);
    line("at", &time(entry.at));
    line("outcome", &entry.outcome);
    line("ended", &found.finished_at.map(time).unwrap_or_default());
    line("held", if found.held { "yes" } else { "" });
    line("actor", &entry.actor);
    line("commit", entry.commit.as_deref().unwrap_or_default());
    line("author", entry.author.as_deref().unwrap_or_default());
    line("dirty", if entry.dirty { "yes" } else { "" });
    line("digest", &entry.digest.to_string());
    line("plan", &entry.plan_id.to_string());
    line("overridden", &entry.overridden.join(", "));
    for (edge, generation) in &entry.generations {
        line("edge", &format!("{edge} generation {generation}"));
    }
    line("hash", &entry.hash.to_string());
    line("previous", &entry.previous_hash.to_string());
    text
}
