//! Server-sent events: a snapshot, then what happens. I/O.
//!
//! Keeps: a stream never silently leaves something out. A listener that is too slow gets a new snapshot. No stream has
//! a task of its own: the connection that it is written to polls it, and drops it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Query, State as Extract};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::heavy::heavy;
use super::identity::Who;
use super::ledger::past_apply;
use super::read::{StatsQuery, ask, known_rule};
use super::{Failure, State};
use crate::act::counters::rates_since;
use crate::act::driver::{FleetHandle, Numbered, Stopped, View};
use crate::decide::fleet::{ApplyResult, Fleet, Notice, Outcome};
use crate::decide::operators::grant::GrantMatcher;
use crate::decide::selection::{self, Selection};
use crate::decide::status::target_rows::all_rows;
use crate::decide::status::{self, StatusDocument};
use crate::decide::target_totals::TargetTotals;

/// How often counters are sent.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

type StreamItem = Result<Event, Infallible>;

/// A stream as a response. It is polled by its connection and by nobody else: when the listener goes, so does it. It ends
/// with the server, and with the operator.
fn sse<S: Stream<Item = StreamItem> + Send + 'static>(
    state: &State,
    who: &Who,
    events: S,
) -> Result<Sse<impl Stream<Item = StreamItem> + use<S>>, Failure> {
    let place = state.context.operators.streams.take(&who.actor()).map_err(Failure::no_stream_place)?;
    let (shutdown, ended) = (state.context.shutdown.clone(), who.ended(&state.context.operators));
    let end = async move {
        // The place is taken for as long as the stream is there.
        let _place = place;
        tokio::select! {
            () = shutdown.cancelled_owned() => {}
            () = ended => {}
        }
    };
    Ok(Sse::new(events.take_until(Box::pin(end))).keep_alive(KeepAlive::default()))
}

fn event(name: &str, id: Option<u64>, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("documents hold only maps with text keys");
    let event = Event::default().event(name).data(data);
    match id {
        Some(id) => event.id(id.to_string()),
        None => event,
    }
}

/// The query of the events: kinds that are wanted; all of them where none is named.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsQuery {
    edges: bool,
    rules: bool,
    targets: bool,
}

impl EventsQuery {
    fn wants(self, notice: &Notice) -> bool {
        let is_filtered = self.edges || self.rules || self.targets;
        match notice {
            Notice::Edge { .. } | Notice::Unsettled { .. } | Notice::Certificate { .. } => self.edges || !is_filtered,
            Notice::Rule { .. }
            | Notice::Health { .. }
            | Notice::Balance { .. }
            | Notice::Quota { .. }
            | Notice::Override { .. } => self.rules || !is_filtered,
            Notice::Target { .. } | Notice::Weights { .. } | Notice::TargetOverride { .. } => {
                self.targets || !is_filtered
            }
            Notice::Tree { .. }
            | Notice::Remote { .. }
            | Notice::Apply { .. }
            | Notice::Freeze { .. }
            | Notice::Hold { .. } => !is_filtered,
        }
    }
}

/// `GET /v1/events`. With `Last-Event-ID` the listener gets what it missed, as long as that is kept, and with `since` what
/// happened since then; else a snapshot that holds everything that is selected.
pub(super) async fn events(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(query): Query<EventsQuery>,
    Query(selection): Query<Selection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = StreamItem>>, Failure> {
    let now = Timestamp::now();
    let from = selection.from(now).map_err(Failure::unselected)?;
    if let Some(text) = &selection.state {
        selection::check_state(text).map_err(Failure::unselected)?;
    }
    let places = selection.places();
    if !places.is_empty() {
        // What names nothing that there is would wait for ever.
        let fleet = state.context.fleet.read(|view| view.fleet.clone()).await?;
        let limits = who.caller.limits.clone();
        let look = move || {
            let mut edges = status::edges(&fleet, now);
            limits.leave_edges(fleet.edges(), &mut edges);
            places.rules(&mut edges)
        };
        heavy(look).await?.map_err(Failure::unselected)?;
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse::<u64>().ok());
    let listener = EventListener {
        fleet: state.context.fleet.clone(),
        notices: state.context.fleet.notices(),
        who: who.clone(),
        query,
        left: selection.limit,
        selection: (!selection.is_empty()).then(|| Arc::new(selection)),
        from: from.filter(|_| last.is_none()),
        newest: last.unwrap_or(0),
        replay: VecDeque::new(),
        is_behind: true,
    };
    let events = stream::unfold(listener, async |mut listener| Some((Ok(listener.next().await?), listener)));
    sse(&state, &who, events)
}

/// One listener to everything.
struct EventListener {
    fleet: FleetHandle,
    notices: Receiver<Numbered>,
    /// Who listens.
    who: Who,
    /// The newest event that the listener has.
    newest: u64,
    /// What it wants.
    query: EventsQuery,
    /// Of which edges and rules, where it does not want all.
    selection: Option<Arc<Selection>>,
    /// It begins with what happened since then, instead of a snapshot.
    from: Option<Timestamp>,
    /// How many events it is still sent.
    left: Option<usize>,
    /// What it missed and is told next.
    replay: VecDeque<Numbered>,
    /// It may have missed something.
    is_behind: bool,
}

/// A notice with the time at which it came.
#[derive(Serialize)]
struct Timed<'a> {
    time: Timestamp,
    #[serde(flatten)]
    notice: &'a Notice,
}

impl EventListener {
    async fn next(&mut self) -> Option<Event> {
        if self.left == Some(0) {
            return None;
        }
        loop {
            if std::mem::take(&mut self.is_behind)
                && let Some(snapshot) = self.catch_up().await.ok()?
            {
                return Some(snapshot);
            }
            let (number, time, notice) = match self.replay.pop_front() {
                Some(missed) => missed,
                None => match self.notices.recv().await {
                    Ok(heard) => heard,
                    Err(RecvError::Lagged(_)) => {
                        self.is_behind = true;
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                },
            };
            // What is not newer is part of the snapshot already, or was replayed.
            if number <= self.newest {
                continue;
            }
            self.newest = number;
            if self.query.wants(&notice)
                && self.is_selected(&notice).await?
                && let Some(notice) = self.seen(&notice).await?
            {
                self.left = self.left.map(|left| left - 1);
                return Some(event(kind(&notice), Some(number), &Timed { time, notice: &notice }));
            }
        }
    }

    async fn is_selected(&self, notice: &Arc<Notice>) -> Option<bool> {
        let Some(selection) = self.selection.clone() else { return Some(true) };
        let notice = Arc::clone(notice);
        self.fleet.read(move |view| selection::wants(&selection, view.fleet, &notice)).await.ok()
    }

    /// The event as the operator sees it; nothing where it does not.
    async fn seen(&self, notice: &Arc<Notice>) -> Option<Option<Arc<Notice>>> {
        if self.who.caller.limits.is_none() {
            return Some(Some(Arc::clone(notice)));
        }
        let (notice, caller) = (Arc::clone(notice), self.who.caller.clone());
        let look = move |view: &View<'_>| caller.limits.seen(view.fleet.edges(), &notice).map(Arc::new);
        self.fleet.read(look).await.ok()
    }

    /// Finds what the listener missed: the notices themselves, else a snapshot.
    async fn catch_up(&mut self) -> Result<Option<Event>, Stopped> {
        if let Some(from) = self.from.take() {
            self.replay = self.fleet.read(move |view| view.recent.since(from)).await?.into();
            return Ok(None);
        }
        let newest = self.newest;
        let look = move |view: &View<'_>| {
            let missed = if newest == view.last_notice { Some(Vec::new()) } else { view.recent.after(newest) };
            missed.ok_or_else(|| Box::new((view.fleet.clone(), view.last_notice)))
        };
        match self.fleet.read(look).await? {
            Ok(missed) => {
                self.replay = missed.into();
                Ok(None)
            }
            Err(now) => {
                let (fleet, at) = *now;
                self.newest = at;
                self.replay.clear();
                let places = self.selection.as_ref().map(|selection| selection.places());
                let caller = self.who.caller.clone();
                let snapshot = move || event("snapshot", Some(at), &snapshot(&fleet, &caller.limits, places));
                tokio::task::spawn_blocking(snapshot).await.map(Some).map_err(|_| Stopped)
            }
        }
    }
}

/// The status of what is selected, which may be nothing by now.
fn snapshot(fleet: &Fleet, limits: &GrantMatcher, places: Option<Selection>) -> StatusDocument {
    let mut document = status::status(fleet, Timestamp::now());
    limits.leave_status(fleet.edges(), &mut document);
    document.targets = TargetTotals::of(&all_rows(&document.edges));
    if let Some(places) = places {
        let found = places.status(&mut document.edges, &mut document.drift);
        if found.is_err() {
            document.edges.clear();
            document.drift.clear();
        }
        document.targets = TargetTotals::of(&all_rows(&document.edges));
    }
    document
}

fn kind(notice: &Notice) -> &'static str {
    match notice {
        Notice::Edge { .. } => "edge",
        Notice::Unsettled { .. } => "unsettled",
        Notice::Certificate { .. } => "certificate",
        Notice::Rule { .. } => "rule",
        Notice::Health { .. } => "health",
        Notice::Balance { .. } => "balance",
        Notice::Target { .. } => "target",
        Notice::Weights { .. } => "weights",
        Notice::TargetOverride { .. } => "target_override",
        Notice::Override { .. } => "override",
        Notice::Quota { .. } => "quota",
        Notice::Tree { .. } => "tree",
        Notice::Remote { .. } => "remote",
        Notice::Apply { .. } => "apply",
        Notice::Freeze { .. } => "freeze",
        Notice::Hold { .. } => "hold",
    }
}

/// `GET /v1/applies/{id}/events`: the state of the apply now and at each step, until it is over.
pub(super) async fn apply(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = StreamItem>>, Failure> {
    // Listening begins before looking, so that nothing falls between the two.
    let notices = state.context.fleet.notices();
    let fleet = state.context.fleet.clone();
    let now = match look(&fleet, &id).await? {
        Some(now) => now,
        // Its end is the first event, and the last.
        None => past_apply(&state, &id).await?,
    };
    let watcher = ApplyWatcher { who: who.clone(), fleet, notices, id, told: None, next: Some(now) };
    let events = stream::unfold(watcher, async |mut watcher| Some((Ok(watcher.next().await?), watcher)));
    sse(&state, &who, events)
}

async fn look(fleet: &FleetHandle, id: &str) -> Result<Option<ApplyResult>, Stopped> {
    let id = id.to_owned();
    fleet.read(move |view| view.fleet.apply_result(&id).cloned()).await
}

/// One listener to one apply.
struct ApplyWatcher {
    who: Who,
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
        let mut shown = result.clone();
        if !self.who.caller.limits.is_none() {
            let edges = self.fleet.read(|view| view.fleet.edges().clone()).await.ok()?;
            self.who.caller.limits.leave_apply(&edges, &mut shown);
        }
        let event = event("apply", None, &shown);
        self.told = Some(result);
        Some(event)
    }

    async fn changed(&mut self) -> Option<ApplyResult> {
        loop {
            let result = match self.notices.recv().await {
                Ok((.., notice)) => match &*notice {
                    Notice::Apply { result } if result.id == self.id => (**result).clone(),
                    _ => continue,
                },
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
    Extension(who): Extension<Who>,
    Path((edge, rule)): Path<(String, String)>,
    Query(query): Query<StatsQuery>,
) -> Result<Sse<impl Stream<Item = StreamItem>>, Failure> {
    let (address, _) = known_rule(&state, &who, &edge, &rule).await?;
    let document = ask(&state, &address, query).await?;
    let first = event("stats", None, &document);
    let shared = state.clone();
    let mut ticks = tokio::time::interval(STATS_INTERVAL);
    // The first tick is at once, and its counters are here.
    ticks.reset();
    let rest =
        stream::unfold((state, address, ticks, document), move |(state, address, mut ticks, mut before)| async move {
            ticks.tick().await;
            let event = match ask(&state, &address, query).await {
                Ok(mut document) => {
                    rates_since(&before, &mut document);
                    let event = event("stats", None, &document);
                    before = document;
                    event
                }
                Err(failure) => event("problem", None, &*failure.0),
            };
            Some((Ok(event), (state, address, ticks, before)))
        });
    sse(&shared, &who, stream::once(async { Ok(first) }).chain(rest))
}
