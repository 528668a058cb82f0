//! `history`: the ledger. I/O.

use jiff::Timestamp;
use reconciler::act::operator::documents::HistoryDetail;
use reconciler::decide::ledger::{HistoryEntry, Verification};

use crate::cli::{HistoryArgs, Query};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::words::count;
use crate::render::{history, style};

pub(crate) async fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let query = Query::of(&args.select, &[&args.sort, &args.since]);
    if (args.verify || args.id.is_some()) && !query.is_empty() {
        let words = "selectors choose among entries: they do not go with ID or --verify";
        return Err(Failure::Usage(words.to_owned()));
    }
    if args.verify {
        return verify(args, &client).await;
    }
    if let Some(id) = &args.id {
        let is_plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_plain {
            return Err(Failure::Other(format!("the history has no entry {}", clean(id))));
        }
        let found: HistoryDetail = client.get(&format!("/v1/history/{id}")).await?;
        if !found.entry.intact {
            say(broken(&found.entry));
        }
        if !print_value(args.looks.format(), &found)? {
            print(&history::one(&found, Timestamp::now()))?;
        }
        return Ok(Exit::Done);
    }
    let entries: Vec<HistoryEntry> = client.get(&query.on("/v1/history")).await?;
    if let Some(entry) = entries.iter().find(|entry| !entry.intact) {
        say(broken(entry));
    }
    if print_value(args.looks.format(), &entries)? {
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        say("Nothing has been applied yet.");
    } else {
        print(&history::all(&entries, Timestamp::now()))?;
    }
    Ok(Exit::Done)
}

async fn verify(args: &HistoryArgs, client: &Client) -> Result<Exit, Failure> {
    let query = args.contains.map(|hash| format!("?contains={hash}")).unwrap_or_default();
    let found: Verification = client.get(&format!("/v1/history/verification{query}")).await?;
    let is_missing = found.contained == Some(false);
    if !print_value(args.looks.format(), &found)? && found.broken.is_none() && !is_missing {
        let lines = count(found.lines, "line");
        print(&format!("The ledger is intact: {lines}, the last one {} with hash {}.\n", found.last, found.head))?;
    }
    if let Some(line) = found.broken {
        let words = "does not match the hash chain: this line or an earlier one was changed or removed";
        say(format!("{}: line {line} of the ledger {words}", style::error("error")));
    } else if is_missing {
        let words = "no line of the ledger has that hash: this is a different ledger, or the ledger was rewritten";
        say(format!("{}: {words}", style::error("error")));
    } else {
        return Ok(Exit::Done);
    }
    Ok(Exit::Error)
}

fn broken(entry: &HistoryEntry) -> String {
    let id = entry.entry.id;
    format!(
        "{}: the ledger was changed afterwards: entry {id} or an earlier one does not match the hash chain",
        style::warning("warning")
    )
}
