//! In and out: by a token, or by a link that works once. I/O.
//!
//! Keeps: each sign-in begins a session with an identifier of its own and ends the one that the browser had, so that nobody
//! can give a browser a session that is known elsewhere; wrong tokens and codes are counted and written down as those of the
//! API are; afterwards a browser is only ever led to a page of this server.

use std::net::IpAddr;

use askama::Template;
use axum::body::Body;
use axum::extract::{Form, Query, Request, State as Extract};
use axum::http::header::{LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, RequestExt};
use serde::Deserialize;

use super::layout::{Refused, html};
use super::{PageState, assets};
use crate::act::operator::Failure;
use crate::act::operator::audit::Account;
use crate::act::operator::guard::RequestOrigin;
use crate::act::operator::identity;
use crate::act::sessions::SessionKey;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::roster::Recognised;

/// Where a browser is led that did not say where it wants to be.
const HOME: &str = "/ui/";

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SignInQuery {
    /// Where to go afterwards.
    to: String,
    /// The code of a link.
    once: String,
}

/// The form of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SignInForm {
    token: String,
    once: String,
    to: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    style: String,
    to: String,
    once: String,
    problem: String,
}

impl SignInPage {
    fn new(to: &str, once: &str, problem: impl Into<String>) -> Self {
        let (to, once, problem) = (own_path(to).to_owned(), once.to_owned(), problem.into());
        Self { style: assets::address("style.css"), to, once, problem }
    }
}

/// `GET /ui/sign-in`. The link that a start prints is used up by this request, which is safe where other reading requests
/// would not be: it needs a secret, so no other site can have a browser make it. A browser that only fetches ahead, and
/// who asks for the head alone, gets the form instead, with the code in it.
pub(super) async fn form(
    Extract(state): Extract<PageState>,
    Query(query): Query<SignInQuery>,
    request: Request<Body>,
) -> Response {
    let (head, _) = request.into_parts();
    let sessions = &state.context.sessions;
    if !query.once.is_empty() {
        if head.method == Method::HEAD || fetches_ahead(&head.headers) {
            return html(&SignInPage::new(&query.to, &query.once, ""));
        }
        if let Some(who) = sessions.use_link(&query.once) {
            return signed_in(&state, who, &head, &query.to).await;
        }
    }
    if session(&state, &head).is_some() {
        return to(own_path(&query.to));
    }
    if query.once.is_empty() {
        html(&SignInPage::new(&query.to, "", ""))
    } else {
        wrong_link(&state, &head, &query.to).await
    }
}

/// `POST /ui/sign-in`.
pub(super) async fn enter(
    Extract(state): Extract<PageState>,
    Extension(origin): Extension<RequestOrigin>,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(failure) = origin.allows(&head.method, session(&state, &head).is_some()) {
        account(&head).refused(&state.context.operators, &failure).await;
        return problem(failure);
    }
    let form: SignInForm = match Request::from_parts(head.clone(), body).extract::<Form<SignInForm>, _>().await {
        Ok(Form(form)) => form,
        Err(rejection) => {
            return problem(Failure::new(
                rejection.status().as_u16(),
                ProblemCode::BadRequest,
                "Not a form",
                rejection.body_text(),
            ));
        }
    };
    if !form.once.is_empty() {
        return match state.context.sessions.use_link(&form.once) {
            Some(who) => signed_in(&state, who, &head, &form.to).await,
            None => wrong_link(&state, &head, &form.to).await,
        };
    }
    let token = form.token.trim();
    if token.is_empty() {
        return with_status(html(&SignInPage::new(&form.to, "", "Enter a token.")), StatusCode::UNAUTHORIZED);
    }
    match identity::recognise_token(&state.context, token, source(&head)).await {
        Ok(who) => signed_in(&state, who, &head, &form.to).await,
        Err(failure) => refused(&state, &head, failure, &form.to, None).await,
    }
}

/// `POST /ui/sign-out`.
pub(super) async fn leave(
    Extract(state): Extract<PageState>,
    Extension(origin): Extension<RequestOrigin>,
    request: Request<Body>,
) -> Response {
    let (head, _) = request.into_parts();
    let context = &state.context;
    if let Some((key, who)) = session(&state, &head) {
        let mut account = account(&head);
        account.who = who.caller.name.to_string();
        if let Err(failure) = origin.allows(&head.method, true) {
            account.refused(&context.operators, &failure).await;
            return problem(failure);
        }
        context.sessions.end(key);
        account.done(&context.operators).await;
    }
    with_cookie(to("/ui/sign-in"), &head, "", "; Max-Age=0")
}

/// The session that the browser has.
fn session(state: &PageState, head: &Parts) -> Option<(SessionKey, Recognised)> {
    identity::signed_in(&state.context.sessions, &head.headers, identity::arrival(&head.extensions))
}

fn source(head: &Parts) -> Option<IpAddr> {
    identity::source(identity::arrival(&head.extensions))
}

fn account(head: &Parts) -> Account {
    Account::new(source(head), head.method.as_str(), head.uri.path())
}

fn problem(failure: Failure) -> Response {
    Refused::from(failure.into_parts().0).into_response()
}

/// Begins the session.
async fn signed_in(state: &PageState, who: Recognised, head: &Parts, wanted: &str) -> Response {
    let context = &state.context;
    let mut account = account(head);
    account.who = who.caller.name.to_string();
    if let Some((before, _)) = session(state, head) {
        context.sessions.end(before);
    }
    let id = match context.sessions.begin(who) {
        Ok(id) => id,
        Err(error) => return problem(Failure::new(500, ProblemCode::Internal, "No random numbers", error.to_string())),
    };
    account.done(&context.operators).await;
    with_cookie(to(own_path(wanted)), head, &id, "")
}

/// The answer with the cookie of the session. A reverse proxy that speaks TLS shows in the origin of the form.
fn with_cookie(mut response: Response, head: &Parts, id: &str, more: &str) -> Response {
    let arrival = identity::arrival(&head.extensions);
    let is_tls = arrival.is_some_and(|arrival| arrival.is_tls);
    let is_behind_tls = head.headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if is_tls || is_behind_tls { "; Secure" } else { "" };
    let name = identity::cookie_name(arrival);
    let cookie = format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    let cookie = cookie.parse().expect("digits and words are a header");
    response.headers_mut().append(SET_COOKIE, cookie);
    response
}

async fn wrong_link(state: &PageState, head: &Parts, wanted: &str) -> Response {
    let detail = "the sign-in link has been used or has expired".to_owned();
    let failure = identity::refused_login(&state.context, source(head), detail).await;
    let words = "This sign-in link has been used or has expired. Sign in with a token, or start the server again for a new link.";
    refused(state, head, failure, wanted, Some(words)).await
}

async fn refused(state: &PageState, head: &Parts, failure: Failure, wanted: &str, words: Option<&str>) -> Response {
    account(head).refused(&state.context.operators, &failure).await;
    let (problem, wait) = failure.into_parts();
    let words = match (problem.status, words) {
        (401, Some(words)) => words.to_owned(),
        (401, None) if problem.detail.contains("expired") => problem.detail.clone(),
        (401, None) => "This token is not valid.".to_owned(),
        _ => format!("{}: {}.", problem.title, problem.detail),
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = with_status(html(&SignInPage::new(wanted, "", words)), status);
    if let Some(wait) = wait {
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
    }
    response
}

fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}

fn to(path: &str) -> Response {
    let path = path.parse().unwrap_or(HeaderValue::from_static(HOME));
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, path);
    response
}

/// True for what nobody opened: a browser that fetches ahead, a part of a page, or a program that makes a preview.
fn fetches_ahead(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has = |name: &str, words: &[&str]| {
        let text = text(name).to_ascii_lowercase();
        words.iter().any(|word| text.contains(word))
    };
    let is_ahead = |name: &&str| has(name, &["prefetch", "preview", "prerender"]);
    let is_part = !matches!(text("sec-fetch-dest"), "" | "document");
    // Chats fetch each link that is pasted into them.
    let is_preview = has("user-agent", &["bot", "preview", "externalhit", "whatsapp", "skypeuripreview"]);
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(is_ahead) || is_part || is_preview
}

/// The path where it is one of the page, else the first view: a link may lead a browser anywhere, an answer may not.
fn own_path(wanted: &str) -> &str {
    // A browser reads `%2e` in a path as a dot.
    let path = wanted.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    let is_plain = wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') && !path.contains("..");
    let is_own = wanted.starts_with(HOME) && !wanted.starts_with("/ui/sign-");
    if is_plain && is_own { wanted } else { HOME }
}

/// Text as a value in a query.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_are_led_to() {
        for own in ["/ui/", "/ui/rules?rule=a..b", "/ui/rules?state=down&q=%3Cscript%3E", "/ui/rules/edge-01/web"] {
            assert_eq!(own_path(own), own);
        }
        for foreign in [
            "",
            "https://example.org/ui/",
            "//example.org/ui/",
            "/\\example.org",
            "/ui",
            "/ui/../v1/backup",
            "/ui/\\example.org",
            "/ui/%2e%2E/v1/backup",
            "/ui/.%2e/v1/backup",
            "/ui/a\r\nset-cookie: a=b",
            "/v1/backup",
            "javascript:alert(1)",
            "/ui/sign-in?to=/ui/",
            "/ui/sign-out",
            " /ui/",
        ] {
            assert_eq!(own_path(foreign), HOME, "{foreign}");
        }
    }
}
