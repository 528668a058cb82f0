//! The operator API: HTTP with JSON bodies and problem documents. I/O.
//!
//! Keeps: nothing is answered without the token, a foreign Host or Origin is refused before anything else is looked
//! at, and every body is bounded before it is read.

mod blame;
mod blast;
mod body;
mod control;
pub mod documents;
pub mod edges;
mod guard;
mod heavy;
mod ledger;
mod overrides;
mod read;
mod stats;
mod stream;
mod targets;
mod webhook;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use schema::check::CheckLimits;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::documents::Problem;
pub use self::guard::parameters;
use super::driver::{FleetHandle, Stopped};
use super::questions::NoAnswer;
use super::store::Store;
use super::timings::Timings;
use crate::decide::selection::Unselected;
pub use webhook::{Webhook, WebhookError};

/// The largest body (CONTRACT §8).
pub const MAX_BODY: usize = 256 << 20;
/// Trees that are read and planned at once: each keeps a processor busy.
const UPLOADS: usize = 2;

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The fleet.
    pub fleet: FleetHandle,
    /// The records, for the ledger.
    pub store: Arc<Store>,
    /// What `Authorization: Bearer` must carry.
    pub token: Arc<str>,
    /// How long plans take.
    pub timings: Timings,
    /// Limits of the rule language.
    pub limits: CheckLimits,
    /// A folder of the git repository that is followed, if one is.
    pub repository: Option<PathBuf>,
    /// What a webhook proves itself with, and whom it wakes.
    pub webhook: Option<Webhook>,
    /// The largest body in bytes: [`MAX_BODY`], but for tests.
    pub max_body: usize,
    /// Ends event streams.
    pub shutdown: CancellationToken,
}

#[derive(Debug, Clone)]
struct State {
    context: Arc<Context>,
    /// Turns of trees that are read and planned.
    uploads: Arc<Semaphore>,
    /// Room for their bodies, all together.
    room: Arc<Semaphore>,
}

/// The whole API.
pub fn router(context: Context) -> Router {
    let room = Arc::new(Semaphore::new(body::shares(context.max_body).max(1)));
    let state = State { context: Arc::new(context), uploads: Arc::new(Semaphore::new(UPLOADS)), room };
    let routes = Router::new()
        .route("/v1/validate", post(write::validate))
        .route("/v1/plan", post(write::plan))
        .route("/v1/apply", post(write::apply))
        .route("/v1/applies/{id}", get(read::apply))
        .route("/v1/applies/{id}/events", get(stream::apply))
        .route("/v1/applies/{id}/heartbeat", post(control::heartbeat))
        .route("/v1/rollback", post(control::rollback))
        .route("/v1/resume", post(control::resume))
        .route("/v1/freeze", post(control::freeze).delete(control::unfreeze))
        .route("/v1/status", get(read::status))
        .route("/v1/revision", get(read::revision))
        .route("/v1/edges", get(read::edges))
        .route("/v1/edges/{edge}", delete(edges::forget))
        .route("/v1/rules", get(read::rules))
        .route("/v1/rules/{edge}/{rule}", get(read::rule))
        .route("/v1/rules/{edge}/{rule}/stats", get(read::stats))
        .route("/v1/rules/{edge}/{rule}/stats/stream", get(stream::stats))
        .route("/v1/stats", get(stats::list))
        .route("/v1/targets", get(read::targets))
        .route("/v1/targets/{edge}/{rule}", post(targets::post))
        .route("/v1/targets/{edge}/{rule}/{target}", post(targets::post).delete(targets::delete))
        .route("/v1/events", get(stream::events))
        .route("/v1/history", get(ledger::history))
        .route("/v1/history/{id}", get(ledger::entry))
        .route("/v1/history/verification", get(ledger::verify))
        .route("/v1/blame/{edge}/{port}", get(blame::blame))
        .route("/v1/overrides", get(overrides::list).post(overrides::add))
        .route("/v1/overrides/{edge}/{rule}", delete(overrides::remove))
        .fallback(async || Failure::new(404, "not_found", "No such path", "the API has no such path"))
        .method_not_allowed_fallback(async || {
            Failure::new(405, "method_not_allowed", "Method not allowed", "the path does not support this method")
        })
        .layer(middleware::from_fn_with_state(state.clone(), guard::guard))
        // Behind no guard: its callers are machines elsewhere that have no token, and prove themselves otherwise.
        .route(webhook::PATH, post(webhook::called))
        .with_state(state);
    ::guard::port::marked(routes, ::guard::Port::Operator)
}

/// A problem document as a response.
#[derive(Debug)]
struct Failure(Box<Problem>);

impl Failure {
    fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(status, code, title, detail)))
    }

    /// An edge that was asked and did not answer.
    fn unanswered(why: NoAnswer, place: impl std::fmt::Display) -> Self {
        let (status, code, title) = match why {
            NoAnswer::NotConnected => (503, "client_not_connected", "Edge not connected"),
            NoAnswer::WentAway => (503, "client_not_connected", "Edge disconnected"),
            NoAnswer::Timeout => (504, "ack_timeout", "Edge does not answer"),
            NoAnswer::Unable => (501, "not_supported", "Edge is too old"),
        };
        Self::new(status, code, title, format!("{place}: {why}"))
    }

    /// What was decided cannot be written down, so that nothing was done.
    fn state_not_writable(detail: impl Into<String>) -> Self {
        Self::new(507, "state_not_writable", "The server cannot write its state", detail)
    }

    fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", "Not found", detail)
    }

    /// Selectors that are invalid, or that select nothing.
    fn unselected(error: Unselected) -> Self {
        match error {
            Unselected::Invalid(why) => Self::new(400, "bad_request", "Bad Request", why),
            Unselected::Nothing(_) => Self::not_found(error.to_string()),
        }
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::new(503, "stopping", "Server is stopping", stopped.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&*self.0).expect("a problem holds only texts and lists");
        (status, [("content-type", "application/problem+json")], body).into_response()
    }
}
