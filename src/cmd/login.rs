//! `login` and `context`: signing in to servers, and choosing between them. I/O.

use std::io::{BufRead, IsTerminal};

use reconciler::act::operator::operators::OperatorRow;
use schema::canonical::Digest;
use serde::Serialize;

use crate::address::ServerUrl;
use crate::cli::{ContextCommand, LoginArgs};
use crate::client::Client;
use crate::contexts::{Contexts, SignedIn};
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::table::Columns;
use crate::secret::Secret;

/// A context as it is listed: without its token.
#[derive(Debug, Serialize)]
struct ContextRow {
    name: String,
    server: String,
    pin: Option<Digest>,
    operator: String,
    current: bool,
}

pub(crate) async fn run(args: &LoginArgs) -> Result<Exit, Failure> {
    let token = match &args.token {
        Some(secret) => secret.read()?,
        None => asked()?,
    };
    // Pin and token are checked before anything is stored.
    let client = Client::at(args.url.clone(), args.pin, Some(token.clone()))?;
    let me: OperatorRow = client.get("/v1/operators/me").await?;
    let mut contexts = Contexts::load()?;
    let name = args.url.place();
    let context = SignedIn {
        server: args.url.to_string(),
        pin: args.pin,
        operator: me.name.to_string(),
        token: token.reveal().to_owned(),
    };
    contexts.by_place.insert(name.clone(), context);
    contexts.current = Some(name.clone());
    contexts.save()?;
    if !print_value(args.looks.output, &me)? {
        let limits = me.grant.in_words();
        let limits = if limits.is_empty() { String::new() } else { format!(", limited to {limits}") };
        print(&format!("Signed in to {name} as {} ({}{limits}).\n", me.name, me.role))?;
    }
    Ok(Exit::Done)
}

/// The token from standard input.
fn asked() -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        say("Enter the token of the operator:");
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(|error| Failure::Other(format!("the token cannot be read: {error}")))?;
    Secret::parse(line.trim()).map_err(|_| {
        Failure::Usage("no token was given: use --token @FILE, PORTUNUS_OPERATOR_TOKEN, or standard input".to_owned())
    })
}

/// `context list/use/remove`
pub(crate) fn context(command: &ContextCommand) -> Result<Exit, Failure> {
    let mut contexts = Contexts::load()?;
    let unknown =
        |name: &str| Failure::Other(format!("there is no context {name}; `portunus context list` shows them"));
    match command {
        ContextCommand::List(args) => {
            let rows = rows(&contexts);
            if print_value(args.looks.format(), &rows)? {
                return Ok(Exit::Done);
            }
            if rows.is_empty() {
                say("There are no contexts; `portunus login URL` makes one.");
            } else {
                print(&table(&rows))?;
            }
        }
        ContextCommand::Use(args) => {
            let name = named(&args.name);
            contexts.current = Some(name.clone());
            let used = rows(&contexts).into_iter().find(|row| row.current).ok_or_else(|| unknown(&args.name))?;
            contexts.save()?;
            if !print_value(args.looks.output, &used)? {
                say(format!("Commands use {name} now."));
            }
        }
        ContextCommand::Remove(args) => {
            let name = named(&args.name);
            contexts.current.take_if(|current| *current == name);
            let removed =
                rows(&contexts).into_iter().find(|row| row.name == name).ok_or_else(|| unknown(&args.name))?;
            contexts.by_place.remove(&name);
            contexts.save()?;
            if !print_value(args.looks.output, &removed)? {
                say(format!("{name} is removed; its token stays valid until the operator is revoked."));
            }
        }
    }
    Ok(Exit::Done)
}

/// The name of a context, which may be given as its URL.
fn named(text: &str) -> String {
    match text.contains("://").then(|| text.parse::<ServerUrl>()) {
        Some(Ok(url)) => url.place(),
        _ => text.to_owned(),
    }
}

fn rows(contexts: &Contexts) -> Vec<ContextRow> {
    let row = |(name, context): (&String, &SignedIn)| ContextRow {
        name: name.clone(),
        server: context.server.clone(),
        pin: context.pin,
        operator: context.operator.clone(),
        current: contexts.current.as_ref() == Some(name),
    };
    contexts.by_place.iter().map(row).collect()
}

fn table(rows: &[ContextRow]) -> String {
    let mut columns = Columns::new(&["CONTEXT", "CURRENT", "OPERATOR", "PIN"]);
    for row in rows {
        let pin = row.pin.map_or_else(|| "–".to_owned(), |pin| pin.short());
        let current = if row.current { "yes" } else { "–" };
        columns.row(&[row.name.clone(), current.to_owned(), row.operator.clone(), pin]);
    }
    columns.text("")
}
