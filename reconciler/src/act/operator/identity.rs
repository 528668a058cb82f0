//! Who makes a request: the operator whose token it carries. I/O.
//!
//! Keeps: a stranger learns nothing but that the token is not valid; a valid token is served however many wrong ones came
//! from the same address; only a request that is recognised reaches a handler.

use std::net::IpAddr;
use std::sync::Arc;

use ::guard::port::Arrival;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponseParts, ResponseParts};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};

use super::{Failure, State};
use crate::act::operators::Operators;
use crate::decide::edges::Edges;
use crate::decide::operators::roster::Recognised;
use crate::decide::operators::{AskedRoute, Caller, Denied, Mandate, Route, Touch};

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

    /// Returns once the operator is revoked, or its token has ended.
    pub(super) fn ended(&self, operators: &Operators) -> impl Future<Output = ()> + Send + use<> {
        let (operators, caller, until) = (operators.clone(), self.caller.clone(), self.until);
        async move { operators.ended(caller, until).await }
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

/// The address that a request came from.
pub(super) fn source(request: &Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<Arrival>().map(|arrival| arrival.peer.ip().to_canonical())
}

/// Recognises the operator by the token.
pub(super) async fn recognise(state: &State, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Recognised, Failure> {
    let unauthorized = |detail: String| Failure::new(401, "unauthorized", "Unauthorized", detail);
    let Some(token) = bearer(headers) else {
        return Err(unauthorized("a valid bearer token is required".to_owned()));
    };
    let now = Timestamp::now();
    let operators = &state.context.operators;
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
    match state.context.operators.failed_login(from).await? {
        Ok(()) => Err(unauthorized(detail)),
        Err(wait) => {
            let detail = format!("too many invalid tokens from this address: try again in {} s", wait.as_secs());
            Err(Failure::new(429, "too_many_failed_logins", "Too many failed logins", detail).retry_after(wait))
        }
    }
}

/// The token; an empty one is none.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}
