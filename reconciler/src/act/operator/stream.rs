//! Server-sent events: a snapshot, then what happens. I/O.
//!
//! Keeps: a stream never silently leaves something out. A listener that is too slow gets a new snapshot. No stream has
//! a task of its own: the connection that it is written to polls it, and drops it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::read::{StatsQuery, ask, known_rule};
use super::{Failure, State};
use crate::act::driver::{FleetHandle, Numbered, Stopped};
use crate::decide::fleet::{ApplyResult, Notice, Outcome};
use crate::decide::status;

/// How often counters are sent.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

type Next = Result<Event, Infallible>;

/// A stream as a response. It is polled by its connection and by nobody else: when the listener goes, so does it.
fn sse<S: Stream<Item = Next> + Send + 'static>(
    shutdown: CancellationToken,
    events: S,
) -> Sse<impl Stream<Item = Next> + use<S>> {
    Sse::new(events.take_until(shutdown.cancelled_owned())).keep_alive(KeepAlive::default())
}

fn event(name: &str, id: Option<u64>, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("documents hold only maps with text keys");
    let event = Event::default().event(name).data(data);
    match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

/// `GET /v1/events`. With `Last-Event-ID` of the newest event there is nothing to catch up with and no snapshot;
/// with any other the listener gets a snapshot, which holds all that it missed.
pub(super) async fn events(
    Extract(state): Extract<State>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Next>>, Failure> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<u64>().ok());
    let listener = Listener {
        fleet: state.context.fleet.clone(),
        notices: state.context.fleet.notices(),
        newest: last.unwrap_or(0),
        needs_snapshot: true,
    };
    let events = stream::unfold(listener, async |mut listener| Some((Ok(listener.next().await?), listener)));
    Ok(sse(state.context.shutdown.clone(), events))
}

/// One listener to everything.
struct Listener {
    fleet: FleetHandle,
    notices: Receiver<Numbered>,
    /// The newest event that the listener has.
    newest: u64,
    /// It may have missed something.
    needs_snapshot: bool,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if std::mem::take(&mut self.needs_snapshot) {
                let (fleet, at) = self.fleet.read(|view| (view.fleet.clone(), view.last_notice)).await.ok()?;
                let is_news = self.newest != at;
                self.newest = at;
                if is_news {
                    let snapshot = move || event("snapshot", Some(at), &status::status(&fleet));
                    return tokio::task::spawn_blocking(snapshot).await.ok();
                }
            }
            match self.notices.recv().await {
                Ok((number, notice)) if number > self.newest => {
                    self.newest = number;
                    let kind = match &notice {
                        Notice::Edge { .. } => "edge",
                        Notice::Rule { .. } => "rule",
                        Notice::Tree { .. } => "tree",
                        Notice::Override { .. } => "override",
                        Notice::Apply { .. } => "apply",
                    };
                    return Some(event(kind, Some(number), &notice));
                }
                // Part of the snapshot already.
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.needs_snapshot = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// `GET /v1/applies/{id}/events`: the state of the apply now and at each step, until it is over.
pub(super) async fn apply(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Next>>, Failure> {
    // Listening begins before looking, so that nothing falls between the two.
    let notices = state.context.fleet.notices();
    let fleet = state.context.fleet.clone();
    let Some(now) = look(&fleet, &id).await? else {
        return Err(Failure::not_found(format!("no apply {id}")));
    };
    let watcher = ApplyWatcher { fleet, notices, id, told: None, next: Some(now) };
    let events = stream::unfold(watcher, async |mut watcher| Some((Ok(watcher.next().await?), watcher)));
    Ok(sse(state.context.shutdown.clone(), events))
}

async fn look(fleet: &FleetHandle, id: &str) -> Result<Option<ApplyResult>, Stopped> {
    let id = id.to_owned();
    fleet.read(move |view| view.fleet.apply_result(&id).cloned()).await
}

/// One listener to one apply.
struct ApplyWatcher {
    fleet: FleetHandle,
    notices: Receiver<Numbered>,
    id: String,
    told: Option<ApplyResult>,
    /// What it is told first.
    next: Option<ApplyResult>,
}

impl ApplyWatcher {
    async fn next(&mut self) -> Option<Event> {
        let result = match self.next.take() {
            Some(first) => first,
            None if self.told.as_ref().is_some_and(|told| told.outcome != Outcome::Running) => return None,
            None => self.changed().await?,
        };
        let event = event("apply", None, &result);
        self.told = Some(result);
        Some(event)
    }

    async fn changed(&mut self) -> Option<ApplyResult> {
        loop {
            let result = match self.notices.recv().await {
                Ok((_, Notice::Apply { result })) if result.id == self.id => *result,
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => look(&self.fleet, &self.id).await.ok()??,
                Err(RecvError::Closed) => return None,
            };
            if self.told.as_ref() != Some(&result) {
                return Some(result);
            }
        }
    }
}

/// `GET …/stats/stream`: the counters of a rule every five seconds.
pub(super) async fn stats(
    Extract(state): Extract<State>,
    Path((edge, rule)): Path<(String, String)>,
    Query(query): Query<StatsQuery>,
) -> Result<Sse<impl Stream<Item = Next>>, Failure> {
    let (address, _) = known_rule(&state, &edge, &rule).await?;
    let first = event("stats", None, &ask(&state, &address, query).await?);
    let shutdown = state.context.shutdown.clone();
    let mut ticks = tokio::time::interval(STATS_INTERVAL);
    // The first tick is at once, and its counters are here.
    ticks.reset();
    let rest = stream::unfold((state, address, ticks), move |(state, address, mut ticks)| async move {
        ticks.tick().await;
        let event = match ask(&state, &address, query).await {
            Ok(document) => event("stats", None, &document),
            Err(failure) => event("problem", None, &*failure.0),
        };
        Some((Ok(event), (state, address, ticks)))
    });
    Ok(sse(shutdown, stream::once(async { Ok(first) }).chain(rest)))
}
