//! `/ui/drift`. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::RawQuery;
use axum::response::Response;

use super::ask::unless_refused;
use super::layout::{Layout, Refused, Visit, listed};
use crate::act::operator::documents::DriftDocument;
use crate::decide::page::drift::{DriftView, SHOWN, list};
use crate::decide::page::query::ViewQuery;

#[derive(Template)]
#[template(path = "drift.html")]
pub(super) struct DriftPage {
    pub(super) layout: Layout,
    pub(super) view: DriftView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let path = query.with("limit", &SHOWN.to_string()).on("/v1/drift");
    let (found, layout) = tokio::join!(unless_refused(visit.ask.get::<DriftDocument>(&path)), visit.layout("Drift"));
    let (found, refused) = match found {
        // Nothing matches.
        Err(problem) if problem.status == 404 => (DriftDocument::default(), None),
        other => other?,
    };
    let mut view = list(&query, &found.drift, found.total, found.hidden);
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&DriftPage { layout, view }, refused.is_some()))
}
