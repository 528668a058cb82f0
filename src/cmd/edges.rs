//! `edges`: which edges there are, and forgetting one that is gone for good. I/O.

use jiff::Timestamp;
use reconciler::act::operator::certificates::RevokedEdge;
use reconciler::act::operator::edges::ForgottenEdge;
use reconciler::decide::status::EdgeStatus;
use serde::Serialize;

use crate::cli::{EdgesArgs, EdgesCommand};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::time;

/// One edge, as it is listed.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    connected: bool,
    since: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    address: &'a str,
    version: &'a str,
    certificate_expires_at: Option<Timestamp>,
    revoked: bool,
}

pub(crate) async fn run(args: &EdgesArgs) -> Result<Exit, Failure> {
    if let Some(EdgesCommand::Forget(args)) = &args.command {
        let path = format!("/v1/edges/{}", args.edge);
        let forgotten: ForgottenEdge = Client::new(&args.server)?.delete(&path).await?;
        if !print_value(args.looks.output, &forgotten)? {
            print(&format!("{} is forgotten.\n", forgotten.name))?;
        }
        if forgotten.named {
            say(format!(
                "The tree still has rules for {0} or lists it: remove it from the tree if it is permanently gone.",
                args.edge
            ));
        }
        return Ok(Exit::Done);
    }
    if let Some(EdgesCommand::Revoke(args)) = &args.command {
        let path = format!("/v1/edges/{}/revoke", args.edge);
        let revoked: RevokedEdge = Client::new(&args.server)?.post(&path, &serde_json::json!({})).await?;
        if !print_value(args.looks.output, &revoked)? {
            print(&format!("{} is revoked.\n", revoked.name))?;
            say(format!(
                "It keeps forwarding what it has. It can only join again with a new URI from `portunus edge-token \
                 create {}`.",
                revoked.name
            ));
        }
        return Ok(Exit::Done);
    }
    let edges: Vec<EdgeStatus> = Client::new(&args.list.server)?.get("/v1/edges?summary=true").await?;
    let rows: Vec<Row<'_>> = edges
        .iter()
        .map(|edge| Row {
            name: edge.name.as_str(),
            connected: edge.connected,
            since: edge.since,
            last_seen: edge.last_seen,
            address: &edge.address,
            version: &edge.version,
            certificate_expires_at: edge.certificate_expires_at,
            revoked: edge.revoked,
        })
        .collect();
    if print_value(args.list.looks.format(), &rows)? {
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        say("There are no known edges.");
    } else {
        print(&table(&rows))?;
    }
    Ok(Exit::Done)
}

fn table(rows: &[Row<'_>]) -> String {
    let or_none = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    let at = |moment: Option<Timestamp>| or_none(moment.map(time).unwrap_or_default());
    let mut columns = Columns::new(&["EDGE", "STATE", "SINCE", "LAST SEEN", "CERTIFICATE UNTIL", "ADDRESS", "VERSION"]);
    for row in rows {
        columns.row(&[
            row.name.to_owned(),
            match (row.revoked, row.connected) {
                (true, _) => "revoked",
                (false, true) => "connected",
                (false, false) => "offline",
            }
            .to_owned(),
            at(row.since),
            at(row.last_seen),
            at(row.certificate_expires_at),
            or_none(row.address.to_owned()),
            or_none(row.version.to_owned()),
        ]);
    }
    columns.text("")
}
