//! `/ui/connections`: the live connections, and the question before some of them are ended. I/O.

use askama::Template;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::http::Method;
use axum::response::Response;
use jiff::Timestamp;

use super::ask::unless_refused;
use super::assets;
use super::layout::{Layout, Refused, Visit, html, listed};
use super::rule::reason;
use crate::act::operator::connections::{ConnectionsDocument, EndConnectionsBody, EndedConnections};
use crate::act::operator::documents::Problem;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::Role;
use crate::decide::page::connections::{ConnectionAnswers, ConnectionsView, EndingView, ORDER, PATH, ROWS};
use crate::decide::page::query::ViewQuery;
use crate::decide::page::words::count;

#[derive(Template)]
#[template(path = "connections.html")]
pub(super) struct ConnectionsPage {
    pub(super) layout: Layout,
    pub(super) view: ConnectionsView,
    pub(super) may_end: bool,
    /// The script that keeps the list current.
    pub(super) live: String,
}

#[derive(Template)]
#[template(path = "end_connections.html")]
pub(super) struct EndingPage {
    pub(super) layout: Layout,
    pub(super) view: EndingView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let (found, layout) = tokio::join!(unless_refused(look(&visit, &query)), visit.layout("Connections"));
    let (found, refused) = found?;
    let may_end = visit.may(Role::Applier);
    let mut view = ConnectionsView::new(&query, answers(&found), may_end, Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    let page = ConnectionsPage { layout, view, may_end, live: assets::address("live.js") };
    Ok(listed(&page, refused.is_some()))
}

/// What would be ended, and the form that ends it.
pub(super) async fn ask_end(
    Extension(visit): Extension<Visit>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default()).without(ORDER);
    if query.has_only(&[]) {
        return Err(nothing_named().into());
    }
    let found = look(&visit, &query).await?;
    if found.total == 0 {
        let detail = "no live connection matches any more: nothing is left to end";
        return Err(Problem::new(404, ProblemCode::NotFound, "No such connection", detail).into());
    }
    let view = EndingView::new(&query, answers(&found), &found.rules, Timestamp::now());
    Ok(html(&EndingPage { layout: visit.layout(format!("End {}", view.text)).await, view }))
}

/// Ends them.
pub(super) async fn end(Extension(visit): Extension<Visit>, body: Bytes) -> Result<Response, Refused> {
    let form = ViewQuery::parse(&String::from_utf8_lossy(&body));
    let query = form.without(&["why"]).without(ORDER);
    if query.has_only(&[]) {
        return Err(nothing_named().into());
    }
    let body = EndConnectionsBody { why: reason(&visit, form.get("why"))? };
    let ended: EndedConnections = visit.ask.send(Method::DELETE, &query.on("/v1/connections"), &body).await?;
    let silent = match ended.unanswered.len() {
        0 => String::new(),
        edges => format!(" {} did not answer: what matches there may live on.", count(edges as u64, "edge")),
    };
    let was = if ended.ended == 1 { "was" } else { "were" };
    let note = format!("{} {was} ended.{silent}", count(ended.ended, "connection"));
    Ok(visit.done(note, &query.without(&["id"]).on(PATH)))
}

fn nothing_named() -> Problem {
    let detail = "nothing says which connections to end: choose one, or filter the list first";
    Problem::new(400, ProblemCode::BadRequest, "Not possible", detail)
}

pub(super) fn answers(found: &ConnectionsDocument) -> ConnectionAnswers<'_> {
    ConnectionAnswers {
        rows: &found.connections,
        total: found.total,
        hidden: found.hidden,
        unanswered: &found.unanswered,
    }
}

/// The connections that are asked for; none where nothing matches.
async fn look(visit: &Visit, query: &ViewQuery) -> Result<ConnectionsDocument, Problem> {
    let asked = query.or("limit", ROWS).or("sort", "bytes");
    match visit.ask.get(&asked.on("/v1/connections")).await {
        Err(problem) if problem.status == 404 => Ok(ConnectionsDocument::default()),
        other => other,
    }
}
