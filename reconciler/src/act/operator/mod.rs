//! The operator API: HTTP with JSON bodies and problem documents. I/O.
//!
//! Keeps: nothing is answered without a valid token and the rights that the route needs, a foreign Host or Origin is refused
//! before anything else is looked at, and every body is bounded before it is read. The routes are those of
//! [`Route`], so that none exists without its rights.

pub mod audit;
mod backup;
mod blame;
mod blast;
mod body;
pub mod certificates;
pub mod connections;
mod control;
pub mod documents;
pub mod edges;
pub(super) mod guard;
mod heavy;
pub(super) mod identity;
mod ledger;
mod notify;
pub mod operators;
mod overrides;
pub mod proposals;
pub mod quotas;
mod read;
mod reasons;
mod refusals;
mod revision_plan;
mod stats;
mod stream;
mod taken;
mod targets;
mod trace;
mod unused;
mod webhook;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::handler::Handler;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use schema::check::CheckLimits;
use schema::codes::RuleCode;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use self::documents::Problem;
pub use self::guard::parameters;
pub use self::identity::{HIDDEN_HEADER, TOTAL_HEADER};
use super::driver::{FleetHandle, Stopped};
use super::notify::NotifyHandle;
use super::operator_port::OwnHosts;
use super::operators::{KeeperStopped, NoStreamPlace, Operators};
use super::questions::NoAnswer;
use super::sessions::Sessions;
use super::store::Store;
use super::timings::Timings;
use super::trust::registrar::TrustHandle;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::route::Method;
use crate::decide::operators::{Denied, Rights, Route};
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
    /// The records, for the ledger and for backups.
    pub store: Arc<Store>,
    /// The directory that backups are made of.
    pub state_dir: PathBuf,
    /// Who may ask, and what is written down about it.
    pub operators: Operators,
    /// Further names of this host.
    pub hosts: OwnHosts,
    /// Who is signed in to the page.
    pub sessions: Sessions,
    /// Which edges may take part.
    pub trust: TrustHandle,
    /// `HOST:PORT` by which edges reach the control port; `None` where the server cannot know it.
    pub advertised: Option<String>,
    /// How long plans take.
    pub timings: Timings,
    /// Limits of the rule language.
    pub limits: CheckLimits,
    /// A folder of the git repository that is followed, if one is.
    pub repository: Option<PathBuf>,
    /// What a webhook proves itself with, and whom it wakes.
    pub webhook: Option<Webhook>,
    /// The notifiers, with what waits for them.
    pub notify: NotifyHandle,
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
    /// The turn of a backup.
    backups: Arc<Semaphore>,
    /// The newest summary.
    summary: Arc<Mutex<Option<read::KeptSummary>>>,
    /// Where the entries of the ledger are.
    ledger: Arc<ledger::LedgerPlaces>,
}

/// The whole API. The port has it together with the page: [`router`](super::page::router).
pub(super) fn router(context: Arc<Context>) -> Router {
    let room = Arc::new(Semaphore::new(body::shares(context.max_body).max(1)));
    let state = State {
        context,
        uploads: Arc::new(Semaphore::new(UPLOADS)),
        room,
        backups: Arc::new(Semaphore::new(1)),
        summary: Arc::default(),
        ledger: Arc::default(),
    };
    let (signed, guarded): (Vec<Route>, Vec<Route>) =
        Route::ALL.iter().partition(|route| route.row().rights == Rights::Signed);
    let add = |router: Router<State>, route: Route| router.route(route.row().path, handler(route));
    let routes = guarded
        .into_iter()
        .fold(Router::new(), add)
        .fallback(async || Failure::new(404, ProblemCode::NotFound, "No such path", "the API has no such path"))
        .method_not_allowed_fallback(async || {
            Failure::new(
                405,
                ProblemCode::MethodNotAllowed,
                "Method not allowed",
                "the path does not support this method",
            )
        })
        .layer(middleware::from_fn_with_state(state.clone(), guard::guard));
    // Behind no guard: their callers are machines elsewhere that have no token, and prove themselves otherwise.
    signed.into_iter().fold(routes, add).with_state(state)
}

fn of<H: Handler<T, State>, T: 'static>(route: Route, handler: H) -> MethodRouter<State> {
    let filter = match route.row().method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Delete => MethodFilter::DELETE,
    };
    on(filter, handler)
}

fn handler(route: Route) -> MethodRouter<State> {
    match route {
        Route::Validate => of(route, write::validate),
        Route::Plan => of(route, write::plan),
        Route::PlanOfRevision => of(route, revision_plan::plan),
        Route::Apply => of(route, write::apply),
        Route::ApplyState => of(route, read::apply),
        Route::ApplyEvents => of(route, stream::apply),
        Route::Heartbeat => of(route, control::heartbeat),
        Route::Rollback => of(route, control::rollback),
        Route::Resume => of(route, control::resume),
        Route::Freeze => of(route, control::freeze),
        Route::Unfreeze => of(route, control::unfreeze),
        Route::Status => of(route, read::status),
        Route::Summary => of(route, read::summary),
        Route::Revision => of(route, read::revision),
        Route::Edges => of(route, edges::list),
        Route::ForgetEdge => of(route, edges::forget),
        Route::RevokeEdge => of(route, certificates::revoke),
        Route::InviteEdge => of(route, certificates::invite),
        Route::Authority => of(route, certificates::authority),
        Route::RotateAuthority => of(route, certificates::rotate),
        Route::RetireAuthority => of(route, certificates::retire),
        Route::Rules => of(route, read::rules),
        Route::Rule => of(route, read::rule),
        Route::RuleSource => of(route, proposals::source),
        Route::Propose => of(route, proposals::propose),
        Route::RuleStats => of(route, read::stats),
        Route::RuleStatsStream => of(route, stream::stats),
        Route::Stats => of(route, stats::list),
        Route::Targets => of(route, read::targets),
        Route::CheckTargets | Route::SteerTarget => of(route, targets::post),
        Route::ReleaseTarget => of(route, targets::delete),
        Route::Connections => of(route, connections::list),
        Route::EndConnections => of(route, connections::end),
        Route::Quotas => of(route, quotas::list),
        Route::ResetQuota => of(route, quotas::reset),
        Route::ResetOwnerQuota => of(route, quotas::reset_of_owner),
        Route::Trace => of(route, trace::get),
        Route::Unused => of(route, unused::list),
        Route::Events => of(route, stream::events),
        Route::History => of(route, ledger::history),
        Route::HistoryEntry => of(route, ledger::entry),
        Route::Verification => of(route, ledger::verify),
        Route::Backup => of(route, backup::backup),
        Route::Blame => of(route, blame::blame),
        Route::Drift => of(route, read::drift),
        Route::Overrides => of(route, overrides::list),
        Route::AddOverride => of(route, overrides::add),
        Route::RemoveOverride => of(route, overrides::remove),
        Route::Operators => of(route, operators::list),
        Route::CreateOperator => of(route, operators::create),
        Route::RevokeOperator => of(route, operators::revoke),
        Route::WhoAmI => of(route, operators::me),
        Route::Audit => of(route, audit::list),
        Route::Notifiers => of(route, notify::list),
        Route::TestNotifier => of(route, notify::test),
        Route::GitWebhook => of(route, webhook::called),
    }
}

/// A problem document as a response.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>, Option<Duration>);

impl Failure {
    pub(super) fn new(status: u16, code: impl AsRef<str>, title: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(status, code, title, detail)), None)
    }

    /// The same, with the time after which to try again.
    fn retry_after(self, wait: Duration) -> Self {
        Self(self.0, Some(wait))
    }

    /// The document, and the time after which to try again.
    pub(super) fn into_parts(self) -> (Problem, Option<Duration>) {
        (*self.0, self.1)
    }

    /// A stream that finds no place.
    fn no_stream_place(problem: NoStreamPlace) -> Self {
        let detail = match problem {
            NoStreamPlace::OfOperator(most) => format!(
                "this operator has {most} event streams open, and may have no more: close some, or give each program an \
                 operator of its own"
            ),
            NoStreamPlace::OfAll(most) => format!("the server has {most} event streams open: try again later"),
        };
        Self::new(429, ProblemCode::TooManyStreams, "Too many event streams", detail)
            .retry_after(Duration::from_secs(5))
    }

    /// An edge that was asked and did not answer.
    fn unanswered(why: NoAnswer, place: impl std::fmt::Display) -> Self {
        let (status, code, title) = match why {
            NoAnswer::NotConnected => (503, RuleCode::ClientNotConnected.as_str(), "Edge not connected"),
            NoAnswer::WentAway => (503, RuleCode::ClientNotConnected.as_str(), "Edge disconnected"),
            NoAnswer::Timeout => (504, RuleCode::AckTimeout.as_str(), "Edge does not answer"),
            NoAnswer::Unable => (501, ProblemCode::NotSupported.as_str(), "Edge is too old"),
        };
        Self::new(status, code, title, format!("{place}: {why}"))
    }

    /// What was decided cannot be written down, so that nothing was done.
    fn state_not_writable(detail: impl Into<String>) -> Self {
        Self::new(507, ProblemCode::StateNotWritable, "The server cannot write its state", detail)
    }

    /// The operator may not.
    fn denied(denied: &Denied) -> Self {
        let problem = Problem::new(403, denied.code(), denied.title(), denied.to_string());
        Self(Box::new(Problem { changes: denied.changes().to_vec(), ..problem }), None)
    }

    fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, ProblemCode::NotFound, "Not found", detail)
    }

    /// What a server that stops does not begin any more.
    fn stopping(detail: impl Into<String>) -> Self {
        Self::new(503, ProblemCode::Stopping, "Server is stopping", detail)
    }

    /// What is asked for in a way that cannot be carried out.
    fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, ProblemCode::BadRequest, "Not possible", detail)
    }

    /// What the API does not know by that name.
    fn unknown(what: &str, name: impl std::fmt::Display) -> Self {
        Self::not_found(format!("there is no {what} {name}"))
    }

    /// A tree that was applied, and whose files are gone; `instead` says what to do.
    fn revision_gone(of: impl std::fmt::Display, instead: &str) -> Self {
        let detail = format!("the files of {of} are no longer kept{instead}");
        Self::new(410, ProblemCode::RevisionGone, "Revision no longer kept", detail)
    }

    /// Selectors that are invalid, or that select nothing.
    fn unselected(error: Unselected) -> Self {
        match error {
            Unselected::Invalid(why) => Self::new(400, ProblemCode::BadRequest, "Bad Request", why),
            Unselected::Nothing(_) => Self::not_found(error.to_string()),
        }
    }
}

impl From<KeeperStopped> for Failure {
    fn from(stopped: KeeperStopped) -> Self {
        Self::stopping(stopped.to_string())
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Self::stopping(stopped.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&*self.0).expect("a problem holds only texts and lists");
        let mut response = (status, [("content-type", "application/problem+json")], body).into_response();
        response.extensions_mut().insert(audit::AnsweredCode(self.0.code));
        if let Some(retry_after) = self.1 {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        response
    }
}
