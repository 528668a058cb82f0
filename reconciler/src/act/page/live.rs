//! `/ui/live/…`: the event streams of the API for the scripts of the page, by the cookie. I/O.

use axum::Extension;
use axum::extract::{Path, RawQuery};
use axum::http::HeaderMap;
use axum::response::Response;

use super::layout::{Refused, Visit};
use super::sign_in::encoded;

/// Everything that happens, with the selectors of `/v1/events`.
pub(super) async fn events(
    Extension(visit): Extension<Visit>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let path = format!("/v1/events?{}", query.unwrap_or_default());
    Ok(visit.ask.stream(&path, &headers).await?)
}

/// The counters of a rule every few seconds, with the parameters of its stream.
pub(super) async fn rule(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (edge, rule) = (encoded(&edge), encoded(&rule));
    let path = format!("/v1/rules/{edge}/{rule}/stats/stream?{}", query.unwrap_or_default());
    Ok(visit.ask.stream(&path, &headers).await?)
}
