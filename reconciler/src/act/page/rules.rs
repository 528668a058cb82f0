//! `/ui/rules`: all rules, a page at a time. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::RawQuery;
use axum::response::Response;
use jiff::Timestamp;

use super::ask::ListAnswer;
use super::layout::{Layout, Refused, Visit, listed};
use crate::act::operator::documents::RuleRow;
use crate::decide::page::filter::rows_of;
use crate::decide::page::query::ViewQuery;
use crate::decide::page::rules::RulesView;

#[derive(Template)]
#[template(path = "rules.html")]
pub(super) struct RulesPage {
    pub(super) layout: Layout,
    pub(super) view: RulesView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let asked = query.with("limit", &rows_of(&query).to_string());
    let path = asked.on("/v1/rules");
    let (page, layout) = tokio::join!(visit.ask.filtered(&path), visit.layout("Rules"));
    let (page, refused): (ListAnswer<Vec<RuleRow>>, _) = page?;
    let rows = page.rows.iter().map(|row| (&row.edge, &row.status));
    let mut view = RulesView::new(&query, rows, page.counts(), Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&RulesPage { layout, view }, refused.is_some()))
}
