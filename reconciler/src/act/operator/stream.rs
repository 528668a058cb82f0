//! Server-sent events: a snapshot, then what happens. I/O.
//!
//! Keeps: a stream never silently leaves something out. A listener that is too slow gets a new snapshot.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::read::{StatsQuery, ask, known_rule};
use super::{Failure, State};
use crate::act::driver::{FleetHandle, Numbered};
use crate::decide::fleet::{ApplyResult, Notice, Outcome};
use crate::decide::status;

/// How often counters are sent.
const STATS_INTERVAL: Duration = Duration::from_secs(5);
/// Events that wait for a slow listener here; further ones wait in the broadcast, which knows how to lag.
const QUEUE: usize = 64;

type Events = Sse<axum::response::sse::KeepAliveStream<ReceiverStream<Result<Event, Infallible>>>>;

fn sse(events: mpsc::Receiver<Result<Event, Infallible>>) -> Events {
    Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default())
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
) -> Result<impl axum::response::IntoResponse, Failure> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<u64>().ok());
    let notices = state.context.fleet.notices();
    let (outgoing, incoming) = mpsc::channel(QUEUE);
    let fleet = state.context.fleet.clone();
    let shutdown = state.context.shutdown.clone();
    // Ends with its listener, whose going closes the channel, or with the server.
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = outgoing.closed() => {}
            () = send_events(&fleet, notices, last, &outgoing) => {}
        }
    });
    Ok(sse(incoming))
}

async fn send_events(
    fleet: &FleetHandle,
    mut notices: Receiver<Numbered>,
    last: Option<u64>,
    outgoing: &mpsc::Sender<Result<Event, Infallible>>,
) {
    let mut needs_snapshot = true;
    let mut newest = 0;
    loop {
        if needs_snapshot {
            let Ok((snapshot, at)) = fleet.read(|view| (status::status(view.fleet), view.last_notice)).await else {
                return;
            };
            let is_news = last != Some(at) || newest > 0;
            if is_news && outgoing.send(Ok(event("snapshot", Some(at), &snapshot))).await.is_err() {
                return;
            }
            newest = at;
            needs_snapshot = false;
        }
        match notices.recv().await {
            Ok((number, notice)) if number > newest => {
                let kind = match &notice {
                    Notice::Edge { .. } => "edge",
                    Notice::Rule { .. } => "rule",
                    Notice::Tree { .. } => "tree",
                    Notice::Apply { .. } => "apply",
                };
                if outgoing.send(Ok(event(kind, Some(number), &notice))).await.is_err() {
                    return;
                }
            }
            // Part of the snapshot already.
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => needs_snapshot = true,
            Err(RecvError::Closed) => return,
        }
    }
}

/// `GET /v1/applies/{id}/events`: the state of the apply now and at each step, until it is over.
pub(super) async fn apply(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
) -> Result<impl axum::response::IntoResponse, Failure> {
    // Listening begins before looking, so that nothing falls between the two.
    let mut notices = state.context.fleet.notices();
    let fleet = state.context.fleet.clone();
    let look = move |fleet: FleetHandle, id: String| async move {
        fleet.read(move |view| view.fleet.apply_result(&id).cloned()).await
    };
    let Some(now) = look(fleet.clone(), id.clone()).await? else {
        return Err(Failure::not_found(format!("no apply {id}")));
    };
    let (outgoing, incoming) = mpsc::channel(QUEUE);
    let shutdown = state.context.shutdown.clone();
    let work = async move {
        let mut current: ApplyResult = now;
        loop {
            let is_sent = outgoing.send(Ok(event("apply", None, &current))).await.is_ok();
            if !is_sent || current.outcome != Outcome::Running {
                return;
            }
            current = loop {
                match notices.recv().await {
                    Ok((_, Notice::Apply { result })) if result.id == id && *result != current => break *result,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => match look(fleet.clone(), id.clone()).await {
                        Ok(Some(result)) => break result,
                        _ => return,
                    },
                    Err(RecvError::Closed) => return,
                }
            };
        }
    };
    // Ends with the apply, with the server, or at the first event that its listener is not there for.
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    });
    Ok(sse(incoming))
}

/// `GET …/stats/stream`: the counters of a rule every five seconds.
pub(super) async fn stats(
    Extract(state): Extract<State>,
    Path((edge, rule)): Path<(String, String)>,
    Query(query): Query<StatsQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let (address, _) = known_rule(&state, &edge, &rule).await?;
    let first = ask(&state, &address, query).await?;
    let (outgoing, incoming) = mpsc::channel(QUEUE);
    let shutdown = state.context.shutdown.clone();
    let work = async move {
        let mut ticks = tokio::time::interval(STATS_INTERVAL);
        ticks.tick().await;
        let mut next = event("stats", None, &first);
        while outgoing.send(Ok(next)).await.is_ok() {
            ticks.tick().await;
            next = match ask(&state, &address, query).await {
                Ok(document) => event("stats", None, &document),
                Err(failure) => event("problem", None, &*failure.0),
            };
        }
    };
    // Ends with its listener, noticed at the next tick, or with the server.
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    });
    Ok(sse(incoming))
}
