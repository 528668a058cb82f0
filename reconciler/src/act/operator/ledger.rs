//! The ledger over the API: all of it, one entry, whether it is whole, and the revisions that it names. I/O.

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
use crate::decide::fleet::ApplyResult;
use crate::decide::held::held;
use crate::decide::ledger::{Entry, HistoryEntry, LedgerAction, NoRevision, Verification, resolve};
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

/// One entry for each apply: the line of its start with the outcome of the line of its end.
async fn entries(state: &State) -> Result<Vec<HistoryEntry>, Failure> {
    let store = state.context.store.clone();
    let lines = heavy(move || lines(&store)).await??;
    let held = state.context.fleet.read(|view| held(view.fleet).0).await?;
    Ok(HistoryEntry::of_ledger(lines, held))
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
    fn leave(&self, entries: &mut Vec<HistoryEntry>) -> Result<(), Failure> {
        let known = |word: &str| LedgerAction::ALL.into_iter().find(|action| action.as_str() == word.trim());
        let action = |word: &str| {
            known(word).ok_or_else(|| {
                let words = LedgerAction::ALL.map(LedgerAction::as_str).join(", ");
                let detail = format!("action `{word}`: expected one of {words}, or several with commas between");
                Failure::new(400, ProblemCode::BadRequest, "Bad Request", detail)
            })
        };
        let wanted = self.action.as_deref().map(|all| all.split(',').map(action).collect::<Result<Vec<_>, _>>());
        let wanted = wanted.transpose()?;
        entries.retain(|found| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&found.entry.action))
                && self.before.is_none_or(|before| found.entry.id < before)
        });
        Ok(())
    }
}

/// The entries that are selected, oldest first unless the selection says otherwise.
pub(super) async fn history(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(query): Query<HistoryQuery>,
) -> Result<(Hidden, Json<Vec<HistoryEntry>>), Failure> {
    let (hidden, mut all) = seen(&state, &who, entries(&state).await?).await?;
    query.leave(&mut all)?;
    if selection.is_empty() {
        return Ok((hidden, Json(all)));
    }
    let fleet = state.context.fleet.read(|view| view.fleet.clone()).await?;
    let store = state.context.store.clone();
    let select =
        move || selection::entries(&selection, all, &fleet, Timestamp::now(), |apply| recorded_changes(&store, apply));
    let selected = heavy(select).await??.map_err(Failure::unselected)?;
    Ok((hidden, Json(selected)))
}

/// The entries that the operator sees, and how many it does not.
async fn seen(state: &State, who: &Who, mut all: Vec<HistoryEntry>) -> Result<(Hidden, Vec<HistoryEntry>), Failure> {
    let edges = state.context.fleet.read(|view| view.fleet.edges().clone()).await?;
    let hidden = who.caller.limits.leave_history(&edges, &mut all);
    Ok((Hidden(hidden), all))
}

pub(super) async fn entry(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Json<HistoryDetail>, Failure> {
    let number = id.parse::<u64>().ok();
    let is_it = |found: &HistoryEntry| number == Some(found.entry.id) || found.entry.apply_id == id;
    let (_, all) = seen(&state, &who, entries(&state).await?).await?;
    let found = all.into_iter().find(|found| !id.is_empty() && is_it(found));
    let mut entry = found.ok_or_else(|| Failure::not_found(format!("the history has no entry {id}")))?;
    let apply_id = entry.entry.apply_id.clone();
    let store = state.context.store.clone();
    let mut plan = heavy(move || recorded_plan(&store, &apply_id)).await??;
    let edges = state.context.fleet.read(|view| view.fleet.edges().clone()).await?;
    if let Some(plan) = &mut plan {
        who.caller.limits.leave_changes(&edges, &mut plan.changes);
    }
    // An earlier version kept the figures with the plan only.
    entry.summary = entry.summary.or(plan.as_ref().map(|plan| plan.summary));
    Ok(Json(HistoryDetail { entry, plan }))
}

/// An apply that is in memory no longer, as far as it is written down.
pub(super) async fn past_apply(state: &State, id: &str) -> Result<ApplyResult, Failure> {
    let found = entries(state).await?.into_iter().find(|found| !id.is_empty() && found.entry.apply_id == id);
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
