//! The reading half of the API. I/O.

use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State as Extract};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleAddress, RuleName};
use serde::Deserialize;

use super::documents::{DriftDocument, RuleRow, TargetsDocument};
use super::heavy::heavy;
use super::identity::{Hidden, RowTotal, Who};
use super::ledger::past_apply;
use super::{Failure, State};
use crate::act::counters::CountersError;
use crate::act::driver::View;
use crate::decide::codes::ProblemCode;
use crate::decide::drift::DriftKind;
use crate::decide::fleet::{ApplyResult, Fleet};
use crate::decide::plan::FORMAT_VERSION;
use crate::decide::selection::{Selection, Unselected};
use crate::decide::statistics::StatsDocument;
use crate::decide::status::target_rows::all_rows;
use crate::decide::status::{self, RevisionStatus, StatusDocument, rule_status};
use crate::decide::summary::{self, FleetSummary};
use crate::decide::target_totals::TargetTotals;

/// Works on a copy of the fleet off the async threads: a large fleet takes a while to write down, and the driver must
/// not wait for that.
async fn written<T: Send + 'static>(
    state: &State,
    write: impl FnOnce(&Fleet) -> T + Send + 'static,
) -> Result<Json<T>, Failure> {
    let fleet = state.context.fleet.read(|view| view.fleet.clone()).await?;
    heavy(move || write(&fleet)).await.map(Json)
}

pub(super) async fn status(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
) -> Result<Json<StatusDocument>, Failure> {
    let notify = state.context.notify.documents();
    let select = move |fleet: &Fleet| {
        let now = Timestamp::now();
        // What is hidden is counted over the whole fleet.
        let edges = if who.caller.limits.is_none() { selection.edges(fleet, now)? } else { status::edges(fleet, now) };
        let mut document = status::status_with(fleet, now, edges);
        document.notifiers = notify.to_vec();
        who.caller.limits.leave_status(fleet.edges(), &mut document);
        selection.status(&mut document.edges, &mut document.drift)?;
        document.targets = TargetTotals::of(&all_rows(&document.edges));
        Ok(document)
    };
    selected(written(&state, select).await?)
}

/// A selection that selects nothing is an answer of its own.
fn selected<T>(Json(found): Json<Result<T, Unselected>>) -> Result<Json<T>, Failure> {
    found.map(Json).map_err(Failure::unselected)
}

/// The fleet in a few figures.
pub(super) async fn summary(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
) -> Result<Json<FleetSummary>, Failure> {
    if !who.caller.limits.is_none() {
        return written(&state, move |fleet| summary::summary(fleet, &who.caller.limits, Timestamp::now())).await;
    }
    // Many pages ask at once when something happens: one of them counts, and the others wait for it.
    let mut newest = state.summary.lock().await;
    let happened = state.context.fleet.read(|view| view.last_notice).await?;
    if let Some(kept) = newest.as_ref().filter(|kept| kept.last_notice == happened && kept.at.elapsed() < FRESH) {
        return Ok(Json(kept.summary.clone()));
    }
    let at = Instant::now();
    let count = move |fleet: &Fleet| summary::summary(fleet, &who.caller.limits, Timestamp::now());
    let Json(summary) = written(&state, count).await?;
    *newest = Some(KeptSummary { at, last_notice: happened, summary: summary.clone() });
    Ok(Json(summary))
}

/// How long figures that no event announces, such as connections, may be old.
const FRESH: Duration = Duration::from_secs(1);

/// The summary that operators without limits were answered last.
#[derive(Debug)]
pub(super) struct KeptSummary {
    at: Instant,
    last_notice: u64,
    summary: FleetSummary,
}

/// What is in force and what is followed, without the edges.
pub(super) async fn revision(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
) -> Result<(Hidden, Json<RevisionStatus>), Failure> {
    let mut revision = state.context.fleet.read(|view| status::revision(view.fleet)).await?;
    let hidden = who.caller.limits.leave_revision(&mut revision);
    Ok((Hidden(hidden), Json(revision)))
}

pub(super) async fn rules(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
) -> Result<(Hidden, RowTotal, Json<Vec<RuleRow>>), Failure> {
    let select = move |fleet: &Fleet| {
        let now = Timestamp::now();
        let mut edges =
            if who.caller.limits.is_none() { selection.edges(fleet, now)? } else { status::edges(fleet, now) };
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        let page = selection.rows(edges)?;
        let rows = page.rows.into_iter().map(|row| RuleRow { edge: row.edge, status: row.status });
        Ok((hidden, page.total, rows.collect()))
    };
    let Json((hidden, total, rows)) = selected(written(&state, select).await?)?;
    Ok((Hidden(hidden), RowTotal(total), Json(rows)))
}

/// What drift can be narrowed to beside places.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DriftQuery {
    /// A kind.
    kind: Option<String>,
}

impl DriftQuery {
    fn kind(&self) -> Result<Option<DriftKind>, Failure> {
        let Some(word) = self.kind.as_deref().map(str::trim) else { return Ok(None) };
        let known = DriftKind::ALL.iter().find(|kind| kind.as_str() == word);
        known.map(|kind| Some(*kind)).ok_or_else(|| {
            let words: Vec<&str> = DriftKind::ALL.iter().map(|kind| kind.as_str()).collect();
            let detail = format!("kind `{word}`: expected one of {}", words.join(", "));
            Failure::new(400, ProblemCode::BadRequest, "Bad Request", detail)
        })
    }
}

/// What runs in another way than it was applied.
pub(super) async fn drift(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(query): Query<DriftQuery>,
) -> Result<Json<DriftDocument>, Failure> {
    let kind = query.kind()?;
    let select = move |fleet: &Fleet| {
        let mut drift = fleet.drift();
        let hidden = who.caller.limits.leave_drift(fleet.edges(), &mut drift);
        let (limit, places) = (selection.limit, Selection { limit: None, ..selection });
        if !places.is_empty() {
            let mut edges = status::edges(fleet, Timestamp::now());
            who.caller.limits.leave_edges(fleet.edges(), &mut edges);
            places.status(&mut edges, &mut drift)?;
        }
        drift.retain(|one| kind.is_none_or(|kind| one.kind == kind));
        let total = drift.len() as u64;
        drift.truncate(limit.unwrap_or(usize::MAX));
        let (format_version, kind) = (FORMAT_VERSION.to_owned(), "drift".to_owned());
        Ok(DriftDocument { format_version, kind, total, hidden, drift })
    };
    selected(written(&state, select).await?)
}

/// The targets of all rules that are selected.
pub(super) async fn targets(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
) -> Result<Json<TargetsDocument>, Failure> {
    let select = move |fleet: &Fleet| {
        let mut edges = status::edges(fleet, Timestamp::now());
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        let (targets, all) = selection.targets(edges)?;
        let (format_version, kind) = (FORMAT_VERSION.to_owned(), "targets".to_owned());
        Ok(TargetsDocument { format_version, kind, totals: TargetTotals::of(&all), hidden, targets })
    };
    selected(written(&state, select).await?)
}

/// The address in the path, if such a rule is known.
pub(super) async fn known_rule(
    state: &State,
    who: &Who,
    edge: &str,
    rule: &str,
) -> Result<(RuleAddress, RuleRow), Failure> {
    let who = who.clone();
    let unknown = || Failure::unknown("rule", format_args!("{edge}/{rule}"));
    let address = RuleAddress {
        edge: EdgeName::new(edge).map_err(|_| unknown())?,
        rule: RuleName::new(rule).map_err(|_| unknown())?,
    };
    let wanted = address.clone();
    let row = state
        .context
        .fleet
        .read(move |view| {
            let edges = view.fleet.edges();
            let edge = edges.get(&wanted.edge).filter(|_| who.sees(edges, &wanted.edge, &wanted.rule))?;
            let status = rule_status(edge, &wanted.rule, Timestamp::now())?;
            Some(RuleRow { edge: wanted.edge, status })
        })
        .await?;
    Ok((address, row.ok_or_else(unknown)?))
}

pub(super) async fn rule(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, rule)): Path<(String, String)>,
) -> Result<Json<RuleRow>, Failure> {
    let (address, mut row) = known_rule(&state, &who, &edge, &rule).await?;
    // An edge reports changes; results that repeat are asked for. One that does not answer is shown as it was heard
    // last.
    if let Ok(stats) = ask(&state, &address, StatsQuery { per_port: false, per_target: true }).await {
        for told in stats.targets.into_iter().flatten().filter_map(|target| target.report) {
            if let Some(known) = row.status.targets.iter_mut().find(|known| known.target == told.target) {
                *known = told;
            }
        }
    }
    Ok(Json(row))
}

/// The query of the counters.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatsQuery {
    per_port: bool,
    per_target: bool,
}

impl StatsQuery {
    /// True if an edge has to be asked.
    pub(super) fn asks(self) -> bool {
        self.per_port || self.per_target
    }
}

pub(super) async fn stats(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, rule)): Path<(String, String)>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<StatsDocument>, Failure> {
    let (address, _) = known_rule(&state, &who, &edge, &rule).await?;
    ask(&state, &address, query).await.map(Json)
}

pub(super) async fn ask(state: &State, address: &RuleAddress, query: StatsQuery) -> Result<StatsDocument, Failure> {
    let answer =
        state.context.fleet.stats(address.edge.clone(), &address.rule, query.per_port, query.per_target).await?;
    answer.map_err(|error| match error {
        CountersError::Unanswered(why) => Failure::unanswered(why, &address.edge),
        CountersError::UnknownRule => Failure::not_found(format!("{address}: {error}")),
    })
}

pub(super) async fn apply(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Json<ApplyResult>, Failure> {
    let wanted = id.clone();
    let look = move |view: &View<'_>| (view.fleet.apply_result(&wanted).cloned(), view.fleet.edges().clone());
    let (found, edges) = state.context.fleet.read(look).await?;
    let mut result = match found {
        Some(result) => result,
        None => past_apply(&state, &id).await?,
    };
    who.caller.limits.leave_apply(&edges, &mut result);
    Ok(Json(result))
}
