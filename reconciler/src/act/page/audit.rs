//! `/ui/audit`, for admins as the API has it. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::Query;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::layout::{Layout, Refused, Visit, html};
use super::query::Pairs;
use crate::act::operator::audit::AuditDocument;
use crate::decide::page::audit::{AuditView, MOST, SHOWN, list};

#[derive(Template)]
#[template(path = "audit.html")]
pub(super) struct AuditPage {
    pub(super) layout: Layout,
    pub(super) view: AuditView,
}

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuditFilter {
    since: String,
    limit: String,
}

pub(super) async fn show(
    Extension(visit): Extension<Visit>,
    Query(query): Query<AuditFilter>,
) -> Result<Response, Refused> {
    let since = query.since.trim();
    let limit = query.limit.trim().parse().unwrap_or(SHOWN).clamp(1, MOST);
    let path = Pairs::of("/v1/audit").with("limit", &limit.to_string()).with("since", since).into_path();
    let found: AuditDocument = visit.ask.get(&path).await?;
    let layout = visit.layout("Audit").await;
    let view = list(&found.entries, found.refusals_beyond, (since, limit), Timestamp::now());
    Ok(html(&AuditPage { layout, view }))
}
