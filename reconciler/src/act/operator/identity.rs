//! Who makes a request: the operator whose token it carries, or who is signed in to the page that makes it. I/O.
//!
//! Keeps: a stranger learns nothing but that the token is not valid; a valid token is served however many wrong ones came
//! from the same address; only a request that is recognised reaches a handler.

use std::net::IpAddr;
use std::sync::Arc;

use ::guard::port::Arrival;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{Extensions, HeaderMap};
use axum::response::{IntoResponseParts, ResponseParts};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};

use super::{Context, Failure};
use crate::act::operators::Operators;
use crate::act::sessions::{SessionKey, Sessions};
use crate::decide::codes::ProblemCode;
use crate::decide::edges::Edges;
use crate::decide::operators::roster::Recognised;
use crate::decide::operators::{AskedRoute, Caller, Denied, Mandate, Route, Touch};

/// Cookies of one name that are looked at: a browser sends one.
const MOST_COOKIES: usize = 4;
/// The header with the count of what a list leaves out.
pub const HIDDEN_HEADER: &str = "x-portunus-hidden";

/// The header with the count of all rows of a list of which the body holds a page.
pub const TOTAL_HEADER: &str = "x-portunus-total";

/// The operator that makes a request, and what it asks for.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) caller: Arc<Caller>,
    /// The route; none where the router knows no such path.
    pub(super) route: Route,
    /// When its token ends.
    pub(super) until: Option<Timestamp>,
    /// Its session, where the page or its cookie makes the request.
    pub(super) session: Option<(Sessions, SessionKey)>,
}

/// A caller that is recognised, as an extension of a request that the page makes in this process. A request that
/// arrives never has one: HTTP does not carry extensions.
#[derive(Debug, Clone)]
pub(in crate::act) struct Inside {
    /// The operator.
    pub(in crate::act) who: Recognised,
    /// Its session.
    pub(in crate::act) session: SessionKey,
    /// Where its browser is.
    pub(in crate::act) from: Option<IpAddr>,
}

impl Who {
    /// As the ledger names it.
    pub(super) fn actor(&self) -> String {
        self.caller.name.to_string()
    }

    /// What it may, for the fleet to check.
    pub(super) fn authority(&self, is_dry_run: bool) -> Mandate {
        Mandate { caller: self.caller.clone(), asked: AskedRoute { route: self.route, is_dry_run } }
    }

    /// Decides here.
    pub(super) fn may(&self, is_dry_run: bool, plan: Option<&[Touch]>) -> Result<(), Failure> {
        self.authority(is_dry_run).may(plan).map_err(|denied: Denied| Failure::denied(&denied))
    }

    /// True if the operator may see a rule.
    pub(super) fn sees(&self, edges: &Edges, edge: &EdgeName, rule: &RuleName) -> bool {
        self.caller.limits.is_none() || self.caller.limits.sees(edges, edge, rule)
    }

    /// Returns once the operator is revoked, or its token or its session has ended.
    pub(super) fn ended(&self, operators: &Operators) -> impl Future<Output = ()> + Send + use<> {
        let (operators, caller, until) = (operators.clone(), self.caller.clone(), self.until);
        let session = self.session.clone();
        async move {
            let signed_out = async {
                match session {
                    Some((sessions, key)) => sessions.ended(key).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = operators.ended(caller, until) => {}
                () = signed_out => {}
            }
        }
    }
}

/// How much of a list is left out because the operator may not see it, as a header of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hidden(pub(super) u64);

impl IntoResponseParts for Hidden {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if self.0 > 0 {
            parts.headers_mut().insert(HIDDEN_HEADER, self.0.into());
        }
        Ok(parts)
    }
}

/// How many rows match, with those of other pages, as a header of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowTotal(pub(super) u64);

impl IntoResponseParts for RowTotal {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.headers_mut().insert(TOTAL_HEADER, self.0.into());
        Ok(parts)
    }
}

/// How a request arrived.
pub(in crate::act) fn arrival(extensions: &Extensions) -> Option<Arrival> {
    extensions.get::<Arrival>().copied()
}

/// The address that a request came from.
pub(in crate::act) fn source(arrival: Option<Arrival>) -> Option<IpAddr> {
    arrival.map(|arrival| arrival.peer.ip().to_canonical())
}

/// The cookie of a session. Browsers send a cookie to every port of a host, so each port has a name of its own.
pub(in crate::act) fn cookie_name(arrival: Option<Arrival>) -> String {
    let port = arrival.map_or(0, |arrival| arrival.local.port());
    let prefix = if arrival.is_some_and(|arrival| arrival.is_tls) { "__Host-" } else { "" };
    format!("{prefix}portunus-{port}")
}

/// The session that the cookie of a request is for.
pub(in crate::act) fn signed_in(
    sessions: &Sessions,
    headers: &HeaderMap,
    arrival: Option<Arrival>,
) -> Option<(SessionKey, Recognised)> {
    let name = cookie_name(arrival);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    sessions.find(pairs.filter(|(known, _)| *known == name).map(|(_, id)| id).take(MOST_COOKIES))
}

/// Recognises the operator by the token, or without one by the cookie of the page.
pub(super) async fn recognise(
    context: &Context,
    headers: &HeaderMap,
    arrival: Option<Arrival>,
) -> Result<(Recognised, Option<SessionKey>), Failure> {
    let Some(token) = bearer(headers) else {
        let found = signed_in(&context.sessions, headers, arrival);
        let (session, who) = found.ok_or_else(|| unauthorized("a valid bearer token is required".to_owned()))?;
        return Ok((who, Some(session)));
    };
    recognise_token(context, token, source(arrival)).await.map(|who| (who, None))
}

fn unauthorized(detail: String) -> Failure {
    Failure::new(401, ProblemCode::Unauthorized, "Unauthorized", detail)
}

/// Counts a wrong secret; the refusal.
pub(in crate::act) async fn refused_login(context: &Context, from: Option<IpAddr>, detail: String) -> Failure {
    match context.operators.failed_login(from).await {
        Ok(Ok(())) => unauthorized(detail),
        Ok(Err(wait)) => {
            let detail = format!("too many invalid tokens from this address: try again in {} s", wait.as_secs());
            Failure::new(429, ProblemCode::TooManyFailedLogins, "Too many failed logins", detail).retry_after(wait)
        }
        Err(stopped) => stopped.into(),
    }
}

/// Recognises the operator by the token.
pub(in crate::act) async fn recognise_token(
    context: &Context,
    token: &str,
    from: Option<IpAddr>,
) -> Result<Recognised, Failure> {
    let now = Timestamp::now();
    let operators = &context.operators;
    let found = match operators.roster().find(token) {
        Some(found) => Some(found),
        None => operators.find_by_identity(token).await,
    };
    let detail = match found {
        Some(found) if found.until.is_none_or(|until| until > now) => {
            return Ok(found);
        }
        // Only who has the token learns that there is such an operator.
        Some(found) => {
            let until = found.until.unwrap_or(now);
            format!("the token of operator {} expired at {until:.0}: an admin can create a new one", found.caller.name)
        }
        None => "a valid bearer token is required".to_owned(),
    };
    Err(refused_login(context, from, detail).await)
}

/// The token; an empty one is none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}
