//! The web page of the operator port, and the port as a whole. I/O.
//!
//! - `guard`: Host, Origin, cookie, and what is shown where one of them is wrong.
//! - `sign_in`: in by a token or a link that works once, and out again.
//! - `ask`: how a view asks the operator API, in this process and as the operator who is signed in.
//! - `layout`: what every page has around its view; `assets`: style sheet and scripts; `live`: their event streams.
//! - One file for each view, named as the view is, with its template in `templates/` and its pure half in `decide::page`.
//!
//! Keeps: the page knows and may what the API answers to its operator, and nothing else; no GET changes anything but the
//! link that signs in; no answer of the port goes out without its security headers.

mod applies;
pub mod ask;
mod assets;
mod audit;
mod connections;
mod drift;
mod edge;
mod edges;
mod fleet;
#[cfg(test)]
mod goldens;
mod guard;
mod history;
pub(super) mod layout;
mod live;
mod plan;
mod problem;
mod proposal;
mod quotas;
mod rule;
mod rules;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{Redirect, Response};
use axum::routing::{any, get, post};

use super::operator::{self, Context};

/// What a page of this server may load, and who may show it in a frame: nobody.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the handlers of the page work with.
#[derive(Debug, Clone)]
struct PageState {
    context: Arc<Context>,
    api: Router,
}

/// Everything that the operator port serves: the API and the page.
pub fn router(context: Context) -> Router {
    let context = Arc::new(context);
    let api = operator::router(Arc::clone(&context));
    let state = PageState { context, api: api.clone() };
    let routes = api.merge(views(&state)).merge(doors(&state)).layer(map_response(secured));
    ::guard::port::marked(routes, ::guard::Port::Operator)
}

/// What only who is signed in sees. Each view has its lines here.
fn views(state: &PageState) -> Router {
    Router::new()
        .route("/ui/", get(fleet::show))
        .route("/ui/freeze", post(fleet::freeze))
        .route("/ui/unfreeze", post(fleet::unfreeze))
        .route("/ui/rules", get(rules::show))
        .route("/ui/rules/{edge}/{rule}", get(rule::show))
        .route("/ui/rules/{edge}/{rule}/targets", post(rule::steer))
        .route("/ui/rules/{edge}/{rule}/release", post(rule::release))
        .route("/ui/rules/{edge}/{rule}/check", post(rule::check))
        .route("/ui/rules/{edge}/{rule}/end-override", post(rule::end_override))
        .route("/ui/rules/{edge}/{rule}/reset-quota", post(rule::reset_quota))
        .route("/ui/edges", get(edges::show))
        .route("/ui/edges/{edge}", get(edge::show))
        .route("/ui/edges/{edge}/revoke", post(edge::revoke))
        .route("/ui/edges/{edge}/forget", post(edge::forget))
        .route("/ui/connections", get(connections::show))
        .route("/ui/connections/end", get(connections::ask_end).post(connections::end))
        .route("/ui/quotas", get(quotas::show))
        .route("/ui/plan", get(plan::show))
        .route("/ui/applies", get(applies::show))
        .route("/ui/applies/{id}", get(applies::apply))
        .route("/ui/history", get(history::show))
        .route("/ui/history/{id}", get(history::entry))
        .route("/ui/history/{id}/rollback", post(history::roll_back))
        .route("/ui/resume", get(history::before_resume).post(history::resume))
        .route("/ui/drift", get(drift::show))
        .route("/ui/audit", get(audit::show))
        .route("/ui/rules/{edge}/{rule}/edit", get(proposal::edit_form).post(proposal::propose))
        .route("/ui/rules/{edge}/{rule}/add-target", get(proposal::target_form).post(proposal::propose))
        .route("/ui/rules/{edge}/{rule}/patch", post(proposal::patch))
        .route("/ui/rules/{edge}/{rule}/override", post(proposal::run))
        .route("/ui/live/applies/{id}", get(applies::live))
        .route("/ui/live/changes", get(live::changes))
        .route("/ui/live/events", get(live::events))
        .route("/ui/live/rules/{edge}/{rule}", get(live::rule))
        .route("/ui/{*path}", any(guard::no_such_page))
        .method_not_allowed_fallback(guard::not_this_way)
        .layer(from_fn_with_state(state.clone(), guard::signed_in))
        .with_state(state.clone())
}

/// What everybody reaches.
fn doors(state: &PageState) -> Router {
    let to_page = || async { Redirect::to("/ui/") };
    Router::new()
        .route("/", get(to_page))
        .route("/ui", get(to_page))
        .route("/ui/sign-in", get(sign_in::form).post(sign_in::enter))
        .route("/ui/sign-out", post(sign_in::leave))
        .route("/ui/assets/{name}", get(assets::asset))
        .route("/favicon.ico", get(assets::icon))
        .method_not_allowed_fallback(guard::not_this_way)
        .layer(from_fn_with_state(state.clone(), guard::own))
        .with_state(state.clone())
}

async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Not `no-referrer`: a browser would send `Origin: null` with every form, and no form could be told from a foreign one.
    set(REFERRER_POLICY, "same-origin");
    set(CACHE_CONTROL, "no-store");
    set(HeaderName::from_static("x-frame-options"), "DENY");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    response
}
