//! `history`: the ledger. I/O.

use std::fmt::Write;

use reconciler::decide::ledger::{Entry, first_break};

use crate::cli::{Format, HistoryArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::style;
use crate::render::table::Columns;
use crate::render::words::{count, short_hash, time};

pub(crate) async fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    let entries: Vec<Entry> = Client::new(&args.server)?.get("/v1/history").await?;
    if let Some(id) = first_break(&entries) {
        say(format!(
            "{}: the ledger was changed afterwards: entry {id} does not fit its chain",
            style::warning("warning")
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

fn one(entries: &[Entry], id: &str, format: Format) -> Result<(), Failure> {
    let number = id.parse::<u64>().ok();
    // Of an apply the last line says how it ended.
    let found = entries.iter().rev().find(|entry| number == Some(entry.id) || entry.apply_id == id);
    let entry = found.ok_or_else(|| Failure::Other(format!("there is no entry {}", clean(id))))?;
    if !print_value(format, entry)? {
        print(&text(entry, entries.iter().find(|end| end.of == Some(entry.id))))?;
    }
    Ok(())
}

/// One row per apply: its first line, with the outcome of its last.
fn all(entries: &[Entry]) -> String {
    let mut columns = Columns::new(&["ID", "APPLY", "AT", "OUTCOME", "REVISION", "ACTOR", "EDGES"]);
    for entry in entries.iter().filter(|entry| entry.of.is_none()) {
        let end = entries.iter().find(|end| end.of == Some(entry.id)).unwrap_or(entry);
        columns.row(&[
            entry.id.to_string(),
            entry.apply_id.clone(),
            time(entry.at),
            end.outcome.clone(),
            revision(entry),
            entry.actor.clone(),
            count(end.generations.len() as u64, "edge"),
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

fn text(entry: &Entry, end: Option<&Entry>) -> String {
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
    line("ended", &end.map(|end| format!("{}, entry {}", end.outcome, end.id)).unwrap_or_default());
    line("of", &entry.of.map(|of| format!("entry {of}")).unwrap_or_default());
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
