//! `/ui/drift`. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::layout::{Layout, Refused, Visit, html};
use super::query::Pairs;
use crate::act::operator::documents::DriftDocument;
use crate::decide::page::drift::{DriftView, SHOWN, list};

#[derive(Template)]
#[template(path = "drift.html")]
pub(super) struct DriftPage {
    pub(super) layout: Layout,
    pub(super) view: DriftView,
}

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DriftQuery {
    edge: String,
}

pub(super) async fn show(
    Extension(visit): Extension<Visit>,
    Query(query): Query<DriftQuery>,
) -> Result<Response, Refused> {
    let edge = query.edge.trim();
    let path = Pairs::of("/v1/drift").with("limit", &SHOWN.to_string()).with("edge", edge).into_path();
    let view = match visit.ask.get::<DriftDocument>(&path).await {
        Ok(found) => list(&found.drift, found.total, found.hidden, edge),
        // No edge has such a name.
        Err(problem) if problem.status == 404 && !edge.is_empty() => list(&[], 0, 0, edge),
        Err(problem) => return Err(problem.into()),
    };
    let layout = visit.layout("Drift").await;
    Ok(html(&DriftPage { layout, view }))
}
