//! `/ui/audit`, for admins as the API has it. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::RawQuery;
use axum::response::Response;
use jiff::Timestamp;

use super::ask::unless_refused;
use super::layout::{Layout, Refused, Visit, listed};
use crate::act::operator::audit::AuditDocument;
use crate::decide::page::audit::{AuditView, SHOWN, list};
use crate::decide::page::query::ViewQuery;

#[derive(Template)]
#[template(path = "audit.html")]
pub(super) struct AuditPage {
    pub(super) layout: Layout,
    pub(super) view: AuditView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let path = query.or("limit", SHOWN).on("/v1/audit");
    let (found, layout) = tokio::join!(unless_refused(visit.ask.get::<AuditDocument>(&path)), visit.layout("Audit"));
    let (found, refused) = found?;
    let mut view = list(&query, &found.entries, found.refusals_beyond, Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&AuditPage { layout, view }, refused.is_some()))
}
