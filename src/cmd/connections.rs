//! `connections`: the live connections of all edges, and ending some of them. I/O.
//!
//! Exit codes: ending is 64 where nothing says which, 1 where none matches, and 5 where an edge did not answer.

use jiff::Timestamp;
use reconciler::act::operator::connections::{ConnectionsDocument, EndConnectionsBody, EndedConnections};
use reconciler::decide::connections::UnansweredEdge;

use crate::cli::{
    ConnectionsArgs, ConnectionsCommand, ConnectionsEndArgs, ConnectionsSelectors, PlaceArgs, Query, Selector,
    Selectors,
};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::connections;
use crate::render::words::count;

/// The path of the API.
const PATH: &str = "/v1/connections";

pub(crate) async fn run(args: &ConnectionsArgs) -> Result<Exit, Failure> {
    if let Some(ConnectionsCommand::End(args)) = &args.command {
        return end(args).await;
    }
    let args = &args.list;
    let query = selected(&args.of, &[&args.sort])?;
    let query = match args.limit {
        Some(limit) => query.with("limit", &limit),
        None => query,
    };
    let document: ConnectionsDocument = Client::new(&args.server)?.get(&query.on(PATH)).await?;
    if !print_value(args.looks.format(), &document)? {
        print(&connections::text(&document, Timestamp::now()))?;
    }
    say_unanswered(&document.unanswered);
    Ok(Exit::Done)
}

async fn end(args: &ConnectionsEndArgs) -> Result<Exit, Failure> {
    let query = selected(&args.of, &[])?;
    if query.is_empty() {
        let what = "nothing says which connections to end: give EDGE, EDGE/RULE, --id or another selector";
        return Err(Failure::Usage(what.to_owned()));
    }
    if args.why.trim().is_empty() {
        return Err(Failure::Usage("--why needs a reason".to_owned()));
    }
    let body = EndConnectionsBody { why: args.why.clone() };
    let ended: EndedConnections = Client::new(&args.server)?.delete_with(&query.on(PATH), &body).await?;
    if !print_value(args.looks.output, &ended)? {
        let rule = |row: &reconciler::decide::connections::RuleConnections| {
            format!("{}/{}: {} ended\n", row.edge, row.rule, count(row.connections, "connection"))
        };
        print(&ended.rules.iter().map(rule).collect::<String>())?;
    }
    say_unanswered(&ended.unanswered);
    Ok(if ended.unanswered.is_empty() { Exit::Done } else { Exit::Partial })
}

/// The query of the selectors and of what else is asked for.
fn selected(of: &ConnectionsSelectors, more: &[&dyn Selectors]) -> Result<Query, Failure> {
    let parts: Vec<&dyn Selectors> =
        [&of.health as &dyn Selectors, &of.since].into_iter().chain(more.iter().copied()).collect();
    of_place(Query::of_connections(&of.places, &of.of, &parts), of.selector.as_ref(), &of.places)
}

/// The same with the edge or rule that is named beside the selectors.
fn of_place(query: Query, selector: Option<&Selector>, places: &PlaceArgs) -> Result<Query, Failure> {
    let twice = |what: &str| Err(Failure::Usage(format!("either {what} says which is meant, not both")));
    match selector {
        Some(_) if places.edge.is_some() => twice("EDGE or --edge"),
        Some(Selector::Rule(_)) if places.rule.is_some() => twice("EDGE/RULE or --rule"),
        Some(Selector::Rule(rule)) => Ok(query.with("edge", &rule.edge).with("rule", &rule.rule)),
        Some(Selector::Edge(edge)) => Ok(query.with("edge", edge)),
        None => Ok(query),
    }
}

/// Names the edges that gave no answer.
pub(crate) fn say_unanswered(edges: &[UnansweredEdge]) {
    for edge in edges {
        say(format!("note: {} gave no answer: {}", edge.edge, clean(&edge.message)));
    }
}
