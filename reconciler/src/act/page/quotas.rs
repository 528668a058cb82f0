//! `/ui/quotas`: how much of each quota was used. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::RawQuery;
use axum::response::Response;
use jiff::Timestamp;

use super::ask::ListAnswer;
use super::layout::{Layout, Refused, Visit, listed};
use crate::decide::operators::Role;
use crate::decide::page::filter::rows_of;
use crate::decide::page::query::ViewQuery;
use crate::decide::page::quotas::QuotasView;
use crate::decide::quota::QuotaDocument;

#[derive(Template)]
#[template(path = "quotas.html")]
pub(super) struct QuotasPage {
    pub(super) layout: Layout,
    pub(super) view: QuotasView,
    pub(super) may_reset: bool,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let asked = query.with("limit", &rows_of(&query).to_string()).or("sort", "used");
    let path = asked.on("/v1/quotas");
    let (page, layout) = tokio::join!(visit.ask.filtered(&path), visit.layout("Quotas"));
    let (page, refused): (ListAnswer<Vec<QuotaDocument>>, _) = page?;
    let (total, hidden) = page.counts();
    let may_reset = visit.may(Role::Applier);
    let mut view = QuotasView::new(&query, &page.rows, (total, hidden, may_reset), Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&QuotasPage { layout, view, may_reset }, refused.is_some()))
}
