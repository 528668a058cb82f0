//! How a view asks the operator API: by a request through its router, in this process. I/O.
//!
//! Keeps: the request is that of the operator who is signed in, so rights, limits, audit and refusals are those of the API
//! and written nowhere twice.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use axum::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use crate::act::operator::documents::Problem;
use crate::act::operator::identity::Inside;
use crate::act::operator::{HIDDEN_HEADER, TOTAL_HEADER};
use crate::decide::codes::ProblemCode;
use crate::decide::operators::Caller;

/// The largest answer that a view reads: that of a list without a limit, on a large fleet.
const MOST: usize = 256 << 20;

/// The event that a stream goes on after.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// A list, or a part of it.
#[derive(Debug, Clone)]
pub struct ListAnswer<T> {
    /// The rows.
    pub rows: T,
    /// How much is left out because the operator may not see it.
    pub hidden: u64,
    /// How many rows there are, with those of other parts.
    pub total: Option<u64>,
}

impl<T: Default> Default for ListAnswer<T> {
    fn default() -> Self {
        Self { rows: T::default(), hidden: 0, total: Some(0) }
    }
}

impl<T> ListAnswer<Vec<T>> {
    /// How many rows the list has, and how much is left out of it.
    pub fn counts(&self) -> (u64, u64) {
        (self.total.unwrap_or(self.rows.len() as u64), self.hidden)
    }
}

/// An answer; and where the API refuses the selection, nothing, with why.
pub(super) async fn unless_refused<T: Default>(
    answer: impl Future<Output = Result<T, Problem>>,
) -> Result<(T, Option<String>), Problem> {
    match answer.await {
        Err(problem) if problem.status == 400 => Ok((T::default(), Some(problem.detail))),
        other => other.map(|found| (found, None)),
    }
}

/// Asks in the name of who is signed in.
#[derive(Debug, Clone)]
pub struct Ask {
    api: Router,
    inside: Inside,
}

impl Ask {
    pub(super) fn new(api: Router, inside: Inside) -> Self {
        Self { api, inside }
    }

    /// Who is signed in.
    pub fn caller(&self) -> &Caller {
        &self.inside.who.caller
    }

    /// Reads a document.
    pub async fn get<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, Problem> {
        self.list(path_and_query).await.map(|list| list.rows)
    }

    /// Reads a list with its figures.
    pub async fn list<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<ListAnswer<T>, Problem> {
        let response = self.call(Method::GET, path_and_query, Body::empty(), &HeaderMap::new()).await?;
        let (hidden, total) = figures(response.headers());
        Ok(ListAnswer { rows: document(response).await?, hidden, total })
    }

    /// Reads a page of a list. Of a selection that selects nothing, the list is empty.
    pub async fn page<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<ListAnswer<Vec<T>>, Problem> {
        match self.list(path_and_query).await {
            Err(problem) if problem.status == 404 => Ok(ListAnswer::default()),
            other => other,
        }
    }

    /// The same, with why the API refuses the selection, where it does: the list is empty then.
    pub async fn filtered<T: DeserializeOwned>(
        &self,
        path_and_query: &str,
    ) -> Result<(ListAnswer<Vec<T>>, Option<String>), Problem> {
        unless_refused(self.page(path_and_query)).await
    }

    /// Has something done.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path_and_query: &str,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        let body = serde_json::to_vec(body).map_err(|error| unreadable(&error.to_string()))?;
        document(self.call(method, path_and_query, Body::from(body), &HeaderMap::new()).await?).await
    }

    /// A stream of events as it is, from the event on that the browser names.
    pub async fn stream(&self, path_and_query: &str, headers: &HeaderMap) -> Result<Response, Problem> {
        self.call(Method::GET, path_and_query, Body::empty(), headers).await
    }

    async fn call(&self, method: Method, path: &str, body: Body, from: &HeaderMap) -> Result<Response, Problem> {
        let request = Request::builder().method(method).uri(path).extension(self.inside.clone());
        let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        let mut request = request.map_err(|error| unreadable(&error.to_string()))?;
        if let Some(last) = from.get(LAST_EVENT_ID) {
            request.headers_mut().insert(LAST_EVENT_ID, last.clone());
        }
        let response = match self.api.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let problem: Result<Problem, Problem> = document(response).await;
        let mut problem = problem.unwrap_or_else(|problem| Problem { status, ..problem });
        if let Some(wait) = wait.map(Duration::from_secs) {
            problem.detail = format!("{} (try again in {} s)", problem.detail, wait.as_secs());
        }
        Err(problem)
    }
}

/// What is left out, and how many rows there are.
fn figures(headers: &HeaderMap) -> (u64, Option<u64>) {
    let figure = |name| headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    (figure(HIDDEN_HEADER).unwrap_or_default(), figure(TOTAL_HEADER))
}

async fn document<T: DeserializeOwned>(response: Response) -> Result<T, Problem> {
    let bytes = to_bytes(response.into_body(), MOST).await.map_err(|error| unreadable(&error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> Problem {
    Problem::new(
        500,
        ProblemCode::Internal,
        "Internal error",
        format!("the page cannot read the answer of the API: {why}"),
    )
}
