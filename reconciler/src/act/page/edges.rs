//! `/ui/edges`: all edges, a page at a time. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::RawQuery;
use axum::response::Response;
use jiff::Timestamp;

use super::ask::ListAnswer;
use super::layout::{Layout, Refused, Visit, listed};
use crate::decide::page::edges::EdgesView;
use crate::decide::page::filter::rows_of;
use crate::decide::page::query::ViewQuery;
use crate::decide::status::EdgeStatus;

#[derive(Template)]
#[template(path = "edges.html")]
pub(super) struct EdgesPage {
    pub(super) layout: Layout,
    pub(super) view: EdgesView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let asked = query.with("limit", &rows_of(&query).to_string()).with("summary", "true");
    let path = asked.on("/v1/edges");
    let (page, layout) = tokio::join!(visit.ask.filtered(&path), visit.layout("Edges"));
    let (page, refused): (ListAnswer<Vec<EdgeStatus>>, _) = page?;
    let mut view = EdgesView::new(&query, &page.rows, page.counts(), Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&EdgesPage { layout, view }, refused.is_some()))
}
