//! The ledger over the API: all of it, one entry, whether it is whole, and the revisions that it names. I/O.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State as Extract};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::canonical::Digest;
use serde::Deserialize;

use super::documents::HistoryDetail;
use super::heavy::heavy;
use super::identity::{Hidden, Who};
use super::{Failure, State};
use crate::act::revisions;
use crate::act::store::Store;
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::{ApplyResult, Fleet};
use crate::decide::held::held;
use crate::decide::ledger::{
    Entry, EntryPlace, HistoryEntry, LedgerAction, LedgerIndex, NoRevision, Verification, resolve,
};
use crate::decide::plan::{RuleChange, Source};
use crate::decide::record::{self, LEDGER_PREFIX, PLAN_PREFIX, RecordedPlan, Revision};
use crate::decide::selection::{self, Selection};

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(500, ProblemCode::Internal, "The ledger cannot be read", error.to_string())
}

/// Every line, oldest first. Blocks.
pub(super) fn lines(store: &Store) -> Result<Vec<Entry>, Failure> {
    let records = store.list(LEDGER_PREFIX).map_err(|error| unreadable(&error))?;
    record::ledger(records.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())))
        .map_err(|error| unreadable(&error))
}

/// A tree that was applied; `None` where its files are kept no longer. Blocks.
pub(super) fn revision(store: &Store, digest: Digest) -> Result<Option<Revision>, Failure> {
    revisions::read(store, digest).map_err(|error| unreadable(&error))
}

/// The revision that a person names, with its files; `in_force` is the one that is. Blocks.
pub(super) fn named(store: &Store, in_force: Option<Digest>, name: &str) -> Result<Revision, Failure> {
    let history = HistoryEntry::of_ledger(lines(store)?, false);
    let named = resolve(&history, in_force, name).map_err(|error| {
        let detail = error.to_string();
        match error {
            NoRevision::Ambiguous { .. } => {
                Failure::new(409, ProblemCode::AmbiguousRevision, "Several such revisions", detail)
            }
            _ => Failure::new(404, ProblemCode::UnknownRevision, "No such revision", detail),
        }
    })?;
    let entry = &named.entry;
    let mut found = revision(store, entry.digest)?.ok_or_else(|| gone(entry))?;
    if found.source.commit != entry.commit {
        // The same files came with several commits; the one that was named is meant.
        let source = Source { folder: found.source.folder.take(), ..Source::unversioned(entry.digest) };
        found.source = Source {
            vcs: if entry.commit.is_some() { "git".to_owned() } else { source.vcs },
            commit: entry.commit.clone(),
            author: entry.author.clone(),
            subject: named.subject.clone(),
            dirty: entry.dirty,
            ..source
        };
    }
    Ok(found)
}

fn gone(entry: &Entry) -> Failure {
    let instead = entry.commit.as_ref().map_or_else(String::new, |commit| format!("; check out {commit} and apply it"));
    Failure::revision_gone(entry.digest, &instead)
}

/// Where the entries of the ledger are. It is brought up to date before each use, so that only new lines are read.
#[derive(Debug, Default)]
pub(super) struct LedgerPlaces(Mutex<LedgerIndex>);

/// The ledger of one request.
struct Book {
    store: Arc<Store>,
    places: Arc<LedgerPlaces>,
    is_held: bool,
}

impl Book {
    async fn open(state: &State) -> Result<Self, Failure> {
        let is_held = state.context.fleet.read(|view| held(view.fleet).0).await?;
        Ok(Self { store: state.context.store.clone(), places: state.ledger.clone(), is_held })
    }

    /// The index with every line that is written. Blocks.
    fn index(&self) -> Result<MutexGuard<'_, LedgerIndex>, Failure> {
        let mut index = self.lock();
        let known = record::ledger_key(index.last_line());
        let records = self.store.list_after(LEDGER_PREFIX, &known).map_err(|error| unreadable(&error))?;
        let lines = record::ledger(records.iter().map(|(key, value)| (key.as_str(), value.value.as_slice())));
        lines.map_err(|error| unreadable(&error))?.iter().for_each(|line| index.add(line));
        Ok(index)
    }

    fn lock(&self) -> MutexGuard<'_, LedgerIndex> {
        // Nothing in there panics; an index after a panic is whole as well.
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places that are meant, the newest first. Blocks.
    fn places(&self, is_meant: impl Fn(&EntryPlace) -> bool) -> Result<Vec<EntryPlace>, Failure> {
        Ok(self.index()?.newest_first().filter(|place| is_meant(place)).copied().collect())
    }

    /// The entry at a place: the line of its start with the outcome of the line of its end. Blocks.
    fn read(&self, place: EntryPlace) -> Result<HistoryEntry, Failure> {
        let line = self.line(place.line)?;
        let end = place.end.map(|end| self.line(end)).transpose()?;
        Ok(self.lock().entry(place, line, end, self.is_held))
    }

    fn line(&self, id: u64) -> Result<Entry, Failure> {
        let key = record::ledger_key(id);
        let stored = self.store.get(&key).map_err(|error| unreadable(&error))?;
        let value = stored.map(|stored| stored.value).unwrap_or_default();
        let line = record::ledger([(key.as_str(), value.as_slice())]).map_err(|error| unreadable(&error))?;
        Ok(line.into_iter().next().unwrap_or_default())
    }

    /// The entry that a person names. Blocks.
    fn named(&self, name: &str) -> Result<Option<HistoryEntry>, Failure> {
        let place = self.index()?.named(name);
        place.map(|place| self.read(place)).transpose()
    }
}

/// What a history can be narrowed to beside places and times.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct HistoryQuery {
    /// Actions, with commas between.
    action: Option<String>,
    /// Entries with a lower number only: the page behind the one that ended there.
    before: Option<u64>,
}

impl HistoryQuery {
    /// Whether the entry at a place is meant.
    fn matcher(&self) -> Result<impl Fn(&EntryPlace) -> bool + Send + 'static, Failure> {
        let known = |word: &str| LedgerAction::ALL.into_iter().find(|action| action.as_str() == word.trim());
        let action = |word: &str| {
            known(word).ok_or_else(|| {
                let words = LedgerAction::ALL.map(LedgerAction::as_str).join(", ");
                let detail = format!("action `{word}`: expected one of {words}, or several with commas between");
                Failure::new(400, ProblemCode::BadRequest, "Bad Request", detail)
            })
        };
        let wanted = self.action.as_deref().map(|all| all.split(',').map(action).collect::<Result<Vec<_>, _>>());
        let (wanted, before) = (wanted.transpose()?, self.before);
        Ok(move |place: &EntryPlace| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&place.action))
                && before.is_none_or(|before| place.number < before)
        })
    }
}

/// The entries that are selected, oldest first unless the selection says otherwise. No more of them are read than are
/// answered, but for an operator with limits, whose hidden entries are counted.
pub(super) async fn history(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(query): Query<HistoryQuery>,
) -> Result<(Hidden, Json<Vec<HistoryEntry>>), Failure> {
    let (is_meant, book) = (query.matcher()?, Book::open(&state).await?);
    let is_limited = !who.caller.limits.is_none();
    // What a place means is asked of the fleet.
    let fleet = if is_limited || selection.names_places() {
        state.context.fleet.read(|view| view.fleet.clone()).await?
    } else {
        Fleet::default()
    };
    let select = move || {
        let places = if is_limited { book.places(|_| true)? } else { book.places(&is_meant)? };
        let read = |place: EntryPlace| book.read(place);
        if !is_limited {
            let entries = places.into_iter().map(read);
            return Ok((0, selected(&selection, entries, &fleet, &book)?));
        }
        let numbers: BTreeSet<u64> = places.iter().filter(|place| is_meant(place)).map(|place| place.number).collect();
        let mut all = places.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let hidden = who.caller.limits.leave_history(fleet.edges(), &mut all);
        let seen = all.into_iter().filter(|entry| numbers.contains(&entry.entry.id)).map(Ok);
        Ok::<_, Failure>((hidden, selected(&selection, seen, &fleet, &book)?))
    };
    let (hidden, found) = heavy(select).await??;
    Ok((Hidden(hidden), Json(found)))
}

/// Blocks.
fn selected(
    selection: &Selection,
    newest_first: impl Iterator<Item = Result<HistoryEntry, Failure>>,
    fleet: &Fleet,
    book: &Book,
) -> Result<Vec<HistoryEntry>, Failure> {
    if selection.is_empty() {
        let mut all = newest_first.collect::<Result<Vec<_>, _>>()?;
        all.reverse();
        return Ok(all);
    }
    let changes = |apply: &str| recorded_changes(&book.store, apply);
    selection::entries(selection, newest_first, fleet, Timestamp::now(), changes)?.map_err(Failure::unselected)
}

/// The entry that is named, if the operator sees it.
async fn seen(state: &State, who: &Who, name: &str) -> Result<Option<HistoryEntry>, Failure> {
    let (book, wanted) = (Book::open(state).await?, name.to_owned());
    let mut found: Vec<HistoryEntry> = heavy(move || book.named(&wanted)).await??.into_iter().collect();
    if !who.caller.limits.is_none() {
        let edges = state.context.fleet.read(|view| view.fleet.edges().clone()).await?;
        who.caller.limits.leave_history(&edges, &mut found);
    }
    Ok(found.pop())
}

pub(super) async fn entry(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Json<HistoryDetail>, Failure> {
    let found = seen(&state, &who, &id).await?;
    let mut entry = found.ok_or_else(|| Failure::not_found(format!("the history has no entry {id}")))?;
    let apply_id = entry.entry.apply_id.clone();
    let store = state.context.store.clone();
    let mut plan = heavy(move || recorded_plan(&store, &apply_id)).await??;
    if let Some(plan) = plan.as_mut().filter(|_| !who.caller.limits.is_none()) {
        let edges = state.context.fleet.read(|view| view.fleet.edges().clone()).await?;
        who.caller.limits.leave_changes(&edges, &mut plan.changes);
    }
    // An earlier version kept the figures with the plan only.
    entry.summary = entry.summary.or(plan.as_ref().map(|plan| plan.summary));
    Ok(Json(HistoryDetail { entry, plan }))
}

/// An apply that is in memory no longer, as far as it is written down.
pub(super) async fn past_apply(state: &State, id: &str) -> Result<ApplyResult, Failure> {
    let (book, wanted) = (Book::open(state).await?, id.to_owned());
    let found = heavy(move || book.named(&wanted)).await??.filter(|found| found.entry.apply_id == id);
    let result = found.as_ref().and_then(ApplyResult::recorded);
    result.ok_or_else(|| Failure::unknown("apply", id))
}

/// What an apply was to change; `None` where that is kept no longer. Blocks.
fn recorded_plan(store: &Store, apply_id: &str) -> Result<Option<RecordedPlan>, Failure> {
    let key = format!("{PLAN_PREFIX}{apply_id}");
    let Some(stored) = store.get(&key).map_err(|error| unreadable(&error))? else { return Ok(None) };
    record::recorded_plan(&key, &stored.value).map(Some).map_err(|error| unreadable(&error))
}

/// The changes alone. Blocks.
pub(super) fn recorded_changes(store: &Store, apply_id: &str) -> Result<Option<Vec<RuleChange>>, Failure> {
    let Some(plan) = recorded_plan(store, apply_id)? else { return Ok(None) };
    let changes: Result<Vec<_>, _> = plan.changes.into_iter().map(RuleChange::try_from).collect();
    changes.map(Some).map_err(|error| unreadable(&error))
}

/// The query of a verification.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VerificationQuery {
    /// A hash that a line must have.
    contains: Option<Digest>,
}

/// Looks through the whole chain.
pub(super) async fn verify(
    Extract(state): Extract<State>,
    Query(query): Query<VerificationQuery>,
) -> Result<Json<Verification>, Failure> {
    // The end first: what is appended meanwhile is behind it. One that is not on disk yet says nothing about the disk.
    let head = state.context.fleet.read(|view| view.is_saved.then(|| view.fleet.ledger_head())).await?;
    let store = state.context.store.clone();
    let lines = heavy(move || lines(&store)).await??;
    let known = head.map_or(lines.len(), |head| lines.partition_point(|line| line.id <= head.id));
    let mut found = Verification::of(&lines[..known], head);
    found.broken = found.broken.or(Verification::of(&lines, None).broken);
    found.contained = query.contains.map(|hash| lines.iter().any(|line| line.hash == hash));
    Ok(Json(found))
}
