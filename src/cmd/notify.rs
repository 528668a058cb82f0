//! `notify list/test`: who receives notices, what waits for them, and whether one is reached. I/O.

use jiff::Timestamp;
use reconciler::decide::notices::{NotifierDocument, NotifyTestAnswer, Topic};
use serde_json::json;

use crate::cli::{ListArgs, NotifyCommand, NotifyTestArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::ago;

pub(crate) async fn run(command: &NotifyCommand) -> Result<Exit, Failure> {
    match command {
        NotifyCommand::List(args) => list(args).await,
        NotifyCommand::Test(args) => test(args).await,
    }
}

async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let notifiers: Vec<NotifierDocument> = Client::new(&args.server)?.get("/v1/notify").await?;
    if print_value(args.looks.format(), &notifiers)? {
        return Ok(Exit::Done);
    }
    if notifiers.is_empty() {
        say("The server has no notifier: `[[notify]]` in its server.toml makes one.");
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    print(&table(&notifiers, now))?;
    for one in notifiers.iter().filter(|one| one.is_ailing()) {
        print(&format!("\n{}\n", one.trouble(now)))?;
    }
    Ok(Exit::Done)
}

fn table(notifiers: &[NotifierDocument], now: Timestamp) -> String {
    let mut columns = Columns::new(&["NOTIFIER", "KIND", "RECEIVER", "#WAITING", "#SENT", "LAST SENT", "EVENTS"]);
    for one in notifiers {
        let kind = match one.forge {
            Some(forge) => format!("{} ({})", one.kind.as_str(), forge.as_str()),
            None => one.kind.as_str().to_owned(),
        };
        columns.row(&[
            clean(&one.name).into_owned(),
            kind,
            clean(&one.receiver).into_owned(),
            one.pending.to_string(),
            one.sent.to_string(),
            one.last_sent.map_or_else(|| "–".to_owned(), |at| ago(at, now)),
            events(one),
        ]);
    }
    columns.text("")
}

fn events(one: &NotifierDocument) -> String {
    match one.events.as_slice() {
        [] => "–".to_owned(),
        all if all.len() == Topic::ALL.len() => "all".to_owned(),
        some => some.iter().map(|topic| topic.as_str()).collect::<Vec<_>>().join(", "),
    }
}

async fn test(args: &NotifyTestArgs) -> Result<Exit, Failure> {
    let path = format!("/v1/notify/{}/test", args.name);
    let answer: NotifyTestAnswer = Client::new(&args.server)?.post(&path, &json!({})).await?;
    if !print_value(args.looks.output, &answer)? && answer.delivered {
        let status = answer.status.map_or_else(String::new, |status| format!(" {status}"));
        let text = if answer.answer.is_empty() { String::new() } else { format!(": {}", clean(&answer.answer)) };
        print(&format!("{} accepted the test of {}:{status}{text}\n", clean(&answer.receiver), clean(&answer.name)))?;
    }
    if answer.delivered {
        return Ok(Exit::Done);
    }
    let (name, receiver) = (clean(&answer.name), clean(&answer.receiver));
    Err(Failure::Other(format!("{receiver} did not accept the test of {name}: {}", clean(&answer.answer))))
}
