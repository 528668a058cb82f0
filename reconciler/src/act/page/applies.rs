//! `/ui/applies`, one apply with its waves, and the stream that it follows. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawQuery};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;

use super::ask::ListAnswer;
use super::assets;
use super::layout::{Layout, Refused, Visit, html, listed};
use super::sign_in::encoded;
use crate::act::operator::documents::{HistoryDetail, Problem};
use crate::decide::fleet::ApplyResult;
use crate::decide::ledger::HistoryEntry;
use crate::decide::page::applies::{AppliesView, ApplyView, PER_PAGE, list, one};
use crate::decide::page::query::ViewQuery;

#[derive(Template)]
#[template(path = "applies.html")]
pub(super) struct AppliesPage {
    pub(super) layout: Layout,
    pub(super) view: AppliesView,
}

#[derive(Template)]
#[template(path = "apply.html")]
pub(super) struct ApplyPage {
    pub(super) layout: Layout,
    pub(super) view: ApplyView,
    pub(super) script: String,
}

/// Entries of the history, newest first, one more than fits on a page; with why there are none, where the query is at fault.
pub(super) async fn entries(
    visit: &Visit,
    query: &ViewQuery,
    per_page: usize,
) -> Result<(ListAnswer<Vec<HistoryEntry>>, Option<String>), Problem> {
    let asked = query.with("sort", "newest").with("limit", &(per_page + 1).to_string());
    visit.ask.filtered(&asked.on("/v1/history")).await
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let asked = query.or("action", "apply,rollback,resume");
    let (found, layout) = tokio::join!(entries(&visit, &asked, PER_PAGE), visit.layout("Applies"));
    let (found, refused) = found?;
    let mut view = list(&query, &found.rows, found.hidden, Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&AppliesPage { layout, view }, refused.is_some()))
}

pub(super) async fn apply(Extension(visit): Extension<Visit>, Path(id): Path<String>) -> Result<Response, Refused> {
    let result: ApplyResult = visit.ask.get(&format!("/v1/applies/{}", encoded(&id))).await?;
    // One that repeated what was in force is in no history.
    let entry = match visit.ask.get::<HistoryDetail>(&format!("/v1/history/{}", encoded(&id))).await {
        Ok(entry) => Some(entry),
        Err(problem) if problem.status == 404 => None,
        Err(problem) => return Err(problem.into()),
    };
    let (found, plan) = entry.map_or((None, None), |detail| (Some(detail.entry), detail.plan));
    let waves = plan.map(|plan| plan.waves).unwrap_or_default();
    let layout = visit.layout(format!("Apply {id}")).await;
    let view = one(&result, found.as_ref(), &waves, Timestamp::now());
    Ok(html(&ApplyPage { layout, view, script: assets::address("apply.js") }))
}

/// `/ui/live/applies/{id}`: the stream of the API.
pub(super) async fn live(
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    Ok(visit.ask.stream(&format!("/v1/applies/{}/events", encoded(&id)), &headers).await?)
}
