//! `/ui/live/…`: the event streams of the API for the scripts of the page, by the cookie. I/O.

use axum::Extension;
use axum::extract::{Path, RawQuery, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;

use super::PageState;
use super::ask::LAST_EVENT_ID;
use super::layout::{Refused, Visit};
use super::sign_in::encoded;
use crate::act::operator::Failure;

/// Everything that happens, with the selectors of `/v1/events`.
pub(super) async fn events(
    Extension(visit): Extension<Visit>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let path = format!("/v1/events?{}", query.unwrap_or_default());
    Ok(visit.ask.stream(&path, &headers).await?)
}

/// What happens from now on, for a view that is fetched again when something does: no snapshot, whose size grows with the
/// fleet.
pub(super) async fn changes(
    Extract(state): Extract<PageState>,
    Extension(visit): Extension<Visit>,
    mut headers: HeaderMap,
) -> Result<Response, Refused> {
    if !headers.contains_key(LAST_EVENT_ID) {
        let newest = state.context.fleet.read(|view| view.last_notice).await.map_err(Failure::from);
        let newest = newest.map_err(|failure| Refused::from(failure.into_parts().0))?;
        headers.insert(LAST_EVENT_ID, newest.into());
    }
    Ok(visit.ask.stream("/v1/events", &headers).await?)
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
