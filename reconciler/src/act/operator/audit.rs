//! The audit of requests: what is written down of them, and `/v1/audit`. I/O.
//!
//! Keeps: a request that could change something is written down before it is answered, with its outcome; nothing of a
//! token is, and of a body at most the operation, and the reason of one that leaves no line in the ledger.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Failure, State};
use crate::act::operators::Operators;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::{AuditEntry, Audited, Route};
use crate::decide::selection;

/// Longest path that is written down: names in it are at most 63 characters each.
const LONGEST: usize = 300;

/// The code of the problem that a response is.
#[derive(Debug, Clone)]
pub(super) struct AnsweredCode(pub(super) String);

/// What a handler knows of a request beyond its path; `None` where it changed nothing.
#[derive(Debug, Clone)]
pub(super) struct Noted(pub(super) Option<String>);

/// A request as it is written down.
#[derive(Debug, Clone)]
pub(in crate::act) struct Account {
    pub(in crate::act) who: String,
    from: Option<IpAddr>,
    what: String,
}

impl Account {
    /// A request of somebody who is not known yet.
    pub(in crate::act) fn new(from: Option<IpAddr>, method: &str, path: &str) -> Self {
        Self { who: String::new(), from, what: readable(&format!("{method} {path}")) }
    }

    fn entry(&self, outcome: &str) -> AuditEntry {
        AuditEntry {
            at: Timestamp::now(),
            who: self.who.clone(),
            from: self.from.map(|from| from.to_string()).unwrap_or_default(),
            what: self.what.clone(),
            outcome: outcome.to_owned(),
        }
    }

    /// Writes a refusal down.
    pub(in crate::act) async fn refused(&self, operators: &Operators, failure: &Failure) {
        // A server that is stopping writes nothing more.
        operators.refused(self.entry(&failure.0.code)).await.ok();
    }

    /// Writes down what was done.
    pub(in crate::act) async fn done(&self, operators: &Operators) {
        operators.done(self.entry("done")).await.ok();
    }

    /// Writes an answer down, where the route or the answer calls for it.
    pub(super) async fn answered(mut self, operators: &Operators, route: Option<Route>, answer: Answered) {
        let is_audited = route.is_some_and(|route| route.row().audited == Audited::Yes);
        // Who has the role for a change and not the grant is written down like everybody who could change something.
        if let Some(code) = answer.code.as_deref()
            && (code == ProblemCode::Forbidden.as_str() || (code == ProblemCode::OutsideGrant.as_str() && !is_audited))
        {
            operators.refused(self.entry(code)).await.ok();
            return;
        }
        if !is_audited {
            return;
        }
        match answer.noted {
            Some(Noted(None)) => return,
            Some(Noted(Some(more))) => self.what = readable(&format!("{} {more}", self.what)),
            None => {}
        }
        let outcome = answer.code.unwrap_or_else(|| if answer.is_begun { "accepted" } else { "done" }.to_owned());
        operators.done(self.entry(&outcome)).await.ok();
    }
}

/// A text on one line, as far as it is written down.
fn readable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

/// What the audit needs of an answer.
pub(super) struct Answered {
    code: Option<String>,
    noted: Option<Noted>,
    is_begun: bool,
}

impl From<&Response> for Answered {
    fn from(response: &Response) -> Self {
        Self {
            code: response.extensions().get::<AnsweredCode>().map(|outcome| outcome.0.clone()),
            noted: response.extensions().get::<Noted>().cloned(),
            is_begun: response.status() == StatusCode::ACCEPTED,
        }
    }
}

/// The query of the audit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuditQuery {
    since: Option<String>,
    limit: Option<usize>,
}

/// What was asked of the server, and what was refused.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AuditDocument {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `audit`
    pub kind: String,
    /// The entries, oldest first.
    pub entries: Vec<AuditEntry>,
    /// Refusals beyond 1,000 an hour: they are counted here and have no entry.
    pub refusals_beyond: u64,
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditDocument>, Failure> {
    let since = query.since.as_deref().map(|text| selection::since(text, Timestamp::now()));
    let since = since.transpose().map_err(Failure::unselected)?;
    let read = state
        .context
        .operators
        .audit(since)
        .await?
        .map_err(|error| Failure::new(500, ProblemCode::Internal, "The audit cannot be read", error.to_string()))?;
    let mut entries = read.entries;
    let left_out = entries.len().saturating_sub(query.limit.unwrap_or(usize::MAX));
    entries.drain(..left_out);
    Ok(Json(AuditDocument {
        format_version: crate::decide::plan::FORMAT_VERSION.to_owned(),
        kind: "audit".to_owned(),
        entries,
        refusals_beyond: read.refusals_beyond,
    }))
}
