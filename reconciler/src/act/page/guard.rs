//! Who may see the page: the right Host, no foreign Origin, a cookie of somebody who is signed in. I/O.
//!
//! Keeps: a form that changes something shows that a page of this server sent it; a refusal is a page that says what to do.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Extract};
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ask::Ask;
use super::layout::{Layout, Refused, Visit, html, with_status};
use super::{PageState, assets, problem};
use crate::act::operator::audit::Account;
use crate::act::operator::documents::Problem;
use crate::act::operator::guard::own_host;
use crate::act::operator::identity::{self, Inside};
use crate::decide::codes::ProblemCode;
use crate::decide::page::problem::ProblemView;

/// The longest reason of the framework that is read.
const LONGEST_REASON: usize = 4096;
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    layout: Layout,
    view: ProblemView,
}

/// A problem for somebody who is not signed in.
#[derive(Template)]
#[template(path = "outside.html")]
struct OutsidePage {
    style: String,
    view: ProblemView,
}

/// Comes back by itself: see [`bounce`].
#[derive(Template)]
#[template(path = "bounce.html")]
struct BouncePage {
    style: String,
    path: String,
}

/// Runs before what everybody reaches.
pub(super) async fn own(Extract(state): Extract<PageState>, mut request: Request<Body>, next: Next) -> Response {
    match own_host(&request, &state.context.hosts) {
        Ok(origin) => _ = request.extensions_mut().insert(origin),
        Err(failure) => return outside(&failure.into_parts().0),
    }
    let response = next.run(request).await;
    match response.extensions().get::<Refused>() {
        Some(Refused(problem)) => with_headers(outside(problem), response.headers()),
        None => response,
    }
}

/// Runs before every view.
pub(super) async fn signed_in(Extract(state): Extract<PageState>, mut request: Request<Body>, next: Next) -> Response {
    let origin = match own_host(&request, &state.context.hosts) {
        Ok(origin) => origin,
        Err(failure) => return outside(&failure.into_parts().0),
    };
    let sessions = &state.context.sessions;
    let arrival = identity::arrival(request.extensions());
    let Some((key, who)) = identity::signed_in(sessions, request.headers(), arrival) else {
        return stranger(&request);
    };
    let from = identity::source(arrival);
    let path: Arc<str> = request.uri().path().into();
    let ask = Ask::new(state.api.clone(), Inside { who: who.clone(), session: key, from });
    let visit = Visit { ask, sessions: sessions.clone(), key, path: Arc::clone(&path) };
    if let Err(failure) = origin.allows(request.method(), true) {
        let mut account = Account::new(from, request.method().as_str(), &path);
        account.who = who.caller.name.to_string();
        account.refused(&state.context.operators, &failure).await;
        return refusal(&visit, &failure.into_parts().0).await;
    }
    request.extensions_mut().insert(visit.clone());
    let response = next.run(request).await;
    let refused = response.extensions().get::<Refused>().map(|Refused(problem)| Arc::clone(problem));
    match refused {
        Some(problem) => refusal(&visit, &problem).await,
        None if is_unread(&response) => refusal(&visit, &unread(response).await).await,
        None => response,
    }
}

/// True for what the framework answers where it cannot read a form, a path or a query.
fn is_unread(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    response.status().is_client_error() && kind.is_some_and(|kind| kind.starts_with("text/plain"))
}

async fn unread(response: Response) -> Problem {
    let status = response.status();
    let words = to_bytes(response.into_body(), LONGEST_REASON).await.unwrap_or_default();
    let title = status.canonical_reason().unwrap_or("Not possible");
    Problem::new(status.as_u16(), ProblemCode::BadRequest, title, String::from_utf8_lossy(&words).trim())
}

/// A refusal as a page around which everything else is there.
async fn refusal(visit: &Visit, found: &Problem) -> Response {
    let view = problem::view(found);
    let layout = visit.layout(view.title.clone()).await;
    with_status(html(&ProblemPage { layout, view }), found.status)
}

/// The same for who is not signed in.
fn outside(found: &Problem) -> Response {
    let page = OutsidePage { style: assets::address("style.css"), view: problem::view(found) };
    with_status(html(&page), found.status)
}

/// A path that no view has.
pub(super) async fn no_such_page(Extension(visit): Extension<Visit>) -> Refused {
    let detail = format!("there is no page {}", visit.path);
    Problem::new(404, ProblemCode::NotFound, "Not found", detail).into()
}

/// A path that is not asked for in this way.
pub(super) async fn not_this_way() -> Refused {
    let detail = "the address does not support this method";
    Problem::new(405, ProblemCode::MethodNotAllowed, "Method not allowed", detail).into()
}

fn with_headers(mut response: Response, headers: &HeaderMap) -> Response {
    response.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    response
}

/// Somebody who is not signed in is led to where that can be done, and from there to what was asked for. What a form was to
/// change is not done, and that is said.
fn stranger(request: &Request<Body>) -> Response {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_reading {
        let detail = "you are not signed in any more, and nothing was changed: sign in and repeat it";
        return outside(&Problem::new(401, ProblemCode::Unauthorized, "Not signed in", detail));
    }
    let wanted = request.uri().path_and_query().map_or("/ui/", |wanted| wanted.as_str());
    let says = |name: &HeaderName, value: &str| request.headers().get(name).is_some_and(|found| found == value);
    if says(&FETCH_SITE, "cross-site") && says(&FETCH_MODE, "navigate") {
        return bounce(wanted);
    }
    let place = format!("/ui/sign-in?to={}", super::sign_in::encoded(wanted));
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}

/// A browser that follows a link on another site leaves the cookie out, because it is strict. A page that leads to the same
/// address makes it a request of this site, with the cookie.
fn bounce(path: &str) -> Response {
    html(&BouncePage { style: assets::address("style.css"), path: path.to_owned() })
}
