//! `status`: what is in force, what runs, and how the two differ. I/O.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use reconciler::act::operator::documents::RuleRow;
use reconciler::decide::status::target_rows::all_rows;
use reconciler::decide::status::{EdgeStatus, StatusDocument};
use reconciler::decide::target_totals::TargetTotals;
use schema::health::RuleHealth;
use tokio::time::{sleep, timeout};

use crate::cli::{Query, Selector, StatusArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Reader, print, print_value, print_value_while_read, print_while_read};
use crate::render::status;
use crate::render::words::listed;

/// Events come in bursts; a screen that is drawn again for each of them cannot be read.
const CALM: Duration = Duration::from_millis(200);
/// Names in the message about an edge or rule that is not there.
const NAMED: usize = 8;

pub(crate) async fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    if args.watch {
        return tokio::select! {
            result = watch(&client, args) => result,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    let document = read(&client, args).await?;
    if !print_value(args.looks.format(), &document)? {
        print(&status::text(&document, is_selected(args), Timestamp::now()))?;
    }
    // A tree that is held back is a difference between what runs and what was committed, too.
    let is_down = |edge: &EdgeStatus| edge.rules.iter().any(|rule| rule.health == Some(RuleHealth::Down));
    let differs =
        !document.drift.is_empty() || document.revision.held || args.healthy && document.edges.iter().any(is_down);
    Ok(if args.detailed_exitcode && differs { Exit::Changes } else { Exit::Done })
}

async fn watch(client: &Client, args: &StatusArgs) -> Result<Exit, Failure> {
    let mut events = client.events("/v1/events").await?;
    loop {
        if events.next().await?.is_none() {
            return Err(events.ended().await);
        }
        sleep(CALM).await;
        // What has come meanwhile is part of what is read next.
        while let Ok(message) = timeout(Duration::ZERO, events.next()).await {
            if message?.is_none() {
                return Err(events.ended().await);
            }
        }
        let document = read(client, args).await?;
        let reader = if let Some(reader) = print_value_while_read(args.looks.format(), &document)? {
            reader
        } else {
            clear_screen();
            let now = Timestamp::now();
            print_while_read(&(status::text(&document, is_selected(args), now) + &status::watched(now)))?
        };
        if reader == Reader::Gone {
            return Ok(Exit::Done);
        }
    }
}

fn clear_screen() {
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        // Without it the screen is only longer.
        stdout.write_all(b"\x1b[2J\x1b[H").ok();
    }
}

/// True if a part of the fleet is asked for, whose rules are listed then.
fn is_selected(args: &StatusArgs) -> bool {
    args.selector.is_some() || !query(args).is_empty()
}

fn query(args: &StatusArgs) -> Query {
    Query::of(&args.select, &[&args.health, &args.sort])
}

/// The status, or what the selector leaves of it.
async fn read(client: &Client, args: &StatusArgs) -> Result<StatusDocument, Failure> {
    let mut document: StatusDocument = client.get(&query(args).on("/v1/status")).await?;
    let selector = args.selector.as_ref();
    let edge = match selector {
        None => return Ok(document),
        Some(Selector::Edge(edge)) => edge,
        Some(Selector::Rule(address)) => &address.edge,
    };
    let known: Vec<String> = document.edges.iter().map(|edge| edge.name.to_string()).collect();
    document.edges.retain(|found| found.name == *edge);
    document.drift.retain(|drift| drift.edge == *edge);
    let Some(found) = document.edges.first_mut() else {
        return Err(unknown("edge", edge.as_str(), &known));
    };
    if let Some(Selector::Rule(address)) = selector {
        let known: Vec<String> = found.rules.iter().map(|rule| rule.rule.to_string()).collect();
        found.rules.retain(|rule| rule.rule == address.rule);
        document.drift.retain(|drift| drift.rule.as_ref().is_none_or(|rule| *rule == address.rule));
        let Some(shown) = found.rules.first_mut() else {
            return Err(unknown("rule", &address.to_string(), &known));
        };
        if found.connected {
            // With the last results of its targets, which the edge is asked for; a rule that is gone by now has none.
            let row = client.get::<RuleRow>(&format!("/v1/rules/{}/{}", address.edge, address.rule)).await;
            shown.targets = row.map_or_else(|_| std::mem::take(&mut shown.targets), |row| row.status.targets);
        }
    }
    document.targets = TargetTotals::of(&all_rows(&document.edges));
    Ok(document)
}

fn unknown(what: &str, name: &str, known: &[String]) -> Failure {
    Failure::Other(match known {
        [] => format!("there is no {what} {name}; there are none at all"),
        known => format!("there is no {what} {name}; the known ones are {}", listed(known, NAMED)),
    })
}
