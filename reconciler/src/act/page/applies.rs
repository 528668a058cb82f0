//! `/ui/applies`, one apply with its waves, and the stream that it follows. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::assets;
use super::layout::{Layout, Refused, Visit, html};
use super::query::Pairs;
use super::sign_in::encoded;
use crate::act::operator::documents::{HistoryDetail, Problem};
use crate::decide::fleet::ApplyResult;
use crate::decide::ledger::HistoryEntry;
use crate::decide::page::applies::{AppliesView, ApplyView, PER_PAGE, list, one};

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

/// The query of lists that go back in time.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OlderQuery {
    pub(super) before: String,
    pub(super) action: String,
}

/// Entries of the history, newest first, one more than fits on a page.
pub(super) async fn entries(
    visit: &Visit,
    before: &str,
    action: &str,
    per_page: usize,
) -> Result<(Vec<HistoryEntry>, u64), Problem> {
    let limit = (per_page + 1).to_string();
    let path = Pairs::of("/v1/history").with("sort", "newest").with("limit", &limit);
    let path = path.with("before", before).with("action", action).into_path();
    match visit.ask.list(&path).await {
        Ok(found) => Ok((found.rows, found.hidden)),
        // A list without any entry.
        Err(problem) if problem.status == 404 => Ok((Vec::new(), 0)),
        Err(problem) => Err(problem),
    }
}

pub(super) async fn show(
    Extension(visit): Extension<Visit>,
    Query(query): Query<OlderQuery>,
) -> Result<Response, Refused> {
    let (found, hidden) = entries(&visit, query.before.trim(), "apply,rollback,resume", PER_PAGE).await?;
    let layout = visit.layout("Applies").await;
    Ok(html(&AppliesPage { layout, view: list(&found, hidden, Timestamp::now()) }))
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
