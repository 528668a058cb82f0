//! The reading half of the API. I/O.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, Query, State as Extract};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleAddress, RuleName};
use serde::Deserialize;

use super::documents::{RuleRow, TargetsDocument};
use super::heavy::heavy;
use super::identity::{Hidden, Who};
use super::ledger::past_apply;
use super::{Failure, State};
use crate::act::counters::CountersError;
use crate::act::driver::View;
use crate::decide::fleet::{ApplyResult, Fleet};
use crate::decide::plan::FORMAT_VERSION;
use crate::decide::selection::{Selection, Unselected};
use crate::decide::statistics::StatsDocument;
use crate::decide::status::target_rows::all_rows;
use crate::decide::status::{self, EdgeStatus, RevisionStatus, StatusDocument, edge_status, rule_status};
use crate::decide::target_totals::TargetTotals;
use crate::decide::view::EdgeView;

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
    let select = move |fleet: &Fleet| {
        let mut document = status::status(fleet, Timestamp::now());
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

/// What is in force and what is followed, without the edges.
pub(super) async fn revision(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
) -> Result<(Hidden, Json<RevisionStatus>), Failure> {
    let mut revision = state.context.fleet.read(|view| status::revision(view.fleet)).await?;
    let hidden = who.caller.limits.leave_revision(&mut revision);
    Ok((Hidden(hidden), Json(revision)))
}

pub(super) async fn edges(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
) -> Result<(Hidden, Json<Vec<EdgeStatus>>), Failure> {
    let now = Timestamp::now();
    let (fleet, addresses) = state.context.fleet.read(|view| (view.fleet.clone(), view.addresses.clone())).await?;
    let enrolled = state.context.trust.read(|register| {
        register.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect::<BTreeMap<_, _>>()
    });
    let enrolled =
        enrolled.await.map_err(|error| Failure::new(503, "stopping", "Server is stopping", error.to_string()))?;
    heavy(move || {
        let unknown = EdgeView::default();
        let joined = enrolled.iter().filter(|(_, entry)| entry.has_joined()).map(|(name, _)| name);
        // Those that joined and never had a session are listed.
        let names: BTreeSet<&EdgeName> = fleet.edges().keys().chain(joined).collect();
        let rows = names.into_iter().map(|name| {
            let address = addresses.get(name).copied().flatten();
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            let entry = enrolled.get(name).filter(|entry| entry.has_joined());
            EdgeStatus {
                address,
                certificate_expires_at: entry.and_then(|entry| entry.expires_at),
                revoked: entry.is_some_and(|entry| entry.revoked),
                ..edge_status(name, fleet.edges().get(name).unwrap_or(&unknown), now)
            }
        });
        let mut rows: Vec<EdgeStatus> = rows.collect();
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut rows);
        (Hidden(hidden), Json(rows))
    })
    .await
}

pub(super) async fn rules(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
) -> Result<(Hidden, Json<Vec<RuleRow>>), Failure> {
    let select = move |fleet: &Fleet| {
        let mut edges = status::edges(fleet, Timestamp::now());
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        let rows = selection.rows(edges)?;
        let rows = rows.into_iter().map(|row| RuleRow { edge: row.edge, status: row.status });
        Ok((hidden, rows.collect()))
    };
    let Json((hidden, rows)) = selected(written(&state, select).await?)?;
    Ok((Hidden(hidden), Json(rows)))
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
    let unknown = || Failure::not_found(format!("there is no rule {edge}/{rule}"));
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
