//! Who may speak to the API: the right Host, no foreign Origin, an operator whose role allows the route, a JSON body of
//! bounded size. I/O.
//!
//! Keeps: what could change something, and every refusal of a stranger or a role, is written to the audit before it is
//! answered.

use std::net::IpAddr;

use ::guard::port::Arrival;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schema::codes::TreeCode;

use super::audit::{Account, Answered};
use super::identity::{self, Inside, Who};
use super::{Context, Failure, State};
use crate::act::operator_port::OwnHosts;
use crate::act::sessions::SessionKey;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::Route;
use crate::decide::operators::roster::Recognised;
use crate::decide::{connections, selection, unused};

/// Bytes of a reason for a refusal. It repeats parts of the request, which is larger.
const LONGEST_REASON: usize = 4096;

/// Runs before every handler.
pub(super) async fn guard(Extract(state): Extract<State>, mut request: Request<Body>, next: Next) -> Response {
    let operators = &state.context.operators;
    let inside = request.extensions_mut().remove::<Inside>();
    let from = match &inside {
        Some(inside) => inside.from,
        None => identity::source(identity::arrival(request.extensions())),
    };
    let mut account = Account::new(from, request.method().as_str(), request.uri().path());
    let (Recognised { caller, until }, session) = if let Some(Inside { who, session, .. }) = inside {
        // The page's own guard has looked at Host, Origin and cookie.
        account.who = who.caller.name.to_string();
        (who, Some(session))
    } else {
        let origin = match own_host(&request, &state.context.hosts) {
            Ok(origin) => origin,
            Err(failure) => return failure.into_response(),
        };
        let (head, body) = request.into_parts();
        let found = recognised(&state.context, &head, origin, &mut account).await;
        request = Request::from_parts(head, body);
        match found {
            Ok(found) => found,
            Err(failure) => {
                account.refused(operators, &failure).await;
                return failure.into_response();
            }
        }
    };
    // Without a route there are only the handlers that refuse the request.
    let path = request.extensions().get::<MatchedPath>();
    let route = path.and_then(|path| Route::find(request.method().as_str(), path.as_str()));
    if let Some(route) = route {
        let session = session.map(|key| (state.context.sessions.clone(), key));
        let who = Who { caller, route, until, session };
        // What needs more than the least of the route is decided where that is known.
        if let Err(failure) = who.may(true, None) {
            account.refused(operators, &failure).await;
            return failure.into_response();
        }
        request.extensions_mut().insert(who);
    }
    let response = match well_formed(&state, &request) {
        Ok(()) => as_problem(next.run(request).await).await,
        Err(failure) => failure.into_response(),
    };
    let answered = Answered::from(&response);
    account.answered(operators, route, answered).await;
    response
}

/// Who makes a request that arrived, by token or by cookie.
async fn recognised(
    context: &Context,
    head: &Parts,
    origin: RequestOrigin,
    account: &mut Account,
) -> Result<(Recognised, Option<SessionKey>), Failure> {
    let found = identity::recognise(context, &head.headers, identity::arrival(&head.extensions)).await?;
    account.who = found.0.caller.name.to_string();
    origin.allows(&head.method, found.1.is_some())?;
    Ok(found)
}

/// What the framework refuses by itself, such as a query that cannot be read, becomes a problem document too.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_problem = text(response.headers(), CONTENT_TYPE.as_str()) == Some("application/problem+json");
    if !(status.is_client_error() || status.is_server_error()) || is_problem {
        return response;
    }
    let title = status.canonical_reason().unwrap_or("Not possible");
    // The framework names the parameter and what is wrong with it.
    let bytes = to_bytes(response.into_body(), LONGEST_REASON).await.unwrap_or_default();
    let reason = String::from_utf8_lossy(&bytes);
    Failure::new(status.as_u16(), ProblemCode::BadRequest, title, unread(reason.trim())).into_response()
}

/// Why a path or a query cannot be read: the parameter with what is wrong, without words about how it was read.
fn unread(reason: &str) -> String {
    let reason = reason.strip_prefix("Failed to deserialize query string: ").unwrap_or(reason);
    if reason.is_empty() {
        return "the path or the query cannot be read".to_owned();
    }
    reason
        .replace("invalid digit found in string", "expected a whole number")
        .replace("number too large to fit in target type", "the number is too large")
}

/// Which web page made a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::act) enum RequestOrigin {
    /// The request does not say it: most requests that read, and all of commands.
    Unsaid,
    /// A page of this server.
    Own,
}

impl RequestOrigin {
    /// Refuses what changes something, was sent with a cookie, and does not show that a page of this server asked for it:
    /// a browser sends the cookie with requests of every page.
    pub(in crate::act) fn allows(self, method: &Method, has_cookie: bool) -> Result<(), Failure> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if reads || !has_cookie || self == Self::Own {
            return Ok(());
        }
        let detail = "a request that changes something and is signed in by a cookie needs the header Origin";
        Err(Failure::new(403, ProblemCode::ForeignOrigin, "Foreign origin", detail))
    }
}

/// Refuses what was sent to another host or by a page of another one.
pub(in crate::act) fn own_host(request: &Request<Body>, hosts: &OwnHosts) -> Result<RequestOrigin, Failure> {
    let arrival = request.extensions().get::<Arrival>().filter(|arrival| arrival.is_tls);
    let headers = request.headers();
    // What is there twice, or is no text, names no host and no page of ours.
    let named = only(headers, HOST.as_str());
    let host = match (request.uri().authority(), named) {
        (_, Err(Unclear)) => None,
        (Some(authority), Ok(_)) => Some(authority.as_str()),
        (None, Ok(named)) => named,
    };
    let is_given = host.is_some_and(|host| hosts.is_given(name_of(host)));
    let is_own = |host: &str| is_loopback_host(host) || arrival.is_some_and(|arrival| is_named(host, arrival, hosts));
    if !is_given && !host.is_some_and(is_own) {
        // A page that made a browser resolve its own name to this host's address still sends that name here.
        let detail = "the Host header names another machine; a server has further names by --operator-host";
        return Err(Failure::new(403, ProblemCode::ForeignHost, "Foreign host", detail));
    }
    let origin = only(headers, ORIGIN.as_str());
    if origin == Ok(None) {
        return Ok(RequestOrigin::Unsaid);
    }
    let (scheme, origin) = origin.ok().flatten().and_then(|origin| origin.split_once("://")).unwrap_or_default();
    // A reverse proxy in front of plain HTTP speaks TLS by the name that the operator gave.
    let is_scheme = scheme == if arrival.is_some() { "https" } else { "http" } || (is_given && scheme == "https");
    if is_scheme && host == Some(origin) {
        return Ok(RequestOrigin::Own);
    }
    Err(Failure::new(403, ProblemCode::ForeignOrigin, "Foreign origin", "the request comes from a foreign web page"))
}

fn well_formed(state: &State, request: &Request<Body>) -> Result<(), Failure> {
    let headers = request.headers();
    known_parameters(request.uri().path(), request.uri().query().unwrap_or_default())?;
    if matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE) {
        let kind = text(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Failure::new(
                415,
                ProblemCode::NotJson,
                "JSON required",
                "the content type must be application/json",
            ));
        }
        let length = text(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > state.context.max_body as u64) {
            return Err(too_large(state.context.max_body));
        }
    }
    Ok(())
}

/// A parameter that a path does not have would be without effect: it is refused, and the known ones are named.
fn known_parameters(path: &str, query: &str) -> Result<(), Failure> {
    let known = parameters(path);
    let mut names = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
    let Some(unknown) = names.find(|name| !known.contains(name)) else { return Ok(()) };
    let known = if known.is_empty() { "it accepts none".to_owned() } else { format!("known are {}", known.join(", ")) };
    let detail = format!("{path} does not support the query parameter `{unknown}`: {known}");
    Err(Failure::new(400, ProblemCode::BadRequest, "Bad Request", detail))
}

/// What the query of a path may hold.
pub fn parameters(path: &str) -> &'static [&'static str] {
    match path.strip_prefix("/v1/").unwrap_or_default() {
        "status" => selection::LIST,
        "rules" | "targets" => selection::RULES,
        "edges" => selection::EDGES,
        "plan" => &["revision"],
        "drift" => selection::DRIFT,
        "quotas" => selection::QUOTAS,
        "stats" => selection::STATS,
        "connections" => connections::CONNECTIONS,
        "trace" => super::trace::PARAMETERS,
        "unused" => unused::UNUSED,
        "events" => selection::EVENTS,
        "history" => selection::HISTORY,
        "history/verification" => &["contains"],
        "audit" => &["since", "limit"],
        rest if rest.starts_with("blame/") => &["protocol"],
        rest if rest.starts_with("rules/") && (rest.ends_with("/stats") || rest.ends_with("/stats/stream")) => {
            &["per_port", "per_target"]
        }
        _ => &[],
    }
}

pub(super) fn too_large(most: usize) -> Failure {
    Failure::new(413, TreeCode::FileTooLarge, "Body too large", format!("a body may have at most {most} bytes"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A header that is there more than once, or is not ASCII text.
#[derive(Debug, PartialEq, Eq)]
struct Unclear;

/// The value of a header, if it is there.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Unclear> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let text = first.to_str().map_err(|_| Unclear)?;
    if values.next().is_some() { Err(Unclear) } else { Ok(Some(text)) }
}

/// True for the address that the request was sent to, and for the name of the machine.
fn is_named(host: &str, arrival: &Arrival, hosts: &OwnHosts) -> bool {
    let name = name_of(host);
    let is_address = name.parse::<IpAddr>().is_ok_and(|address| address == arrival.local.ip().to_canonical());
    is_address || hosts.is_machine(name)
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// True for names and addresses that only ever mean this machine; any port.
fn is_loopback_host(host: &str) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{is_loopback_host, known_parameters};

    #[test]
    fn a_parameter_that_a_path_does_not_have_is_refused_on_every_path() {
        for (path, query) in [
            ("/v1/status", "edge=a&state=active"),
            ("/v1/targets", "state=down&limit=5"),
            ("/v1/rules/e/r/stats", "per_port=true&per_target=false"),
            ("/v1/events", "edges=true"),
            ("/v1/blame/e/80", "protocol=udp"),
            ("/v1/rules", "limit=100&offset=200"),
            ("/v1/edges", "edge=fra-*&state=offline&summary=true&limit=100&offset=100"),
            ("/v1/events", "edge=a*&since=10m"),
            ("/v1/history", "since=2026-01-02T08:00:00Z&limit=5"),
            ("/v1/stats", "sort=bytes&per_target=true"),
            ("/v1/connections", "source=10.0.0.0/8&older=10m&sort=age"),
        ] {
            assert!(known_parameters(path, query).is_ok(), "{path}?{query}");
        }
        for path in ["/v1/status", "/v1/rules", "/v1/rules/e/r", "/v1/edges", "/v1/history", "/v1/plan", "/v1/freeze"] {
            assert!(known_parameters(path, "egde=a").is_err(), "{path}");
        }
        for (path, query) in [
            ("/v1/history", "health=up"),
            ("/v1/events", "sort=name"),
            ("/v1/status", "since=1m"),
            ("/v1/status", "offset=1"),
        ] {
            assert!(known_parameters(path, query).is_err(), "{path}?{query} would have no effect");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_hosts_of_the_api() {
        for good in ["localhost", "localhost:7080", "127.0.0.1:7080", "[::1]:7080", "[::1]", "127.0.0.2"] {
            assert!(is_loopback_host(good), "{good}");
        }
        for bad in ["example.org", "localhost.example.org:7080", "10.0.0.1", "0.0.0.0:7080", "", "[::]:7080"] {
            assert!(!is_loopback_host(bad), "{bad}");
        }
    }
}
