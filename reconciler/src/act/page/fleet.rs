//! `/ui/`: the fleet, and the forms that freeze and unfreeze it. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::Form;
use axum::http::Method;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::layout::{Layout, Refused, Visit, html};
use crate::act::operator::documents::{FreezeAnswer, FreezeBody, Problem, UnfreezeBody};
use crate::decide::codes::ProblemCode;
use crate::decide::operators::Role;
use crate::decide::page::fleet::{FleetView, view};
use crate::decide::page::head::line;
use crate::decide::summary::FleetSummary;

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    layout: Layout,
    view: FleetView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>) -> Result<Response, Refused> {
    let summary: FleetSummary = visit.ask.get("/v1/summary").await?;
    // A freeze concerns the whole fleet.
    let may_freeze = visit.may(Role::Applier) && visit.ask.caller().limits.is_none();
    let layout = visit.around("Fleet", line(&summary));
    Ok(html(&FleetPage { layout, view: view(&summary, may_freeze, Timestamp::now()) }))
}

/// The form of a freeze.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FreezeForm {
    why: String,
    ttl_secs: String,
}

pub(super) async fn freeze(
    Extension(visit): Extension<Visit>,
    Form(form): Form<FreezeForm>,
) -> Result<Response, Refused> {
    let ttl_secs = match form.ttl_secs.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Problem::new(400, ProblemCode::BadRequest, "Not a freeze", format!("`{text}` is not a number of seconds"))
        })?),
    };
    let body = FreezeBody { why: form.why, ttl_secs };
    visit.ask.send::<FreezeAnswer>(Method::POST, "/v1/freeze", &body).await?;
    Ok(visit.done("The fleet is frozen.", "/ui/"))
}

pub(super) async fn unfreeze(
    Extension(visit): Extension<Visit>,
    Form(form): Form<FreezeForm>,
) -> Result<Response, Refused> {
    let body = UnfreezeBody { why: form.why };
    visit.ask.send::<FreezeAnswer>(Method::DELETE, "/v1/freeze", &body).await?;
    Ok(visit.done("The fleet is no longer frozen.", "/ui/"))
}

#[cfg(test)]
mod tests;
